//! Any non-blocking descriptor, for tasks.

use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use super::socket::{self, Found, Socket, Waiter};
use super::sys;
use crate::reactor::scheduled_io::{Kind, Place};
use crate::reactor::{Direction, Interest, Ready};

/// A non-blocking descriptor, owned by `T`, whose operations tasks can wait for.
///
/// An operation is attempted at once; only when it would block is the descriptor registered, as the
/// [module](super) says of sockets. One task waits in each direction, unless a method says otherwise.
///
/// Either an operation is attempted by one of the `poll_` functions, or readiness is waited for, and an
/// attempt made inside the [guard](ReadyGuard):
///
/// ```
/// use libruntime_core::net::AsyncFd;
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// # libruntime_core::runtime::Runtime::new()?.block_on(async {
/// let (ours, mut other) = UnixStream::pair()?;
/// ours.set_nonblocking(true)?;
/// let ours = AsyncFd::new(ours);
/// other.write_all(b"x")?;
/// let mut buffer = [0; 8];
/// let n = loop {
///     let mut guard = ours.readable().await?;
///     if let Some(result) = guard.try_io(|mut io| io.read(&mut buffer)) {
///         break result?;
///     }
/// };
/// assert_eq!(n, 1);
/// # Ok::<(), std::io::Error>(())
/// # })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

    /// Takes over a descriptor, makes it non-blocking, and looks whether it can be waited for at all.
    ///
    /// # Errors
    /// Gives it back with the reason: `Unsupported` for a file or a directory, which the system never
    /// finds blocked; what the system says.
    pub fn try_new(inner: T) -> Result<AsyncFd<T>, TryNewError<T>> {
        match sys::prepare(inner.as_raw_fd()) {
            Ok(()) => Ok(AsyncFd::new(inner)),
            Err(error) => Err(TryNewError { inner, error }),
        }
    }

    /// Waits until reading is worth an attempt. Any number of tasks may wait.
    ///
    /// # Errors
    /// `Other` if the runtime or event loop that the descriptor is registered with is gone.
    pub async fn readable(&self) -> io::Result<ReadyGuard<'_, T>> {
        self.ready(Interest::READ).await
    }

    /// Waits until writing is worth an attempt. Any number of tasks may wait.
    ///
    /// # Errors
    /// As [`readable`](Self::readable).
    pub async fn writable(&self) -> io::Result<ReadyGuard<'_, T>> {
        self.ready(Interest::WRITE).await
    }

    /// Waits until something that is asked for is worth an attempt.
    ///
    /// # Errors
    /// As [`readable`](Self::readable); `InvalidInput` if neither `READ` nor `WRITE` is asked for.
    pub async fn ready(&self, interest: Interest) -> io::Result<ReadyGuard<'_, T>> {
        let found = self.0.found(interest).await?;
        Ok(ReadyGuard { fd: self, found })
    }

    /// One attempt, without waiting. `WouldBlock` is remembered.
    ///
    /// # Errors
    /// Those of the attempt; `WouldBlock` without one where it is known; `InvalidInput` unless
    /// `interest` is either `READ` or `WRITE`.
    pub fn try_io<R>(
        &self,
        interest: Interest,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let direction = socket::direction(interest)?;
        self.0.try_io(direction, || attempt(self.0.io()))
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

/// A descriptor that was found worth an attempt, until an attempt says otherwise.
///
/// The readiness is kept until [`clear_ready`](Self::clear_ready): a guard that is dropped changes
/// nothing, and the next wait ends at once.
pub struct ReadyGuard<'a, T: AsRawFd> {
    fd: &'a AsyncFd<T>,
    found: [Option<Found>; 2],
}

impl<'a, T: AsRawFd> ReadyGuard<'a, T> {
    /// What it is ready for, as far as is known.
    pub fn ready(&self) -> Ready {
        let found = self.found.iter().flatten();
        found.fold(Ready::NONE, |ready, found| ready | found.ready())
    }

    /// Attempts something. `None` if it would block: the readiness is cleared, and the next wait waits.
    pub fn try_io<R>(
        &mut self,
        attempt: impl FnOnce(&'a T) -> io::Result<R>,
    ) -> Option<io::Result<R>> {
        match attempt(self.fd.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.clear_ready().err().map(Err)
            }
            result => Some(result),
        }
    }

    /// Says that an attempt would have blocked, in whatever direction was waited for. Only say so
    /// when it did: what is ready is not reported again. News that have come since are kept.
    ///
    /// # Errors
    /// Why the descriptor can not be waited for: `Unsupported` for a file; `Other` outside of any runtime
    /// or event loop, or when that is gone.
    pub fn clear_ready(&mut self) -> io::Result<()> {
        for found in self.found.iter().flatten() {
            self.fd.0.not_ready(*found)?;
        }
        Ok(())
    }

    /// As [`clear_ready`](Self::clear_ready), in one direction or both.
    ///
    /// # Errors
    /// As there.
    pub fn clear_ready_matching(&mut self, interest: Interest) -> io::Result<()> {
        for found in self.found.iter().flatten() {
            if interest.contains(found.direction().interest()) {
                self.fd.0.not_ready(*found)?;
            }
        }
        Ok(())
    }

    /// The owner of the descriptor.
    pub fn get_ref(&self) -> &'a T {
        self.fd.get_ref()
    }
}

impl<T: AsRawFd> fmt::Debug for ReadyGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyGuard")
            .field("ready", &self.ready())
            .finish_non_exhaustive()
    }
}

/// Why [`AsyncFd::try_new`] did not take a descriptor over.
pub struct TryNewError<T> {
    inner: T,
    error: io::Error,
}

impl<T> TryNewError<T> {
    /// What was to be taken over, and why it was not.
    pub fn into_parts(self) -> (T, io::Error) {
        (self.inner, self.error)
    }
}

impl<T> fmt::Debug for TryNewError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> fmt::Display for TryNewError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> Error for TryNewError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl<T> From<TryNewError<T>> for io::Error {
    fn from(error: TryNewError<T>) -> io::Error {
        error.error
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
