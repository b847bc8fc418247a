//! The core suite.
fn main() {}
