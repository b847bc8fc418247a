//! An event-driven runtime: a work-stealing executor, an embeddable event loop, timers and
//! non-blocking I/O.
//!
//! This crate knows nothing of C, Python or JavaScript; the C API and the bindings stand on it.

// Models use parts of what stands on the system's own primitives.
#![cfg_attr(loom, allow(dead_code, unused_imports))]

pub mod blocking;
mod context;
#[cfg(not(loom))]
pub mod event_loop;
mod executor;
#[cfg(not(loom))]
pub mod fs;
mod look;
pub mod metrics;
#[cfg(not(loom))]
pub mod net;
mod panic;
#[cfg(not(loom))]
pub mod process;
pub mod reactor;
pub mod runtime;
mod shim;
#[cfg(not(loom))]
pub mod signal;
#[cfg(not(loom))]
pub mod sync;
pub mod task;
mod thread;
pub mod time;
pub mod topology;
pub mod tune;

/// The examples of the pages for users of this crate, run as tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../docs/rust.md")]
    mod rust {}
    #[doc = include_str!("../../docs/metrics.md")]
    mod metrics {}
    #[doc = include_str!("../../docs/policies.md")]
    mod policies {}
    #[doc = include_str!("../../docs/tuning.md")]
    mod tuning {}
}

use std::future::Future;
use task::JoinHandle;

/// Starts a task on the runtime that the calling thread works for, or has entered.
///
/// # Panics
/// Outside of any runtime: see [`runtime::Handle::try_current`] for a way that does not.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match context::spawn(future, None) {
        Some(handle) => handle,
        None => no_runtime(),
    }
}

/// Runs a job that may block on a thread that is there for it, likewise.
///
/// # Panics
/// As [`spawn`].
#[track_caller]
pub fn spawn_blocking<F, R>(job: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    runtime::Handle::current().spawn_blocking(job)
}

/// As [`spawn_blocking`], as a job of a class.
///
/// # Panics
/// As [`spawn`].
#[track_caller]
pub fn spawn_blocking_in<F, R>(class: blocking::Class, job: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    runtime::Handle::current().spawn_blocking_in(class, job)
}

#[cold]
#[track_caller]
fn no_runtime() -> ! {
    panic!("{}", runtime::NoRuntimeError::new())
}
