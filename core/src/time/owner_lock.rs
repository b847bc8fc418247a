//! A lock that costs its owner next to nothing as long as nobody else comes.
//!
//! A mutex costs two read-modify-writes for each use, also when it is always the same thread that
//! uses it, and a worker's timers are mostly its own affair. So the lock has an owner, and a bias:
//!
//! | `mode` | the owner enters by | others enter by |
//! |---|---|---|
//! | `Biased` | setting `inside`, if `shared` is not set then | making it `Revoking` |
//! | `Revoking` | making it `Shared` | waiting for the owner to come out, making it `Shared` |
//! | `Shared` | the mutex | the mutex |
//!
//! **The race to prevent**: the owner and another thread inside together. The owner writes `inside`
//! and then reads `shared`; another thread, which holds the mutex, writes `shared` and then reads
//! `inside`. With a fence on both sides one of them sees the other: an owner that sees `shared` steps
//! back and takes the mutex, another that sees `inside` waits. The owner's is the light one of
//! [`membarrier`], for it is used each time, and the other's the heavy one, used once for each bias.
//!
//! **The wake-up not to lose**: the other thread waits for `inside` to be cleared. The owner clears
//! it, has a light fence, and reads `shared`; so either the other thread finds it cleared after its
//! heavy fence, or the owner finds `shared` set, and then notifies under the mutex, under which the
//! other thread looks at `inside` and begins to wait.
//!
//! What the owner does inside is seen by those who come next through `inside` (release, acquire) or
//! through the mutex. The bias comes back after [`STREAK`] uses by the owner with no other in between:
//! a workload that moves its timers from thread to thread has a plain mutex, and is charged for one
//! revocation in so many uses at most. The idea is that of Kawachiya, Koseki and Onodera ("Lock
//! Reservation", OOPSLA 2002).

use std::ops::{Deref, DerefMut};

use super::membarrier;
use crate::shim::cell::UnsafeCell;
use crate::shim::sync::atomic::{AtomicBool, Ordering};
use crate::shim::sync::{Condvar, Mutex, MutexGuard};

/// Uses by the owner alone that bring the bias back. A revocation costs half a microsecond on two
/// processors and more on many, and each use saves 10 ns: so many pay for it in any case.
const STREAK: u32 = if cfg!(loom) { 1 } else { 2048 };

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Biased,
    Revoking,
    Shared,
}

#[derive(Debug)]
struct Bias {
    mode: Mode,
    /// Uses by the owner since another's.
    streak: u32,
}

/// See the module's documentation.
pub(super) struct OwnerLock<T> {
    /// The owner is in, without the mutex. Written by the owner.
    inside: AtomicBool,
    /// The owner needs the mutex: not `Biased`. Written under the mutex.
    shared: AtomicBool,
    bias: Mutex<Bias>,
    left: Condvar,
    value: UnsafeCell<T>,
}

// SAFETY: a lock: the value is reached by one thread at a time, from any.
unsafe impl<T: Send> Sync for OwnerLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for OwnerLock<T> {}

impl<T> OwnerLock<T> {
    pub(super) fn new(value: T) -> OwnerLock<T> {
        OwnerLock {
            inside: AtomicBool::new(false),
            shared: AtomicBool::new(true),
            bias: Mutex::new(Bias {
                mode: Mode::Shared,
                streak: 0,
            }),
            left: Condvar::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// Enters. The guard is not to be held while foreign code runs.
    ///
    /// # Safety
    /// `owner` is only `true` on a thread that is the owner until the guard goes. There is one owner
    /// at a time, and what one did happens before what the next one does.
    #[inline]
    pub(super) unsafe fn lock(&self, owner: bool) -> Guard<'_, T> {
        if !owner {
            return self.lock_from_outside();
        }
        if !self.shared.load(Ordering::Relaxed) {
            debug_assert!(!self.inside.load(Ordering::Relaxed), "two owners");
            self.inside.store(true, Ordering::Relaxed);
            membarrier::light();
            if !self.shared.load(Ordering::Acquire) {
                return Guard {
                    lock: self,
                    mutex: None,
                };
            }
            self.inside.store(false, Ordering::Release);
        }
        self.lock_as_one_of_many()
    }

    /// The owner, while there is no bias.
    fn lock_as_one_of_many(&self) -> Guard<'_, T> {
        let mut bias = self.bias.lock();
        if bias.mode == Mode::Revoking {
            // It has just come out, or was never in.
            self.revoked(&mut bias);
        }
        bias.streak += 1;
        if bias.streak >= STREAK {
            bias.streak = 0;
            if membarrier::is_ready() {
                bias.mode = Mode::Biased;
                self.shared.store(false, Ordering::Relaxed);
            }
        }
        Guard {
            lock: self,
            mutex: Some(bias),
        }
    }

    fn lock_from_outside(&self) -> Guard<'_, T> {
        let mut bias = self.bias.lock();
        loop {
            match bias.mode {
                Mode::Shared => break,
                Mode::Biased => {
                    self.shared.store(true, Ordering::Relaxed);
                    membarrier::heavy();
                    bias.mode = Mode::Revoking;
                }
                Mode::Revoking if !self.inside.load(Ordering::Acquire) => {
                    self.revoked(&mut bias);
                }
                Mode::Revoking => bias = self.left.wait(bias),
            }
        }
        bias.streak = 0;
        Guard {
            lock: self,
            mutex: Some(bias),
        }
    }

    /// The owner is not inside any more. Others than the one that finds out may wait for that too.
    fn revoked(&self, bias: &mut Bias) {
        bias.mode = Mode::Shared;
        bias.streak = 0;
        self.left.notify_all();
    }

    /// The owner has come out, and somebody may wait for that.
    #[cold]
    fn notify_left(&self) {
        let _bias = self.bias.lock();
        self.left.notify_all();
    }
}

/// Being inside an [`OwnerLock`].
pub(super) struct Guard<'a, T> {
    lock: &'a OwnerLock<T>,
    /// `None`: the owner's, by the bias.
    mutex: Option<MutexGuard<'a, Bias>>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the protocol lets one thread in at a time.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.mutex.is_some() {
            return;
        }
        self.lock.inside.store(false, Ordering::Release);
        membarrier::light();
        if self.lock.shared.load(Ordering::Relaxed) {
            self.lock.notify_left();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn others_get_in_between_the_owners_uses() {
        let lock = Arc::new(OwnerLock::new(0_u64));
        let each = 4 * u64::from(STREAK);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let lock = lock.clone();
                std::thread::spawn(move || {
                    for _ in 0..each / 64 {
                        // SAFETY: not the owner.
                        unsafe { *lock.lock(false) += 1 };
                        std::thread::yield_now();
                    }
                })
            })
            .collect();
        for _ in 0..64 * each {
            // SAFETY: this thread is the owner.
            unsafe { *lock.lock(true) += 1 };
        }
        for other in others {
            other.join().expect("it counts");
        }
        // SAFETY: not the owner.
        assert_eq!(unsafe { *lock.lock(false) }, 64 * each + 2 * (each / 64));
    }

    #[test]
    fn an_owner_that_stays_alone_does_without_the_mutex() {
        let lock = OwnerLock::new(());
        // SAFETY: this thread is the owner.
        let use_it = || unsafe { lock.lock(true) };
        while !membarrier::is_ready() {
            if cfg!(not(target_os = "linux")) {
                return;
            }
            std::thread::yield_now();
        }
        for _ in 0..=STREAK {
            drop(use_it());
        }
        assert!(use_it().mutex.is_none());
        // SAFETY: as another thread would.
        drop(unsafe { lock.lock(false) });
        assert!(use_it().mutex.is_some());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    /// An owner that becomes biased, and another thread that comes at any moment: loom's cell notices
    /// two inside together, and a wake-up that is lost is a deadlock.
    fn owner_against(others: usize, owner_uses: usize) {
        crate::shim::model(move || {
            let lock = Arc::new(OwnerLock::new(0));
            let threads: Vec<_> = (0..others)
                .map(|_| {
                    let lock = lock.clone();
                    loom::thread::spawn(move || unsafe { *lock.lock(false) += 1 })
                })
                .collect();
            for _ in 0..owner_uses {
                unsafe { *lock.lock(true) += 1 };
            }
            for thread in threads {
                thread.join().expect("joined");
            }
            assert_eq!(unsafe { *lock.lock(false) }, owner_uses + others);
        });
    }

    #[test]
    fn loom_owner_lock_lets_one_in_at_a_time() {
        owner_against(1, 3);
    }

    #[test]
    fn loom_owner_lock_is_revoked_once_for_two() {
        owner_against(2, 2);
    }
}
