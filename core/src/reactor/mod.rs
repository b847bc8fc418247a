//! Readiness of file descriptors.

mod interest;
pub(crate) mod sys;
pub(crate) mod token;

pub use interest::{Interest, Ready};
