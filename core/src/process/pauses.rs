//! Waiting for something that tells nobody.

use crate::context;
use crate::time::{Sleep, sleep};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(32);

/// The pauses between two looks, twice as long each time. A thread that waited instead would hold up
/// the end of its runtime until the child's.
#[derive(Default)]
pub(super) struct Pauses {
    length: Duration,
    current: Option<Pin<Box<Sleep>>>,
}

impl Pauses {
    /// Looks after each pause until there is something, or an error.
    pub(super) fn poll<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut look: impl FnMut() -> io::Result<Option<R>>,
    ) -> Poll<io::Result<R>> {
        loop {
            if let Some(found) = look()? {
                return Poll::Ready(Ok(found));
            }
            if context::with_driver(|_| ()).is_none() {
                let message = "a child is waited for outside of any runtime and event loop";
                return Poll::Ready(Err(io::Error::other(message)));
            }
            let current = match &mut self.current {
                Some(current) => current,
                none => {
                    self.length = (self.length * 2).clamp(FIRST, LONGEST);
                    none.insert(Box::pin(sleep(self.length)))
                }
            };
            ready!(current.as_mut().poll(cx));
            self.current = None;
        }
    }
}
