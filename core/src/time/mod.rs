//! Waiting for time to pass: [`sleep`], [`interval`], [`timeout`].
//!
//! Timers stand in a hierarchical wheel with a tick of 8.192 µs. A deadline is rounded up to a
//! tick and the present is rounded down, so nothing is ever early. Each worker of a runtime has a
//! wheel, and so has each event loop; a [`Sleep`] belongs to the one of the thread that polls it
//! first. Setting and cancelling take constant time, without a lock or an allocation as long as a
//! task's timers are set and cancelled by the worker that they belong to. A [`Sleep`] is 56 bytes.
//!
//! The wheel of a worker that is held up by a long poll may be run by another.
//!
//! ```
//! use libruntime_core::time::{sleep, timeout};
//! use std::time::Duration;
//!
//! let runtime = libruntime_core::runtime::Runtime::new()?;
//! runtime.block_on(async {
//!     sleep(Duration::from_micros(200)).await;
//!     let late = timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
//!     assert!(late.is_err());
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod clock;
mod entry;
#[cfg(not(loom))]
mod interval;
mod keeper;
#[cfg(all(test, loom))]
mod loom_tests;
pub(crate) mod membarrier;
mod owner_count;
mod owner_lock;
mod queue;
mod reference;
#[cfg(not(loom))]
mod sleep;
#[cfg(not(loom))]
mod timeout;
pub(crate) mod wake_batch;
pub(crate) mod wheel;

#[cfg(not(loom))]
pub use interval::{Interval, MissedTickBehavior, interval, interval_at};
pub(crate) use membarrier::prepare as prepare_fences;
pub(crate) use queue::TimerQueue;
pub(crate) use reference::OwnedTimers;
#[cfg(not(loom))]
pub use sleep::{Sleep, sleep, sleep_until};
#[cfg(not(loom))]
pub use timeout::{Elapsed, Timeout, timeout, timeout_at};

/// Whether this thread has timers: it is a worker, or inside a runtime or the turn of an event loop.
#[cfg(not(loom))]
pub fn is_available() -> bool {
    crate::context::with_driver(|_| ()).is_some()
}

/// A tick is 2^13 ns (8.192 µs): fine enough for what an operating system can keep, coarse enough
/// that a burst of timers set together is fired together.
pub(crate) const TICK_SHIFT: u32 = 13;
