//! Loom's primitives, with the signatures of the standard half.

pub(crate) mod sync {
    pub(crate) use loom::sync::{Arc, MutexGuard};
    use std::time::Duration;

    pub(crate) mod atomic {
        pub(crate) use loom::sync::atomic::{
            AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
        };
    }

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }

    #[derive(Debug)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    /// What a timed wait answers in a model: time does not pass there.
    pub(crate) struct WaitTimeoutResult;

    impl WaitTimeoutResult {
        pub(crate) fn timed_out(&self) -> bool {
            false
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            Condvar(loom::sync::Condvar::new())
        }

        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0
                .wait(guard)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        pub(crate) fn wait_timeout<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            _timeout: Duration,
        ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
            (self.wait(guard), WaitTimeoutResult)
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
    pub(crate) use loom::cell::UnsafeCell;
}

pub(crate) mod thread {
    pub(crate) use loom::thread::{Builder, JoinHandle, Thread, current, park, yield_now};
    use std::time::Duration;

    /// A model joins every thread that it started.
    pub(crate) fn is_finished(_handle: &JoinHandle<()>) -> bool {
        false
    }

    /// Time does not pass in a model: a timed park is a park.
    pub(crate) fn park_timeout(_timeout: Duration) {
        park();
    }
}

pub(crate) use loom::hint;
/// loom's, which knows no `const` initialisers.
macro_rules! modelled_thread_local {
    ($($(#[$attr:meta])* static $name:ident: $type:ty = const $init:block;)*) => {
        loom::thread_local! { $($(#[$attr])* static $name: $type = $init;)* }
    };
}
pub(crate) use modelled_thread_local as thread_local;

pub(crate) mod time {
    use std::sync::OnceLock;
    use std::time::Instant;

    /// Time does not pass in a model: a turn that depended on the clock could not be repeated.
    pub(crate) fn now() -> Instant {
        static ONCE: OnceLock<Instant> = OnceLock::new();
        *ONCE.get_or_init(Instant::now)
    }
}

/// Runs a model with as many preemptions as find the races that have been found (Burckhardt et al.,
/// ASPLOS 2010, found no more with three), or as `LOOM_MAX_PREEMPTIONS` says, and for as many seconds as
/// `LOOM_MAX_DURATION` does. Names those that would have gone on.
#[cfg(test)]
pub(crate) fn model(f: impl Fn() + Send + Sync + 'static) {
    use std::io::Write;
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    let most = builder.max_duration;
    let began = std::time::Instant::now();
    builder.check(f);
    if most.is_some_and(|most| began.elapsed() >= most) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        // The test runner keeps what is printed by tests that pass.
        let _ = writeln!(std::io::stderr(), "not to its end: {name}");
    }
}
