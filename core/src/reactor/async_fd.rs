//! A descriptor for tasks: tried first, registered when that would block.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use super::{Direction, Registration, closed};
use crate::context;
use crate::task::coop;

/// A non-blocking descriptor, owned by `T`, whose operations tasks can wait for.
///
/// An operation is tried at once. Only when it would block for the first time is the descriptor
/// registered, with the reactor of the worker or event loop that polls then, and it stays there. One
/// task can wait in each direction, unless a method says otherwise; a second one in the same
/// direction takes the place of the first.
///
/// Threads: any.
pub struct AsyncFd<T: AsRawFd> {
    /// Dropped before `inner`, which closes the descriptor.
    registration: OnceLock<Registration>,
    /// Held while registering, which only one task may do.
    registering: Mutex<()>,
    inner: T,
}

impl<T: AsRawFd> AsyncFd<T> {
    /// Takes over a descriptor that is non-blocking already.
    pub fn new(inner: T) -> AsyncFd<T> {
        AsyncFd {
            registration: OnceLock::new(),
            registering: Mutex::new(()),
            inner,
        }
    }

    /// The owner of the descriptor.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Takes the descriptor out of the reactor and gives it back.
    pub fn into_inner(self) -> T {
        self.inner
    }

    /// Tries `operation`, which reads, until it does not answer `WouldBlock`.
    ///
    /// Beside its result the operation says whether it has exhausted the descriptor, as a read does
    /// that comes up short: then the next one waits for news without trying first. `false` is always
    /// right.
    ///
    /// # Errors
    /// Those of the operation; `Other` outside of any runtime or event loop, or when the one that it
    /// is registered with is gone.
    pub fn poll_read_with<R>(
        &self,
        cx: &mut Context<'_>,
        operation: impl FnMut(&T) -> io::Result<(R, bool)>,
    ) -> Poll<io::Result<R>> {
        self.poll_with(cx, Direction::Read, false, operation)
    }

    /// As [`poll_read_with`](Self::poll_read_with), for any number of tasks: all are woken.
    pub fn poll_read_with_in_crowd<R>(
        &self,
        cx: &mut Context<'_>,
        operation: impl FnMut(&T) -> io::Result<(R, bool)>,
    ) -> Poll<io::Result<R>> {
        self.poll_with(cx, Direction::Read, true, operation)
    }

    /// As [`poll_read_with`](Self::poll_read_with), for an operation that writes.
    pub fn poll_write_with<R>(
        &self,
        cx: &mut Context<'_>,
        operation: impl FnMut(&T) -> io::Result<(R, bool)>,
    ) -> Poll<io::Result<R>> {
        self.poll_with(cx, Direction::Write, false, operation)
    }

    fn poll_with<R>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        crowd: bool,
        mut operation: impl FnMut(&T) -> io::Result<(R, bool)>,
    ) -> Poll<io::Result<R>> {
        let permit = ready!(coop::poll_proceed(cx));
        let Some(registration) = self.registration.get() else {
            return match operation(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.register(direction)?;
                    drop(permit);
                    self.poll_with(cx, direction, crowd, operation)
                }
                result => {
                    permit.made_progress();
                    Poll::Ready(result.map(|(value, _)| value))
                }
            };
        };
        registration.want(direction)?;
        let io = registration.io();
        loop {
            let seen = ready!(if crowd {
                io.poll_ready_in_crowd(cx, direction)
            } else {
                io.poll_ready(cx, direction)
            });
            match operation(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if io.is_closed() {
                        return Poll::Ready(Err(closed()));
                    }
                    io.clear(seen, direction);
                }
                result => {
                    permit.made_progress();
                    return Poll::Ready(result.map(|(value, exhausted)| {
                        // What was reported with the end is not reported again.
                        if exhausted && !seen.is_final() {
                            io.clear(seen, direction);
                        }
                        value
                    }));
                }
            }
        }
    }

    #[cold]
    fn register(&self, direction: Direction) -> io::Result<()> {
        let handle = context::with_driver(|driver| driver.reactor.clone());
        let Some(handle) = handle else {
            return Err(io::Error::other(
                "this would have to wait, and the thread belongs to no runtime or event loop",
            ));
        };
        let _registering = self
            .registering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.registration.get().is_none() {
            let fd = self.inner.as_raw_fd();
            let registration = Registration::new(handle, fd, direction.interest())?;
            let _ = self.registration.set(registration);
        }
        Ok(())
    }
}

impl<T: AsRawFd + fmt::Debug> fmt::Debug for AsyncFd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncFd").field(&self.inner).finish()
    }
}
