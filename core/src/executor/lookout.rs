//! Who waits in the reactor, and for whom.
//!
//! A worker that waits in the reactor waits for its own timers. After a stall the runtime is *eager*
//! for a while: then it waits for everybody's, because their own workers may be held up. So it has to
//! hear of each timer that becomes the earliest of any wheel, also of one that a worker sets for
//! itself: it is *alerted*. A worker that misses the change to eager, or an alert, costs lateness, not
//! timers: each worker goes on waiting for its own, and the watch looks after those of a stalled one.

use super::driver::ReactorHandle;
use super::parker::Parker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

const NOBODY: usize = usize::MAX;

#[derive(Debug)]
pub(super) struct Lookout {
    /// The number of the worker that waits in the reactor.
    waiter: AtomicUsize,
    /// A stall was seen lately.
    eager: AtomicBool,
    parkers: Box<[Arc<Parker>]>,
}

impl Lookout {
    pub(super) fn new(parkers: Box<[Arc<Parker>]>) -> Lookout {
        Lookout {
            waiter: AtomicUsize::new(NOBODY),
            eager: AtomicBool::new(false),
            parkers,
        }
    }

    pub(super) fn is_eager(&self) -> bool {
        self.eager.load(Ordering::Relaxed)
    }

    pub(super) fn set_eager(&self, eager: bool) {
        self.eager.store(eager, Ordering::Relaxed);
    }

    /// `worker` is about to wait in the reactor. An eager one reads everybody's deadlines after this.
    pub(super) fn enter(&self, worker: usize) {
        self.waiter.store(worker, Ordering::Relaxed);
        if self.is_eager() {
            // With the one in `alert`: either the deadline is read, or the waiter is found.
            fence(Ordering::SeqCst);
        }
    }

    pub(super) fn leave(&self) {
        self.waiter.store(NOBODY, Ordering::Relaxed);
    }

    pub(super) fn is_manned(&self) -> bool {
        self.waiter.load(Ordering::Relaxed) != NOBODY
    }

    /// Has the waiter look at the deadlines again.
    #[cold]
    pub(super) fn alert(&self, reactor: &ReactorHandle) {
        fence(Ordering::SeqCst);
        if let Some(parker) = self.parkers.get(self.waiter.load(Ordering::Relaxed)) {
            parker.unpark(reactor);
        }
    }

    /// The worker that parks in `parker` has an earlier deadline; it is awake if `here`.
    pub(super) fn earlier_deadline(&self, parker: &Parker, here: bool, reactor: &ReactorHandle) {
        if self.is_eager() {
            self.alert(reactor);
        }
        if !here {
            parker.unpark(reactor);
        }
    }
}
