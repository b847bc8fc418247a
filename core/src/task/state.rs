//! The state word of a task: six flags, and a count of references above them.
//!
//! | bit | set by | cleared by | meaning |
//! |---|---|---|---|
//! | `RUNNING` | whoever runs or cancels the task | the same, when it goes idle or completes | exclusive right to the future |
//! | `COMPLETE` | whoever ran it last | never | the future is gone, the output is stored |
//! | `NOTIFIED` | a wake, an abort, a spawn | the start of a poll | a poll is due |
//! | `CANCELLED` | an abort, a shutdown | never | drop the future instead of polling it |
//! | `JOIN_INTEREST` | the spawn | the drop of the `JoinHandle` | somebody will want the output |
//! | `JOIN_WAKER` | the `JoinHandle` | the `JoinHandle`, or the task after completion | the join waker is stored |
//!
//! Three rules hold at every moment and the transitions below rely on them:
//!
//! 1. `NOTIFIED` without `RUNNING` or `COMPLETE` means that exactly one [`Notified`] for the task
//!    exists, in a queue or on its way to one. So the start of a poll needs no compare-and-swap:
//!    nobody else may take the task out of that state.
//! 2. `NOTIFIED` with `RUNNING` means that no `Notified` exists; whoever holds `RUNNING` makes one
//!    when it goes idle.
//!
//! 3. A reference is only ever made from another one. So whoever has the only one has the task to
//!    itself, and needs no read-modify-write: nobody else can change the word, or look at it. To see
//!    that it is the only one takes a load that acquires what those before have released.
//!
//! Every transition of a task that is shared is acquire and release, also one that changes nothing: a wake that finds the
//! task already notified still publishes what its thread wrote before to the poll that follows.
//!
//! [`Notified`]: super::Notified

use crate::shim::sync::atomic::{AtomicUsize, Ordering};
use std::fmt;

const RUNNING: usize = 0b00_0001;
const COMPLETE: usize = 0b00_0010;
const NOTIFIED: usize = 0b00_0100;
const CANCELLED: usize = 0b00_1000;
const JOIN_INTEREST: usize = 0b01_0000;
const JOIN_WAKER: usize = 0b10_0000;
const REF_ONE: usize = 0b100_0000;

/// A spawned task: notified, wanted by its `JoinHandle`, referenced by its `Notified` and by that
/// handle.
const SPAWNED: usize = NOTIFIED | JOIN_INTEREST | (2 * REF_ONE);

pub(super) struct State(AtomicUsize);

/// A value that the word had.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Snapshot(usize);

/// What the caller of [`State::to_running`] holds now.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ToRunning {
    /// The right to poll the future.
    Poll,
    /// The right to the future, which is to be dropped.
    Cancel,
}

/// What the caller of [`State::to_idle`] has to do.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ToIdle {
    /// Nothing: its reference was given back, or went to the owner's list.
    Done,
    /// Nothing is left of the task but this: free it.
    Dealloc,
    /// Schedule the task again; the reference of the poll goes with it.
    Reschedule,
    /// The task was cancelled meanwhile: it is still running, drop its future.
    Cancel,
}

/// What the caller of a wake has to do.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ToNotified {
    /// Nothing: a poll is due already, or never will be.
    Nothing,
    /// Schedule a `Notified`, which owns one reference.
    Schedule,
    /// Nothing is left of the task but the reference just given back: free it.
    Dealloc,
}

impl State {
    pub(super) fn new() -> State {
        State(AtomicUsize::new(SPAWNED))
    }

    pub(super) fn load(&self) -> Snapshot {
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// `Notified` to running. The reference of the `Notified` becomes that of the poll.
    pub(super) fn to_running(&self) -> ToRunning {
        // By rule 3, of a detached task that nobody knows but its `Notified`.
        if self.0.load(Ordering::Acquire) == NOTIFIED | REF_ONE {
            self.0.store(RUNNING | REF_ONE, Ordering::Relaxed);
            return ToRunning::Poll;
        }
        // By rule 1 NOTIFIED is set and RUNNING is not, and only this caller may change either:
        // so one addition moves both bits.
        let before = Snapshot(
            self.0
                .fetch_add(RUNNING.wrapping_sub(NOTIFIED), Ordering::AcqRel),
        );
        debug_assert!(
            before.0 & (NOTIFIED | RUNNING | COMPLETE) == NOTIFIED,
            "a Notified ran in state {before:?}"
        );
        if before.0 & CANCELLED == 0 {
            ToRunning::Poll
        } else {
            ToRunning::Cancel
        }
    }

    /// Running to idle after a poll that was pending. With `keep_ref` the reference of the poll
    /// stays with the task: it has just been linked into its owner's list.
    pub(super) fn to_idle(&self, keep_ref: bool) -> ToIdle {
        self.update(|now| {
            debug_assert!(now.is_running() && !now.is_complete());
            if now.0 & CANCELLED != 0 {
                return (ToIdle::Cancel, None);
            }
            let next = now.0 & !RUNNING;
            if now.0 & NOTIFIED != 0 {
                let next = if keep_ref { next + REF_ONE } else { next };
                (ToIdle::Reschedule, Some(next))
            } else if keep_ref {
                (ToIdle::Done, Some(next))
            } else {
                let next = next - REF_ONE;
                let action = if next < REF_ONE {
                    ToIdle::Dealloc
                } else {
                    ToIdle::Done
                };
                (action, Some(next))
            }
        })
    }

    /// Running to complete. Returns the state before.
    pub(super) fn to_complete(&self) -> Snapshot {
        let before = Snapshot(self.0.fetch_add(COMPLETE - RUNNING, Ordering::AcqRel));
        debug_assert!(before.is_running() && !before.is_complete());
        before
    }

    /// A wake that leaves its waker alone.
    pub(super) fn notify_by_ref(&self) -> ToNotified {
        self.update(|now| {
            if now.0 & (COMPLETE | NOTIFIED) != 0 {
                (ToNotified::Nothing, Some(now.0))
            } else if now.is_running() {
                (ToNotified::Nothing, Some(now.0 | NOTIFIED))
            } else {
                (ToNotified::Schedule, Some((now.0 | NOTIFIED) + REF_ONE))
            }
        })
    }

    /// A wake that consumes its waker: the waker's reference goes to the `Notified`, or back.
    pub(super) fn notify_by_value(&self) -> ToNotified {
        self.update(|now| {
            if now.0 & (COMPLETE | NOTIFIED | RUNNING) == 0 {
                return (ToNotified::Schedule, Some(now.0 | NOTIFIED));
            }
            let notified = if now.is_complete() { 0 } else { NOTIFIED };
            let next = (now.0 | notified) - REF_ONE;
            let action = if next < REF_ONE {
                ToNotified::Dealloc
            } else {
                ToNotified::Nothing
            };
            (action, Some(next))
        })
    }

    /// An abort from anywhere.
    pub(super) fn cancel(&self) -> ToNotified {
        self.update(|now| {
            if now.0 & (COMPLETE | CANCELLED) != 0 {
                (ToNotified::Nothing, None)
            } else if now.0 & (RUNNING | NOTIFIED) != 0 {
                // Whoever runs it, or will, sees the flag.
                (ToNotified::Nothing, Some(now.0 | CANCELLED | NOTIFIED))
            } else {
                (
                    ToNotified::Schedule,
                    Some((now.0 | CANCELLED | NOTIFIED) + REF_ONE),
                )
            }
        })
    }

    /// The owner's list gives the task up at shutdown. `true`: it was idle and is now running in
    /// the hands of the caller, who drops the future. `false`: whoever runs it, or holds its
    /// `Notified`, will.
    #[must_use]
    pub(super) fn to_shutdown(&self) -> bool {
        self.update(|now| {
            if now.0 & (RUNNING | NOTIFIED | COMPLETE) == 0 {
                // One reference more, for the run that the caller begins.
                (true, Some((now.0 | RUNNING | CANCELLED) + REF_ONE))
            } else {
                (false, Some(now.0 | CANCELLED))
            }
        })
    }

    /// The join waker has been stored. `false`: the task completed first, and the waker field is
    /// the caller's still.
    #[must_use]
    pub(super) fn set_join_waker(&self) -> bool {
        self.update(|now| {
            debug_assert!(now.is_join_interested() && !now.is_join_waker_set());
            if now.is_complete() {
                (false, None)
            } else {
                (true, Some(now.0 | JOIN_WAKER))
            }
        })
    }

    /// The join waker is to be replaced. `false`: the task completed first, and may be reading it.
    #[must_use]
    pub(super) fn unset_join_waker(&self) -> bool {
        self.update(|now| {
            debug_assert!(now.is_join_interested());
            if now.is_complete() {
                (false, None)
            } else {
                (true, Some(now.0 & !JOIN_WAKER))
            }
        })
    }

    /// Whether the run that is about to end has the only reference, and so nobody the output.
    pub(super) fn is_run_alone(&self) -> bool {
        let flags = self.0.load(Ordering::Acquire) & !(NOTIFIED | CANCELLED);
        flags == RUNNING | REF_ONE
    }

    /// The completed task is done with the join waker, and gives back `n` references. `true`: they
    /// were the last ones.
    #[must_use]
    pub(super) fn release_join_waker(&self, n: usize) -> bool {
        let before = self.0.fetch_sub(JOIN_WAKER + n * REF_ONE, Ordering::AcqRel);
        debug_assert!(before & (COMPLETE | JOIN_WAKER) == COMPLETE | JOIN_WAKER);
        before / REF_ONE == n
    }

    /// The `JoinHandle` of a completed task, which has seen that the task is done with the join
    /// waker, gives back its reference. `true`: it was the last one.
    #[must_use]
    pub(super) fn leave_completed(&self) -> bool {
        let flags = self.0.load(Ordering::Acquire) & !(NOTIFIED | CANCELLED);
        if flags == COMPLETE | JOIN_INTEREST | REF_ONE {
            return true;
        }
        let before = self.0.fetch_sub(JOIN_INTEREST + REF_ONE, Ordering::AcqRel);
        before / REF_ONE == 1
    }

    /// The `JoinHandle` goes before anything happened at all: one compare-and-swap.
    #[must_use]
    pub(super) fn drop_join_handle_fast(&self) -> bool {
        // A model need not walk through this look, which only spares a swap that would fail.
        (cfg!(loom) || self.0.load(Ordering::Relaxed) == SPAWNED)
            && self
                .0
                .compare_exchange(
                    SPAWNED,
                    (SPAWNED - REF_ONE) & !JOIN_INTEREST,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// The `JoinHandle` goes; its reference is given back separately. Returns the state after: if
    /// it is complete the output is the handle's to drop, and if the join waker is not set that
    /// too.
    pub(super) fn drop_join_interest(&self) -> Snapshot {
        self.update(|now| {
            debug_assert!(now.is_join_interested());
            let mut next = now.0 & !JOIN_INTEREST;
            if !now.is_complete() {
                next &= !JOIN_WAKER;
            }
            (Snapshot(next), Some(next))
        })
    }

    pub(super) fn ref_inc(&self) {
        // Relaxed as in Arc: a new reference is made from one that exists.
        let before = self.0.fetch_add(REF_ONE, Ordering::Relaxed);
        if before > isize::MAX as usize {
            std::process::abort();
        }
    }

    /// Gives back `n` references. `true`: they were the last ones.
    #[must_use]
    pub(super) fn ref_dec(&self, n: usize) -> bool {
        let before = self.0.fetch_sub(n * REF_ONE, Ordering::AcqRel);
        debug_assert!(
            before / REF_ONE >= n,
            "a task lost more references than it had"
        );
        before / REF_ONE == n
    }

    /// Compare-and-swap until `f` has its way; `None` leaves the word untouched.
    fn update<A>(&self, mut f: impl FnMut(Snapshot) -> (A, Option<usize>)) -> A {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let (action, next) = f(Snapshot(now));
            let Some(next) = next else { return action };
            match self
                .0
                .compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return action,
                Err(actual) => now = actual,
            }
        }
    }
}

impl Snapshot {
    pub(super) fn is_running(self) -> bool {
        self.0 & RUNNING != 0
    }

    pub(super) fn is_complete(self) -> bool {
        self.0 & COMPLETE != 0
    }

    pub(super) fn is_join_interested(self) -> bool {
        self.0 & JOIN_INTEREST != 0
    }

    pub(super) fn is_join_waker_set(self) -> bool {
        self.0 & JOIN_WAKER != 0
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |bit| self.0 & bit != 0;
        f.debug_struct("Snapshot")
            .field("running", &flag(RUNNING))
            .field("complete", &flag(COMPLETE))
            .field("notified", &flag(NOTIFIED))
            .field("cancelled", &flag(CANCELLED))
            .field("join_interest", &flag(JOIN_INTEREST))
            .field("join_waker", &flag(JOIN_WAKER))
            .field("refs", &(self.0 / REF_ONE))
            .finish()
    }
}
