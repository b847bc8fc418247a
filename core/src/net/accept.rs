//! Accepting connections, whatever they are made of, and going on when descriptors run out.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::socket::{Socket, Waiter};
use super::sys;
use crate::context;
use crate::reactor::Direction;
use crate::time::{Sleep, sleep};

/// How long to wait before the first attempt after descriptors ran out, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What the system is asked to queue; it takes less if it is set up to.
pub(super) const BACKLOG: i32 = 4096;

/// A listener that pauses when descriptors or memory have run out; see
/// [`TcpListener`](super::TcpListener).
pub(super) struct Acceptor<L> {
    pub(super) socket: Socket<L>,
    stalls: AtomicU64,
    /// Of [`poll_accept`](Self::poll_accept); a future has its own.
    pause: Mutex<Option<Pause>>,
}

struct Pause {
    sleep: Pin<Box<Sleep>>,
    length: Duration,
}

impl<L: AsRawFd> Acceptor<L> {
    /// `io` is non-blocking.
    pub(super) fn new(io: L) -> Acceptor<L> {
        Acceptor {
            socket: Socket::new(io),
            stalls: AtomicU64::new(0),
            pause: Mutex::new(None),
        }
    }

    pub(super) async fn accept<C>(&self, accept: impl Fn(&L) -> io::Result<C>) -> io::Result<C> {
        let mut pause = FIRST_PAUSE;
        loop {
            let attempt = {
                let contender = self.socket.contender(Direction::Read);
                poll_fn(|cx| self.poll_attempt(cx, contender.waiter(), &accept)).await
            };
            match attempt {
                Err(error) if self.can_pause(&error) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                result => return result,
            }
        }
    }

    pub(super) fn poll_accept<C>(
        &self,
        cx: &mut Context<'_>,
        accept: impl Fn(&L) -> io::Result<C>,
    ) -> Poll<io::Result<C>> {
        if self.poll_pause(cx).is_pending() {
            return Poll::Pending;
        }
        loop {
            match ready!(self.poll_attempt(cx, Waiter::Task, &accept)) {
                Err(error) if self.can_pause(&error) => {
                    self.lengthen_pause();
                    ready!(self.poll_pause(cx));
                }
                result => {
                    if self.stalls() > 0 {
                        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    }
                    return Poll::Ready(result);
                }
            }
        }
    }

    pub(super) fn try_accept<C>(&self, accept: impl Fn(&L) -> io::Result<C>) -> io::Result<C> {
        self.socket
            .try_io(Direction::Read, || self.accept_one(&accept))
    }

    pub(super) fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }

    fn accept_one<C>(&self, accept: &impl Fn(&L) -> io::Result<C>) -> io::Result<C> {
        loop {
            match accept(self.socket.io()) {
                Err(error) if sys::is_of_one_connection(&error) => {}
                result => return result,
            }
        }
    }

    fn poll_attempt<C>(
        &self,
        cx: &mut Context<'_>,
        waiter: Waiter<'_>,
        accept: &impl Fn(&L) -> io::Result<C>,
    ) -> Poll<io::Result<C>> {
        self.socket
            .poll_io(cx, Direction::Read, waiter, || self.accept_one(accept))
    }

    /// Whether `error` is to be slept over. Without timers it can not be.
    fn can_pause(&self, error: &io::Error) -> bool {
        let can = sys::is_exhausted(error) && context::with_driver(|_| ()).is_some();
        if can {
            self.stalls.fetch_add(1, Ordering::Relaxed);
        }
        can
    }

    #[cold]
    fn lengthen_pause(&self) {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        let length = pause
            .as_ref()
            .map_or(FIRST_PAUSE, |last| last.length * 2)
            .min(LONGEST_PAUSE);
        *pause = Some(Pause {
            sleep: Box::pin(sleep(length)),
            length,
        });
    }

    /// Ready when there is no pause, or no more.
    fn poll_pause(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stalls() == 0 {
            return Poll::Ready(());
        }
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *pause {
            Some(pause) => pause.sleep.as_mut().poll(cx),
            None => Poll::Ready(()),
        }
    }
}
