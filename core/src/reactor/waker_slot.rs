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
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
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
                Some(old) if old.will_wake(waker) => Ok(None),
                // Foreign code. If it panics, the cell stays as it was, and is left as ever.
                _ => catch_unwind(AssertUnwindSafe(|| waker.clone())).map(|new| slot.replace(new)),
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
        drop(old.unwrap_or_else(|panic| resume_unwind(panic)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize as Counter;
    use std::task::{RawWaker, RawWakerVTable, Wake};

    /// A waker that can not be cloned.
    fn panicky() -> Waker {
        const VTABLE: RawWakerVTable =
            RawWakerVTable::new(|_| panic!("no clone"), |_| (), |_| (), |_| ());
        // SAFETY: the functions use no data.
        unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &VTABLE)) }
    }

    struct Count(Counter);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Count {
        fn new() -> Arc<Count> {
            Arc::new(Count(Counter::new(0)))
        }

        fn get(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    /// Whether it panicked.
    fn register_panicky(slot: &WakerSlot) -> bool {
        let waker = panicky();
        catch_unwind(AssertUnwindSafe(|| slot.register(&waker))).is_err()
    }

    #[cfg(not(loom))]
    #[test]
    fn a_waker_that_panics_when_it_is_cloned_leaves_the_slot_to_the_next() {
        let slot = WakerSlot::new();
        let (first, second) = (Count::new(), Count::new());
        slot.register(&first.clone().into());
        assert!(register_panicky(&slot));
        slot.wake();
        assert_eq!(first.get(), 1, "who waited before still does");
        assert!(register_panicky(&slot));
        slot.register(&second.clone().into());
        assert_eq!(second.get(), 0, "the slot was free");
        slot.wake();
        assert_eq!((first.get(), second.get()), (1, 1));
    }

    #[cfg(loom)]
    #[test]
    fn loom_a_waker_that_panics_when_it_is_cloned_keeps_nobody_from_being_woken() {
        crate::shim::model(|| {
            let slot = loom::sync::Arc::new(WakerSlot::new());
            let (first, second) = (Count::new(), Count::new());
            slot.register(&first.clone().into());
            let other = slot.clone();
            let event = loom::thread::spawn(move || other.wake());
            // One that meets the event is woken, and not cloned.
            register_panicky(&slot);
            event.join().unwrap();
            assert_eq!(first.get(), 1);
            slot.register(&second.clone().into());
            slot.wake();
            assert_eq!(second.get(), 1);
        });
    }
}
