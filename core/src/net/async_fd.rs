//! Any non-blocking descriptor, for tasks.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use super::socket::{Socket, Waiter};
use crate::reactor::Direction;
use crate::reactor::scheduled_io::{Kind, Place};

/// A non-blocking descriptor, owned by `T`, whose operations tasks can wait for.
///
/// An operation is attempted at once; only when it would block is the descriptor registered, as the
/// [module](super) says of sockets. One task waits in each direction, unless a method says otherwise.
pub struct AsyncFd<T: AsRawFd>(Socket<T>);

impl<T: AsRawFd> AsyncFd<T> {
    /// Takes over a descriptor that is non-blocking already.
    pub fn new(inner: T) -> AsyncFd<T> {
        AsyncFd(Socket::shared(inner))
    }

    /// As [`new`](Self::new), for a `T` that closes the descriptor when it is dropped: the system
    /// takes it out of the reactor then, which saves a call.
    pub fn new_owned(inner: T) -> AsyncFd<T>
    where
        T: Into<OwnedFd>,
    {
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

/// A place among any number of tasks that wait to read from one [`AsyncFd`], for a task that is
/// polled by hand. What it waits for is forgotten when this is dropped, and not before; so a task
/// keeps it as long as it may poll again. All who have a place are woken.
///
/// It does not keep the descriptor open.
pub struct ReadPlace<T: AsRawFd> {
    fd: Weak<AsyncFd<T>>,
    place: Place,
}

impl<T: AsRawFd> ReadPlace<T> {
    /// A place for whoever polls this.
    pub fn new(fd: &Arc<AsyncFd<T>>) -> ReadPlace<T> {
        ReadPlace {
            fd: Arc::downgrade(fd),
            place: Place::new(Direction::Read, Kind::Watcher),
        }
    }

    /// Whether this is a place of `fd`.
    pub fn is_of(&self, fd: &Arc<AsyncFd<T>>) -> bool {
        std::ptr::eq(self.fd.as_ptr(), Arc::as_ptr(fd))
    }

    /// As [`AsyncFd::poll_read_with`].
    ///
    /// # Errors
    /// As there; `NotConnected` if the `AsyncFd` is gone.
    pub fn poll_read_with<R>(
        &self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let Some(fd) = self.fd.upgrade() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let waiter = Waiter::Member(&self.place);
        let attempt = || attempt(fd.0.io());
        fd.0.poll_io(cx, Direction::Read, waiter, attempt)
    }
}

impl<T: AsRawFd> Drop for ReadPlace<T> {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.upgrade() {
            fd.0.leave(&self.place);
        }
    }
}

impl<T: AsRawFd> fmt::Debug for ReadPlace<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadPlace").finish_non_exhaustive()
    }
}

impl<T: AsRawFd + fmt::Debug> fmt::Debug for AsyncFd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncFd").field(self.0.io()).finish()
    }
}
