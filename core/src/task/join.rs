//! The spawner's end of a task.

use super::cell::{self, TaskPtr};
use super::coop;
use super::id::Id;
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

/// Waits for a task and returns its output.
///
/// Dropping the handle detaches the task: it goes on, and its output is dropped. Awaiting `&mut
/// handle` is cancel-safe: nothing is lost if that wait is given up.
///
/// The output is seen here only after the task's future has been dropped.
pub struct JoinHandle<T> {
    task: TaskPtr,
    output: PhantomData<T>,
}

// SAFETY: all of a task's shared state is atomic; the output moves to the thread that joins.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: through a shared handle the output cannot be reached.
unsafe impl<T: Send> Sync for JoinHandle<T> {}

impl<T> Unpin for JoinHandle<T> {}
impl<T> std::panic::UnwindSafe for JoinHandle<T> {}
impl<T> std::panic::RefUnwindSafe for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    /// # Safety
    /// The caller gives up the join reference of a task whose output is a `T`.
    pub(super) unsafe fn new(task: TaskPtr) -> JoinHandle<T> {
        JoinHandle {
            task,
            output: PhantomData,
        }
    }

    /// Asks for the task to be cancelled: its future is dropped at its next turn instead of being
    /// polled, and the handle resolves to an error for which [`JoinError::is_cancelled`] holds.
    ///
    /// A task that is being polled finishes that poll first, and if it is ready then, the handle
    /// resolves to its output. A blocking job is cancelled only if it has not begun.
    pub fn abort(&self) {
        // SAFETY: the handle keeps the task alive.
        unsafe { cell::abort(self.task) }
    }

    /// A handle that can only abort.
    pub fn abort_handle(&self) -> AbortHandle {
        // SAFETY: the handle keeps the task alive, and the new one gets a reference of its own.
        unsafe { self.task.as_ref() }.state.ref_inc();
        AbortHandle { task: self.task }
    }

    /// Whether the task has ended, in whichever way. Its future has been dropped then.
    pub fn is_finished(&self) -> bool {
        // SAFETY: the handle keeps the task alive.
        unsafe { self.task.as_ref() }.is_complete()
    }

    /// The task's id.
    pub fn id(&self) -> Id {
        // SAFETY: the handle keeps the task alive.
        unsafe { self.task.as_ref() }.id
    }

    /// Has `waker` woken when the task ends, in the place of the one that the last poll left. `true`:
    /// it has ended already.
    pub(super) fn wake_at_end(&mut self, waker: &Waker) -> bool {
        // SAFETY: this is the task's handle, which keeps it alive.
        unsafe { self.task.as_ref().register_join_waker(waker) }
    }

    /// The output, if the task has ended. To be asked for once.
    pub(super) fn take_output(&mut self) -> Option<Result<T, JoinError>> {
        if !self.is_finished() {
            return None;
        }
        let mut output = Poll::Pending;
        // SAFETY: this is the task's handle, and `output` is of its output type.
        unsafe { cell::poll_output(self.task, (&raw mut output).cast(), Waker::noop()) };
        match output {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// The task's name, if [`Builder::name`](super::Builder::name) gave it one.
    pub fn name(&self) -> Option<&str> {
        // SAFETY: the handle keeps the task alive, and nobody changes the record.
        unsafe { self.task.as_ref() }.meta.as_ref()?.name.as_deref()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let permit = ready!(coop::poll_proceed(cx));
        let mut output = Poll::Pending;
        // SAFETY: this is the task's handle, and `output` is of its output type.
        unsafe { cell::poll_output(self.task, (&raw mut output).cast(), cx.waker()) };
        if output.is_ready() {
            permit.made_progress();
        }
        output
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        // SAFETY: this is the task's handle.
        unsafe { cell::release_join_handle(self.task) }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// Aborts a task, without keeping its output.
pub struct AbortHandle {
    task: TaskPtr,
}

// SAFETY: all that the handle reaches is atomic.
unsafe impl Send for AbortHandle {}
// SAFETY: as above.
unsafe impl Sync for AbortHandle {}

impl std::panic::UnwindSafe for AbortHandle {}
impl std::panic::RefUnwindSafe for AbortHandle {}

impl AbortHandle {
    /// As [`JoinHandle::abort`].
    pub fn abort(&self) {
        // SAFETY: the handle keeps the task alive.
        unsafe { cell::abort(self.task) }
    }

    /// As [`JoinHandle::is_finished`].
    pub fn is_finished(&self) -> bool {
        // SAFETY: the handle keeps the task alive.
        unsafe { self.task.as_ref() }.is_complete()
    }

    /// The task's id.
    pub fn id(&self) -> Id {
        // SAFETY: the handle keeps the task alive.
        unsafe { self.task.as_ref() }.id
    }
}

impl Clone for AbortHandle {
    fn clone(&self) -> AbortHandle {
        // SAFETY: the handle keeps the task alive, and the new one gets a reference of its own.
        unsafe { self.task.as_ref() }.state.ref_inc();
        AbortHandle { task: self.task }
    }
}

impl Drop for AbortHandle {
    fn drop(&mut self) {
        // SAFETY: the handle's own reference.
        unsafe { cell::release_refs(self.task, 1) }
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle")
            .field("id", &self.id())
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// Why a task has no output.
pub struct JoinError {
    id: Id,
    /// `None`: it was cancelled. Boxed twice, so that room for this error, which every task has,
    /// is two words.
    panic: Option<Box<Payload>>,
}

/// What a panic ended with. Shared references to it give out text only.
struct Payload(Box<dyn Any + Send>);

// SAFETY: through a shared reference only a `&str` or a `String` can be reached, which are Sync.
unsafe impl Sync for Payload {}

impl std::panic::UnwindSafe for Payload {}
impl std::panic::RefUnwindSafe for Payload {}

impl Payload {
    fn text(&self) -> Option<&str> {
        match self.0.downcast_ref::<&'static str>() {
            Some(text) => Some(text),
            None => self.0.downcast_ref::<String>().map(String::as_str),
        }
    }
}

impl JoinError {
    pub(crate) fn cancelled(id: Id) -> JoinError {
        JoinError { id, panic: None }
    }

    #[cold]
    pub(crate) fn panic(id: Id, payload: Box<dyn Any + Send>) -> JoinError {
        JoinError {
            id,
            panic: Some(Box::new(Payload(payload))),
        }
    }

    /// The id of the task.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Whether the task was aborted, or dropped at shutdown.
    pub fn is_cancelled(&self) -> bool {
        self.panic.is_none()
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        self.panic.is_some()
    }

    /// The payload of the task's panic, for `std::panic::resume_unwind`; the error itself if the
    /// task was cancelled.
    ///
    /// # Errors
    /// Returns `self` unless [`JoinError::is_panic`].
    pub fn into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        match self.panic {
            Some(payload) => Ok(payload.0),
            None => Err(self),
        }
    }

    /// The message of the panic, if it has one that is text.
    pub fn panic_message(&self) -> Option<String> {
        self.text().map(str::to_owned)
    }

    fn text(&self) -> Option<&str> {
        self.panic.as_ref().and_then(|payload| payload.text())
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.panic {
            None => write!(f, "JoinError::Cancelled({:?})", self.id),
            Some(payload) => write!(f, "JoinError::Panic({:?}, {:?})", self.id, payload.text()),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.panic, self.text()) {
            (None, _) => write!(f, "task {} was cancelled", self.id),
            (Some(_), Some(message)) => write!(f, "task {} panicked: {message}", self.id),
            (Some(_), None) => write!(f, "task {} panicked", self.id),
        }
    }
}

impl std::error::Error for JoinError {}
