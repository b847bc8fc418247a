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
pub(super) const EVENT_LEAST: u32 = 4;

/// The time that may go by between two looks, if polls are not longer than that: two hundred times what
/// a look costs, or more.
const INJECTOR_PERIOD: Duration = Duration::from_micros(4);
const EVENT_PERIOD: Duration = Duration::from_micros(100);

/// Polls that are this long on average gain nothing from a warm cache that would be worth another
/// task's wait: a task that is woken goes behind the others then, and another worker may take it.
///
/// They are taken for long if they were so in [`LONG_TO_BEGIN`] intervals one after the other: one may be
/// the system's, which ran somebody else. Many short tasks between long polls hide these from the mean; so
/// it stays at that until polls were not long for [`LONG_LOOKS`] looks. Then the slot is used again, but
/// for [`DOUBTED_LOOKS`] looks, which come soon, one interval of long polls is enough: whatever makes them may
/// have to wait in the queue first.
///
/// Where many tasks wait three polls in four may be out of the slot, and the fourth a short one of another task:
/// there the limit is lower. Where few wait the slot holds up nobody.
const LONG: Duration = Duration::from_micros(10);
const LONG_IN_A_CROWD: Duration = Duration::from_micros(7);
const LONG_TO_BEGIN: u32 = 8;
const LONG_LOOKS: u32 = 64;
const DOUBTED_LOOKS: u32 = 32;
const DOUBTED_INTERVAL: u32 = 8;

/// Whether polls are [`LONG`].
#[derive(Clone, Copy, Debug)]
enum Long {
    /// They were in so many intervals, up to the last.
    Not { seen: u32 },
    /// They were some looks ago, and so many are left.
    Since { left: u32 },
    /// They were not, as far as one could see; so many looks are left to be sure.
    Doubted { left: u32 },
}

impl Long {
    /// After an interval of polls that lasted `nanos` each.
    fn after(self, nanos: u64, crowded: bool) -> Long {
        let limit = if crowded { LONG_IN_A_CROWD } else { LONG };
        let long = nanos >= limit.as_nanos() as u64;
        match self {
            Long::Not { seen } if long && seen + 1 < LONG_TO_BEGIN => Long::Not { seen: seen + 1 },
            _ if long => Long::Since { left: LONG_LOOKS },
            Long::Since { left: 1 } => Long::Doubted {
                left: DOUBTED_LOOKS,
            },
            Long::Since { left } => Long::Since { left: left - 1 },
            Long::Doubted { left: left @ 2.. } => Long::Doubted { left: left - 1 },
            Long::Not { .. } | Long::Doubted { .. } => Long::Not { seen: 0 },
        }
    }
}

/// A worker's pace.
#[derive(Debug)]
pub(super) struct Pace {
    injector_mask: Cell<u32>,
    event_mask: Cell<u32>,
    /// When the worker last looked, or began after a wait, and how many polls it had done then.
    since: Cell<Option<(Instant, u64)>>,
    /// The length of a poll in nanoseconds, on average; half of it is that of the last interval.
    mean: Cell<u64>,
    last: Cell<u64>,
    long: Cell<Long>,
}

impl Pace {
    /// `first`: the polls before the first look, a power of two.
    pub(super) fn new(first: u32) -> Pace {
        Pace {
            injector_mask: Cell::new(INJECTOR_INTERVAL - 1),
            event_mask: Cell::new(first - 1),
            since: Cell::new(None),
            mean: Cell::new(0),
            last: Cell::new(0),
            long: Cell::new(Long::Not { seen: 0 }),
        }
    }

    /// The length of a poll in nanoseconds: the average, or that of the last interval if it is less. One
    /// interval in which the system ran somebody else says little.
    pub(super) fn mean(&self) -> u64 {
        self.mean.get().min(self.last.get())
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
        // Intervals are powers of two: the shorter one ends with the longer.
        (tick | self.event_mask.get() | self.injector_mask.get()).wrapping_add(1)
    }

    /// The worker looks around in the midst of its work. Whether its polls are [`LONG`]; `crowded`: many
    /// tasks wait to be run.
    pub(super) fn look(&self, now: Instant, polls: u64, crowded: bool) -> bool {
        if let Some((since, before)) = self.since.replace(Some((now, polls)))
            && polls > before
        {
            let nanos = now.saturating_duration_since(since).as_nanos() as u64 / (polls - before);
            let mean = self.mean.get().midpoint(nanos);
            self.last.set(nanos);
            self.mean.set(mean);
            self.long.set(self.long.get().after(nanos, crowded));
            self.injector_mask
                .set(interval(INJECTOR_PERIOD, mean, INJECTOR_LEAST, INJECTOR_INTERVAL) - 1);
            let events = match self.long.get() {
                Long::Doubted { .. } => DOUBTED_INTERVAL,
                _ => interval(EVENT_PERIOD, mean, EVENT_LEAST, EVENT_INTERVAL),
            };
            self.event_mask.set(events - 1);
        }
        matches!(self.long.get(), Long::Since { .. })
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
        let (pace, mut now, mut polls) = (Pace::new(EVENT_LEAST), Instant::now(), 0);
        pace.begin(now, polls);
        let mut long = false;
        for _ in 0..64 {
            now += Duration::from_nanos(nanos * 50);
            polls += 50;
            long = pace.look(now, polls, false);
        }
        (pace, long)
    }

    fn intervals(pace: &Pace) -> (u32, u32) {
        (pace.injector_mask.get() + 1, pace.event_mask.get() + 1)
    }

    #[test]
    fn short_polls_are_not_interrupted_often() {
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

    /// Looks once more, after so many polls of that length.
    fn look_after(pace: &Pace, count: u64, nanos: u64) -> bool {
        look_in(pace, count, nanos, false)
    }

    fn look_in(pace: &Pace, count: u64, nanos: u64, crowded: bool) -> bool {
        let (since, polls) = pace.since.get().unwrap();
        let now = since + Duration::from_nanos(nanos * count);
        pace.look(now, polls + count, crowded)
    }

    #[test]
    fn first_look_comes_soon() {
        assert_eq!(intervals(&Pace::new(EVENT_LEAST)), (32, 4));
    }

    #[test]
    fn few_long_intervals_are_not_believed() {
        let (pace, _) = used_to(100);
        for _ in 1..LONG_TO_BEGIN {
            assert!(!look_after(&pace, 8, 50_000));
        }
        assert!(!look_after(&pace, 8, 100));
        for _ in 1..LONG_TO_BEGIN {
            assert!(!look_after(&pace, 8, 50_000));
        }
        assert!(look_after(&pace, 8, 50_000));
    }

    /// Short polls until they are not taken for long any more.
    fn doubted() -> Pace {
        let (pace, long) = used_to(15_000);
        assert!(long);
        for _ in 1..LONG_LOOKS {
            assert!(look_after(&pace, 64, 300));
        }
        assert!(!look_after(&pace, 64, 300));
        pace
    }

    #[test]
    fn long_polls_that_short_ones_hid_are_soon_found() {
        for short in 0..DOUBTED_LOOKS {
            let pace = doubted();
            for _ in 0..short {
                assert_eq!(intervals(&pace).1, DOUBTED_INTERVAL);
                assert!(!look_after(&pace, DOUBTED_INTERVAL.into(), 300));
            }
            assert!(look_in(&pace, DOUBTED_INTERVAL.into(), 7_500, true));
        }
    }

    #[test]
    fn polls_that_became_short_are_short_again() {
        let pace = doubted();
        for _ in 0..DOUBTED_LOOKS {
            assert!(!look_after(&pace, DOUBTED_INTERVAL.into(), 300));
        }
        assert!(!look_in(&pace, 64, 7_500, true));
        assert_eq!(intervals(&pace).1, 16, "by the mean alone");
    }

    #[test]
    fn in_a_crowd_shorter_polls_are_long() {
        for (crowded, nanos, long) in [
            (false, 9_900, false),
            (false, 10_000, true),
            (true, 6_900, false),
            (true, 7_000, true),
        ] {
            let (pace, _) = used_to(100);
            for _ in 1..LONG_TO_BEGIN {
                assert!(!look_in(&pace, 8, nanos, crowded));
            }
            assert_eq!(look_in(&pace, 8, nanos, crowded), long, "{crowded} {nanos}");
        }
    }

    #[test]
    fn one_interval_of_somebody_else_does_not_change_the_mean() {
        let (pace, _) = used_to(1_000);
        look_after(&pace, 64, 100_000);
        look_after(&pace, 64, 1_000);
        assert_eq!(pace.mean(), 1_000);
    }

    #[test]
    fn waits_do_not_count() {
        let (pace, now) = (Pace::new(EVENT_LEAST), Instant::now());
        pace.begin(now, 0);
        pace.look(now + Duration::from_micros(1), 50, false);
        let later = now + Duration::from_secs(1);
        pace.begin(later, 50);
        assert!(!pace.look(later + Duration::from_micros(1), 100, false));
        assert_eq!(intervals(&pace), (32, 64));
    }

    #[test]
    fn nothing_is_due_in_the_interval_after_a_wait() {
        for pace in [Pace::new(EVENT_LEAST), used_to(300).0, used_to(15_000).0] {
            let (injector, events) = intervals(&pace);
            for waited_at in 0..2 * events {
                let tick = pace.after_wait(waited_at);
                let first = |due: &dyn Fn(u32) -> bool| (1..).find(|n| due(tick + n));
                assert_eq!(first(&|tick| pace.injector_is_due(tick)), Some(injector));
                assert_eq!(first(&|tick| pace.events_are_due(tick)), Some(events));
            }
        }
        let pace = Pace::new(EVENT_LEAST);
        assert_eq!(pace.after_wait(u32::MAX), 0, "ticks begin again");
    }

    #[test]
    fn looks_without_a_poll_between_change_nothing() {
        let (pace, _) = used_to(5_000);
        let before = intervals(&pace);
        let (now, polls) = pace.since.get().unwrap();
        pace.look(now + Duration::from_secs(1), polls, false);
        assert_eq!(intervals(&pace), before);
    }
}
