//! The budget that keeps one task from holding its thread for ever.
//!
//! A future that always finds something ready would never give way. So each poll of a task begins
//! with a budget of [`BUDGET`] units; every operation of this crate that may wait spends one when
//! it succeeds, and without one it answers `Pending` and wakes its task at once, which puts the
//! task behind the others. What an event loop blocks on counts as a task. Elsewhere there is no budget, and
//! nothing is limited.

use crate::shim::thread_local;
use std::cell::Cell;
use std::task::{Context, Poll};

/// Operations that a task may complete in one poll. The figure is tokio's, from its measurements.
pub const BUDGET: u8 = 128;

thread_local! {
    /// What is left of the running task's budget; `None` outside of tasks.
    static LEFT: Cell<Option<u8>> = const { Cell::new(None) };
}

/// A unit of budget, given back unless the operation made progress.
#[must_use]
#[derive(Debug)]
pub struct Permit {
    before: Option<u8>,
}

impl Permit {
    /// The operation succeeded: the unit is spent.
    pub fn made_progress(mut self) {
        self.before = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.before.is_some() {
            LEFT.with(|left| left.set(self.before));
        }
    }
}

/// Takes a unit of the running task's budget, for an operation that may wait.
///
/// `Pending` means that nothing is left: the task has been woken already and should return.
#[inline]
pub fn poll_proceed(cx: &mut Context<'_>) -> Poll<Permit> {
    LEFT.with(|cell| {
        let before = cell.get();
        match before {
            None => {}
            Some(0) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(left) => cell.set(Some(left - 1)),
        }
        Poll::Ready(Permit { before })
    })
}

/// Whether something is left of the running task's budget.
#[cfg(not(loom))]
pub(crate) fn has_budget() -> bool {
    LEFT.with(Cell::get) != Some(0)
}

/// Takes a unit of the running task's budget for an operation that has succeeded, if one is left.
#[cfg(not(loom))]
pub(crate) fn spend() {
    LEFT.with(|left| left.set(left.get().map(|units| units.saturating_sub(1))));
}

/// Gives the poll that begins on this thread a full budget.
#[inline]
pub(crate) fn refill() {
    LEFT.with(|left| left.set(Some(BUDGET)));
}

/// Runs `f`, which is no task, without a budget.
pub(crate) fn unlimited<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(Option<u8>);
    impl Drop for Restore {
        fn drop(&mut self) {
            LEFT.with(|left| left.set(self.0));
        }
    }
    let _restore = Restore(LEFT.with(|left| left.replace(None)));
    f()
}
