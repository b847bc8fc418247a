//! Who answers for a task at shutdown.
//!
//! A task that is queued is found in its queue; a task that is being polled is found by whoever
//! polls it. Only a task that waits could be lost, so a task is linked into its owner's list when a
//! poll is pending for the first time, and one that completes in its first poll is never linked.
//!
//! The list belongs to one thread, which links and unlinks without a lock or an atomic operation. A
//! task that completes on another thread is pushed on a stack beside the list, link included; the
//! owner takes the whole stack at once, unlinks what it finds, and gives back the list's reference.
//! The push uses the task's `owner` word, which nobody asks again once the task is complete; the list
//! keeps its own two links: so a task may be on the stack while its neighbours in the list are
//! unlinked.

use super::cell::{self, TaskPtr};
use crate::shim::cell::UnsafeCell;
use crate::shim::sync::atomic::{AtomicPtr, Ordering};
use std::ptr::{self, NonNull};

/// The links inside a task's header.
pub(crate) struct Links {
    /// Null: not linked. Else whose list it is, as the scheduler numbers them, plus one, in place of an
    /// address; and on the stack of releases, the task below.
    owner: UnsafeCell<*mut super::Header>,
    prev: UnsafeCell<Option<TaskPtr>>,
    next: UnsafeCell<Option<TaskPtr>>,
}

impl Links {
    pub(super) fn new() -> Links {
        Links {
            owner: UnsafeCell::new(ptr::null_mut()),
            prev: UnsafeCell::new(None),
            next: UnsafeCell::new(None),
        }
    }

    /// Whether a list holds the task. Only for whoever holds RUNNING.
    pub(super) fn is_owned(&self) -> bool {
        // SAFETY: `owner` is touched by the holder of RUNNING alone.
        self.owner.with(|owner| unsafe { !(*owner).is_null() })
    }
}

/// The number of the list that holds `task`, if one does. Only for whoever holds RUNNING.
pub(crate) fn owner_of(task: TaskPtr) -> Option<u32> {
    // SAFETY: the holder of RUNNING keeps the task alive, and alone touches `owner`.
    let owner = unsafe { task.as_ref().links.owner.with(|owner| *owner) };
    owner.addr().checked_sub(1).map(|number| number as u32)
}

/// A list of tasks that wait, for one thread at a time.
#[derive(Debug)]
pub(crate) struct OwnedTasks {
    number: u32,
    head: Option<TaskPtr>,
    len: usize,
}

// SAFETY: the list is a chain of pointers to tasks that it keeps alive; it may change hands, with
// the duty to drop local tasks on their own thread resting on its user.
unsafe impl Send for OwnedTasks {}

impl OwnedTasks {
    /// An empty list, known as `number`.
    pub(crate) fn new(number: u32) -> OwnedTasks {
        OwnedTasks {
            number,
            head: None,
            len: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Links `task` and takes over one reference.
    ///
    /// # Safety
    /// The caller holds the task's RUNNING and the reference; the task is in no list.
    pub(crate) unsafe fn link(&mut self, task: TaskPtr) {
        // SAFETY: RUNNING gives the right to `owner`; `prev` and `next` are the list's from now on.
        unsafe {
            let links = &task.as_ref().links;
            let number = self.number as usize + 1;
            links
                .owner
                .with_mut(|owner| *owner = ptr::without_provenance_mut(number));
            links.prev.with_mut(|prev| *prev = None);
            links.next.with_mut(|next| *next = self.head);
            if let Some(head) = self.head {
                head.as_ref().links.prev.with_mut(|prev| *prev = Some(task));
            }
        }
        self.head = Some(task);
        self.len += 1;
    }

    /// Links `task` while it runs, with a reference of the list's own, unless a list holds it.
    ///
    /// # Safety
    /// The caller holds the task's RUNNING, and a reference.
    pub(crate) unsafe fn link_running(&mut self, task: TaskPtr) {
        if owner_of(task).is_none() {
            // SAFETY: alive by the caller's reference, its RUNNING is the caller's, and it is in no
            // list; the reference is made for this one.
            unsafe {
                task.as_ref().state.ref_inc();
                self.link(task);
            }
        }
    }

    /// Unlinks `task`; the list's reference is the caller's now.
    ///
    /// # Safety
    /// The task is linked in this list.
    pub(crate) unsafe fn unlink(&mut self, task: TaskPtr) {
        // SAFETY: every task of the list is alive, and the links are this list's.
        unsafe {
            let links = &task.as_ref().links;
            let prev = links.prev.with_mut(|prev| (*prev).take());
            let next = links.next.with_mut(|next| (*next).take());
            match prev {
                Some(prev) => prev.as_ref().links.next.with_mut(|slot| *slot = next),
                None => self.head = next,
            }
            if let Some(next) = next {
                next.as_ref().links.prev.with_mut(|slot| *slot = prev);
            }
        }
        self.len -= 1;
    }

    /// Unlinks every task that completed elsewhere.
    pub(crate) fn reap(&mut self, released: &Released) {
        let mut next = released.take();
        while let Some(task) = NonNull::new(next) {
            // SAFETY: the stack holds tasks of this list, each with the list's reference, and is
            // ours since `take`.
            unsafe {
                next = task.as_ref().links.owner.with(|owner| *owner);
                self.unlink(task);
                cell::release_refs(task, 1);
            }
        }
    }

    /// Every task of the list, kept alive: a shutdown runs foreign code (drops), which may unlink
    /// any of them, so no position in the list would survive it.
    pub(crate) fn hold_all(&self) -> Vec<HeldTask> {
        let mut tasks = Vec::with_capacity(self.len);
        let mut next = self.head;
        while let Some(task) = next {
            // SAFETY: the list keeps its tasks alive, and its links are ours to read.
            unsafe {
                task.as_ref().state.ref_inc();
                next = task.as_ref().links.next.with(|next| *next);
            }
            tasks.push(HeldTask(task));
        }
        tasks
    }
}

/// A task that is kept alive for its shutdown.
#[derive(Debug)]
pub(crate) struct HeldTask(TaskPtr);

impl HeldTask {
    /// Drops the future if the task is idle; else leaves a mark, and whoever runs the task or holds
    /// its `Notified` drops it.
    ///
    /// # Safety
    /// On a thread where the future may be dropped.
    pub(crate) unsafe fn shutdown(self) {
        // SAFETY: the reference keeps the task alive; the thread is the caller's promise.
        unsafe { cell::shutdown(self.0) }
    }
}

impl Drop for HeldTask {
    fn drop(&mut self) {
        // SAFETY: the reference taken by `hold_all`.
        unsafe { cell::release_refs(self.0, 1) }
    }
}

impl Drop for OwnedTasks {
    fn drop(&mut self) {
        debug_assert!(
            self.is_empty() || std::thread::panicking(),
            "tasks outlived their list"
        );
    }
}

/// The stack of tasks that completed on a thread that does not own them.
#[derive(Debug)]
pub(crate) struct Released(AtomicPtr<super::Header>);

impl Released {
    pub(crate) fn new() -> Released {
        Released(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
    }

    /// Hands a completed task back to its owner.
    ///
    /// # Safety
    /// The caller completed the task, which is linked in the list of this stack's owner.
    pub(crate) unsafe fn push(&self, task: TaskPtr) {
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: whoever completes a task is the one to release it, and has read `owner`.
            unsafe { task.as_ref().links.owner.with_mut(|owner| *owner = head) };
            match self.0.compare_exchange_weak(
                head,
                task.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(actual) => head = actual,
            }
        }
    }

    fn take(&self) -> *mut super::Header {
        if self.is_empty() {
            return ptr::null_mut();
        }
        self.0.swap(ptr::null_mut(), Ordering::Acquire)
    }
}
