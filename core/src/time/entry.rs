//! One future's place in a queue of timers.
//!
//! An [`Entry`] stands inside its future, which is pinned. Its `state` says whose the rest of it is:
//!
//! | state | `node` belongs to | `slot` holds, and belongs to | left by |
//! |---|---|---|---|
//! | `IDLE` | the future | the deadline; the future | the future, which links it under the lock → `LINKED` |
//! | `FRESH` | the future | as `IDLE`: a deadline that lay ahead when it was set | the same |
//! | `LINKED` | whoever holds the queue's lock | the waker; the lock's for writing | the queue when it fires → `FIRED`, or is abandoned → `LEFT`; the future when it cancels → `IDLE` |
//! | `FIRED` | the future | nothing | the future → `IDLE` |
//! | `LEFT` | the future | nothing | the same |
//!
//! `LEFT` is what becomes of an entry whose time has not come and whom nobody serves any more: see
//! [`queue`](super::queue), "After the waiter's end". `LINKED` is left for it as for `FIRED`.
//!
//! **The race to prevent**: one thread fires an entry while another drops the future around it.
//! Firing happens under the lock, and storing `FIRED` (release) is the last thing it does to the
//! entry: the waker has been moved out by then, and is called after the lock is given up. A future
//! that is dropped loads `state` (acquire): `FIRED`, as `LEFT`, means that the queue will not touch the entry
//! again, so no lock is needed; `LINKED` sends it to the lock, under which it finds the entry
//! either still linked, and unlinks it, or fired in between. Only the future leaves the other
//! states, and a future is in one thread's hands at a time.
//!
//! Two things may be read by the future while the entry is `LINKED`, because nobody but the future
//! ever writes them: the time in the node, and the words of the waker, which firing moves out by
//! reading them alone.

use std::marker::PhantomPinned;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::task::Waker;
use std::time::Instant;

use super::clock::Clock;
use super::wheel::Node;
use crate::shim::cell::UnsafeCell;
use crate::shim::sync::atomic::{AtomicU8, Ordering};

pub(super) const IDLE: u8 = 0;
pub(super) const FRESH: u8 = 1;
pub(super) const LINKED: u8 = 2;
pub(super) const FIRED: u8 = 3;
pub(super) const LEFT: u8 = 4;

/// See the module's documentation.
#[repr(C)]
pub(crate) struct Entry {
    /// First, so that a node's address is its entry's.
    node: std::cell::UnsafeCell<Node>,
    slot: UnsafeCell<Slot>,
    /// How many nanoseconds before the tick in `node` the deadline is. Written by the future.
    before_tick: std::cell::Cell<u16>,
    state: AtomicU8,
    _pinned: PhantomPinned,
}

union Slot {
    deadline: Instant,
    waker: ManuallyDrop<Waker>,
}

// SAFETY: the module's table says which thread may touch what.
unsafe impl Send for Entry {}
// SAFETY: as above. `before_tick` is written by the future, through a pinned `&mut`.
unsafe impl Sync for Entry {}

impl Entry {
    /// `ahead` says that the deadline is later than now, by more than a tick.
    pub(crate) fn new(deadline: Instant, ahead: bool) -> Entry {
        Entry {
            node: std::cell::UnsafeCell::new(Node::new()),
            slot: UnsafeCell::new(Slot { deadline }),
            before_tick: std::cell::Cell::new(0),
            state: AtomicU8::new(if ahead { FRESH } else { IDLE }),
            _pinned: PhantomPinned,
        }
    }

    /// Any of the states; `FIRED` and `LEFT` make the entry the caller's, which is the future.
    #[inline]
    pub(super) fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    /// Whether a queue has it. Final under the queue's lock, or if not.
    pub(super) fn is_linked(&self) -> bool {
        self.state.load(Ordering::Relaxed) == LINKED
    }

    /// The future: the deadline of an entry that is not in a queue, and has not fired.
    pub(super) fn loose_deadline(&self) -> Instant {
        debug_assert!(matches!(self.state(), IDLE | FRESH));
        // SAFETY: in these states the slot holds the deadline, and is the future's.
        self.slot.with(|slot| unsafe { (*slot).deadline })
    }

    /// The future: the deadline that the entry was last linked with, in a queue with that clock.
    pub(super) fn linked_deadline(&self, clock: &Clock) -> Instant {
        // SAFETY: the time is written by the future alone, which is here.
        let tick = unsafe { Node::when(self.node.get()) };
        clock.before(tick, self.before_tick.get())
    }

    /// The future: sets the deadline of an entry that is in no queue.
    pub(super) fn set_loose(&self, deadline: Instant, ahead: bool) {
        debug_assert!(!self.is_linked());
        // SAFETY: not linked: the slot is the future's, and owns nothing.
        self.slot
            .with_mut(|slot| unsafe { slot.write(Slot { deadline }) });
        let state = if ahead { FRESH } else { IDLE };
        // Nobody else looks at it.
        self.state.store(state, Ordering::Relaxed);
    }

    /// The future: puts a waker into an entry that is in no queue, about to be linked.
    pub(super) fn put_waker(&self, waker: Waker) {
        debug_assert!(!self.is_linked());
        let waker = ManuallyDrop::new(waker);
        // SAFETY: not linked: the slot is the future's, and owns nothing.
        self.slot
            .with_mut(|slot| unsafe { slot.write(Slot { waker }) });
    }

    /// The future: whether a linked entry has a waker that does what `waker` does.
    pub(super) fn wakes(&self, waker: &Waker) -> bool {
        // SAFETY: linked a moment ago: the words of the waker are there, and are only compared.
        self.slot
            .with(|slot| unsafe { (*slot).waker.will_wake(waker) })
    }

    /// Exchanges the waker.
    ///
    /// # Safety
    /// The entry is linked, the caller is the future, and holds the queue's lock.
    pub(super) unsafe fn replace_waker(&self, waker: Waker) -> Waker {
        // SAFETY: linked, and the lock is held; the future does not read it elsewhere.
        self.slot
            .with_mut(|slot| unsafe { std::mem::replace(&mut *(*slot).waker, waker) })
    }

    /// Moves the waker out.
    ///
    /// # Safety
    /// The slot holds one, which nobody takes again: the entry is `LINKED`, the lock is held, and
    /// the state is left; or it was put there, and never linked.
    pub(super) unsafe fn take_waker(&self) -> Waker {
        // SAFETY: by the caller's promise.
        self.slot.with(|slot| unsafe {
            ManuallyDrop::into_inner(std::ptr::read(&raw const (*slot).waker))
        })
    }

    pub(super) fn set_before_tick(&self, nanos: u16) {
        self.before_tick.set(nanos);
    }

    pub(super) fn node(&self) -> NonNull<Node> {
        NonNull::from(self).cast()
    }

    /// Becomes the lock's. Under the lock.
    pub(super) fn to_linked(&self) {
        self.state.store(LINKED, Ordering::Relaxed);
    }

    /// Becomes the future's again, which is here. Under the lock.
    pub(super) fn to_idle(&self) {
        self.state.store(IDLE, Ordering::Relaxed);
    }

    /// Marks an entry as fired and takes its waker.
    ///
    /// # Safety
    /// `node` belongs to a valid entry that is LINKED and was just taken out; the lock is held.
    /// Afterwards the entry may be gone.
    pub(super) unsafe fn fire(node: NonNull<Node>) -> Waker {
        // SAFETY: the caller's promise.
        unsafe { Entry::let_go(node, FIRED) }
    }

    /// Gives an entry back whose time has not come, and takes its waker.
    ///
    /// # Safety
    /// As for [`fire`](Entry::fire).
    pub(super) unsafe fn leave(node: NonNull<Node>) -> Waker {
        // SAFETY: the caller's promise.
        unsafe { Entry::let_go(node, LEFT) }
    }

    /// # Safety
    /// As for [`fire`](Entry::fire); `state` makes the entry the future's.
    unsafe fn let_go(node: NonNull<Node>, state: u8) -> Waker {
        let entry = node.cast::<Entry>();
        // SAFETY: the caller's promise.
        unsafe {
            let waker = entry.as_ref().take_waker();
            (*entry.as_ptr()).state.store(state, Ordering::Release);
            waker
        }
    }
}
