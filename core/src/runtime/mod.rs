//! The work-stealing runtime: a pool of workers that run `Send` tasks, a reactor, timers, and a pool
//! of threads for jobs that block.
//!
//! ```
//! let runtime = libruntime_core::runtime::Builder::new().worker_threads(2).build()?;
//! let answer = runtime.block_on(async {
//!     let half = libruntime_core::spawn(async { 21 });
//!     2 * half.await.unwrap()
//! })?;
//! assert_eq!(answer, 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod affinity;
pub(crate) mod block_on;
mod builder;
mod group;
mod handle;
mod lifecycle;
#[cfg(all(test, loom))]
mod loom_block_in_place;
#[cfg(all(test, loom))]
pub(crate) mod loom_tests;
#[cfg(all(test, loom))]
mod loom_workers;
mod policy;

pub use affinity::Affinity;
pub use block_on::EnterError;
pub use builder::Builder;
pub use group::Group;
pub use handle::{EnterGuard, Handle, NoRuntimeError};
pub use lifecycle::{Lifecycle, ShutdownReport};
pub use policy::{FairOptions, Policy, PriorityOptions};

use crate::blocking::Class;
use crate::metrics::Snapshot;
use crate::task::JoinHandle;
use crate::time::clock;
use lifecycle::Threads;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A pool of workers with everything that their tasks need.
///
/// The runtime ends with this value: dropping it cancels the tasks that are left and waits for its
/// threads, except on a thread of its own, which it does not wait for. [`Handle`]s may outlive it;
/// what is spawned through them then is cancelled at once.
///
/// # What is promised
/// - *Joining.* When a [`JoinHandle`] resolves, or [`is_finished`](JoinHandle::is_finished) says so, the
///   destructor of the task's future has returned.
/// - *Shutdown.* The future of every task that is not done is dropped, exactly once, before
///   [`shutdown`](Self::shutdown) without a time limit returns, or the drop of this value. No thread is
///   left then, and no descriptor.
/// - *Fairness.* Under [`Policy::Fifo`], however many tasks wake themselves for ever, a worker looks at
///   what was injected from outside after 32 polls at most, and at I/O and timers after 64; polls that
///   are longer than 125 ns on average make these intervals shorter, down to 2 and 4. An injected
///   task that is first in line runs then. Others, and what I/O and timers wake, run when each task that
///   was in the worker's queue before has been polled once, with up to 3 polls of tasks that were just woken before
///   each of them. So two tasks that keep waking each other starve nobody.
/// - *Stalls.* No poll is interrupted. What waits for a worker whose poll does not end is passed on to
///   others, if there are any: see [`Builder::stall_watch`].
///
/// # Forks
/// A forked child has none of the runtime's threads, and shares its descriptors with the parent. It may
/// drop the runtime, which then does nothing, and build one of its own; what it spawns on the inherited
/// one never runs, and may disturb the parent.
///
/// `docs/promises.md` names the tests of each, and `docs/policies.md` has what the other policies promise.
#[derive(Debug)]
pub struct Runtime {
    handle: Handle,
    threads: Arc<Threads>,
    workers: usize,
    /// The one that has the threads.
    process: u32,
}

// As for `Handle`.
impl std::panic::UnwindSafe for Runtime {}
impl std::panic::RefUnwindSafe for Runtime {}

impl Runtime {
    /// A runtime with default settings: see [`Builder`].
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new() -> std::io::Result<Runtime> {
        Builder::new().build()
    }

    /// The handle to this runtime, to clone and to send elsewhere.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// As [`Handle::spawn`].
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(future)
    }

    /// As [`Handle::spawn_blocking`].
    pub fn spawn_blocking<F, R>(&self, job: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.handle.spawn_blocking(job)
    }

    /// As [`Handle::spawn_blocking_in`].
    pub fn spawn_blocking_in<F, R>(&self, class: Class, job: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.handle.spawn_blocking_in(class, job)
    }

    /// As [`Handle::block_on`].
    ///
    /// # Errors
    /// As [`Handle::block_on`].
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, EnterError> {
        self.handle.block_on(future)
    }

    /// As [`Handle::enter`].
    pub fn enter(&self) -> EnterGuard {
        self.handle.enter()
    }

    /// As [`Handle::metrics`].
    pub fn metrics(&self) -> Snapshot {
        self.handle.metrics()
    }

    /// Where the runtime stands.
    pub fn lifecycle(&self) -> Lifecycle {
        self.threads.lifecycle()
    }

    /// Shuts the runtime down, and waits for its threads for `timeout` at most.
    ///
    /// Each task that is being polled ends that poll; then it is dropped, as are all others. Jobs
    /// that block are waited for if they have begun, and cancelled otherwise. Threads that are not
    /// done in time are left to end by themselves, and reported.
    pub fn shutdown_timeout(self, timeout: Duration) -> ShutdownReport {
        self.shutdown(Some(timeout))
    }

    /// As [`Runtime::shutdown_timeout`], for a runtime that is shared; `None` waits without limit.
    /// A second call waits like the first. On a thread of the runtime's own nothing is waited for, and
    /// in a forked child nothing is done: all workers are left.
    pub fn shutdown(&self, timeout: Option<Duration>) -> ShutdownReport {
        if std::process::id() != self.process {
            return ShutdownReport {
                tasks_dropped: 0,
                workers_left: self.workers,
                blocking_left: 0,
            };
        }
        let deadline = timeout.map(|timeout| clock::after(Instant::now(), timeout));
        let shared = self.handle.shared();
        self.threads.shut_down();
        shared.close();
        shared.blocking.close();
        let deadline = if shared.blocking.is_current() {
            Some(Instant::now())
        } else {
            deadline
        };
        let workers_left = self.threads.wait(deadline);
        let blocking_left = shared.blocking.wait(deadline);
        ShutdownReport {
            tasks_dropped: shared.dropped(),
            workers_left,
            blocking_left,
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.shutdown(None);
    }
}
