//! Handles on a runtime, and what a thread does inside one.

use super::block_on::{self, EnterError};
use super::group::Group;
use super::policy::check_weight;
use crate::blocking;
use crate::context;
use crate::executor::SharedRef;
use crate::metrics::Snapshot;
use crate::task::JoinHandle;
use crate::tune::Tuning;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

/// A reference to a [`Runtime`](super::Runtime), for any thread. It does not keep it running.
#[derive(Clone, Debug)]
pub struct Handle(SharedRef);

// A panic of foreign code ends before it could leave anything of the runtime half done.
impl std::panic::UnwindSafe for Handle {}
impl std::panic::RefUnwindSafe for Handle {}

impl Handle {
    pub(crate) fn new(shared: SharedRef) -> Handle {
        Handle(shared)
    }

    pub(crate) fn shared(&self) -> &SharedRef {
        &self.0
    }

    /// The runtime that the calling thread works for, or has entered.
    ///
    /// # Errors
    /// Outside of any runtime.
    pub fn try_current() -> Result<Handle, NoRuntimeError> {
        context::current().map(Handle).ok_or(NoRuntimeError::new())
    }

    /// As [`Handle::try_current`].
    ///
    /// # Panics
    /// Outside of any runtime.
    #[track_caller]
    pub fn current() -> Handle {
        match Handle::try_current() {
            Ok(handle) => handle,
            Err(error) => panic!("{error}"),
        }
    }

    /// Starts a task. From any thread; on a worker the task runs next on this worker, unless
    /// another one takes it first.
    ///
    /// After the runtime's shutdown the task is dropped at once, and its handle resolves to a
    /// cancelled error.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn(future, None)
    }

    /// Runs a job that may block on a thread that is there for it. From any thread.
    ///
    /// A job that has begun can not be aborted. The handle resolves to a cancelled error if it has
    /// not begun when the runtime shuts down, or if no thread can be started.
    pub fn spawn_blocking<F, R>(&self, job: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.spawn_blocking_in(blocking::Class::GENERAL, job)
    }

    /// As [`spawn_blocking`](Self::spawn_blocking), as a job of a class. A class that this runtime was
    /// not made with counts as the general one.
    pub fn spawn_blocking_in<F, R>(&self, class: blocking::Class, job: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.0.spawn_blocking(class, false, job, None)
    }

    /// Runs a future on the calling thread until it is ready, while the workers run the tasks.
    ///
    /// # Errors
    /// On a worker, and inside another `block_on`: it would stop what it waits for. The future is
    /// dropped.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, EnterError> {
        block_on::block_on(&self.0, future)
    }

    /// What the runtime did and has to do, as of now: see [`metrics`](crate::metrics). From any
    /// thread, also after the runtime's end.
    pub fn metrics(&self) -> Snapshot {
        self.0.metrics()
    }

    /// Makes a group of tasks that get a share of the workers' time by weight, under
    /// [`Policy::Fair`](super::Policy::Fair). Under other policies it has no effect.
    ///
    /// # Errors
    /// `InvalidInput` if the weight is not from 1 to [`Group::MAX_WEIGHT`].
    pub fn group(&self, name: impl Into<Arc<str>>, weight: u32) -> io::Result<Group> {
        check_weight(weight)?;
        Ok(Group::new(name.into(), weight, self.0.fair_lane()))
    }

    /// Turns the runtime's [tuner](crate::tune) on or off. Off: all workers take part again, at once.
    ///
    /// From any thread. It takes a lock that is held for microseconds.
    ///
    /// # Errors
    /// Of turning it on, as [`Builder::build`](super::Builder::build) with a tuner: `InvalidInput` or
    /// `Unsupported`.
    pub fn set_tuner(&self, on: bool) -> io::Result<()> {
        self.0.tuner.set(&self.0, on)
    }

    /// How the runtime's [tuner](crate::tune) stands, and what it has done. Likewise from any thread.
    pub fn tuning(&self) -> Tuning {
        self.0.tuner.report(&self.0)
    }

    /// Whether the runtime has been shut down, or is about to be: what is spawned is cancelled.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Makes this runtime the calling thread's: `spawn`, timers and sockets use it until the guard
    /// goes. Guards are to be dropped in the reverse order of their making.
    pub fn enter(&self) -> EnterGuard {
        EnterGuard {
            _entered: context::enter_by_hand(&self.0),
            _thread: std::marker::PhantomData,
        }
    }
}

/// The calling thread is inside a runtime as long as this lives: see [`Handle::enter`].
#[must_use = "the thread leaves the runtime when the guard goes"]
pub struct EnterGuard {
    _entered: context::EnteredByHand,
    _thread: std::marker::PhantomData<*const ()>,
}

impl fmt::Debug for EnterGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnterGuard")
    }
}

/// There is no runtime on the calling thread.
pub struct NoRuntimeError(());

impl NoRuntimeError {
    pub(crate) fn new() -> NoRuntimeError {
        NoRuntimeError(())
    }
}

impl fmt::Display for NoRuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this thread belongs to no runtime: call it from a task, or inside Handle::enter",
        )
    }
}

/// With the text: it is what `unwrap` shows, and a `main` that returns the error.
impl fmt::Debug for NoRuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoRuntimeError({:?})", self.to_string())
    }
}

impl std::error::Error for NoRuntimeError {}
