//! The standard library's primitives, with the signatures loom asks for.

pub(crate) mod sync {
    pub(crate) use super::locks::{Condvar, Mutex, MutexGuard};

    pub(crate) mod atomic {
        #[cfg(test)]
        pub(crate) use super::super::super::counted::{
            AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
        };
        #[cfg(not(test))]
        pub(crate) use std::sync::atomic::{
            AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
        };
    }
}

mod locks {
    pub(crate) use std::sync::MutexGuard;
    use std::sync::{PoisonError, WaitTimeoutResult};
    use std::time::Duration;

    /// A mutex without poisoning: a panic is contained by whoever runs foreign code, and none runs
    /// while one of our locks is held.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Mutex(std::sync::Mutex::new(value))
        }

        #[cfg_attr(test, track_caller)]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            count_lock();
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        #[cfg_attr(test, track_caller)]
        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            count_lock();
            match self.0.try_lock() {
                Ok(guard) => Some(guard),
                Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(std::sync::TryLockError::WouldBlock) => None,
            }
        }
    }

    /// One read-modify-write locks, another unlocks.
    #[cfg_attr(test, track_caller)]
    #[inline(always)]
    fn count_lock() {
        #[cfg(test)]
        for _ in 0..2 {
            super::super::counted::write();
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(std::sync::Condvar);

    impl Condvar {
        pub(crate) const fn new() -> Self {
            Condvar(std::sync::Condvar::new())
        }

        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn wait_timeout<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            timeout: Duration,
        ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
            self.0
                .wait_timeout(guard, timeout)
                .unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

pub(crate) mod cell {
    /// `std::cell::UnsafeCell` behind loom's closure interface.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

pub(crate) mod thread {
    pub(crate) use std::thread::{
        Builder, JoinHandle, Thread, current, park, park_timeout, yield_now,
    };

    pub(crate) fn is_finished(handle: &JoinHandle<()>) -> bool {
        handle.is_finished()
    }
}

pub(crate) mod time {
    pub(crate) fn now() -> std::time::Instant {
        std::time::Instant::now()
    }
}

pub(crate) use std::hint;
pub(crate) use std::thread_local;
