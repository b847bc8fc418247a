//! Bytes from one non-blocking descriptor to another.

use super::unix::pipe;
use super::{AsyncFd, TcpStream, UnixStream};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::task::{Context, Poll};

/// What [`splice`] can take bytes from.
pub trait SpliceSource: sealed::Source {}

/// What [`splice`] and [`send_file`](crate::fs::send_file) can move bytes to.
pub trait SendTarget: sealed::Target {}

pub(crate) type Attempt<'a> = &'a mut dyn FnMut() -> io::Result<usize>;

pub(crate) mod sealed {
    use super::{Attempt, BorrowedFd, Context, Poll, io};

    pub trait Source {
        fn source(&self) -> BorrowedFd<'_>;

        /// Attempts something that reads until it does not answer `WouldBlock`.
        fn poll_source(
            &self,
            cx: &mut Context<'_>,
            attempt: Attempt<'_>,
        ) -> Poll<io::Result<usize>>;
    }

    pub trait Target {
        /// An error if it is closed.
        fn target(&self) -> io::Result<BorrowedFd<'_>>;

        /// Attempts something that writes, likewise.
        fn poll_target(
            &self,
            cx: &mut Context<'_>,
            attempt: Attempt<'_>,
        ) -> Poll<io::Result<usize>>;
    }
}
pub(crate) use sealed::{Source, Target};

macro_rules! source {
    ($($source:ty),*) => {$(
        impl SpliceSource for $source {}
        impl Source for $source {
            fn source(&self) -> BorrowedFd<'_> {
                self.as_fd()
            }

            fn poll_source(
                &self,
                cx: &mut Context<'_>,
                attempt: Attempt<'_>,
            ) -> Poll<io::Result<usize>> {
                self.poll_read_attempt(cx, attempt)
            }
        }
    )*};
}

macro_rules! target {
    ($($target:ty),*) => {$(
        impl SendTarget for $target {}
        impl Target for $target {
            fn target(&self) -> io::Result<BorrowedFd<'_>> {
                Ok(self.as_fd())
            }

            fn poll_target(
                &self,
                cx: &mut Context<'_>,
                attempt: Attempt<'_>,
            ) -> Poll<io::Result<usize>> {
                self.poll_write_attempt(cx, attempt)
            }
        }
    )*};
}

source!(TcpStream, UnixStream, pipe::Receiver);
target!(TcpStream, UnixStream, pipe::Sender);

impl<T: AsFd + AsRawFd> SpliceSource for AsyncFd<T> {}
impl<T: AsFd + AsRawFd> Source for AsyncFd<T> {
    fn source(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }

    fn poll_source(&self, cx: &mut Context<'_>, attempt: Attempt<'_>) -> Poll<io::Result<usize>> {
        self.poll_read_with(cx, |_| attempt())
    }
}

impl<T: AsFd + AsRawFd> SendTarget for AsyncFd<T> {}
impl<T: AsFd + AsRawFd> Target for AsyncFd<T> {
    fn target(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.get_ref().as_fd())
    }

    fn poll_target(&self, cx: &mut Context<'_>, attempt: Attempt<'_>) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |_| attempt())
    }
}

/// Moves up to `length` bytes from one descriptor to another, of which at least one is a pipe: a child's
/// output to a connection, or a connection to a child's input. It ends earlier at the end of the source.
///
/// On Linux the bytes stay in the kernel (`splice`); elsewhere they go through a buffer. `moved` counts
/// them, also when the outcome is an error. No `SIGPIPE` is raised.
///
/// # Errors
/// `InvalidInput` if neither is a pipe, or the target is open to append; `BrokenPipe` if nobody reads the
/// target; outside of any runtime and event loop.
///
/// # Cancel safety
/// No byte is lost on Linux when the future is dropped, and `moved` is right. Elsewhere up to 64 KiB may be
/// taken from the source that did not reach the target.
pub async fn splice(
    from: &impl SpliceSource,
    to: &impl SendTarget,
    length: u64,
    moved: &mut u64,
) -> io::Result<()> {
    let end = moved.saturating_add(length);
    while *moved < end {
        let wanted = usize::try_from(end - *moved).unwrap_or(usize::MAX);
        match imp::piece(from, to, wanted).await? {
            0 => break,
            count => *moved += count as u64,
        }
    }
    Ok(())
}

#[cfg(all(target_os = "linux", not(libruntime_portable)))]
mod imp {
    use super::{BorrowedFd, SendTarget, SpliceSource, io, is_ready, poll_fn};
    use crate::task::coop;
    use crate::thread::without_sigpipe;
    use std::os::fd::AsRawFd;

    /// What one call moves at most, so that other tasks take their turn.
    const PIECE: usize = 1024 * 1024;

    pub(super) async fn piece(
        from: &impl SpliceSource,
        to: &impl SendTarget,
        wanted: usize,
    ) -> io::Result<usize> {
        loop {
            let permit = poll_fn(coop::poll_proceed).await;
            let attempt = || splice(from.source(), to.target()?, wanted.min(PIECE));
            match without_sigpipe(attempt) {
                Ok(count) => {
                    permit.made_progress();
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            drop(permit);
            // It does not say which of the two would block. Each is asked, for what the reactor remembers
            // may be older than that answer, or newer.
            let mut readable = || is_ready(from.source(), libc::POLLIN);
            poll_fn(|cx| from.poll_source(cx, &mut readable)).await?;
            let mut writable = || is_ready(to.target()?, libc::POLLOUT);
            poll_fn(|cx| to.poll_target(cx, &mut writable)).await?;
        }
    }

    fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, wanted: usize) -> io::Result<usize> {
        let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
        let none = std::ptr::null_mut();
        // SAFETY: two descriptors that are open, without offsets.
        let moved =
            unsafe { libc::splice(from.as_raw_fd(), none, to.as_raw_fd(), none, wanted, flags) };
        usize::try_from(moved).map_err(|_| io::Error::last_os_error())
    }
}

#[cfg(not(all(target_os = "linux", not(libruntime_portable))))]
mod imp {
    use super::{SendTarget, SpliceSource, io, poll_fn};
    use crate::thread::without_sigpipe;
    use std::os::fd::AsRawFd;

    const BUFFER: usize = 64 * 1024;

    pub(super) async fn piece(
        from: &impl SpliceSource,
        to: &impl SendTarget,
        wanted: usize,
    ) -> io::Result<usize> {
        let mut buffer = vec![0_u8; wanted.min(BUFFER)];
        let mut read = || {
            let (at, room) = (buffer.as_mut_ptr().cast(), buffer.len());
            // SAFETY: the buffer is valid for its length.
            count(unsafe { libc::read(from.source().as_raw_fd(), at, room) })
        };
        let length = poll_fn(|cx| from.poll_source(cx, &mut read)).await?;
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let mut write = || {
                let fd = to.target()?.as_raw_fd();
                // SAFETY: as above.
                let write = || count(unsafe { libc::write(fd, rest.as_ptr().cast(), rest.len()) });
                without_sigpipe(write)
            };
            let written = poll_fn(|cx| to.poll_target(cx, &mut write)).await?;
            rest = &rest[written..];
        }
        Ok(length)
    }

    fn count(result: isize) -> io::Result<usize> {
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }
}

/// Whether a descriptor is ready for `events` now; `WouldBlock` if not. What is wrong with it counts as
/// ready: the operation will tell.
pub(crate) fn is_ready(fd: BorrowedFd<'_>, events: libc::c_short) -> io::Result<usize> {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    };
    // SAFETY: one entry, which lives on this stack.
    match unsafe { libc::poll(&raw mut poll, 1, 0) } {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        1 => Ok(0),
        _ => Err(io::Error::last_os_error()),
    }
}
