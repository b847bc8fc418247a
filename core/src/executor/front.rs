//! What a worker shows of itself while it runs: on one cache line, written by its thread alone
//! unless a poll is overdue.

use super::reserve::Reserve;
use super::slot::{Busy, Slot};
use super::state::{Seen, StateWord, Transitions};
use crate::task::Notified;
use crossbeam_utils::CachePadded;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub(super) struct Front {
    /// Turns that have begun. A turn is at most one poll.
    tick: AtomicU32,
    state: StateWord,
    pub(super) reserve: Reserve,
    slot: Slot<Notified>,
}

/// What was seen of a worker. Equal: it stands where it stood, in the same poll if it is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    tick: u32,
    pub(super) state: Seen,
}

impl Front {
    pub(super) fn see(&self) -> Sight {
        Sight {
            tick: self.tick.load(Ordering::Relaxed),
            state: self.state.see(),
        }
    }

    /// The changes of its state so far.
    pub(super) fn transitions(&self) -> Transitions {
        self.state.transitions()
    }

    /// The worker's poll is overdue: takes the task that it would run next, and has it put those that
    /// it wakes from now on where others find them. `heavy_barrier` is [`membarrier::heavy`](crate::time::membarrier::heavy).
    ///
    /// # Errors
    /// The worker was at the slot. It is open now, but the task, if any, is still there.
    pub(super) fn rescue(&self, heavy_barrier: impl FnOnce()) -> Result<Option<Notified>, Busy> {
        self.slot.open(heavy_barrier)
    }
}

/// The worker's own end of its front: there is one, and one thread at a time has it.
pub(super) struct OwnFront {
    front: Arc<CachePadded<Front>>,
    not_sync: PhantomData<Cell<()>>,
}

impl OwnFront {
    /// `watched`: whether [`Front::rescue`] is ever called.
    pub(super) fn new(watched: bool) -> OwnFront {
        OwnFront {
            front: Arc::new(CachePadded::new(Front {
                tick: AtomicU32::new(0),
                state: StateWord::new(),
                reserve: Reserve::new(),
                slot: Slot::new(watched),
            })),
            not_sync: PhantomData,
        }
    }

    /// For others to look at.
    pub(super) fn shown(&self) -> Arc<CachePadded<Front>> {
        self.front.clone()
    }

    #[inline]
    pub(super) fn tick(&self) -> u32 {
        self.front.tick.load(Ordering::Relaxed)
    }

    /// Begins a turn. A store, for nobody else writes it.
    #[inline]
    pub(super) fn next_tick(&self) -> u32 {
        let tick = self.tick().wrapping_add(1);
        self.front.tick.store(tick, Ordering::Relaxed);
        tick
    }

    /// Leaves out ticks, which nobody counts as turns.
    pub(super) fn skip_to(&self, tick: u32) {
        self.front.tick.store(tick, Ordering::Relaxed);
    }

    /// Whether [`Front::rescue`] may be called.
    pub(super) fn is_watched(&self) -> bool {
        self.front.slot.is_watched()
    }

    pub(super) fn reserve(&self) -> &Reserve {
        &self.front.reserve
    }

    pub(super) fn state(&self) -> &StateWord {
        &self.front.state
    }

    #[inline]
    pub(super) fn take(&self) -> Option<Notified> {
        // SAFETY: this is the owner's end.
        unsafe { self.front.slot.take() }
    }

    /// `Err`: the slot is open.
    #[inline]
    pub(super) fn replace(&self, task: Notified) -> Result<Option<Notified>, Notified> {
        // SAFETY: this is the owner's end.
        unsafe { self.front.slot.replace(task) }
    }

    pub(super) fn has_task(&self) -> bool {
        // SAFETY: this is the owner's end.
        unsafe { self.front.slot.is_some() }
    }
}
