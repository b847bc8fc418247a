//! A limit on how long a future may take.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::clock;
use super::sleep::{Sleep, sleep_until};
use crate::task::coop;

/// Waits for `future` for at most `duration`.
///
/// The future is polled first: one that is ready at once is ready however short the time.
///
/// # Cancel safety
/// Dropping the future drops the one inside; what that means is the inner future's affair. When the
/// time is over the inner future is kept until the timeout is dropped.
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    let deadline = clock::after(Instant::now(), duration);
    Timeout {
        future: future.into_future(),
        sleep: Sleep::new(deadline, clock::is_ahead(duration)),
    }
}

/// Waits for `future` until `deadline` at most; see [`timeout`].
pub fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Timeout<F::IntoFuture> {
    Timeout {
        future: future.into_future(),
        sleep: sleep_until(deadline),
    }
}

pin_project! {
    /// The future of [`timeout`] and [`timeout_at`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        sleep: Sleep,
    }
}

impl<F> Timeout<F> {
    /// The future inside.
    pub fn get_ref(&self) -> &F {
        &self.future
    }

    /// The future inside, for changing it.
    pub fn get_mut(&mut self) -> &mut F {
        &mut self.future
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let had_budget = coop::has_budget_remaining();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        // A future that always uses up the budget must not keep the time from being over. One that
        // found none left is asked again first.
        ready!(this.sleep.poll_elapsed(cx));
        if had_budget {
            coop::spend();
            Poll::Ready(Err(Elapsed(())))
        } else {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }
}

/// The time was over first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(_: Elapsed) -> std::io::Error {
        std::io::ErrorKind::TimedOut.into()
    }
}
