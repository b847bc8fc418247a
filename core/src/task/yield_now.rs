//! Giving way to other tasks.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Lets the other tasks that are ready run before this one goes on.
///
/// On a `Runtime` the task goes to the back of its worker's queue; on an `EventLoop` it goes on in
/// the same turn after the tasks that were ready before it, or in the next.
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        // Woken while it is polled, the task is rescheduled when the poll returns: behind others.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
