//! How often a worker looks up from its own queue.
//!
//! A look at the injector costs some nanoseconds, one at the reactor a system call. Measured in
//! polls both are cheap if polls are long, and dear if they are short; so the worker measures how
//! long its polls are on average, between two looks at the reactor, and looks as often as costs it a
//! small part of its time. Tokio tunes its look at the injector in the same way.
//!
//! Intervals are powers of two, so that whether one is over is a mask away.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The most polls between two looks at the injector, and at the reactor and the timers.
pub(super) const INJECTOR_INTERVAL: u32 = if cfg!(loom) { 2 } else { 32 };
pub(super) const EVENT_INTERVAL: u32 = if cfg!(loom) { 4 } else { 64 };
/// The least of each: what is injected shares with what is here already, half and half.
const INJECTOR_LEAST: u32 = 2;
const EVENT_LEAST: u32 = 4;

/// The time that may go by between two looks, if polls are not longer than that: two hundred times what
/// a look costs, or more.
const INJECTOR_PERIOD: Duration = Duration::from_micros(4);
const EVENT_PERIOD: Duration = Duration::from_micros(100);

/// Polls that are this long on average gain nothing from a warm cache that would be worth another
/// task's wait: a task that is woken goes behind the others then, and another worker may take it.
const LONG: Duration = Duration::from_micros(10);

/// A worker's pace.
#[derive(Debug)]
pub(super) struct Pace {
    injector_mask: Cell<u32>,
    event_mask: Cell<u32>,
    /// When the worker last looked, or began after a wait, and how many polls it had done then.
    since: Cell<Option<(Instant, u64)>>,
    /// The length of a poll in nanoseconds, on average; half of it is that of the last interval.
    mean: Cell<u64>,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace {
            injector_mask: Cell::new(INJECTOR_INTERVAL - 1),
            event_mask: Cell::new(EVENT_INTERVAL - 1),
            since: Cell::new(None),
            mean: Cell::new(0),
        }
    }

    /// Whether it is time for a look at the injector.
    #[inline]
    pub(super) fn injector_is_due(&self, tick: u32) -> bool {
        tick & self.injector_mask.get() == 0
    }

    /// Whether it is time for a look at the reactor and the timers.
    #[inline]
    pub(super) fn events_are_due(&self, tick: u32) -> bool {
        tick & self.event_mask.get() == 0
    }

    /// The worker begins to run tasks after a wait; `polls` is how many it has done in all.
    pub(super) fn begin(&self, now: Instant, polls: u64) {
        self.since.set(Some((now, polls)));
    }

    /// The tick to go on from after a wait that ends at `tick`. Whoever waited looked at the injector just
    /// before and at the reactor just now, or somebody else is there; so the next look is a whole
    /// interval away.
    pub(super) fn after_wait(&self, tick: u32) -> u32 {
        // Intervals are powers of two, and the injector's is never longer: it ends here as well.
        (tick | self.event_mask.get()).wrapping_add(1)
    }

    /// The worker looks around in the midst of its work. Whether its polls are [`LONG`].
    pub(super) fn look(&self, now: Instant, polls: u64) -> bool {
        if let Some((since, before)) = self.since.replace(Some((now, polls)))
            && polls > before
        {
            let nanos = now.saturating_duration_since(since).as_nanos() as u64 / (polls - before);
            let mean = self.mean.get().midpoint(nanos);
            self.mean.set(mean);
            self.injector_mask
                .set(interval(INJECTOR_PERIOD, mean, INJECTOR_LEAST, INJECTOR_INTERVAL) - 1);
            self.event_mask
                .set(interval(EVENT_PERIOD, mean, EVENT_LEAST, EVENT_INTERVAL) - 1);
        }
        self.mean.get() >= LONG.as_nanos() as u64
    }
}

/// The power of two of polls that lasts no longer than `period`, within limits that are such powers.
fn interval(period: Duration, mean: u64, least: u32, most: u32) -> u32 {
    let polls = period.as_nanos() as u64 / mean.max(1);
    let polls = polls.clamp(least.into(), most.into()) as u32;
    1 << polls.ilog2()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A pace after a long time of polls that last `nanos` each.
    fn used_to(nanos: u64) -> (Pace, bool) {
        let (pace, mut now, mut polls) = (Pace::new(), Instant::now(), 0);
        pace.begin(now, polls);
        let mut long = false;
        for _ in 0..64 {
            now += Duration::from_nanos(nanos * 50);
            polls += 50;
            long = pace.look(now, polls);
        }
        (pace, long)
    }

    fn intervals(pace: &Pace) -> (u32, u32) {
        (pace.injector_mask.get() + 1, pace.event_mask.get() + 1)
    }

    #[test]
    fn short_polls_are_not_interrupted_often() {
        assert_eq!(intervals(&Pace::new()), (32, 64));
        assert_eq!(intervals(&used_to(20).0), (32, 64));
        assert!(!used_to(20).1);
    }

    #[test]
    fn long_polls_are_followed_by_a_look() {
        let (pace, long) = used_to(15_000);
        assert_eq!(intervals(&pace), (2, 4));
        assert!(long);
    }

    #[test]
    fn intervals_lie_between() {
        assert_eq!(intervals(&used_to(300).0), (8, 64));
        assert_eq!(intervals(&used_to(5_000).0), (2, 16));
        assert!(!used_to(5_000).1);
    }

    #[test]
    fn waits_do_not_count() {
        let (pace, now) = (Pace::new(), Instant::now());
        pace.begin(now, 0);
        pace.look(now + Duration::from_micros(1), 50);
        let later = now + Duration::from_secs(1);
        pace.begin(later, 50);
        assert!(!pace.look(later + Duration::from_micros(1), 100));
        assert_eq!(intervals(&pace), (32, 64));
    }

    #[test]
    fn nothing_is_due_in_the_interval_after_a_wait() {
        for pace in [Pace::new(), used_to(300).0, used_to(15_000).0] {
            let (injector, events) = intervals(&pace);
            for waited_at in 0..2 * events {
                let tick = pace.after_wait(waited_at);
                let first = |due: &dyn Fn(u32) -> bool| (1..).find(|n| due(tick + n));
                assert_eq!(first(&|tick| pace.injector_is_due(tick)), Some(injector));
                assert_eq!(first(&|tick| pace.events_are_due(tick)), Some(events));
            }
        }
        let pace = Pace::new();
        assert_eq!(pace.after_wait(u32::MAX), 0, "ticks begin again");
    }

    #[test]
    fn looks_without_a_poll_between_change_nothing() {
        let (pace, _) = used_to(5_000);
        let before = intervals(&pace);
        let (now, polls) = pace.since.get().unwrap();
        pace.look(now + Duration::from_secs(1), polls);
        assert_eq!(intervals(&pace), before);
    }
}
