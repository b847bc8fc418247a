//! Tasks: a future, the word that says how it stands, and the handles on it.
//!
//! A task is one allocation with a count of references. Four kinds of holder have one each:
//!
//! - a `Notified`: the right, and the duty, to run the task. There is at most one. It is what run
//!   queues hold. Dropping one instead of running it cancels the task, so a task can not be lost
//!   in a queue that is torn down.
//! - a `Waker`: clones of the one a poll is given. The one of the poll itself is borrowed.
//! - the [`JoinHandle`], and any number of [`AbortHandle`]s.
//! - the owner's list, from the first pending poll until the task completes: see `task/owner.rs`.
//!
//! `task/state.rs` documents each bit of the state word and each transition, `task/cell.rs` who may
//! touch which field when.

mod block_in_place;
mod builder;
mod cell;
pub mod coop;
mod current;
mod id;
mod join;
pub mod join_set;
mod local;
#[cfg(all(test, loom))]
mod loom_tests;
pub(crate) mod memory;
mod meta;
mod owner;
mod priority;
mod state;
#[cfg(all(test, not(loom)))]
mod tests;
mod waker;
mod yield_now;

#[cfg(not(loom))]
pub use crate::event_loop::spawn_local;
pub use block_in_place::block_in_place;
pub use builder::Builder;
pub(crate) use cell::{Header, TaskPtr};
#[cfg(not(loom))]
pub(crate) use current::outside;
pub use current::{id, name, try_id};
pub use id::Id;
pub use join::{AbortHandle, JoinError, JoinHandle};
pub use join_set::JoinSet;
pub use local::{AccessError, LocalKey, Scope};
pub(crate) use meta::{Meta, Record};
pub(crate) use owner::{OwnedTasks, Released, owner_of};
pub use priority::Priority;
pub use yield_now::{YieldNow, yield_now};

use memory::{Block, Slot};
use std::future::Future;

/// Where tasks go when they are woken, and who answers for them while they wait.
///
/// `schedule` and `reschedule` own what they are given. Once they have passed it on the task may
/// run, complete and be freed on another thread, and `self` lives inside the task: they must not
/// touch `self` after that.
pub(crate) trait Schedule: Sized + 'static {
    /// Queues a task that was woken. Called on any thread.
    fn schedule(&self, task: Notified);

    /// Queues a task that was woken while it was being polled, on the thread that polled it: it
    /// should go behind those that wait already.
    fn reschedule(&self, task: Notified);

    /// Links a task whose poll was pending for the first time, on the thread that polled it.
    /// Returns whether a list holds it, with the reference of the poll.
    fn bind(&self, task: TaskPtr) -> bool;

    /// The task completed on this thread. Returns whether the list's reference was given up here;
    /// a list of another thread's gives it up later by itself.
    fn release(&self, task: TaskPtr) -> bool;

    /// A task's future is about to be dropped, on this thread, before it was done.
    fn cancelled(&self) {}

    /// Memory for a task that will have this scheduler.
    #[inline]
    fn allocate(&self, slot: Slot) -> Block {
        slot.allocate()
    }

    /// Takes back the memory of a task whose scheduler this was, on any thread.
    ///
    /// # Safety
    /// The block came from [`Schedule::allocate`], for the same slot, and is the caller's.
    #[inline]
    unsafe fn free(self, slot: Slot, block: Block) {
        // SAFETY: passed on from the caller.
        unsafe { slot.free(block) }
    }
}

/// The scheduler of a task that ends in its first poll: it never waits, so it is never woken and never
/// linked.
pub(crate) struct InOnePoll;

impl Schedule for InOnePoll {
    fn schedule(&self, task: Notified) {
        drop(task);
    }

    fn reschedule(&self, task: Notified) {
        drop(task);
    }

    fn bind(&self, _: TaskPtr) -> bool {
        false
    }

    fn release(&self, _: TaskPtr) -> bool {
        false
    }
}

/// The right to run a task once. See the module's documentation.
#[derive(Debug)]
pub(crate) struct Notified(TaskPtr);

// SAFETY: a task's shared state is atomic. Where the future itself is not Send, whoever called
// `new_local_task` answers for the thread on which the Notified is run or dropped.
unsafe impl Send for Notified {}

impl Notified {
    /// # Safety
    /// By rule 1 of the state word this is the only `Notified`, and it has a reference.
    unsafe fn new(task: TaskPtr) -> Notified {
        Notified(task)
    }

    /// The options that the task was given, if any.
    #[inline]
    pub(crate) fn meta(&self) -> Option<&Meta> {
        // SAFETY: the reference of the Notified keeps the task alive; nobody writes its options.
        unsafe { self.0.as_ref() }
            .meta
            .as_deref()
            .map(|meta| &**meta)
    }

    /// Gives the task a record, if it has none, for [`stamp`](Notified::stamp).
    ///
    /// # Safety
    /// The caller has just made the task, and nobody else has seen it.
    #[inline]
    pub(crate) unsafe fn add_record(&self) {
        // SAFETY: the task is the caller's alone.
        let record = unsafe { &mut (*self.0.as_ptr()).meta };
        if record.is_none() {
            *record = Some(Meta::default().always());
        }
    }

    /// Says when the task became ready, if it has a record.
    #[inline]
    pub(crate) fn stamp(&self, nanos: u64) {
        if let Some(meta) = self.meta() {
            meta.ready_at.set(nanos);
        }
    }

    /// When the task became ready, if that was said.
    #[inline]
    pub(crate) fn ready_at(&self) -> Option<u64> {
        self.meta()?.ready_at.get()
    }

    /// The task: good for as long as its holder knows it to be alive.
    #[inline]
    pub(crate) fn as_ptr(&self) -> TaskPtr {
        self.0
    }

    /// Polls the task once; what it becomes then is its own affair.
    pub(crate) fn run(self) {
        let task = self.0;
        std::mem::forget(self);
        // SAFETY: this was the task's Notified, given up just now.
        unsafe { cell::run(task) }
    }
}

impl Drop for Notified {
    fn drop(&mut self) {
        // SAFETY: this is the task's Notified, given up here.
        unsafe { cell::discard(self.0) }
    }
}

/// Makes a task of `future`, ready to run.
#[inline]
pub(crate) fn new_task<F, S>(
    future: F,
    scheduler: S,
    meta: Record,
) -> (Notified, JoinHandle<F::Output>)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    S: Schedule + Send + Sync,
{
    // SAFETY: the future is Send: every thread will do.
    unsafe { new_local_task(future, scheduler, meta) }
}

/// As [`new_task`], for a caller that knows where its scheduler has memory from.
#[inline]
pub(crate) fn new_task_in<F, S>(
    memory: impl FnOnce(Slot) -> Block,
    future: F,
    scheduler: S,
    meta: Record,
) -> (Notified, JoinHandle<F::Output>)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    S: Schedule + Send + Sync,
{
    let block = memory(const { cell::slot::<F, S>() });
    // SAFETY: the block is one of the scheduler's, for this slot. The two references are those of a
    // new task; its future is Send, so every thread will do.
    unsafe {
        let task = cell::make(block, future, scheduler, meta);
        (Notified::new(task), JoinHandle::new(task))
    }
}

/// Makes a task of a future that is bound to its thread.
///
/// # Safety
/// Unless the future and its output are `Send`, every [`Notified`] of the task is run or dropped on
/// the thread that calls this, and so is the list that the scheduler binds it to shut down there.
/// The scheduler itself must be usable, and droppable, on every thread that holds a waker.
#[inline]
pub(crate) unsafe fn new_local_task<F, S>(
    future: F,
    scheduler: S,
    meta: Record,
) -> (Notified, JoinHandle<F::Output>)
where
    F: Future + 'static,
    F::Output: 'static,
    S: Schedule,
{
    let block = scheduler.allocate(const { cell::slot::<F, S>() });
    // SAFETY: the block is the scheduler's, and the two references are those of a new task.
    unsafe {
        let task = cell::make(block, future, scheduler, meta);
        (Notified::new(task), JoinHandle::new(task))
    }
}
