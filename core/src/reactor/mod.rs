//! Readiness of file descriptors.

mod interest;
pub(crate) mod sys;

pub use interest::{Interest, Ready};
