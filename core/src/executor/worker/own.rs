//! What a worker owns for its tasks: their list, their memory, and references to the runtime.

use super::{BANK, Worker};
use crate::executor::shared::SharedRef;
use crate::task::TaskPtr;
use crate::task::memory::{Block, Slot};

impl Worker {
    /// Links a task that waits for the first time.
    pub(in super::super) fn bind(&self, task: TaskPtr) {
        // SAFETY: called by the poll of a task that is in no list, with its reference.
        unsafe { self.owned.borrow_mut().link(task) }
    }

    /// Links the task that is being polled, unless it is in a list already: then the end of the runtime
    /// waits for it, on whichever thread it is.
    ///
    /// # Safety
    /// This is the run of the task.
    pub(in super::super) unsafe fn answer_for(&self, task: TaskPtr) {
        // SAFETY: the run has RUNNING and a reference. The list gets one of its own.
        unsafe { self.owned.borrow_mut().link_running(task) }
    }

    /// Unlinks a completed task if it is this worker's.
    pub(in super::super) fn unbind(&self, task: TaskPtr, owner: u32) -> bool {
        let own = owner as usize == self.index;
        if own {
            // SAFETY: the owner says that it is linked here.
            unsafe { self.owned.borrow_mut().unlink(task) }
        }
        own
    }

    /// A task of another worker's list completed here.
    pub(in super::super) fn count_release(&self) {
        let released = self.released.get().wrapping_add(1);
        self.released.set(released);
        self.shared.count_release(released);
    }

    /// Memory for a task.
    #[inline(always)]
    pub(in super::super) fn allocate(&self, slot: Slot) -> Block {
        self.magazines.allocate(slot, &self.shared.memory)
    }

    /// Takes back the memory of a task.
    ///
    /// # Safety
    /// As for [`Slot::free`].
    #[inline(always)]
    pub(in super::super) unsafe fn free(&self, slot: Slot, block: Block) {
        // If a burst has ended, this rests before it waits.
        // SAFETY: passed on from the caller.
        unsafe { self.magazines.free(slot, block, &self.shared.memory) };
    }

    /// A reference to the common ground, from the bank.
    #[inline]
    pub(super) fn take_ref(&self) -> SharedRef {
        let banked = match self.bank.get() {
            0 => {
                SharedRef::add_refs(&self.shared, BANK);
                BANK
            }
            banked => banked,
        };
        self.bank.set(banked - 1);
        // SAFETY: it was counted when the bank was filled.
        unsafe { SharedRef::adopt(&self.shared) }
    }

    /// Puts a reference to the common ground in the bank.
    #[inline]
    pub(in super::super) fn bank_ref(&self) {
        let banked = self.bank.get() + 1;
        if banked == 2 * BANK {
            // SAFETY: the bank's references, and the worker has one of its own.
            unsafe { SharedRef::remove_refs(&self.shared, BANK) };
            self.bank.set(BANK);
        } else {
            self.bank.set(banked);
        }
    }
}
