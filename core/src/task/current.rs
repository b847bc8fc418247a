//! The task whose code runs on this thread.
//!
//! Around each poll of a future and each drop of a future or an output stands an [`Entered`].
//! Whoever makes one holds the right to what is polled or dropped, and with it a reference; it gives
//! the task up again only after the guard has gone, so the pointer is good for as long as it is set.
//!
//! A poll is at the bottom of its thread but for what called it, a worker or a loop's turn: so it
//! leaves nothing behind, for the price of two stores. A drop may happen inside anything, a poll
//! included, and puts back what it found; so does [`outside`], for a turn may be taken in a task.

use super::cell::{Header, TaskPtr};
use super::id::Id;
use crate::shim::thread_local;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

thread_local! {
    static CURRENT: Cell<*const Header> = const { Cell::new(ptr::null()) };
}

/// A task's code runs on this thread as long as this lives.
pub(crate) struct Entered<'a> {
    after: *const Header,
    task: PhantomData<&'a Header>,
}

/// Makes `task` the one whose code runs here, for a poll.
///
/// # Safety
/// The task stays alive as long as the guard does.
#[inline]
pub(super) unsafe fn enter_poll<'a>(task: TaskPtr) -> Entered<'a> {
    CURRENT.with(|current| current.set(task.as_ptr()));
    Entered {
        after: ptr::null(),
        task: PhantomData,
    }
}

/// Makes `task` the one whose code runs here, for a drop.
///
/// # Safety
/// The task stays alive as long as the guard does.
pub(super) unsafe fn enter_drop<'a>(task: TaskPtr) -> Entered<'a> {
    Entered {
        after: CURRENT.with(|current| current.replace(task.as_ptr())),
        task: PhantomData,
    }
}

/// No task's code runs here as long as the guard lives, but for what is polled meanwhile.
#[cfg(not(loom))]
pub(crate) fn outside() -> Entered<'static> {
    Entered {
        after: CURRENT.with(|current| current.replace(ptr::null())),
        task: PhantomData,
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|current| current.set(self.after));
    }
}

/// Calls `f` with the task whose code runs here.
fn with_current<R>(f: impl FnOnce(&Header) -> R) -> Option<R> {
    let current = CURRENT.try_with(Cell::get).unwrap_or(ptr::null());
    // SAFETY: whoever set it keeps the task alive until it sets something else.
    unsafe { current.as_ref() }.map(f)
}

/// The id of the task that is running: whose future is polled on this thread, or whose future or
/// output is dropped. A job of `spawn_blocking` is a task.
///
/// # Panics
/// Outside of tasks, also in what `block_on` was given there: see [`try_id`].
#[track_caller]
pub fn id() -> Id {
    match try_id() {
        Some(id) => id,
        None => panic!("task::id was called outside of a task"),
    }
}

/// As [`id`]; `None` outside of tasks.
pub fn try_id() -> Option<Id> {
    with_current(|task| task.id)
}

/// The name of the task that is running, if there is one and it has a name: see
/// [`Builder::name`](super::Builder::name).
pub fn name() -> Option<Arc<str>> {
    with_current(|task| task.meta.as_ref()?.name.clone()).flatten()
}
