//! Jobs that block: a pool of threads that grows while all are busy, and shrinks when they idle.
//!
//! Jobs come in [classes](Class), each with a queue and a limit of its own, so that many slow jobs of
//! one kind leave threads for the others:
//!
//! ```
//! use libruntime_core::blocking::Class;
//!
//! let mut builder = libruntime_core::runtime::Builder::new();
//! let compression = builder.add_blocking_class("compression", 2);
//! let runtime = builder.blocking_class_limit(Class::FILES, 16).build()?;
//! let job = runtime.spawn_blocking_in(compression, || 6 * 7);
//! assert_eq!(runtime.block_on(job)??, 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Protocol
//!
//! One lock guards the queues, the idle threads and whether a thread has been *called*. A job may run
//! if its class runs nothing, or if the limits of its class and of the pool leave room. The invariant
//! that holds whenever the lock is free:
//!
//! > If a job may run, a thread is called.
//!
//! At most one thread is called at a time. Whoever may have broken the invariant restores it before
//! it leaves the lock: a submitter after its push, and a thread after it took a job. It calls the
//! thread that became idle last; if none is idle, a new one, which is counted as alive before it is
//! started. The thread that was called comes to the lock, ends the call, takes a job, and calls the
//! next one if there is more to do. So a burst of jobs costs its submitter one wake-up; threads are
//! woken, and started, one by the other for as long as the jobs are not done by those that run
//! already; and a job waits behind another that blocks only for the thread that is on its way.
//!
//! - *The limit.* A job that may not run at its submission may run when another one has ended. The
//!   thread that ran that one looks at the queues under the lock before it counts itself idle. A
//!   class that may not run has a job running, since otherwise it may; so there is such a thread.
//!   That is where a protocol that looks outside of the lock loses a job.
//! - *A call at the end of a keep-alive.* Whoever calls takes the thread off the idle ones, under the
//!   lock. A thread whose time is over looks, under the lock, whether it is still among them; if not,
//!   it was called, and comes.
//! - *A look before the sleep.* A thread whose last wait was short looks at its word for a while before it
//!   sleeps (`pool.rs`). To others it is idle already, and whoever calls it unparks it as ever; that costs
//!   little while it is awake. It looks at the word before each sleep anyway, so nothing is missed.
//! - *No thread can be started.* The call is taken back. Threads that there are take the jobs when
//!   they come to them, and the next submission calls again; if there are none, the jobs are
//!   cancelled.
//! - *Close.* Idle threads are released, queued jobs cancelled, except for the mandatory ones (a
//!   file's writes that were acknowledged): the invariant goes on to hold for those, and a thread
//!   leaves only when no job may run.
//!
//! No lock is held while a thread is woken or started, or a job is run or dropped.

use crate::runtime::Handle;

mod class;
mod job;
#[cfg(all(test, loom))]
mod loom_tests;
mod pool;

pub(crate) use class::ClassSettings;
pub use class::{Class, ClassMetrics};
pub(crate) use pool::{Pool, Settings};

/// Drops a value on a thread for blocking jobs: a large one, or one whose drop may block, holds up the
/// thread that it is dropped on.
///
/// It is dropped right here where there is no runtime, or when that is shut down. A panic of the drop's
/// ends there.
pub fn drop_in_background<T: Send + 'static>(value: T) {
    if let Ok(runtime) = Handle::try_current() {
        drop(runtime.spawn_blocking(move || drop(value)));
    }
}
