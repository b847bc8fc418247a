//! The standard library's atomics for this crate's own tests, which count what a path does: see
//! `executor/SCALING.md` and the test that holds it to the truth, `executor/worker/costs.rs`.
//!
//! What is counted is each read-modify-write, whether it changes anything or not, and each fence
//! that is sequentially consistent, with the file it stands in; of the calling thread, and while it
//! [records](record).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::Location;
pub(crate) use std::sync::atomic::Ordering;
use std::sync::atomic::{self as real};

/// What one thread did: the number of read-modify-writes in each file, and of fences.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) writes: BTreeMap<&'static str, usize>,
    pub(crate) fences: usize,
}

thread_local! {
    static RECORDING: Cell<bool> = const { Cell::new(false) };
    static LOG: RefCell<Log> = RefCell::default();
}

/// What `f` does on this thread.
pub(crate) fn record<R>(f: impl FnOnce() -> R) -> (R, Log) {
    LOG.take();
    RECORDING.set(true);
    let result = f();
    RECORDING.set(false);
    (result, LOG.take())
}

#[track_caller]
pub(super) fn write() {
    if RECORDING.try_with(Cell::get) == Ok(true) {
        let file = Location::caller().file();
        LOG.with_borrow_mut(|log| *log.writes.entry(file).or_default() += 1);
    }
}

pub(crate) fn fence(order: Ordering) {
    if order == Ordering::SeqCst && RECORDING.get() {
        LOG.with_borrow_mut(|log| log.fences += 1);
    }
    real::fence(order);
}

/// Wraps one of the standard library's atomics.
macro_rules! counted {
    ($name:ident$(<$param:ident>)?, $value:ty, $($op:ident)*) => {
        pub(crate) struct $name$(<$param>)?(real::$name$(<$param>)?);

        impl$(<$param>)? std::fmt::Debug for $name$(<$param>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl$(<$param>)? Default for $name$(<$param>)? {
            fn default() -> Self {
                Self(real::$name::default())
            }
        }

        #[allow(dead_code)]
        impl$(<$param>)? $name$(<$param>)? {
            pub(crate) const fn new(value: $value) -> Self {
                Self(real::$name::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                self.0.load(order)
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                self.0.store(value, order);
            }

            pub(crate) fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            pub(crate) fn into_inner(self) -> $value {
                self.0.into_inner()
            }

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                now: $value,
                next: $value,
                done: Ordering,
                failed: Ordering,
            ) -> Result<$value, $value> {
                write();
                self.0.compare_exchange(now, next, done, failed)
            }

            #[track_caller]
            pub(crate) fn compare_exchange_weak(
                &self,
                now: $value,
                next: $value,
                done: Ordering,
                failed: Ordering,
            ) -> Result<$value, $value> {
                write();
                self.0.compare_exchange_weak(now, next, done, failed)
            }

            #[track_caller]
            pub(crate) fn fetch_update(
                &self,
                done: Ordering,
                failed: Ordering,
                mut f: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut now = self.load(failed);
                while let Some(next) = f(now) {
                    match self.compare_exchange_weak(now, next, done, failed) {
                        Ok(before) => return Ok(before),
                        Err(actual) => now = actual,
                    }
                }
                Err(now)
            }

            $(
                #[track_caller]
                pub(crate) fn $op(&self, value: $value, order: Ordering) -> $value {
                    write();
                    self.0.$op(value, order)
                }
            )*
        }
    };
}

counted!(AtomicBool, bool, swap fetch_and fetch_or);
counted!(AtomicU8, u8, swap fetch_add fetch_sub fetch_and fetch_or fetch_max);
counted!(AtomicU32, u32, swap fetch_add fetch_sub fetch_and fetch_or fetch_max);
counted!(AtomicU64, u64, swap fetch_add fetch_sub fetch_and fetch_or fetch_max);
counted!(AtomicUsize, usize, swap fetch_add fetch_sub fetch_and fetch_or fetch_max);
counted!(AtomicPtr<T>, *mut T, swap);
