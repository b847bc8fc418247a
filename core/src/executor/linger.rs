//! Whether a worker lingers: looks at the reactor for a while before it sleeps in it.
//!
//! Two threads that send each other messages sleep and wake in turn. Where an idle processor falls
//! asleep deeply, as in most virtual machines, each wake costs whoever makes it a trip to the hypervisor,
//! and the one that is woken as much again: tens of microseconds for a message of three. A worker that
//! lingers spares the other side that trip, and is answered so soon that the other side's processor
//! has not fallen asleep either. But a look in vain costs the processor's time that it lasts.
//!
//! So a worker lingers if that is likely to be of use:
//!
//! - The wait before was [short](look::SOON). Who waits for timers, or is asked now and then, never lingers.
//! - The looks before were not all in vain. After one that was the worker sleeps through a short wait before the
//!   next look, and after each further one through twice as many as before, up to [`MOST`]; one that found
//!   something makes up for all of them. Take a look in vain for 30 us lost, and one of use for 15 saved, the
//!   sleep and its wake-up: then looks that are all in vain cost half a microsecond of a wait; at worst, if
//!   half of them are, by chance, two and a half, and by turns five; and if two in three are of use,
//!   nothing. It is not stricter because two sides that sleep are slow for each other: few looks in a row
//!   have to be enough to find out how quick they could be.
//! - No timer is due meanwhile.
//!
//! And a look ends where another thread has a use for the processor: see [`look`].
//!
//! While it lingers a worker is among the sleepers and holds the reactor, as in its sleep, but its parker
//! is empty. **The race to prevent**: it sleeps although it was unparked while it lingered. An unpark leaves
//! its mark in the parker, where each look finds it, and if none does, the step into the sleep: see
//! [`Parker`](super::parker::Parker). And as nobody sleeps in the reactor yet, that unpark writes to no eventfd.

use crate::look;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Short waits that are slept through between two looks at most.
const MOST: u32 = 64;

/// How a wait in the reactor went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// There was none: it slept at once.
    None,
    /// It ended the wait.
    Found,
    InVain,
}

/// A worker's mind on the matter.
#[derive(Debug)]
pub(super) struct Linger {
    /// Short waits to sleep through before the next look.
    left: Cell<u32>,
    /// How many they were after the last look.
    between: Cell<u32>,
}

impl Linger {
    pub(super) fn new() -> Linger {
        Linger {
            left: Cell::new(1),
            between: Cell::new(0),
        }
    }

    /// Whether the next wait, which lasts until `deadline`, is to linger until `end`. Never in a model, which
    /// has no events.
    pub(super) fn lingers(&self, deadline: Option<Instant>, end: Instant) -> bool {
        !cfg!(loom) && self.left.get() == 0 && deadline.is_none_or(|deadline| deadline > end)
    }

    /// A wait in the reactor of this length is over.
    pub(super) fn waited(&self, look: Look, length: Duration) {
        let left = self.left.get();
        let between = self.between.get();
        let (left, between) = match look {
            Look::Found => (0, 0),
            Look::InVain => {
                let between = (between * 2).clamp(1, MOST);
                (between, between)
            }
            Look::None if length <= look::SOON => (left.saturating_sub(1), between),
            Look::None => (left.max(1), between),
        };
        self.left.set(left);
        self.between.set(between);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SHORT: Duration = look::SOON;
    const LONG: Duration = look::SOON.saturating_add(Duration::from_nanos(1));

    fn lingers(linger: &Linger) -> bool {
        linger.lingers(None, Instant::now())
    }

    /// Has waits of this length, of which looks would end so many in a hundred, and says how many of a
    /// thousand lingered.
    fn looks(linger: &Linger, found: u32, length: Duration) -> u32 {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut looks = 0;
        for _ in 0..1_000 {
            let look = match lingers(linger) {
                true if rng.u32(..100) < found => Look::Found,
                true => Look::InVain,
                false => Look::None,
            };
            looks += u32::from(look != Look::None);
            linger.waited(look, length);
        }
        looks
    }

    #[test]
    fn a_worker_lingers_after_a_short_wait() {
        let linger = Linger::new();
        assert!(!lingers(&linger));
        linger.waited(Look::None, SHORT);
        assert!(lingers(&linger));
        assert_eq!(looks(&linger, 100, SHORT), 1_000);
    }

    #[test]
    fn long_waits_begin_nothing() {
        let linger = Linger::new();
        assert_eq!(looks(&linger, 100, LONG), 0);
        linger.waited(Look::None, SHORT);
        assert!(lingers(&linger));
        // It did not, for a timer was due.
        linger.waited(Look::None, LONG);
        assert!(!lingers(&linger));
        linger.waited(Look::None, SHORT);
        linger.waited(Look::InVain, LONG);
        assert_eq!(looks(&linger, 100, LONG), 0);
    }

    #[test]
    fn looks_that_mostly_pay_go_on_and_others_are_rare() {
        for (found, range) in [
            (90, 850..=950),
            (50, 250..=400),
            (10, 20..=50),
            (0, 15..=25),
        ] {
            let looks = looks(&Linger::new(), found, SHORT);
            assert!(range.contains(&looks), "{found} of 100 pay: {looks} looks");
        }
    }

    #[test]
    fn a_worker_for_which_looks_never_paid_finds_out_that_they_do_now() {
        let linger = Linger::new();
        looks(&linger, 0, SHORT);
        assert!(looks(&linger, 100, SHORT) > 800);
    }

    #[test]
    fn nothing_lingers_while_a_timer_is_due() {
        let linger = Linger::new();
        linger.waited(Look::None, SHORT);
        let end = Instant::now();
        let later = end + Duration::from_nanos(1);
        assert!(!linger.lingers(Some(end), end));
        assert!(linger.lingers(Some(later), end));
    }
}
