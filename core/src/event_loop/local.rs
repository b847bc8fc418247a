//! Tasks that belong to a loop: futures that need not be `Send`, polled inside its turns.
//!
//! # Where a woken task goes
//!
//! While a loop does a turn, its thread knows it as the current loop. A wake on that thread puts the
//! task on the loop's own queue, without a lock. Every other wake, also one on the loop's thread
//! between two turns, sends it through the inbox, which makes a turn happen.
//!
//! # The end
//!
//! The future of a local task may only be dropped where it was polled. So a loop that is dropped
//! takes nothing new, cancels every task that waits, and empties its queue and its inbox. A task
//! that is left in the list after that is on its way: another thread has won the right to wake it, and is about to put
//! it in the inbox. The loop waits for it as it would for work, in its own wait, with the same
//! protocol of the wake word; the thread is a few instructions away. Only when no task is left does
//! the inbox close, so none can meet a closed inbox on a thread that may not drop it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::core::Core;
use super::shared::{Message, Shared};
use super::{EventLoop, LoopHandle};
use crate::context;
use crate::runtime::Handle;
use crate::task::{
    self, JoinHandle, Notified, OwnedTasks, Record, Schedule, TaskPtr, coop, new_local_task,
    new_task, owner_of,
};

/// Polls of tasks in one turn: work that makes more work must not keep I/O and timers waiting. The
/// figure is four times what tokio's one-thread scheduler allows between two looks at its driver,
/// for a turn has a wait's cost to share out.
const TASKS_PER_TURN: usize = 256;

thread_local! {
    /// The loop that does a turn on this thread.
    static CURRENT: Cell<*const Core> = const { Cell::new(ptr::null()) };
}

/// Calls `f` with the loop that does a turn on this thread, if it is the one of `shared`.
fn with_current<R>(shared: &Arc<Shared>, f: impl FnOnce(Option<&Core>) -> R) -> R {
    let current = CURRENT.try_with(Cell::get).unwrap_or(ptr::null());
    // SAFETY: a guard that borrows the loop is alive further down this thread's stack.
    let current = unsafe { current.as_ref() };
    f(current.filter(|core| Arc::ptr_eq(&core.shared, shared)))
}

/// Makes a loop the current one of its thread.
struct Current<'a> {
    before: *const Core,
    _core: &'a Core,
}

impl Current<'_> {
    fn enter(core: &Core) -> Current<'_> {
        Current {
            before: CURRENT.with(|current| current.replace(core)),
            _core: core,
        }
    }
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        CURRENT.with(|current| current.set(self.before));
    }
}

/// A loop's tasks.
pub(super) struct Tasks {
    queue: RefCell<VecDeque<Notified>>,
    owned: RefCell<OwnedTasks>,
    /// Tasks that are not done.
    alive: Cell<usize>,
    runtime: RefCell<Option<Handle>>,
}

impl Tasks {
    pub(super) fn new() -> Tasks {
        Tasks {
            queue: RefCell::default(),
            owned: RefCell::new(OwnedTasks::new(0)),
            alive: Cell::new(0),
            runtime: RefCell::new(None),
        }
    }

    pub(super) fn any_alive(&self) -> bool {
        self.alive.get() > 0
    }

    pub(super) fn any_ready(&self) -> bool {
        !self.queue.borrow().is_empty()
    }

    /// Queues a task that other threads have woken.
    pub(super) fn woken(&self, task: Notified) {
        self.queue.borrow_mut().push_back(task);
    }

    /// Queues a task that is new.
    pub(super) fn spawned(&self, task: Notified) {
        self.alive.set(self.alive.get() + 1);
        self.woken(task);
    }

    fn pop(&self) -> Option<Notified> {
        self.queue.borrow_mut().pop_front()
    }
}

impl Core {
    /// Does `f` as a turn does its work: wakes of local tasks stay on this thread, timers and sockets
    /// find this loop, and `spawn` finds the attached runtime.
    pub(super) fn inside<R>(&self, f: impl FnOnce() -> R) -> R {
        let _current = Current::enter(self);
        let _outside = task::outside();
        let driver = self.driver();
        let _driver = context::enter_driver(&driver, true);
        let runtime = self.tasks.runtime.borrow().clone();
        let _entered = runtime
            .as_ref()
            .map(|runtime| context::enter(runtime.shared()));
        f()
    }

    fn spawn_local<F>(&self, future: F, meta: Record) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        // SAFETY: a Notified of this task is only run or dropped by the loop: in its turns, and in
        // its drop. What a loop holds moves from thread to thread only all together. The scheduler
        // is an Arc of what is Send and Sync.
        let (task, handle) =
            unsafe { new_local_task(future, LocalScheduler(self.shared.clone()), meta) };
        self.tasks.spawned(task);
        self.task_queued();
        handle
    }

    /// Polls tasks that are ready, a bounded number.
    pub(super) fn run_tasks(&self) {
        coop::unlimited(|| {
            for _ in 0..TASKS_PER_TURN {
                let Some(task) = self.tasks.pop() else { return };
                coop::refill();
                // A panic of the future's ends in its JoinHandle.
                task.run();
            }
        });
    }

    /// Cancels all tasks: see the module.
    pub(super) fn cancel_tasks(&self) {
        let waiting = self.tasks.owned.borrow().hold_all();
        for task in waiting {
            // SAFETY: this is the thread that the loop's tasks were polled on last, or that they
            // have moved to together with the loop.
            unsafe { task.shutdown() };
        }
        loop {
            self.shared.wake.begin();
            let mut messages = Vec::new();
            self.shared.receive(&mut messages);
            for message in messages {
                match message {
                    Message::Call(call) => self.contain(move || drop(call)),
                    Message::Woken(task) => self.tasks.woken(task),
                    Message::Spawned(task) => self.tasks.spawned(task),
                }
            }
            while let Some(task) = self.tasks.pop() {
                drop(task);
            }
            // `end` tells of a wake since `begin`; else the next one ends the wait.
            let woken = self.shared.wake.end();
            // Only a task in the list can be woken, and nothing new comes: so this is the end, also
            // if somebody goes on waking the loop.
            if self.tasks.owned.borrow().is_empty() && !self.tasks.any_ready() {
                return;
            }
            if !woken && !self.tasks.any_ready() && self.wait_for_bell().is_err() {
                // The set is broken. Looking again and again is all that is left.
                std::thread::yield_now();
            }
        }
    }
}

/// Starts a task on the loop whose turn it is; see [`EventLoop::spawn_local`].
///
/// # Panics
/// Outside of a turn, and of what a loop blocks on: see
/// [`task::Builder::spawn_local`](crate::task::Builder::spawn_local) for a way that does not.
#[track_caller]
pub fn spawn_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    match try_spawn_local(future, None) {
        Ok(handle) => handle,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn try_spawn_local<F>(
    future: F,
    meta: Record,
) -> Result<JoinHandle<F::Output>, NoLoopError>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let current = CURRENT.try_with(Cell::get).unwrap_or(ptr::null());
    // SAFETY: a guard that borrows the loop is alive further down this thread's stack.
    match unsafe { current.as_ref() } {
        Some(core) => Ok(core.spawn_local(future, meta)),
        None => Err(NoLoopError(())),
    }
}

/// No event loop does a turn on the calling thread.
pub struct NoLoopError(());

impl fmt::Display for NoLoopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no event loop does a turn on this thread: call it from a task of a loop, from a \
             callback, or inside EventLoop::block_on",
        )
    }
}

/// With the text: it is what `unwrap` shows, and a `main` that returns the error.
impl fmt::Debug for NoLoopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoLoopError({:?})", self.to_string())
    }
}

impl std::error::Error for NoLoopError {}

impl EventLoop {
    /// Starts a task on this loop. It is polled in the loop's turns; its future need not be `Send`.
    ///
    /// The loop is [alive](EventLoop::alive) as long as the task is not done. When the loop is
    /// dropped the task's future is dropped, and the handle resolves to a cancelled error.
    pub fn spawn_local<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.spawn_local_with(future, None)
    }

    pub(crate) fn spawn_local_with<F>(&self, future: F, meta: Record) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.core().spawn_local(future, meta)
    }

    /// Turns the loop until `future` is ready, which is polled on this thread between two turns.
    ///
    /// # Errors
    /// [`BlockOnError::Nested`] inside a turn or another `block_on`, where waiting would stop what is
    /// waited for; [`BlockOnError::Stopped`] after [`stop`](EventLoop::stop);
    /// [`BlockOnError::Wait`] if the wait fails. The future is dropped.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let core = self.core();
        if core.is_turning() {
            return Err(BlockOnError::Nested);
        }
        let _blocking = context::enter_blocking().ok_or(BlockOnError::Nested)?;
        let root = Arc::new(Root {
            shared: core.shared.clone(),
            woken: AtomicBool::new(true),
        });
        let waker = Waker::from(root.clone());
        let mut cx = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if root.woken.swap(false, Ordering::AcqRel) {
                let poll = || {
                    // It shares the thread with the loop's tasks, and so has a budget like theirs.
                    coop::refill();
                    future.as_mut().poll(&mut cx)
                };
                let polled = core.between_turns(|| coop::unlimited(poll));
                if let Poll::Ready(output) = polled {
                    return Ok(output);
                }
            }
            self.turn(None).map_err(BlockOnError::Wait)?;
            if core.shared.take_stop() {
                return Err(BlockOnError::Stopped);
            }
        }
    }

    /// Attaches a runtime, or none: code in the loop's turns finds it where it looks for one, for
    /// `spawn` and `spawn_blocking`, and for looking up names.
    pub fn set_runtime(&self, runtime: Option<Handle>) {
        let before = self.core().tasks.runtime.replace(runtime);
        drop(before);
    }
}

impl LoopHandle {
    /// Starts a task on the loop, from any thread.
    ///
    /// If the loop is gone the task is dropped at once, and its handle resolves to a cancelled
    /// error.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_with(future, None)
    }

    pub(crate) fn spawn_with<F>(&self, future: F, meta: Record) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (task, handle) = new_task(future, LocalScheduler(self.shared().clone()), meta);
        // A loop that is gone gives the task back; its future is Send and may be dropped here.
        if let Err(Message::Spawned(task)) = self.shared().send(Message::Spawned(task)) {
            with_current(self.shared(), |current| match current {
                // A destructor spawns while the loop is being dropped, which drops this task too.
                Some(core) => core.tasks.spawned(task),
                None => drop(task),
            });
        }
        handle
    }
}

/// Why [`EventLoop::block_on`] did not wait.
#[derive(Debug)]
pub enum BlockOnError {
    /// It was called inside a turn, or inside another `block_on` on this thread.
    Nested,
    /// The loop was stopped.
    Stopped,
    /// What the system said about the wait.
    Wait(io::Error),
}

impl fmt::Display for BlockOnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlockOnError::Nested => f.write_str(
                "block_on was called inside a turn or another block_on, where it would stop what \
                 it waits for",
            ),
            BlockOnError::Stopped => {
                f.write_str("the loop was stopped before the future was ready")
            }
            BlockOnError::Wait(error) => write!(f, "the loop could not wait: {error}"),
        }
    }
}

impl std::error::Error for BlockOnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BlockOnError::Wait(error) => Some(error),
            BlockOnError::Nested | BlockOnError::Stopped => None,
        }
    }
}

/// Wakes a `block_on`.
struct Root {
    shared: Arc<Shared>,
    woken: AtomicBool,
}

impl Wake for Root {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.shared.wake();
        }
    }
}

/// The scheduler inside each task of a loop.
struct LocalScheduler(Arc<Shared>);

impl Schedule for LocalScheduler {
    fn schedule(&self, task: Notified) {
        with_current(&self.0, |current| match current {
            Some(core) => core.tasks.woken(task),
            None => {
                // The task keeps `self` alive, but only until it is queued.
                let shared = self.0.clone();
                if let Err(message) = shared.send(Message::Woken(task)) {
                    // The module says why this can not happen. Should it, the future must not be
                    // dropped on this thread.
                    debug_assert!(false, "a task outlived its loop");
                    std::mem::forget(message);
                }
            }
        });
    }

    fn reschedule(&self, task: Notified) {
        self.schedule(task);
    }

    fn bind(&self, task: TaskPtr) -> bool {
        with_current(&self.0, |current| {
            let core = current.expect("a loop's task is polled by the loop only");
            // SAFETY: called by the poll of a task that is in no list, with its reference.
            unsafe { core.tasks.owned.borrow_mut().link(task) }
        });
        true
    }

    fn release(&self, task: TaskPtr) -> bool {
        with_current(&self.0, |current| {
            // Without a loop this is a spawn that the loop was too late for.
            let Some(core) = current else { return false };
            core.tasks.alive.set(core.tasks.alive.get() - 1);
            let owned = owner_of(task).is_some();
            if owned {
                // SAFETY: a loop has one list.
                unsafe { core.tasks.owned.borrow_mut().unlink(task) }
            }
            owned
        })
    }
}
