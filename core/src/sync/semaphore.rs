//! A number of permits.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, SemaphorePermit, TryAcquireError};

use crate::task::coop::cooperative;

/// A number of permits that tasks take and give back. Who waits first is served first, also when a
/// later one wants fewer.
#[derive(Debug)]
#[repr(transparent)]
pub struct Semaphore(tokio::sync::Semaphore);

impl Deref for Semaphore {
    type Target = tokio::sync::Semaphore;

    fn deref(&self) -> &tokio::sync::Semaphore {
        &self.0
    }
}

impl From<tokio::sync::Semaphore> for Semaphore {
    fn from(inner: tokio::sync::Semaphore) -> Semaphore {
        Semaphore(inner)
    }
}

impl Semaphore {
    /// The most permits that there can be.
    pub const MAX_PERMITS: usize = tokio::sync::Semaphore::MAX_PERMITS;

    /// A semaphore with that many permits.
    ///
    /// # Panics
    /// If there are more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    #[track_caller]
    pub fn new(permits: usize) -> Semaphore {
        Semaphore(tokio::sync::Semaphore::new(permits))
    }

    /// As [`new`](Self::new), for a static.
    pub const fn const_new(permits: usize) -> Semaphore {
        Semaphore(tokio::sync::Semaphore::const_new(permits))
    }

    /// tokio's.
    pub fn into_inner(self) -> tokio::sync::Semaphore {
        self.0
    }

    /// Takes a permit, once there is one.
    ///
    /// # Errors
    /// If the semaphore was closed.
    ///
    /// # Cancel safety
    /// Dropped before it is ready it only gives up its place in the line.
    pub async fn acquire(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        cooperative(self.0.acquire()).await
    }

    /// As [`acquire`](Self::acquire), for `n` permits at once.
    ///
    /// # Errors
    /// If the semaphore was closed.
    pub async fn acquire_many(&self, n: u32) -> Result<SemaphorePermit<'_>, AcquireError> {
        cooperative(self.0.acquire_many(n)).await
    }

    /// As [`acquire`](Self::acquire); the permit holds the semaphore.
    ///
    /// # Errors
    /// If the semaphore was closed.
    pub async fn acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, AcquireError> {
        cooperative(tokios(self).acquire_owned()).await
    }

    /// As [`acquire_many`](Self::acquire_many); the permit holds the semaphore.
    ///
    /// # Errors
    /// If the semaphore was closed.
    pub async fn acquire_many_owned(
        self: Arc<Self>,
        n: u32,
    ) -> Result<OwnedSemaphorePermit, AcquireError> {
        cooperative(tokios(self).acquire_many_owned(n)).await
    }

    /// Takes a permit if there is one; it holds the semaphore.
    ///
    /// # Errors
    /// If the semaphore was closed, or there is none.
    pub fn try_acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        tokios(self).try_acquire_owned()
    }

    /// Takes `n` permits if there are as many; they hold the semaphore.
    ///
    /// # Errors
    /// If the semaphore was closed, or there are not.
    pub fn try_acquire_many_owned(
        self: Arc<Self>,
        n: u32,
    ) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        tokios(self).try_acquire_many_owned(n)
    }

    /// As [`acquire_owned`](Self::acquire_owned), for a thread, which blocks.
    ///
    /// # Errors
    /// If the semaphore was closed.
    pub fn blocking_acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, AcquireError> {
        tokios(self).blocking_acquire_owned()
    }

    /// As [`acquire_many_owned`](Self::acquire_many_owned), for a thread, which blocks.
    ///
    /// # Errors
    /// If the semaphore was closed.
    pub fn blocking_acquire_many_owned(
        self: Arc<Self>,
        n: u32,
    ) -> Result<OwnedSemaphorePermit, AcquireError> {
        tokios(self).blocking_acquire_many_owned(n)
    }
}

fn tokios(semaphore: Arc<Semaphore>) -> Arc<tokio::sync::Semaphore> {
    // SAFETY: the wrapper is transparent, so both have one layout.
    unsafe { Arc::from_raw(Arc::into_raw(semaphore).cast()) }
}
