//! An event-driven runtime: a work-stealing executor, an embeddable event loop, timers and
//! non-blocking I/O.
//!
//! This crate knows nothing of C, Python or JavaScript; the C API and the bindings stand on it.

pub mod event_loop;
pub mod reactor;
mod shim;
pub mod task;
pub mod time;
