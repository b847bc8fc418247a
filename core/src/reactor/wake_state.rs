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

    /// The owner: the wait is over, and what wakers left is about to be looked at. Whether there was
    /// a wake.
    pub(crate) fn begin(&self) -> bool {
        self.0.swap(RUNNING, Ordering::AcqRel) == NOTIFIED
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

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::shim::cell::UnsafeCell;
    use crate::shim::model;
    use loom::sync::{Arc, Mutex, Notify};
    use loom::thread;

    /// A loop as others see it: an inbox, the word, and a bell. A wait for a bell that is never rung
    /// is a deadlock, which the model reports.
    struct Model {
        wake: WakeState,
        inbox: Mutex<usize>,
        bell: Notify,
        rings: AtomicUsize,
    }

    impl Model {
        fn new() -> Arc<Model> {
            Arc::new(Model {
                wake: WakeState::new(),
                inbox: Mutex::new(0),
                bell: Notify::new(),
                rings: AtomicUsize::new(0),
            })
        }

        fn post(&self) {
            *self.inbox.lock().expect("lock") += 1;
            if self.wake.notify() {
                self.rings.fetch_add(1, Ordering::Relaxed);
                self.bell.notify();
            }
        }

        /// The number of messages received.
        fn turn(&self) -> usize {
            if !self.wake.is_notified() {
                self.bell.wait();
            }
            self.wake.begin();
            let received = std::mem::take(&mut *self.inbox.lock().expect("lock"));
            let _more = self.wake.end();
            received
        }
    }

    #[test]
    fn loom_no_post_is_slept_over_and_the_bell_is_rung_once_a_turn() {
        model(|| {
            let el = Model::new();
            let posters: Vec<_> = (0..2)
                .map(|_| {
                    let el = el.clone();
                    thread::spawn(move || el.post())
                })
                .collect();
            let (mut received, mut turns) = (0, 0);
            while received < 2 {
                received += el.turn();
                turns += 1;
            }
            for poster in posters {
                poster.join().expect("joined");
            }
            // One for the wakes before each turn, and one for those after the last.
            assert!(el.rings.load(Ordering::Relaxed) <= turns + 1);
        });
    }

    #[test]
    fn loom_what_was_written_before_the_last_wake_is_seen() {
        model(|| {
            let el = Model::new();
            let state = Arc::new(AtomicUsize::new(0));
            let (waker, writing) = (el.clone(), state.clone());
            let thread = thread::spawn(move || {
                for value in 1..=2 {
                    writing.store(value, Ordering::Relaxed);
                    if waker.wake.notify() {
                        waker.bell.notify();
                    }
                }
            });
            while state.load(Ordering::Relaxed) < 2 {
                el.turn();
            }
            thread.join().expect("joined");
        });
    }

    #[test]
    fn loom_the_bell_is_demolished_once_and_never_rung_afterwards() {
        model(|| {
            let gate = Arc::new((Gate::new(), UnsafeCell::new(true), AtomicUsize::new(0)));
            let demolish = |gate: &(Gate, UnsafeCell<bool>, AtomicUsize)| {
                gate.2.fetch_add(1, Ordering::Relaxed);
                // SAFETY: what the gate promises, and loom checks.
                gate.1.with_mut(|bell| unsafe { *bell = false });
            };
            let ringers: Vec<_> = (0..2)
                .map(|_| {
                    let gate = gate.clone();
                    thread::spawn(move || {
                        if gate.0.enter() {
                            // SAFETY: as above.
                            gate.1.with(|bell| assert!(unsafe { *bell }));
                            if gate.0.leave() {
                                demolish(&gate);
                            }
                        }
                    })
                })
                .collect();
            if gate.0.close() {
                demolish(&gate);
            }
            for ringer in ringers {
                ringer.join().expect("joined");
            }
            assert_eq!(gate.2.load(Ordering::Relaxed), 1);
            assert!(!gate.0.close() && !gate.0.enter());
        });
    }
}
