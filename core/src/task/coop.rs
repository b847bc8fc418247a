//! The budget that keeps one task from holding its thread for ever.
//!
//! A future that always finds something ready would never give way. So each poll of a task begins
//! with a budget of [`BUDGET`] units; every operation of this crate that may wait spends one when
//! it succeeds, and without one it answers `Pending` and wakes its task at once, which puts the
//! task behind the others. What an event loop blocks on counts as a task. Elsewhere there is no
//! budget, and nothing is limited.
//!
//! A task that computes for long, or waits for what is not of this crate, joins in with
//! [`consume_budget`] or [`cooperative`]; one that must not be interrupted so opts out with
//! [`unconstrained`].

use crate::shim::thread_local;
use pin_project_lite::pin_project;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

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

/// Whether something is left of the running task's budget; `true` where there is none. A task that
/// does as much as it may in one poll looks here before it goes on, and yields if there is nothing.
pub fn has_budget_remaining() -> bool {
    LEFT.with(Cell::get) != Some(0)
}

/// Spends a unit of the running task's budget, and gives way to other tasks if none is left. For a
/// loop that does much and seldom waits.
///
/// # Cancel safety
/// Cancel-safe: a wait that is given up has spent nothing.
pub async fn consume_budget() {
    poll_fn(|cx| poll_proceed(cx).map(Permit::made_progress)).await;
}

/// Makes a future spend a unit of its task's budget when it is ready, and wait when none is left:
/// for what is ready time and again and comes from elsewhere, the channel of another crate for
/// instance.
pub fn cooperative<F: Future>(future: F) -> Coop<F> {
    Coop { future }
}

/// Polls a future without a budget: it may go on as long as it finds something ready, and keep the
/// other tasks of its thread waiting.
pub fn unconstrained<F: Future>(future: F) -> Unconstrained<F> {
    Unconstrained { future }
}

pin_project! {
    /// The future of [`cooperative`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless awaited"]
    pub struct Coop<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Coop<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let permit = ready!(poll_proceed(cx));
        let output = ready!(self.project().future.poll(cx));
        permit.made_progress();
        Poll::Ready(output)
    }
}

pin_project! {
    /// The future of [`unconstrained`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless awaited"]
    pub struct Unconstrained<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Unconstrained<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        unlimited(|| self.project().future.poll(cx))
    }
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
