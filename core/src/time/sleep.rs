//! Futures that are ready at a point in time.

use std::fmt;
use std::future::Future;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, RawWakerVTable, Waker, ready};
use std::time::{Duration, Instant};

use super::clock;
use super::queue::{Entry, TimerQueue};
use crate::context;
use crate::task::coop;

/// Waits until `duration` has passed, never less.
///
/// The wait is late by at most a tick of 8.192 µs, beside what the system and the other tasks take. A
/// duration that is too long for an [`Instant`] is some thirty years.
///
/// # Cancel safety
/// Dropping the future cancels it, from any thread and in constant time.
///
/// # Panics
/// When polled where there are neither timers of a runtime nor of an event loop.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(clock::after(Instant::now(), duration))
}

/// Waits until `deadline` has passed; see [`sleep`].
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline,
        registered: None,
        entry: Entry::new(),
        _pinned: PhantomPinned,
    }
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// It belongs to the timers of the thread that polls it first, and stays theirs when the task moves
/// to another thread.
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    deadline: Instant,
    registered: Option<Registered>,
    entry: Entry,
    _pinned: PhantomPinned,
}

/// Where the entry is, and whom it wakes.
struct Registered {
    queue: Arc<TimerQueue>,
    /// The two words of the waker in the entry: enough to tell whether another is the same without
    /// the queue's lock. They are not called, and the waker they are of lives in the entry.
    waker: (*const (), &'static RawWakerVTable),
}

// SAFETY: the waker's words are only compared; the rest is Send and Sync.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

impl Registered {
    fn wakes(&self, waker: &Waker) -> bool {
        self.waker.0 == waker.data() && ptr::eq(self.waker.1, waker.vtable())
    }
}

impl Sleep {
    /// When it is over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether it is over, as far as its timers have noticed.
    pub fn is_elapsed(&self) -> bool {
        self.entry.has_fired() || (self.registered.is_none() && self.deadline <= Instant::now())
    }

    /// Sets another deadline, whether this one has passed or not. A task that waits already is woken
    /// at the new one.
    pub fn reset(self: Pin<&mut Self>, deadline: Instant) {
        // SAFETY: nothing is moved out of the pin.
        let this = unsafe { self.get_unchecked_mut() };
        this.deadline = deadline;
        if let Some(registered) = &this.registered {
            // SAFETY: the entry is pinned with its sleep.
            let entry = unsafe { Pin::new_unchecked(&this.entry) };
            let queue = &registered.queue;
            if !queue.reset(entry, deadline, context::is_waiter_of(queue)) {
                // It has fired: whoever waited was woken, and comes to ask again.
                queue.cancel(entry);
                this.registered = None;
            }
        }
    }

    /// Whether it is over, whatever the task's budget.
    pub(super) fn poll_elapsed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: nothing is moved out of the pin.
        let this = unsafe { self.get_unchecked_mut() };
        if this.entry.has_fired() {
            return Poll::Ready(());
        }
        // SAFETY: the entry is pinned with its sleep.
        let entry = unsafe { Pin::new_unchecked(&this.entry) };
        let waker = cx.waker();
        match &mut this.registered {
            Some(registered) if registered.wakes(waker) => return Poll::Pending,
            Some(registered) => {
                if !registered.queue.replace_waker(entry, waker.clone()) {
                    // Fired in between; unless the queue was closed, and then nothing fires.
                    return if entry.has_fired() {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    };
                }
                registered.waker = (waker.data(), waker.vtable());
                return Poll::Pending;
            }
            None => {}
        }
        if this.deadline <= Instant::now() {
            return Poll::Ready(());
        }
        let queue =
            context::with_driver(|driver| driver.timers.clone()).unwrap_or_else(|| no_timers());
        let here = context::is_waiter_of(&queue);
        let waker = waker.clone();
        let words = (waker.data(), waker.vtable());
        queue.insert(entry, this.deadline, waker, here);
        this.registered = Some(Registered {
            queue,
            waker: words,
        });
        Poll::Pending
    }
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
        if let Some(registered) = &self.registered {
            // SAFETY: a registered sleep is pinned, and its memory is not used again.
            registered
                .queue
                .cancel(unsafe { Pin::new_unchecked(&self.entry) });
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .field("elapsed", &self.is_elapsed())
            .finish()
    }
}
