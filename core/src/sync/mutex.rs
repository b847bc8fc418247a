//! A lock that may be held while its task waits.

use std::sync::Arc;

use tokio::sync::{MutexGuard, OwnedMutexGuard, TryLockError};

use super::wraps;
use crate::task::coop::cooperative;

/// A lock that may be held while its task waits. Who waits first is served first. A panic while it is
/// held does not poison it.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Mutex<T: ?Sized>(tokio::sync::Mutex<T>);

wraps!(Mutex<T: ?Sized> tokio::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub fn new(value: T) -> Mutex<T> {
        Mutex(tokio::sync::Mutex::new(value))
    }

    /// As [`new`](Self::new), for a static.
    pub const fn const_new(value: T) -> Mutex<T> {
        Mutex(tokio::sync::Mutex::const_new(value))
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks, once nobody else does.
    ///
    /// # Cancel safety
    /// Dropped before it is ready it only gives up its place in the line.
    pub async fn lock(&self) -> MutexGuard<'_, T> {
        cooperative(self.0.lock()).await
    }

    /// As [`lock`](Self::lock); the guard holds the mutex.
    pub async fn lock_owned(self: Arc<Self>) -> OwnedMutexGuard<T> {
        cooperative(tokios(self).lock_owned()).await
    }

    /// Locks if nobody does; the guard holds the mutex.
    ///
    /// # Errors
    /// If somebody does.
    pub fn try_lock_owned(self: Arc<Self>) -> Result<OwnedMutexGuard<T>, TryLockError> {
        tokios(self).try_lock_owned()
    }

    /// As [`lock_owned`](Self::lock_owned), for a thread, which blocks.
    pub fn blocking_lock_owned(self: Arc<Self>) -> OwnedMutexGuard<T> {
        tokios(self).blocking_lock_owned()
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

fn tokios<T: ?Sized>(mutex: Arc<Mutex<T>>) -> Arc<tokio::sync::Mutex<T>> {
    let pointer = Arc::into_raw(mutex) as *const tokio::sync::Mutex<T>;
    // SAFETY: the wrapper is transparent, so both have one layout.
    unsafe { Arc::from_raw(pointer) }
}
