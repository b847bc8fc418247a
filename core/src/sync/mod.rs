//! Channels, locks and signals between tasks.
//!
//! They are tokio's, from its `sync` feature: well kept, checked by models, bound to no runtime. Names,
//! errors and guarantees are tokio's too, and so is its documentation, which says more than this page.
//! They work between tasks of any runtime or event loop, and threads; which end is where makes no
//! difference.
//!
//! | | |
//! |---|---|
//! | [`mpsc`] | many senders, one receiver; with a limit that makes senders wait, or without |
//! | [`oneshot`] | one value, once |
//! | [`broadcast`] | every receiver gets every value; one that is slow loses the oldest and is told |
//! | [`watch`] | every receiver sees the last value |
//! | [`Notify`] | wakes one task, or all, without a value |
//! | [`Mutex`], [`RwLock`] | locks that may be held while the task waits |
//! | [`Semaphore`], [`Barrier`] | a number of permits; a meeting of so many tasks |
//! | [`OnceCell`], [`SetOnce`] | a value that is set once |
//!
//! For data that is never held across an `await`, the standard library's `Mutex` is quicker. A time limit is
//! [`time::timeout`](crate::time::timeout) around any of these; to wait for several at once, take
//! `futures_util::select!` and `join!`, or the functions `race` and `zip` of `futures_lite::future`. To
//! cancel a tree of tasks, `tokio_util::sync::CancellationToken` works here as well.
//!
//! # What is promised
//! - *Fairness.* Who waits first is served first: for the permits of a [`Semaphore`], the locks of
//!   [`Mutex`] and [`RwLock`] (a writer that waits keeps later readers out), and the room of a bounded
//!   channel. Messages of one sender arrive in their order.
//! - *Giving way.* An operation that is ready at once spends a unit of its task's
//!   [budget](crate::task::coop), so a task whose channel is never empty, or whose lock is always free,
//!   gives way to others after [`BUDGET`](crate::task::coop::BUDGET) of them. To that end the types
//!   with such operations are thin wrappers around tokio's; `From` and `into_inner` lead from the one to
//!   the other, for a library that asks for tokio's own.
//! - *Cancel safety.* A future that is dropped before it is ready has done nothing, except that its
//!   task loses its place in the line: this holds for each `recv`, `changed`, `wait_for`, `acquire`,
//!   `lock`, `read`, `write`, `reserve` and `notified` here. A `send` that is dropped has sent
//!   nothing, but its value is gone: `reserve` first where that matters. `recv_many` that is dropped
//!   has received nothing.
//! - *Closing.* A receiver gets all that was sent before the last sender went, and then `None` or an
//!   error. A sender whose receiver is gone gets its value back.
//! - *Threads.* Functions that begin with `blocking_` are for threads, and jobs of
//!   [`spawn_blocking`](crate::spawn_blocking): in a task they hold up its worker.
//!
//! ```
//! use libruntime_core::sync::mpsc;
//!
//! let runtime = libruntime_core::runtime::Runtime::new()?;
//! let (sender, mut receiver) = mpsc::channel(16);
//! runtime.spawn(async move {
//!     for number in 0..3 {
//!         sender.send(number).await.expect("somebody receives");
//!     }
//! });
//! let received = runtime.block_on(async {
//!     let mut sum = 0;
//!     while let Some(number) = receiver.recv().await {
//!         sum += number;
//!     }
//!     sum
//! })?;
//! assert_eq!(received, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod broadcast;
pub mod mpsc;
mod mutex;
mod rwlock;
mod semaphore;
pub mod watch;

pub use mutex::Mutex;
pub use rwlock::RwLock;
pub use semaphore::Semaphore;
pub use tokio::sync::{
    AcquireError, Barrier, BarrierWaitResult, MappedMutexGuard, MutexGuard, Notify, OnceCell,
    OwnedMappedMutexGuard, OwnedMutexGuard, OwnedRwLockMappedWriteGuard, OwnedRwLockReadGuard,
    OwnedRwLockWriteGuard, OwnedSemaphorePermit, RwLockMappedWriteGuard, RwLockReadGuard,
    RwLockWriteGuard, SemaphorePermit, SetError, SetOnce, SetOnceError, TryAcquireError,
    TryLockError, futures, oneshot,
};

/// The way from a wrapper to what it wraps, and back. All that is not written out is reached so.
macro_rules! wraps {
    ($wrapper:ident<$value:ident $(: ?$sized:ident)?> $tokio:ty) => {
        impl<$value $(: ?$sized)?> std::ops::Deref for $wrapper<$value> {
            type Target = $tokio;

            fn deref(&self) -> &$tokio {
                &self.0
            }
        }

        impl<$value $(: ?$sized)?> std::ops::DerefMut for $wrapper<$value> {
            fn deref_mut(&mut self) -> &mut $tokio {
                &mut self.0
            }
        }
    };
}

/// As [`wraps`], for what is moved in and out whole.
macro_rules! wraps_whole {
    ($wrapper:ident<$value:ident> $tokio:ty) => {
        $crate::sync::wraps!($wrapper<$value> $tokio);

        impl<$value> $wrapper<$value> {
            /// tokio's.
            pub fn into_inner(self) -> $tokio {
                self.0
            }
        }

        impl<$value> From<$tokio> for $wrapper<$value> {
            fn from(inner: $tokio) -> Self {
                $wrapper(inner)
            }
        }
    };
}

use {wraps, wraps_whole};
