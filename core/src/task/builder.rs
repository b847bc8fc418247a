//! Tasks with options.

use super::meta::Meta;
use super::{JoinHandle, Priority};
use crate::blocking::Class;
use crate::context;
use crate::runtime::{Group, Handle, NoRuntimeError};
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

/// Starts tasks that have options, a name for instance.
///
/// ```
/// # let runtime = libruntime_core::runtime::Builder::new().worker_threads(1).build()?;
/// use libruntime_core::task;
///
/// let fetch = task::Builder::new().name("fetch").spawn_on(
///     async { task::name().unwrap().len() },
///     runtime.handle(),
/// );
/// assert_eq!(fetch.name(), Some("fetch"));
/// assert_eq!(runtime.block_on(fetch)?.unwrap(), 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Options are kept in a record beside the task, which a task without options does not have.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder starts nothing before `spawn`"]
pub struct Builder {
    meta: Meta,
}

impl Builder {
    /// No options.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// A name, for people: what [`JoinHandle::name`] and [`task::name`](super::name) answer. Tasks
    /// may share one.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Builder {
        self.meta.name = Some(name.into());
        self
    }

    /// How urgent the task is, under [`Policy::Priority`]. Elsewhere, and for what runs on an event
    /// loop or on the threads for blocking jobs, it is accepted and has no effect; so are the next
    /// two. What the task spawns does not inherit any of them: a request handler is not as urgent
    /// as the listener that spawned it.
    ///
    /// [`Policy::Priority`]: crate::runtime::Policy::Priority
    pub fn priority(mut self, priority: Priority) -> Builder {
        self.meta.priority = priority;
        self
    }

    /// When the task should be done, under [`Policy::Priority`]: of the ready tasks of one class the
    /// one with the earliest deadline runs first, and those without after it. Nothing is cancelled
    /// when a deadline passes.
    ///
    /// [`Policy::Priority`]: crate::runtime::Policy::Priority
    pub fn deadline(mut self, deadline: Instant) -> Builder {
        self.meta.deadline = Some(deadline);
        self
    }

    /// The group whose share of the time the task uses, under [`Policy::Fair`]. The group of another
    /// runtime has no effect.
    ///
    /// [`Policy::Fair`]: crate::runtime::Policy::Fair
    pub fn group(mut self, group: &Group) -> Builder {
        self.meta.group = Some(group.clone());
        self
    }

    /// Starts a task on the runtime that the calling thread works for, or has entered.
    ///
    /// # Errors
    /// Outside of any runtime. The future is dropped.
    pub fn spawn<F>(self, future: F) -> Result<JoinHandle<F::Output>, NoRuntimeError>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        context::spawn(future, self.meta.record()).ok_or(NoRuntimeError::new())
    }

    /// As [`Handle::spawn`].
    pub fn spawn_on<F>(self, future: F, runtime: &Handle) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        runtime.shared().spawn(future, self.meta.record())
    }

    /// Runs a job that may block, on the runtime that the calling thread works for, or has entered.
    ///
    /// # Errors
    /// Outside of any runtime. The job is dropped.
    pub fn spawn_blocking<F, R>(self, job: F) -> Result<JoinHandle<R>, NoRuntimeError>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        Ok(self.spawn_blocking_on(job, &Handle::try_current()?))
    }

    /// As [`Handle::spawn_blocking`].
    pub fn spawn_blocking_on<F, R>(self, job: F, runtime: &Handle) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let meta = self.meta.record();
        runtime
            .shared()
            .spawn_blocking(Class::GENERAL, false, job, meta)
    }
}

#[cfg(not(loom))]
mod local {
    use super::{Builder, Future, JoinHandle};
    use crate::event_loop::{EventLoop, LoopHandle, NoLoopError};

    impl Builder {
        /// Starts a task on the loop whose turn it is: see [`task::spawn_local`].
        ///
        /// # Errors
        /// Outside of a turn, and of what a loop blocks on. The future is dropped.
        ///
        /// [`task::spawn_local`]: crate::task::spawn_local
        pub fn spawn_local<F>(self, future: F) -> Result<JoinHandle<F::Output>, NoLoopError>
        where
            F: Future + 'static,
            F::Output: 'static,
        {
            crate::event_loop::try_spawn_local(future, self.meta.record())
        }

        /// As [`EventLoop::spawn_local`].
        pub fn spawn_local_on<F>(self, future: F, event_loop: &EventLoop) -> JoinHandle<F::Output>
        where
            F: Future + 'static,
            F::Output: 'static,
        {
            event_loop.spawn_local_with(future, self.meta.record())
        }

        /// As [`LoopHandle::spawn`].
        pub fn spawn_on_loop<F>(self, future: F, event_loop: &LoopHandle) -> JoinHandle<F::Output>
        where
            F: Future + Send + 'static,
            F::Output: Send + 'static,
        {
            event_loop.spawn_with(future, self.meta.record())
        }
    }
}
