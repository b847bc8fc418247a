//! The `Waker` of a task: a pointer to its header and one reference.

use super::cell::{self, BorrowedWaker, Header, TaskPtr};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// One table for all tasks, so that `will_wake` compares tasks and not their types.
static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// A waker for the length of a poll: it costs no reference unless it is cloned.
///
/// # Safety
/// The caller's reference to the task outlives the waker.
pub(super) unsafe fn borrowed(task: TaskPtr) -> BorrowedWaker {
    // SAFETY: the table below keeps the contract of RawWaker as long as the task is alive.
    ManuallyDrop::new(unsafe { Waker::new(task.as_ptr().cast_const().cast(), &VTABLE) })
}

/// The task behind a waker's data pointer.
fn task(data: *const ()) -> TaskPtr {
    // SAFETY: a waker of this table is only ever made from a TaskPtr.
    unsafe { NonNull::new_unchecked(data.cast_mut().cast::<Header>()) }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the waker that is cloned keeps the task alive.
    unsafe { task(data).as_ref() }.state.ref_inc();
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: the waker's reference is given up.
    unsafe { cell::wake_by_value(task(data)) }
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the waker keeps the task alive.
    unsafe { cell::wake_by_ref(task(data)) }
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: the waker's reference is given up.
    unsafe { cell::release_refs(task(data), 1) }
}
