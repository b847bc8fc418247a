//! Where a worker stands.
//!
//! ```text
//! Starting ──> Running <──> Searching
//!               │   ^         │   ^
//!               v   │         v   │
//!          Parked, InReactor (claimed in its sleep it wakes to search)
//!
//! Starting, Running, Searching ──> Draining ──> Terminated
//! ```
//!
//! A worker tells others its state in a word that it alone writes, on slow paths only: a poll, and the
//! step from one to the next, change nothing. The upper bits of the word count the changes, so that two
//! looks that find the same word and the same [tick](super::front) saw the same poll.
//!
//! Each transition is counted for itself, in numbers that the worker alone writes as well: by a load and
//! a store. A transition that is not drawn above is a fault of the executor's, and panics: it costs
//! nothing beyond the look for the counter's place, which a transition that may not be has not got.

use crate::shim::figures::AtomicU64;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkerState {
    /// Its thread has not begun.
    Starting,
    /// It polls tasks.
    Running,
    /// It looks for tasks in others' queues, or was woken to do so.
    Searching,
    /// It waits for work, and another one for I/O.
    Parked,
    /// It waits for work and for I/O.
    InReactor,
    /// The runtime is shutting down: it drops its tasks.
    Draining,
    /// It has ended.
    Terminated,
}

use WorkerState::{Draining, InReactor, Parked, Running, Searching, Starting, Terminated};

const STATES: [WorkerState; 7] = WorkerState::ALL;
/// The lower bits of the word are the state.
const ONE_CHANGE: u32 = STATES.len().next_power_of_two() as u32;

impl WorkerState {
    /// In the order of their numbers.
    pub(crate) const ALL: [WorkerState; 7] = [
        Starting, Running, Searching, Parked, InReactor, Draining, Terminated,
    ];
}

/// Each transition that a worker may make.
const TRANSITIONS: [(WorkerState, WorkerState); 15] = [
    (Starting, Running),
    (Starting, Draining),
    (Running, Searching),
    (Running, Parked),
    (Running, InReactor),
    (Running, Draining),
    (Searching, Running),
    (Searching, Parked),
    (Searching, InReactor),
    (Searching, Draining),
    (Parked, Running),
    (Parked, Searching),
    (InReactor, Running),
    (InReactor, Searching),
    (Draining, Terminated),
];

/// The place of each transition among [`TRANSITIONS`], by the numbers of the states; 255 if it may not be.
const PLACES: [[u8; STATES.len()]; STATES.len()] = {
    let mut places = [[u8::MAX; STATES.len()]; STATES.len()];
    let mut n = 0;
    while n < TRANSITIONS.len() {
        let (from, to) = TRANSITIONS[n];
        places[from as usize][to as usize] = n as u8;
        n += 1;
    }
    places
};

/// How often a worker has made each transition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transitions([u64; TRANSITIONS.len()]);

impl Transitions {
    /// Each transition that a worker may make, with its count.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (WorkerState, WorkerState, u64)> {
        let counted = TRANSITIONS.into_iter().zip(self.0);
        counted.map(|((from, to), count)| (from, to, count))
    }
}

/// A worker was to go where it can not go from where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IllegalTransition {
    from: WorkerState,
    to: WorkerState,
}

impl IllegalTransition {
    #[cold]
    #[inline(never)]
    fn panic(self) -> ! {
        panic!("{self}")
    }
}

impl fmt::Display for IllegalTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a worker can not go from {:?} to {:?}",
            self.from, self.to
        )
    }
}

/// What was seen of a worker's state, comparable with what is seen later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen(u32);

impl Seen {
    pub(super) fn state(self) -> WorkerState {
        STATES[(self.0 % ONE_CHANGE) as usize]
    }
}

/// One worker's state, which it alone changes. Nothing is published through it: it is for those who
/// look.
#[derive(Debug)]
pub(super) struct StateWord {
    word: AtomicU32,
    /// Elsewhere, so that the word stays beside what else is read of a worker.
    counts: Box<[AtomicU64; TRANSITIONS.len()]>,
}

impl StateWord {
    pub(super) fn new() -> StateWord {
        StateWord {
            word: AtomicU32::new(Starting as u32),
            counts: Box::new([const { AtomicU64::new(0) }; TRANSITIONS.len()]),
        }
    }

    pub(super) fn see(&self) -> Seen {
        Seen(self.word.load(Ordering::Relaxed))
    }

    /// The transitions so far. The last one may be counted already, and not seen yet.
    pub(super) fn transitions(&self) -> Transitions {
        Transitions(std::array::from_fn(|n| {
            self.counts[n].load(Ordering::Relaxed)
        }))
    }

    fn go(&self, to: WorkerState) -> Result<(), IllegalTransition> {
        let seen = self.see();
        let from = seen.state();
        let place = PLACES[from as usize][to as usize];
        let Some(count) = self.counts.get(usize::from(place)) else {
            return Err(IllegalTransition { from, to });
        };
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let changes = (seen.0 / ONE_CHANGE).wrapping_add(1);
        let next = changes.wrapping_mul(ONE_CHANGE) + to as u32;
        self.word.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// The worker's own code makes no illegal step.
    fn must_go(&self, to: WorkerState) {
        if let Err(error) = self.go(to) {
            error.panic();
        }
    }

    /// The worker's life begins.
    pub(super) fn start(&self) {
        self.must_go(Running);
    }

    /// Its own queue is empty, and it looks elsewhere.
    pub(super) fn search(&self) {
        self.must_go(Searching);
    }

    /// The search has ended with a task.
    pub(super) fn found(&self) {
        self.must_go(Running);
    }

    /// It waits, `in_reactor` or on its thread.
    pub(super) fn park(&self, in_reactor: bool) {
        self.must_go(if in_reactor { InReactor } else { Parked });
    }

    /// The wait is over. `claimed`: somebody woke it to search.
    pub(super) fn wake(&self, claimed: bool) {
        self.must_go(if claimed { Searching } else { Running });
    }

    /// It has left its loop for good.
    pub(super) fn drain(&self) {
        self.must_go(Draining);
    }

    /// It runs nothing any more.
    pub(super) fn terminate(&self) {
        self.must_go(Terminated);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_step_that_is_not_drawn_is_an_error() {
        let drawn = [
            (Starting, &[Running, Draining][..]),
            (Running, &[Searching, Parked, InReactor, Draining]),
            (Searching, &[Running, Parked, InReactor, Draining]),
            (Parked, &[Running, Searching]),
            (InReactor, &[Running, Searching]),
            (Draining, &[Terminated]),
            (Terminated, &[]),
        ];
        for (from, allowed) in drawn {
            for to in STATES {
                let word = StateWord::new();
                word.word.store(from as u32, Ordering::Relaxed);
                if allowed.contains(&to) {
                    assert_eq!(word.go(to), Ok(()));
                    assert_eq!(word.see().state(), to);
                } else {
                    let error = word.go(to).unwrap_err();
                    assert_eq!(error, IllegalTransition { from, to });
                    assert_eq!(word.see().state(), from, "{error}");
                }
            }
        }
    }

    #[test]
    fn a_state_that_was_left_and_entered_again_looks_different() {
        let word = StateWord::new();
        word.start();
        let before = word.see();
        word.park(true);
        word.wake(false);
        assert_eq!(word.see().state(), before.state());
        assert_ne!(word.see(), before);
    }

    #[test]
    fn the_count_of_changes_may_wrap() {
        let word = StateWord::new();
        let last = u32::MAX / ONE_CHANGE * ONE_CHANGE + Running as u32;
        word.word.store(last, Ordering::Relaxed);
        word.park(false);
        assert_eq!(word.see().state(), Parked);
    }

    #[test]
    #[should_panic(expected = "a worker can not go from Parked to Draining")]
    fn a_step_that_is_not_drawn_ends_the_worker_with_its_name() {
        let word = StateWord::new();
        word.start();
        word.park(false);
        word.drain();
    }

    #[test]
    fn each_transition_is_counted_for_itself() {
        let word = StateWord::new();
        word.start();
        for _ in 0..3 {
            word.search();
            word.park(true);
            word.wake(true);
            word.found();
        }
        assert_eq!(word.go(Starting).map_err(|error| error.to), Err(Starting));
        let counted = |from, to| match (from, to) {
            (Starting, Running) => 1,
            (Running, Searching) | (Searching, InReactor) => 3,
            (InReactor, Searching) | (Searching, Running) => 3,
            _ => 0,
        };
        for (from, to, count) in word.transitions().iter() {
            assert_eq!(count, counted(from, to), "{from:?} to {to:?}");
        }
    }
}
