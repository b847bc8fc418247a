//! Any non-blocking descriptor, for tasks.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use super::socket::{Socket, Waiter};
use crate::reactor::Direction;

/// A non-blocking descriptor, owned by `T`, whose operations tasks can wait for.
///
/// An operation is attempted at once; only when it would block is the descriptor registered, as the
/// [module](super) says of sockets. One task waits in each direction, unless a method says otherwise.
pub struct AsyncFd<T: AsRawFd>(Socket<T>);

impl<T: AsRawFd> AsyncFd<T> {
    /// Takes over a descriptor that is non-blocking already.
    pub fn new(inner: T) -> AsyncFd<T> {
        AsyncFd(Socket::new(inner))
    }

    /// The owner of the descriptor.
    pub fn get_ref(&self) -> &T {
        self.0.io()
    }

    /// Takes the descriptor out of the reactor and gives it back.
    pub fn into_inner(self) -> T {
        self.0.into_io()
    }

    /// Attempts something that reads until it does not answer `WouldBlock`.
    ///
    /// # Errors
    /// Those of the attempt; `Other` outside of any runtime or event loop, or when the one that the
    /// descriptor is registered with is gone.
    pub fn poll_read_with<R>(
        &self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let attempt = || attempt(self.0.io());
        self.0.poll_io(cx, Direction::Read, Waiter::Task, attempt)
    }

    /// As [`poll_read_with`](Self::poll_read_with), for any number of tasks: all are woken.
    ///
    /// # Errors
    /// As `poll_read_with`.
    pub fn poll_read_with_in_crowd<R>(
        &self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let attempt = || attempt(self.0.io());
        self.0.poll_io(cx, Direction::Read, Waiter::Crowd, attempt)
    }

    /// As [`poll_read_with`](Self::poll_read_with), for something that writes.
    ///
    /// # Errors
    /// As `poll_read_with`.
    pub fn poll_write_with<R>(
        &self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let attempt = || attempt(self.0.io());
        self.0.poll_io(cx, Direction::Write, Waiter::Task, attempt)
    }

    /// Attempts to receive up to `wanted` bytes from a stream. Less than that means that the stream
    /// is drained: the next attempt waits for news first.
    ///
    /// # Errors
    /// As `poll_read_with`.
    pub fn poll_receive_with(
        &self,
        cx: &mut Context<'_>,
        wanted: usize,
        mut attempt: impl FnMut(&T) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let attempt = || attempt(self.0.io());
        self.0.poll_transfer(cx, Direction::Read, wanted, attempt)
    }

    /// As [`poll_receive_with`](Self::poll_receive_with), for `wanted` bytes to send.
    ///
    /// # Errors
    /// As `poll_read_with`.
    pub fn poll_send_with(
        &self,
        cx: &mut Context<'_>,
        wanted: usize,
        mut attempt: impl FnMut(&T) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let attempt = || attempt(self.0.io());
        self.0.poll_transfer(cx, Direction::Write, wanted, attempt)
    }
}

impl<T: AsRawFd + fmt::Debug> fmt::Debug for AsyncFd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncFd").field(self.0.io()).finish()
    }
}
