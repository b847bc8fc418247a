//! The translation between instants and a wheel's ticks.

use std::time::{Duration, Instant};

use super::TICK_SHIFT;

/// Counts ticks from the moment it was made.
///
/// A deadline is rounded up to a tick and the present is rounded down, which is why no timer is
/// ever early.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock {
            origin: Instant::now(),
        }
    }

    /// The first tick at which `deadline` has passed, and how many nanoseconds it comes after that.
    /// A deadline that is centuries away is taken for one that is [`NEVER`] away.
    pub(crate) fn deadline(&self, deadline: Instant) -> (u64, u16) {
        let nanos = self.nanos(deadline).min(NEVER);
        let tick = ceil(nanos);
        (tick, ((tick << TICK_SHIFT) - nanos) as u16)
    }

    /// The inverse of [`deadline`](Self::deadline).
    pub(crate) fn before(&self, tick: u64, nanos: u16) -> Instant {
        self.at((tick << TICK_SHIFT) - u64::from(nanos))
    }

    /// Whether `instant` was there before this clock was made.
    pub(crate) fn is_younger_than(&self, instant: Instant) -> bool {
        instant < self.origin
    }

    /// The last tick that has passed at `now`.
    pub(crate) fn elapsed(&self, now: Instant) -> u64 {
        floor(self.nanos(now))
    }

    /// Nanoseconds since the origin: zero before it, and at most 584 years.
    pub(crate) fn nanos(&self, instant: Instant) -> u64 {
        nanoseconds(instant.saturating_duration_since(self.origin))
    }

    /// The inverse of [`nanos`](Self::nanos).
    pub(crate) fn at(&self, nanos: u64) -> Instant {
        after(self.origin, Duration::from_nanos(nanos))
    }

    /// When `tick` begins; `None` if that is further away than an `Instant` can tell.
    pub(crate) fn instant(&self, tick: u64) -> Option<Instant> {
        self.origin
            .checked_add(Duration::from_nanos(tick.checked_mul(1 << TICK_SHIFT)?))
    }
}

/// 292 years in nanoseconds, of which a multiple of a tick still is a `u64`.
const NEVER: u64 = 1 << 63;

/// 584 years of them; longer is for ever. Cheaper than `as_nanos`, which calculates with 128 bits.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    duration
        .as_secs()
        .checked_mul(1_000_000_000)
        .and_then(|nanos| nanos.checked_add(u64::from(duration.subsec_nanos())))
        .unwrap_or(u64::MAX)
}

/// The first tick that begins at `nanos` or later.
pub(crate) fn ceil(nanos: u64) -> u64 {
    nanos.div_ceil(1 << TICK_SHIFT)
}

/// The tick that `nanos` falls into.
pub(crate) fn floor(nanos: u64) -> u64 {
    nanos >> TICK_SHIFT
}

/// Whether a deadline that is `duration` away is ahead for certain, so that it goes into the wheel
/// without another look at the clock.
pub(crate) fn is_ahead(duration: Duration) -> bool {
    duration > Duration::from_nanos(1 << TICK_SHIFT)
}

/// `Instant::now() + delay`, or a point so far away that it never comes.
pub(crate) fn after(now: Instant, delay: Duration) -> Instant {
    // Some systems' clocks overflow early; thirty years is what tokio uses as "never" too.
    now.checked_add(delay)
        .unwrap_or_else(|| now + Duration::from_secs(86_400 * 365 * 30))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn deadlines_round_up_and_the_present_rounds_down() {
        let clock = Clock::new();
        let tick = Duration::from_nanos(1 << TICK_SHIFT);
        let just_after = clock.origin + tick + Duration::from_nanos(1);
        assert_eq!(clock.deadline(just_after), (2, (1 << TICK_SHIFT) - 1));
        assert_eq!(clock.elapsed(just_after), 1);
        assert_eq!(clock.deadline(clock.origin + tick), (1, 0));
        assert_eq!(clock.instant(2), Some(clock.origin + 2 * tick));
    }

    #[test]
    fn an_endless_delay_does_not_overflow() {
        let clock = Clock::new();
        let never = after(Instant::now(), Duration::MAX);
        assert!(clock.deadline(never).0 > clock.elapsed(Instant::now()));
        let end = after(clock.origin, Duration::from_nanos(u64::MAX));
        let (tick, early) = clock.deadline(end);
        assert_eq!(clock.before(tick, early), clock.at(NEVER));
    }

    #[test]
    fn a_deadline_is_known_to_the_nanosecond() {
        let clock = Clock::new();
        for nanos in [0, 1, 8191, 8192, 8193, 123_456_789_012_345] {
            let deadline = clock.at(nanos);
            let (tick, early) = clock.deadline(deadline);
            assert_eq!(clock.before(tick, early), deadline);
        }
    }
}
