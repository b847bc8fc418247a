//! Wakers gathered under a lock, to be called after it was given up.

use std::mem::MaybeUninit;
use std::task::Waker;

use crate::reactor::wake;

/// As many as tokio gathers: few enough for the stack, enough to make the lock's cost small.
const CAPACITY: usize = 32;

pub(crate) struct WakeBatch {
    wakers: [MaybeUninit<Waker>; CAPACITY],
    len: usize,
}

impl WakeBatch {
    pub(crate) fn new() -> WakeBatch {
        WakeBatch {
            wakers: [const { MaybeUninit::uninit() }; CAPACITY],
            len: 0,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == CAPACITY
    }

    /// The batch is not full.
    pub(crate) fn push(&mut self, waker: Waker) {
        self.wakers[self.len].write(waker);
        self.len += 1;
    }

    /// Calls all of them. One that panics does not keep the others from being called.
    pub(crate) fn wake_all(&mut self) {
        let len = std::mem::take(&mut self.len);
        for waker in &mut self.wakers[..len] {
            // SAFETY: the first `len` are initialised, and are not looked at again.
            let waker = unsafe { waker.assume_init_read() };
            wake(waker);
        }
    }
}

impl Drop for WakeBatch {
    fn drop(&mut self) {
        let len = std::mem::take(&mut self.len);
        for waker in &mut self.wakers[..len] {
            // SAFETY: the first `len` are initialised.
            unsafe { waker.assume_init_drop() };
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct Panics(AtomicUsize);

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("a waker");
        }
    }

    #[test]
    fn a_waker_that_panics_does_not_stop_the_others() {
        let wake = Arc::new(Panics(AtomicUsize::new(0)));
        let mut batch = WakeBatch::new();
        for _ in 0..3 {
            batch.push(Waker::from(wake.clone()));
        }
        batch.wake_all();
        assert_eq!(
            (wake.0.load(Ordering::Relaxed), Arc::strong_count(&wake)),
            (3, 1)
        );
        batch.push(Waker::from(wake.clone()));
        drop(batch);
        assert_eq!(
            (wake.0.load(Ordering::Relaxed), Arc::strong_count(&wake)),
            (3, 1)
        );
    }
}
