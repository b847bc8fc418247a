//! Who keeps a [`TimerQueue`]: its waiter, and everybody who has had a timer in it.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

use super::queue::TimerQueue;
use crate::shim::sync::atomic::{AtomicBool, Ordering};

/// A waiter's queue, for as long as there is the waiter.
pub(crate) struct OwnedTimers {
    queue: TimerRef,
    closed: AtomicBool,
}

impl OwnedTimers {
    /// A queue whose waiter is woken by `unpark`, which may be called by any thread, and holds no
    /// lock that is held while the queue is used.
    pub(crate) fn new(unpark: impl Fn() + Send + Sync + 'static) -> OwnedTimers {
        let queue = Box::new(TimerQueue::new(Box::new(unpark)));
        OwnedTimers {
            queue: TimerRef(NonNull::from(Box::leak(queue))),
            closed: AtomicBool::new(false),
        }
    }

    /// Ends the waiter's time: from now on a keeper serves what is left, and what comes. Dropping this
    /// does the same.
    ///
    /// # Safety
    /// Called by the waiter, or after what it did last; nobody is the waiter afterwards.
    pub(crate) unsafe fn close(&self) {
        if !self.closed.swap(true, Ordering::Relaxed) {
            // SAFETY: by the caller's promise, and once.
            unsafe { self.queue.close() };
        }
    }
}

impl Drop for OwnedTimers {
    fn drop(&mut self) {
        // SAFETY: whoever was the waiter had a borrow of this, or has one no more.
        unsafe { self.close() };
    }
}

impl Deref for OwnedTimers {
    type Target = TimerQueue;

    #[inline]
    fn deref(&self) -> &TimerQueue {
        &self.queue
    }
}

/// A counted pointer to a [`TimerQueue`].
pub(crate) struct TimerRef(NonNull<TimerQueue>);

// SAFETY: a queue is used from any thread; its count is kept for that.
unsafe impl Send for TimerRef {}
// SAFETY: as above.
unsafe impl Sync for TimerRef {}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<TimerQueue>();
};

impl TimerRef {
    /// Another reference to a queue.
    ///
    /// # Safety
    /// `here` is true.
    #[inline]
    pub(crate) unsafe fn to(queue: &TimerQueue, here: bool) -> TimerRef {
        // SAFETY: by the caller's promise; the queue is there, so somebody has a reference.
        unsafe { queue.refs.take(here) };
        TimerRef(NonNull::from(queue))
    }

    pub(super) fn is(&self, queue: &TimerQueue) -> bool {
        std::ptr::eq(self.0.as_ptr(), queue)
    }

    /// Gives the reference back. Dropping it is the same as with `false`.
    ///
    /// # Safety
    /// `here` is true.
    #[inline]
    pub(crate) unsafe fn give_back(self, here: bool) {
        let pointer = ManuallyDrop::new(self).0;
        // SAFETY: the reference is still counted; `here` is the caller's promise.
        if unsafe { pointer.as_ref().refs.give(here) } {
            // SAFETY: it was the last one, and the pointer came from a box.
            drop(unsafe { Box::from_raw(pointer.as_ptr()) });
        }
    }
}

impl Deref for TimerRef {
    type Target = TimerQueue;

    #[inline]
    fn deref(&self) -> &TimerQueue {
        // SAFETY: the reference keeps it alive.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for TimerRef {
    fn drop(&mut self) {
        // SAFETY: the field is not used again, and `false` is always allowed.
        unsafe { TimerRef(self.0).give_back(false) };
    }
}
