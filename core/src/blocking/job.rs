//! A blocking job as a task.

use crate::executor::SharedRef;
use crate::task::coop;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A job as a future: its only poll runs it to its end, inside its runtime.
pub(super) struct Job<F> {
    work: Option<(F, SharedRef)>,
}

impl<F> Job<F> {
    pub(super) fn new(work: F, runtime: SharedRef) -> Job<F> {
        Job {
            work: Some((work, runtime)),
        }
    }
}

impl<F> Unpin for Job<F> {}

impl<F: FnOnce() -> R, R> Future for Job<F> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<R> {
        let (work, runtime) = self.work.take().expect("a job is polled once");
        let _entered = crate::context::enter(&runtime);
        Poll::Ready(coop::unlimited(work))
    }
}
