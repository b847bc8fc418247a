//! The one place where this crate takes its atomics, cells, locks and threads from.
//!
//! Built normally these are the standard library's. Built with `--cfg loom` they are loom's, so that
//! every protocol in the crate can be model-checked as it is written rather than as it was retold.
//! The two halves have the same names and signatures; nothing else in the crate mentions loom
//! outside its models. In this crate's own tests the standard library's atomics are counted.

#[cfg(all(test, not(loom)))]
pub(crate) mod counted;
#[cfg(loom)]
mod loom_impl;
#[cfg(not(loom))]
mod std_impl;

#[cfg(loom)]
pub(crate) use loom_impl::*;
#[cfg(not(loom))]
pub(crate) use std_impl::*;

/// Atomics that only carry figures from one thread to another: nothing synchronises by them, and
/// they are the standard library's in models too.
pub(crate) mod figures {
    #[cfg(all(test, not(loom)))]
    pub(crate) use super::counted::{AtomicU64, AtomicUsize};
    #[cfg(any(not(test), loom))]
    pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize};
}
