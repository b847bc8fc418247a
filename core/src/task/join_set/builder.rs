//! Tasks of a set that have options.

use super::JoinSet;
use crate::runtime::{Group, Handle, NoRuntimeError};
use crate::task::{self, AbortHandle, Priority};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

/// Starts a task of a [`JoinSet`] that has options: see [`JoinSet::build_task`].
#[must_use = "a builder starts nothing before `spawn`"]
pub struct Builder<'a, T> {
    set: &'a mut JoinSet<T>,
    options: task::Builder,
}

impl<'a, T: 'static> Builder<'a, T> {
    pub(super) fn new(set: &'a mut JoinSet<T>) -> Builder<'a, T> {
        Builder {
            set,
            options: task::Builder::new(),
        }
    }

    /// As [`task::Builder::name`].
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.options = self.options.name(name);
        self
    }

    /// As [`task::Builder::priority`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options = self.options.priority(priority);
        self
    }

    /// As [`task::Builder::deadline`].
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.options = self.options.deadline(deadline);
        self
    }

    /// As [`task::Builder::group`].
    pub fn group(mut self, group: &Group) -> Self {
        self.options = self.options.group(group);
        self
    }

    /// All options at once, in place of those that were set before.
    pub fn options(mut self, options: task::Builder) -> Self {
        self.options = options;
        self
    }

    /// As [`JoinSet::spawn`].
    ///
    /// # Errors
    /// Outside of any runtime. The future is dropped.
    pub fn spawn<F>(self, future: F) -> Result<AbortHandle, NoRuntimeError>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        Ok(self.set.insert(self.options.spawn(future)?))
    }

    /// As [`JoinSet::spawn_on`].
    pub fn spawn_on<F>(self, future: F, runtime: &Handle) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        self.set.insert(self.options.spawn_on(future, runtime))
    }

    /// As [`JoinSet::spawn_blocking`].
    ///
    /// # Errors
    /// Outside of any runtime. The job is dropped.
    pub fn spawn_blocking<F>(self, job: F) -> Result<AbortHandle, NoRuntimeError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send,
    {
        Ok(self.set.insert(self.options.spawn_blocking(job)?))
    }

    /// As [`JoinSet::spawn_blocking_on`].
    pub fn spawn_blocking_on<F>(self, job: F, runtime: &Handle) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send,
    {
        self.set
            .insert(self.options.spawn_blocking_on(job, runtime))
    }
}

#[cfg(not(loom))]
mod local {
    use super::{AbortHandle, Builder, Future};
    use crate::event_loop::{EventLoop, LoopHandle, NoLoopError};

    impl<T: 'static> Builder<'_, T> {
        /// As [`JoinSet::spawn_local`](super::JoinSet::spawn_local).
        ///
        /// # Errors
        /// Outside of a turn, and of what a loop blocks on. The future is dropped.
        pub fn spawn_local<F>(self, future: F) -> Result<AbortHandle, NoLoopError>
        where
            F: Future<Output = T> + 'static,
        {
            Ok(self.set.insert(self.options.spawn_local(future)?))
        }

        /// As [`JoinSet::spawn_local_on`](super::JoinSet::spawn_local_on).
        pub fn spawn_local_on<F>(self, future: F, event_loop: &EventLoop) -> AbortHandle
        where
            F: Future<Output = T> + 'static,
        {
            self.set
                .insert(self.options.spawn_local_on(future, event_loop))
        }

        /// As [`JoinSet::spawn_on_loop`](super::JoinSet::spawn_on_loop).
        pub fn spawn_on_loop<F>(self, future: F, event_loop: &LoopHandle) -> AbortHandle
        where
            F: Future<Output = T> + Send + 'static,
            T: Send,
        {
            self.set
                .insert(self.options.spawn_on_loop(future, event_loop))
        }
    }
}

impl<T> fmt::Debug for Builder<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
