//! Tasks that belong together.

mod builder;
#[cfg(all(test, loom))]
mod loom_tests;
mod ready;

pub use builder::Builder;

use super::coop;
use super::{AbortHandle, Id, JoinError, JoinHandle};
use crate::context;
use crate::runtime::{Handle, NoRuntimeError};
use ready::Ready;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

/// A set of tasks, whose outputs come in the order in which the tasks end.
///
/// ```
/// # let runtime = libruntime_core::runtime::Builder::new().worker_threads(1).build()?;
/// # runtime.block_on(async {
/// let mut set = libruntime_core::task::JoinSet::new();
/// for i in 0..10 {
///     set.spawn(async move { i * i });
/// }
/// let mut sum = 0;
/// while let Some(square) = set.join_next().await {
///     sum += square.unwrap();
/// }
/// assert_eq!(sum, 285);
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropping the set aborts all its tasks. All of them have the same type of output; they may run on
/// any runtime or loop, or be blocking jobs.
///
/// Adding a task, and taking the output of one that has ended, take constant time. A set keeps the
/// memory of as many tasks as it has had at a time.
pub struct JoinSet<T> {
    places: Vec<Place<T>>,
    /// The places without a task.
    free: Vec<usize>,
    ready: Arc<Ready>,
}

struct Place<T> {
    handle: Option<JoinHandle<T>>,
    waker: Waker,
}

impl<T> JoinSet<T> {
    /// A set without tasks.
    pub fn new() -> JoinSet<T> {
        JoinSet {
            places: Vec::new(),
            free: Vec::new(),
            ready: Ready::new(),
        }
    }

    /// How many tasks are in the set: those that run, and those whose output was not taken yet.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether there is no task in the set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until a task of the set has ended, takes it out of the set, and returns its output.
    /// `None`: the set is empty.
    ///
    /// # Cancel safety
    /// Cancel-safe: if this future is dropped, no output is lost.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        poll_fn(|cx| self.poll_join_next(cx)).await
    }

    /// As [`join_next`](Self::join_next), with the task's id; an error has it by itself.
    ///
    /// # Cancel safety
    /// As that of [`join_next`](Self::join_next).
    pub async fn join_next_with_id(&mut self) -> Option<Result<(Id, T), JoinError>> {
        poll_fn(|cx| self.poll_join_next_with_id(cx)).await
    }

    /// Takes a task that has ended out of the set, and returns its output. `None`: there is none
    /// now.
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        Some(without_id(self.try_join_next_with_id()?))
    }

    /// As [`try_join_next`](Self::try_join_next), with the task's id.
    pub fn try_join_next_with_id(&mut self) -> Option<Result<(Id, T), JoinError>> {
        loop {
            let place = self.ready.take()?;
            if let Some(ended) = self.take_ended(place) {
                return Some(ended);
            }
        }
    }

    /// Polls for the output of a task that has ended.
    ///
    /// - `Poll::Ready(None)`: the set is empty.
    /// - `Poll::Pending`: no task has ended. The waker of the last call is woken when one does. It
    ///   may also be woken when there is nothing yet, or when the running task's
    ///   [budget](super::coop) is used up.
    pub fn poll_join_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        self.poll_join_next_with_id(cx)
            .map(|ended| ended.map(without_id))
    }

    /// As [`poll_join_next`](Self::poll_join_next), with the task's id.
    pub fn poll_join_next_with_id(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Id, T), JoinError>>> {
        if self.is_empty() {
            return Poll::Ready(None);
        }
        let permit = ready!(coop::poll_proceed(cx));
        loop {
            let place = ready!(self.ready.poll_take(cx));
            if let Some(ended) = self.take_ended(place) {
                permit.made_progress();
                return Poll::Ready(Some(ended));
            }
        }
    }

    /// Waits for all tasks, and returns their outputs in the order in which the tasks ended.
    ///
    /// # Errors
    /// The first that a task ended with; the tasks that are left are aborted then.
    ///
    /// # Cancel safety
    /// Not cancel-safe: if this future is dropped, the tasks are aborted and the outputs are lost.
    pub async fn join_all(mut self) -> Result<Vec<T>, JoinError> {
        let mut outputs = Vec::with_capacity(self.len());
        while let Some(output) = self.join_next().await {
            outputs.push(output?);
        }
        Ok(outputs)
    }

    /// Aborts all tasks, as [`JoinHandle::abort`] does. They stay in the set until they have ended.
    pub fn abort_all(&mut self) {
        for handle in self.handles() {
            handle.abort();
        }
    }

    /// Aborts all tasks and waits until they have ended. Their outputs are dropped.
    ///
    /// # Cancel safety
    /// If this future is dropped, the tasks are aborted nevertheless, and those that have not ended
    /// are in the set still.
    pub async fn shutdown(&mut self) {
        self.abort_all();
        while self.join_next().await.is_some() {}
    }

    /// Takes all tasks out of the set without aborting them. They go on by themselves.
    pub fn detach_all(&mut self) {
        drop(self.take_handles());
    }

    /// Adds a task that has been started already. Returns a handle with which to abort it.
    ///
    /// The handle must not have returned the output yet: waiting for the task would panic.
    pub fn insert(&mut self, mut handle: JoinHandle<T>) -> AbortHandle {
        let abort = handle.abort_handle();
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.places.push(Place {
                    handle: None,
                    waker: self.ready.add_place(),
                });
                self.places.len() - 1
            }
        };
        let place = &mut self.places[number];
        if handle.wake_at_end(&place.waker) {
            place.waker.wake_by_ref();
        }
        place.handle = Some(handle);
        abort
    }

    /// Takes the task out of a place, and its output, if the task has ended.
    fn take_ended(&mut self, number: usize) -> Option<Result<(Id, T), JoinError>> {
        let place = &mut self.places[number];
        let output = place.handle.as_mut()?.take_output()?;
        let handle = place.handle.take()?;
        self.free.push(number);
        Some(output.map(|output| (handle.id(), output)))
    }

    fn handles(&self) -> impl Iterator<Item = &JoinHandle<T>> {
        self.places.iter().filter_map(|place| place.handle.as_ref())
    }

    fn take_handles(&mut self) -> Vec<JoinHandle<T>> {
        self.free.clear();
        self.free.extend(0..self.places.len());
        let places = self.places.iter_mut();
        places.filter_map(|place| place.handle.take()).collect()
    }
}

impl<T: 'static> JoinSet<T> {
    /// Starts a task of the set on the runtime that the calling thread works for, or has entered.
    /// Returns a handle with which to abort it.
    ///
    /// # Panics
    /// Outside of any runtime: see [`Builder::spawn`] for a way that does not.
    #[track_caller]
    pub fn spawn<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        match context::spawn(future, None) {
            Some(handle) => self.insert(handle),
            None => panic!("{}", NoRuntimeError::new()),
        }
    }

    /// As [`spawn`](Self::spawn), on a runtime of choice.
    pub fn spawn_on<F>(&mut self, future: F, runtime: &Handle) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        self.insert(runtime.spawn(future))
    }

    /// Runs a job that may block, as a task of the set.
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_blocking<F>(&mut self, job: F) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send,
    {
        self.spawn_blocking_on(job, &Handle::current())
    }

    /// As [`spawn_blocking`](Self::spawn_blocking), on a runtime of choice.
    pub fn spawn_blocking_on<F>(&mut self, job: F, runtime: &Handle) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send,
    {
        self.insert(runtime.spawn_blocking(job))
    }

    /// Starts a task of the set that has options, a name for instance.
    pub fn build_task(&mut self) -> Builder<'_, T> {
        Builder::new(self)
    }
}

#[cfg(not(loom))]
mod local {
    use super::{AbortHandle, Future, JoinSet};
    use crate::event_loop::{self, EventLoop, LoopHandle};

    impl<T: 'static> JoinSet<T> {
        /// Starts a task of the set on the loop whose turn it is; the future need not be `Send`.
        ///
        /// # Panics
        /// As [`task::spawn_local`](crate::task::spawn_local).
        #[track_caller]
        pub fn spawn_local<F>(&mut self, future: F) -> AbortHandle
        where
            F: Future<Output = T> + 'static,
        {
            self.insert(event_loop::spawn_local(future))
        }

        /// As [`spawn_local`](Self::spawn_local), on a loop of choice.
        pub fn spawn_local_on<F>(&mut self, future: F, event_loop: &EventLoop) -> AbortHandle
        where
            F: Future<Output = T> + 'static,
        {
            self.insert(event_loop.spawn_local(future))
        }

        /// Starts a task of the set on a loop, from any thread.
        pub fn spawn_on_loop<F>(&mut self, future: F, event_loop: &LoopHandle) -> AbortHandle
        where
            F: Future<Output = T> + Send + 'static,
            T: Send,
        {
            self.insert(event_loop.spawn(future))
        }
    }
}

fn without_id<T>(ended: Result<(Id, T), JoinError>) -> Result<T, JoinError> {
    ended.map(|(_, output)| output)
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        // Places outlive the set in the wakers of its tasks; who waited for the set need not, and is not
        // to be woken by what is aborted here.
        self.ready.forget_waiter();
        self.abort_all();
    }
}

impl<T> Default for JoinSet<T> {
    fn default() -> JoinSet<T> {
        JoinSet::new()
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet").field("len", &self.len()).finish()
    }
}

/// As [`JoinSet::spawn`] for each future.
impl<F, T> Extend<F> for JoinSet<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    fn extend<I: IntoIterator<Item = F>>(&mut self, futures: I) {
        for future in futures {
            self.spawn(future);
        }
    }
}

/// As [`JoinSet::spawn`] for each future.
impl<F, T> FromIterator<F> for JoinSet<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    fn from_iter<I: IntoIterator<Item = F>>(futures: I) -> JoinSet<T> {
        let mut set = JoinSet::new();
        set.extend(futures);
        set
    }
}
