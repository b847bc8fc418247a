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

/// In the order of their numbers.
const STATES: [WorkerState; 7] = [
    Starting, Running, Searching, Parked, InReactor, Draining, Terminated,
];
/// The lower bits of the word are the state.
const ONE_CHANGE: u32 = STATES.len().next_power_of_two() as u32;

impl WorkerState {
    /// Whether a worker may go from here to `next`.
    fn allows(self, next: WorkerState) -> bool {
        match self {
            Starting => matches!(next, Running | Draining),
            Running => matches!(next, Searching | Parked | InReactor | Draining),
            Searching => matches!(next, Running | Parked | InReactor | Draining),
            Parked | InReactor => matches!(next, Running | Searching),
            Draining => matches!(next, Terminated),
            Terminated => false,
        }
    }
}

/// A worker was to go where it can not go from where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IllegalTransition {
    from: WorkerState,
    to: WorkerState,
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
pub(super) struct StateWord(AtomicU32);

impl StateWord {
    pub(super) fn new() -> StateWord {
        StateWord(AtomicU32::new(Starting as u32))
    }

    pub(super) fn see(&self) -> Seen {
        Seen(self.0.load(Ordering::Relaxed))
    }

    fn go(&self, to: WorkerState) -> Result<(), IllegalTransition> {
        let seen = self.see();
        let from = seen.state();
        if !from.allows(to) {
            return Err(IllegalTransition { from, to });
        }
        let changes = (seen.0 / ONE_CHANGE).wrapping_add(1);
        let next = changes.wrapping_mul(ONE_CHANGE) + to as u32;
        self.0.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// The worker's own code makes no illegal step; if it does, a debug build says so.
    fn must_go(&self, to: WorkerState) {
        let gone = self.go(to);
        debug_assert!(gone.is_ok(), "{}", gone.unwrap_err());
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
                let word = StateWord(AtomicU32::new(from as u32));
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
        let word = StateWord(AtomicU32::new(u32::MAX / ONE_CHANGE * ONE_CHANGE + 1));
        word.park(false);
        assert_eq!(word.see().state(), Parked);
    }
}
