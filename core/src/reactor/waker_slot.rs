//! One waker, kept by one task and called by another thread, without a lock.
//!
//! The protocol is that of `futures::task::AtomicWaker`. Two bits of a word:
//!
//! | state | the cell belongs to | left by |
//! |---|---|---|
//! | `0` | nobody | `register` → `REGISTERING`; `take` → `TAKING` |
//! | `REGISTERING` | the registering task | `register` → `0`; `take` adds `TAKING` |
//! | `TAKING` | the taker | `take` → `0` |
//! | both | the registering task | `register`, which wakes in the taker's stead → `0` |
//!
//! **The race to prevent**: a task stores its waker just as the event comes that should wake it, and
//! neither notices the other. Both change the one word with read-modify-writes, so one is first. If
//! `take` is first, `register` either meets `TAKING` and wakes the task itself, or acquires what `take`
//! released, and the task, which looks at the readiness again after registering, sees it. If
//! `register` is first, `take` finds the waker. Of two tasks that register at once, which is a misuse,
//! the second is woken to try again.

use crate::panic::contain;
use crate::shim::cell::UnsafeCell;
use crate::shim::hint;
use crate::shim::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

const REGISTERING: usize = 1;
const TAKING: usize = 2;

#[derive(Debug)]
pub(crate) struct WakerSlot {
    state: AtomicUsize,
    waker: UnsafeCell<Option<Waker>>,
}

// SAFETY: the table says whose the cell is.
unsafe impl Send for WakerSlot {}
// SAFETY: as above.
unsafe impl Sync for WakerSlot {}

impl WakerSlot {
    pub(crate) fn new() -> WakerSlot {
        WakerSlot {
            state: AtomicUsize::new(0),
            waker: UnsafeCell::new(None),
        }
    }

    /// Keeps `waker` for the next [`wake`](Self::wake) that comes. The caller has to look at what it
    /// waits for again afterwards.
    pub(crate) fn register(&self, waker: &Waker) {
        let entered =
            self.state
                .compare_exchange(0, REGISTERING, Ordering::Acquire, Ordering::Acquire);
        if entered.is_err() {
            // Something is happening right now, and may have missed this waker.
            waker.wake_by_ref();
            hint::spin_loop();
            return;
        }
        let old = self.waker.with_mut(|slot| {
            // SAFETY: REGISTERING makes the cell ours.
            let slot = unsafe { &mut *slot };
            match slot {
                Some(old) if old.will_wake(waker) => None,
                _ => slot.replace(waker.clone()),
            }
        });
        let left = self
            .state
            .compare_exchange(REGISTERING, 0, Ordering::AcqRel, Ordering::Acquire);
        if left.is_err() {
            // SAFETY: with TAKING set as well the cell is still ours.
            let new = self.waker.with_mut(|slot| unsafe { (*slot).take() });
            self.state.swap(0, Ordering::AcqRel);
            if let Some(new) = new {
                wake(new);
            }
        }
        drop(old);
    }

    /// Takes the waker, if there is one, for the caller to call.
    pub(crate) fn take(&self) -> Option<Waker> {
        if self.state.fetch_or(TAKING, Ordering::AcqRel) != 0 {
            // Whoever registers will see to it, or somebody else is taking.
            return None;
        }
        // SAFETY: TAKING alone makes the cell ours.
        let waker = self.waker.with_mut(|slot| unsafe { (*slot).take() });
        self.state.fetch_and(!TAKING, Ordering::Release);
        waker
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.take() {
            wake(waker);
        }
    }
}

/// Calls a waker, which may be foreign code: a panic of its ends here, and does not keep others from
/// being woken.
pub(crate) fn wake(waker: Waker) {
    contain(|| waker.wake());
}
