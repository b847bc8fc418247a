//! The LIFO slot: the task that a worker runs next, and which others may take while its worker is
//! held up.
//!
//! # Protocol
//!
//! The owner takes and replaces the task at every other poll, so its way has neither a
//! read-modify-write nor a fence. Others (the watch, one at a time) come only if a poll is overdue, so
//! theirs may cost what it likes. Both sides say what they are about to do before they look at what
//! the other side said:
//!
//! | owner, at each access | the watch |
//! |---|---|
//! | 1. `busy = true` | 1. lock; `open = true` |
//! | 2. *light barrier* | 2. *heavy barrier* |
//! | 3. load `open`; if it is set, `busy = false` and leave the slot alone | 3. load `busy` (acquire); if it is set, leave the slot alone |
//! | 4. touch the task | 4. take the task; unlock |
//! | 5. `busy = false` (release) | |
//!
//! **The race to prevent**: both touch the task. The barriers are a pair of sequentially consistent
//! fences in effect: if the owner's comes first, the watch sees `busy`, or what the owner did up to the
//! store that cleared it; if the watch's comes first, the owner sees `open`.
//!
//! A slot that is open stays so until its owner takes from it again, which it does between two
//! polls: under the lock, and closing it. What it puts there meanwhile goes to its queue instead, where
//! others see it. A watch that found the owner busy looks again later; the slot is open by then, so the
//! owner touches it under the lock only, if at all.
//!
//! The barriers are those of [`membarrier`]. Where the system has no heavy one nobody opens the slot.

use crate::shim::cell::UnsafeCell;
use crate::shim::sync::Mutex;
use crate::shim::sync::atomic::{AtomicBool, Ordering};
use crate::time::membarrier;

/// The owner was at the slot when it was to be opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// Whether it is dear to say that one is at the slot, and nobody to hear it is worth a question: each
/// step multiplies a model.
const DEAR: bool = cfg!(loom);

pub(super) struct Slot<T> {
    task: UnsafeCell<Option<T>>,
    /// Written by the owner alone: it is at the slot.
    busy: AtomicBool,
    /// Set by the watch, cleared by the owner, both under the lock.
    open: AtomicBool,
    /// Whether there is somebody who may open it.
    watched: bool,
    lock: Mutex<()>,
}

// SAFETY: the protocol above gives one thread at a time the right to `task`.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    /// An empty slot. If it is not `watched`, [`Slot::open`] is never called.
    pub(super) fn new(watched: bool) -> Slot<T> {
        Slot {
            task: UnsafeCell::new(None),
            busy: AtomicBool::new(false),
            open: AtomicBool::new(false),
            watched,
            lock: Mutex::new(()),
        }
    }

    /// Whether [`Slot::open`] may be called.
    pub(super) fn is_watched(&self) -> bool {
        self.watched
    }

    /// Puts `task` in, and gives back the one that was there. `Err`: the slot is open, and takes none.
    ///
    /// # Safety
    /// The caller is the slot's owner.
    #[inline]
    pub(super) unsafe fn replace(&self, task: T) -> Result<Option<T>, T> {
        if !self.enter() {
            return Err(task);
        }
        // SAFETY: entered.
        let before = self.task.with_mut(|slot| unsafe { (*slot).replace(task) });
        self.leave();
        Ok(before)
    }

    /// Takes the task out; closes the slot if it was open.
    ///
    /// # Safety
    /// The caller is the slot's owner.
    #[inline]
    pub(super) unsafe fn take(&self) -> Option<T> {
        if !self.enter() {
            return self.close();
        }
        // SAFETY: entered.
        let task = self.task.with_mut(|slot| unsafe { (*slot).take() });
        self.leave();
        task
    }

    /// Whether there is a task. An open slot counts as empty.
    ///
    /// # Safety
    /// The caller is the slot's owner.
    pub(super) unsafe fn is_some(&self) -> bool {
        if !self.enter() {
            return false;
        }
        // SAFETY: entered.
        let is_some = self.task.with(|slot| unsafe { (*slot).is_some() });
        self.leave();
        is_some
    }

    /// The owner comes to the slot. `false`: it is open.
    #[inline]
    fn enter(&self) -> bool {
        if DEAR && !self.watched {
            return true;
        }
        self.busy.store(true, Ordering::Relaxed);
        membarrier::light();
        if self.open.load(Ordering::Relaxed) {
            self.busy.store(false, Ordering::Relaxed);
            return false;
        }
        true
    }

    #[inline]
    fn leave(&self) {
        if DEAR && !self.watched {
            return;
        }
        self.busy.store(false, Ordering::Release);
    }

    #[cold]
    fn close(&self) -> Option<T> {
        let _locked = self.lock.lock();
        self.open.store(false, Ordering::Relaxed);
        // SAFETY: the slot was open, so whoever else touches it holds the lock.
        self.task.with_mut(|slot| unsafe { (*slot).take() })
    }

    /// Opens the slot, on any thread but the owner's, and takes the task if the owner is elsewhere: then
    /// there will be none until the owner has taken from the slot again. `heavy_barrier` is
    /// [`membarrier::heavy`].
    pub(super) fn open(&self, heavy_barrier: impl FnOnce()) -> Result<Option<T>, Busy> {
        debug_assert!(self.watched);
        let _locked = self.lock.lock();
        self.open.store(true, Ordering::Relaxed);
        heavy_barrier();
        if self.busy.load(Ordering::Acquire) {
            return Err(Busy);
        }
        // SAFETY: the owner is not at the slot, and when it comes it sees that it is open.
        Ok(self.task.with_mut(|slot| unsafe { (*slot).take() }))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_open_slot_takes_nothing_until_its_owner_has_closed_it() {
        let slot = Slot::new(true);
        // SAFETY: this thread is the owner.
        unsafe {
            assert_eq!(slot.replace(1), Ok(None));
            assert_eq!(slot.replace(2), Ok(Some(1)));
            assert!(slot.is_some());
            assert_eq!(slot.open(|| ()), Ok(Some(2)));
            assert_eq!(slot.open(|| ()), Ok(None));
            assert_eq!(slot.replace(3), Err(3));
            assert!(!slot.is_some());
            assert_eq!(slot.take(), None);
            assert_eq!(slot.replace(4), Ok(None));
            assert_eq!(slot.take(), Some(4));
        }
    }

    #[test]
    fn a_slot_whose_owner_is_busy_is_left_alone_and_opened_later() {
        let slot = Slot::new(true);
        // SAFETY: this thread is the owner.
        unsafe {
            assert_eq!(slot.replace(1), Ok(None));
            assert!(slot.enter());
            assert_eq!(slot.open(|| ()), Err(Busy));
            slot.leave();
            assert_eq!(slot.open(|| ()), Ok(Some(1)));
            assert_eq!(slot.take(), None);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    fn had(opened: Result<Option<Box<i32>>, Busy>) -> i32 {
        opened.ok().flatten().map_or(0, |task| *task)
    }

    /// The owner puts one in and takes it while it is opened: one of the two gets it.
    #[test]
    fn loom_slot_opened_meanwhile_gives_its_task_to_one() {
        crate::shim::model(|| {
            let slot = Arc::new(Slot::new(true));
            let own = slot.clone();
            let owner = thread::spawn(move || {
                // SAFETY: this thread is the owner.
                unsafe {
                    match own.replace(Box::new(1)) {
                        Ok(None) => own.take().map_or(0, |task| *task),
                        Ok(Some(_)) => unreachable!("it was empty"),
                        Err(task) => *task,
                    }
                }
            });
            let taken = had(slot.open(membarrier::heavy));
            assert_eq!(taken + owner.join().unwrap(), 1);
        });
    }

    /// Opened, closed by its owner and opened again: each of two tasks is had once.
    #[test]
    fn loom_slot_opened_twice_loses_nothing() {
        crate::shim::model(|| {
            let slot = Arc::new(Slot::new(true));
            let own = slot.clone();
            let owner = thread::spawn(move || {
                let mut had = 0;
                for task in [1, 2] {
                    // SAFETY: this thread is the owner.
                    unsafe {
                        match own.replace(Box::new(task)) {
                            Ok(before) => had += before.map_or(0, |task| *task),
                            Err(task) => had += *task,
                        }
                        had += own.take().map_or(0, |task| *task);
                    }
                }
                had
            });
            let taken = [(); 2].map(|()| had(slot.open(membarrier::heavy)));
            // SAFETY: the owner has ended.
            let had = owner.join().unwrap();
            let left = unsafe { slot.take() }.map_or(0, |task| *task);
            assert_eq!(taken[0] + taken[1] + had + left, 3);
        });
    }
}
