//! Futures that are ready at a point in time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use super::clock;
use super::entry::{Entry, FIRED, IDLE, LEFT, LINKED};
use super::reference::TimerRef;
use crate::context;
use crate::task::coop;

/// Waits until `duration` has passed, never less.
///
/// The wait is late by at most a tick of 8.192 µs, beside what the system and the other tasks take. A
/// duration that is too long for an [`Instant`] is some thirty years. Time is that of [`Instant`]: on
/// Linux it stands still while the system is suspended.
///
/// After the end of the runtime or event loop whose timers it is polled with, a sleep still ends in
/// time: one thread serves those that are left, and ends with the last of them. If the system has no
/// thread to give, whoever waits is woken again and again to look at the clock: in time, and never
/// early, but with a processor busy.
///
/// # Cancel safety
/// Dropping the future cancels it, from any thread and in constant time.
///
/// # Panics
/// When first polled where there are neither timers of a runtime nor of an event loop.
pub fn sleep(duration: Duration) -> Sleep {
    let deadline = clock::after(Instant::now(), duration);
    Sleep::new(deadline, clock::is_ahead(duration))
}

/// Waits until `deadline` has passed; see [`sleep`].
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::new(deadline, false)
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// It belongs to the timers of the thread that polls it first, and stays theirs when the task moves
/// to another thread.
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    entry: Entry,
    /// The timers that the entry is in, or was in before it fired. Set while it is either.
    queue: Option<TimerRef>,
}

// A million of them are to be had in 64 MB.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Sleep>() <= 56);

impl Sleep {
    /// `ahead` says that the deadline is later than now, by more than a tick.
    pub(super) fn new(deadline: Instant, ahead: bool) -> Sleep {
        Sleep {
            entry: Entry::new(deadline, ahead),
            queue: None,
        }
    }

    /// When it is over. A deadline centuries away is given as one 292 years away once the sleep waits
    /// for it.
    pub fn deadline(&self) -> Instant {
        match &self.queue {
            Some(queue) if matches!(self.entry.state(), LINKED | FIRED | LEFT) => {
                self.entry.linked_deadline(queue.clock())
            }
            _ => self.entry.loose_deadline(),
        }
    }

    /// Whether it is over, as far as its timers have noticed.
    pub fn is_elapsed(&self) -> bool {
        match self.entry.state() {
            FIRED => true,
            LINKED => false,
            _ => self.deadline() <= Instant::now(),
        }
    }

    /// Sets another deadline, whether this one has passed or not. A task that waits already is woken
    /// at the new one.
    pub fn reset(self: Pin<&mut Self>, deadline: Instant) {
        self.reset_to(deadline, false);
    }

    /// As [`reset`](Self::reset); `ahead` says that the deadline is later than now, by more than a
    /// tick.
    pub(super) fn reset_to(self: Pin<&mut Self>, deadline: Instant, ahead: bool) {
        // SAFETY: nothing is moved out of the pin.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: the entry is pinned with its sleep.
        let entry = unsafe { Pin::new_unchecked(&this.entry) };
        if entry.state() == LINKED
            && let Some(queue) = &this.queue
        {
            let here = context::is_waiter_of(queue);
            // SAFETY: the context knows, and this is the entry's future.
            unsafe {
                if queue.clock().is_younger_than(deadline) {
                    // Its clock has no such time. It has passed, so whoever waits is woken now.
                    if let Some(waker) = queue.cancel(entry, here) {
                        waker.wake();
                    }
                } else if queue.reset(entry, deadline, here) {
                    return;
                }
            }
        }
        // It has fired: whoever waited was woken, and comes to ask again.
        entry.set_loose(deadline, ahead);
    }

    /// Whether it is over, whatever the task's budget.
    pub(super) fn poll_elapsed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: nothing is moved out of the pin.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: the entry is pinned with its sleep.
        let entry = unsafe { Pin::new_unchecked(&this.entry) };
        match (entry.state(), &this.queue) {
            (FIRED, _) => return Poll::Ready(()),
            (LINKED, Some(queue)) => {
                if entry.wakes(cx.waker()) {
                    return Poll::Pending;
                }
                // Before the context is asked: the clone may be foreign code.
                let waker = cx.waker().clone();
                let here = context::is_waiter_of(queue);
                // SAFETY: the context knows, and this is the entry's future.
                let linked = unsafe { queue.replace_waker(entry, waker, here) };
                if linked {
                    return Poll::Pending;
                }
                if entry.state() == FIRED {
                    return Poll::Ready(());
                }
                entry.set_loose(entry.linked_deadline(queue.clock()), false);
            }
            (LEFT, Some(queue)) => {
                entry.set_loose(entry.linked_deadline(queue.clock()), false);
            }
            _ => {}
        }
        let deadline = entry.loose_deadline();
        // What was ahead when it was set need not be compared with the time: the wheel does that.
        if entry.state() == IDLE && deadline <= Instant::now() {
            return Poll::Ready(());
        }
        let old = &mut this.queue;
        // As above.
        let waker = cx.waker().clone();
        let set = context::with_timers(|queue, here| {
            if queue.clock().is_younger_than(deadline) {
                return Poll::Ready(());
            }
            if !old.as_ref().is_some_and(|old| old.is(queue)) {
                // SAFETY: the context knows.
                *old = Some(unsafe { TimerRef::to(queue, here) });
            }
            // SAFETY: the context knows; this is the entry's future, and its drop cancels.
            match unsafe { queue.insert(entry, deadline, waker, here) } {
                Ok(()) => {}
                // Nobody serves timers, so the task has to ask until the time has come.
                Err(waker) => waker.wake(),
            }
            Poll::Pending
        });
        match (set, &this.queue) {
            (Some(poll), _) => poll,
            (None, Some(queue)) => set_from_afar(entry, queue, deadline, cx.waker().clone()),
            (None, None) => no_timers(),
        }
    }
}

/// This thread has no timers of its own; the entry is set once more in the queue that it was in.
#[cold]
fn set_from_afar(
    entry: Pin<&Entry>,
    queue: &TimerRef,
    deadline: Instant,
    waker: Waker,
) -> Poll<()> {
    if deadline <= Instant::now() {
        return Poll::Ready(());
    }
    // SAFETY: `false` is never wrong; the caller is the entry's future, and its drop cancels.
    if let Err(waker) = unsafe { queue.insert(entry, deadline, waker, false) } {
        // As above.
        waker.wake();
    }
    Poll::Pending
}

#[cold]
fn no_timers() -> ! {
    panic!(
        "a timer was polled on a thread that belongs to no runtime and no event loop: \
         poll it in a task, in block_on, or inside Handle::enter"
    )
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let permit = ready!(coop::poll_proceed(cx));
        ready!(self.poll_elapsed(cx));
        permit.made_progress();
        Poll::Ready(())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take() else {
            return;
        };
        let here = context::is_waiter_of(&queue);
        // SAFETY: the context knows. A sleep that has a queue is pinned; its memory is not used again,
        // and this is the entry's future.
        unsafe {
            let waker = queue.cancel(Pin::new_unchecked(&self.entry), here);
            queue.give_back(here);
            drop(waker);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline())
            .field("elapsed", &self.is_elapsed())
            .finish()
    }
}
