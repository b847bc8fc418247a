//! A lock for many readers or one writer.

use std::sync::Arc;

use tokio::sync::{
    OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLockReadGuard, RwLockWriteGuard, TryLockError,
};

use super::wraps;
use crate::task::coop::cooperative;

/// A lock for many readers or one writer, which may be held while its task waits. Who waits first is
/// served first: readers that come after a writer wait for it. So a task that reads already must not
/// read again. A panic while it is held does not poison it.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct RwLock<T: ?Sized>(tokio::sync::RwLock<T>);

wraps!(RwLock<T: ?Sized> tokio::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// A lock around `value`.
    pub fn new(value: T) -> RwLock<T> {
        RwLock(tokio::sync::RwLock::new(value))
    }

    /// As [`new`](Self::new), for that many readers at once at most.
    ///
    /// # Panics
    /// If there are more than `u32::MAX >> 3`.
    #[track_caller]
    pub fn with_max_readers(value: T, readers: u32) -> RwLock<T> {
        RwLock(tokio::sync::RwLock::with_max_readers(value, readers))
    }

    /// As [`new`](Self::new), for a static.
    pub const fn const_new(value: T) -> RwLock<T> {
        RwLock(tokio::sync::RwLock::const_new(value))
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks for reading, once nobody writes or waits to.
    ///
    /// # Cancel safety
    /// Dropped before it is ready it only gives up its place in the line.
    pub async fn read(&self) -> RwLockReadGuard<'_, T> {
        cooperative(self.0.read()).await
    }

    /// Locks for writing, once nobody else reads or writes.
    ///
    /// # Cancel safety
    /// Dropped before it is ready it only gives up its place in the line.
    pub async fn write(&self) -> RwLockWriteGuard<'_, T> {
        cooperative(self.0.write()).await
    }

    /// As [`read`](Self::read); the guard holds the lock.
    pub async fn read_owned(self: Arc<Self>) -> OwnedRwLockReadGuard<T>
    where
        T: Sized,
    {
        cooperative(tokios(self).read_owned()).await
    }

    /// As [`write`](Self::write); the guard holds the lock.
    pub async fn write_owned(self: Arc<Self>) -> OwnedRwLockWriteGuard<T>
    where
        T: Sized,
    {
        cooperative(tokios(self).write_owned()).await
    }

    /// Locks for reading if nobody writes or waits to; the guard holds the lock.
    ///
    /// # Errors
    /// If somebody does.
    pub fn try_read_owned(self: Arc<Self>) -> Result<OwnedRwLockReadGuard<T>, TryLockError>
    where
        T: Sized,
    {
        tokios(self).try_read_owned()
    }

    /// Locks for writing if nobody reads or writes; the guard holds the lock.
    ///
    /// # Errors
    /// If somebody does.
    pub fn try_write_owned(self: Arc<Self>) -> Result<OwnedRwLockWriteGuard<T>, TryLockError>
    where
        T: Sized,
    {
        tokios(self).try_write_owned()
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> RwLock<T> {
        RwLock::new(value)
    }
}

fn tokios<T>(lock: Arc<RwLock<T>>) -> Arc<tokio::sync::RwLock<T>> {
    // SAFETY: the wrapper is transparent, so both have one layout.
    unsafe { Arc::from_raw(Arc::into_raw(lock).cast()) }
}
