//! How other threads, and signal handlers, wake a loop.
//!
//! # Who sleeps, and who rings ([`WakeState`])
//!
//! A loop sleeps in its own wait, or lets a host sleep on its descriptor between two turns; for a
//! waker both are the same. One word tells it whether the bell has to be rung:
//!
//! | state | meaning | a wake does | left by |
//! |---|---|---|---|
//! | `WAITING` | the owner sleeps, or will not look again before it does | → `NOTIFIED`, rings | wake, `begin` |
//! | `RUNNING` | the owner is in the working part of a turn | → `NOTIFIED` | wake, `end` |
//! | `NOTIFIED` | a wake has come that no turn has begun after | nothing | `begin` |
//!
//! `begin` (after the wait, before the queue is drained) swaps in `RUNNING`; `end` (after the last
//! callback) replaces `RUNNING` by `WAITING`, and if it finds `NOTIFIED` it leaves that alone and
//! tells the turn that there is more to do. A turn that finds `NOTIFIED` before it waits does not
//! wait. So however many wakes come between two turns, the bell is rung at most once, and a loop
//! that is busy is never rung at all.
//!
//! **The race to prevent**: a poster puts work into the queue, and the loop goes to sleep without
//! seeing it. The poster pushes first and wakes second; the loop swaps in `RUNNING` first and drains
//! second. All writes of the word are read-modify-writes, so they have one order. Either the wake
//! comes before `begin` in it: then `begin` acquires what the wake released, and the drain sees the
//! work. Or it comes after: then the loop meets `NOTIFIED` in `end`, or the wake meets `WAITING` and
//! rings. No step needs more than acquire-release, since there is one word only. A wake always
//! writes the word, even if it is `NOTIFIED` already, because what a later waker wrote must be
//! visible to the turn as well.
//!
//! # The bell's last day ([`Gate`])
//!
//! Handles outlive the loop, and the loop's descriptors are closed with the loop; a descriptor must
//! not be written after it was closed, for its number may be somebody else's by then. A ringer
//! therefore passes a gate: one word, with a bit for "closed" and a count of those inside. Entering
//! fails once the bit is set. Whoever brings the word to "closed, nobody inside" demolishes: the
//! closer if nobody was inside, else the last to leave. That transition happens once, since no
//! one enters after the bit is set. No step waits for another thread, so a signal handler may ring
//! at any time, even while its own thread is in the middle of closing.

use crate::shim::sync::atomic::{AtomicUsize, Ordering};

const WAITING: usize = 0;
const RUNNING: usize = 1;
const NOTIFIED: usize = 2;

/// The word that decides whether a wake rings. See the module's documentation.
#[derive(Debug)]
pub(crate) struct WakeState(AtomicUsize);

impl WakeState {
    pub(crate) fn new() -> WakeState {
        WakeState(AtomicUsize::new(WAITING))
    }

    /// Any thread: leaves a wake. Whether the caller has to ring.
    #[must_use]
    pub(crate) fn notify(&self) -> bool {
        self.0.swap(NOTIFIED, Ordering::AcqRel) == WAITING
    }

    /// Any thread: whether a wake is waiting for a turn.
    pub(crate) fn is_notified(&self) -> bool {
        self.0.load(Ordering::Acquire) == NOTIFIED
    }

    /// The owner: the wait is over, and what wakers left is about to be looked at.
    pub(crate) fn begin(&self) {
        self.0.swap(RUNNING, Ordering::AcqRel);
    }

    /// The owner: the turn is over. Whether a wake has come since `begin`.
    #[must_use]
    pub(crate) fn end(&self) -> bool {
        self.0
            .compare_exchange(RUNNING, WAITING, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
    }
}

const CLOSED: usize = 1;
const INSIDE: usize = 2;

/// Lets ringers in until it is closed, and tells one party to demolish what it guards.
#[derive(Debug)]
pub(crate) struct Gate(AtomicUsize);

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate(AtomicUsize::new(0))
    }

    /// Whether the caller is inside, and has to [`leave`](Self::leave).
    #[must_use]
    pub(crate) fn enter(&self) -> bool {
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| {
                (word & CLOSED == 0).then_some(word + INSIDE)
            })
            .is_ok()
    }

    /// Whether the caller has to demolish.
    #[must_use]
    pub(crate) fn leave(&self) -> bool {
        self.0.fetch_sub(INSIDE, Ordering::SeqCst) == CLOSED + INSIDE
    }

    /// Whether the caller has to demolish. Only the first call closes.
    #[must_use]
    pub(crate) fn close(&self) -> bool {
        self.0.fetch_or(CLOSED, Ordering::SeqCst) == 0
    }

    /// Whether nobody is inside at this moment. A read-modify-write: what the caller wrote before
    /// is seen by whoever enters after.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.fetch_add(0, Ordering::SeqCst) & !CLOSED == 0
    }
}
