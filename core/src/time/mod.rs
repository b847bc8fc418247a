//! Timers.

pub(crate) mod clock;
pub(crate) mod wheel;

/// A tick is 2^13 ns (8.192 µs): fine enough for what an operating system can keep, coarse enough
/// that a burst of timers set together is fired together.
pub(crate) const TICK_SHIFT: u32 = 13;
