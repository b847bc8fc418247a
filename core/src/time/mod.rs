//! Timers.

pub(crate) mod clock;
mod queue;
pub(crate) mod wake_batch;
pub(crate) mod wheel;

pub(crate) use queue::{Entry, TimerQueue};

/// A tick is 2^13 ns (8.192 µs): fine enough for what an operating system can keep, coarse enough
/// that a burst of timers set together is fired together.
pub(crate) const TICK_SHIFT: u32 = 13;
