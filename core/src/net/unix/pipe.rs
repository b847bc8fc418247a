//! Pipes: anonymous ones ([`pipe`]), and named ones ([`OpenOptions`]).
//!
//! ```
//! use futures_lite::{AsyncReadExt, AsyncWriteExt};
//! use libruntime_core::net::unix::pipe;
//!
//! # libruntime_core::runtime::Runtime::new()?.block_on(async {
//! let (mut sender, mut receiver) = pipe::pipe()?;
//! sender.write_all(b"hello").await?;
//! drop(sender);
//! let mut text = String::new();
//! receiver.read_to_string(&mut text).await?;
//! assert_eq!(text, "hello");
//! # Ok::<(), std::io::Error>(())
//! # })??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

use super::super::byte_stream::{MAX_PARTS, readiness};
use super::super::socket::{Socket, Waiter};
use super::super::sys;
use crate::reactor::Direction;
use crate::thread::without_sigpipe;

/// A new pipe.
///
/// # Errors
/// When there are no descriptors left, for instance.
pub fn pipe() -> io::Result<(Sender, Receiver)> {
    let (reader, writer) = io::pipe()?;
    Ok((
        Sender::from_owned_fd(writer.into())?,
        Receiver::from_owned_fd(reader.into())?,
    ))
}

/// How to open a named pipe.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    both: bool,
    unchecked: bool,
}

impl OpenOptions {
    /// For one direction, of a pipe and nothing else.
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }

    /// Opens it for both directions, whichever is used: then a sender does not need a receiver, nor does
    /// a receiver come to the end when the last sender has gone. Linux knows this; POSIX leaves open
    /// what it means.
    pub fn read_write(&mut self, both: bool) -> &mut OpenOptions {
        self.both = both;
        self
    }

    /// Does not look whether the file is a pipe.
    pub fn unchecked(&mut self, unchecked: bool) -> &mut OpenOptions {
        self.unchecked = unchecked;
        self
    }

    /// Opens the end that reads. This does not wait for a sender: until the first has come, reading
    /// finds the end.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `InvalidInput` if it is not a pipe.
    pub fn open_receiver(&self, path: impl AsRef<Path>) -> io::Result<Receiver> {
        let file = self.open(path.as_ref(), true, self.both)?;
        if self.unchecked {
            return Receiver::from_owned_fd_unchecked(file.into());
        }
        Receiver::from_owned_fd(file.into())
    }

    /// Opens the end that writes.
    ///
    /// # Errors
    /// As [`open_receiver`](Self::open_receiver); the system's `ENXIO` while there is no receiver.
    pub fn open_sender(&self, path: impl AsRef<Path>) -> io::Result<Sender> {
        let file = self.open(path.as_ref(), self.both, true)?;
        if self.unchecked {
            return Sender::from_owned_fd_unchecked(file.into());
        }
        Sender::from_owned_fd(file.into())
    }

    fn open(&self, path: &Path, read: bool, write: bool) -> io::Result<fs::File> {
        let mut options = fs::OpenOptions::new();
        options.read(read).write(write);
        options.custom_flags(libc::O_NONBLOCK).open(path)
    }
}

/// The end of a pipe that writes. Dropping it closes it.
///
/// A write of up to `PIPE_BUF` bytes (4096 on Linux) is not mixed with others'. No write raises
/// `SIGPIPE`; on a thread that is not the runtime's own that costs two calls, which block it meanwhile.
///
/// # Cancel safety
/// A write that is dropped before it is ready has written nothing.
pub struct Sender {
    socket: Socket<fs::File>,
}

/// The end of a pipe that reads. Dropping it closes it.
///
/// # Cancel safety
/// A read that is dropped before it is ready has taken nothing.
pub struct Receiver {
    socket: Socket<fs::File>,
}

readiness!(Sender);
readiness!(Receiver);

fn nonblocking(fd: OwnedFd, on: bool) -> io::Result<OwnedFd> {
    socket2::SockRef::from(&fd).set_nonblocking(on)?;
    Ok(fd)
}

fn access_of(fd: &OwnedFd) -> io::Result<sys::Access> {
    sys::access_of(fd.as_fd())?.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the descriptor is not a pipe's",
        )
    })
}

impl Sender {
    /// Takes over a pipe's end, and makes it non-blocking.
    ///
    /// # Errors
    /// `InvalidInput` if it is not a pipe's, or does not write.
    pub fn from_owned_fd(fd: OwnedFd) -> io::Result<Sender> {
        if !access_of(&fd)?.writes {
            let message = "this end of the pipe does not write";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Sender::from_owned_fd_unchecked(fd)
    }

    /// As [`from_owned_fd`](Self::from_owned_fd), for anything that behaves as a pipe does.
    ///
    /// # Errors
    /// What the system says.
    pub fn from_owned_fd_unchecked(fd: OwnedFd) -> io::Result<Sender> {
        Ok(Sender {
            socket: Socket::new(nonblocking(fd, true)?.into()),
        })
    }

    /// Gives the descriptor back, non-blocking as it is.
    pub fn into_nonblocking_fd(self) -> OwnedFd {
        self.socket.into_io().into()
    }

    /// Gives the descriptor back, blocking.
    ///
    /// # Errors
    /// What the system says.
    pub fn into_blocking_fd(self) -> io::Result<OwnedFd> {
        nonblocking(self.into_nonblocking_fd(), false)
    }

    fn write(&self, data: &[u8]) -> io::Result<usize> {
        without_sigpipe(|| self.socket.io().write(data))
    }

    fn write_vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        let data = &data[..data.len().min(MAX_PARTS)];
        without_sigpipe(|| self.socket.io().write_vectored(data))
    }

    pub(crate) fn poll_write_attempt(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.socket
            .poll_io(cx, Direction::Write, Waiter::Task, attempt)
    }

    /// Writes what there is room for.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; `BrokenPipe` if there is no reader.
    pub fn try_write(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.try_io(Direction::Write, || self.write(data))
    }

    /// As [`try_write`](Self::try_write), from several buffers.
    ///
    /// # Errors
    /// As [`try_write`](Self::try_write).
    pub fn try_write_vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket
            .try_io(Direction::Write, || self.write_vectored(data))
    }
}

impl Receiver {
    /// Takes over a pipe's end, and makes it non-blocking.
    ///
    /// # Errors
    /// `InvalidInput` if it is not a pipe's, or does not read.
    pub fn from_owned_fd(fd: OwnedFd) -> io::Result<Receiver> {
        if !access_of(&fd)?.reads {
            let message = "this end of the pipe does not read";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Receiver::from_owned_fd_unchecked(fd)
    }

    /// As [`from_owned_fd`](Self::from_owned_fd), for anything that behaves as a pipe does.
    ///
    /// # Errors
    /// What the system says.
    pub fn from_owned_fd_unchecked(fd: OwnedFd) -> io::Result<Receiver> {
        Ok(Receiver {
            socket: Socket::new(nonblocking(fd, true)?.into()),
        })
    }

    /// As [`Sender::into_nonblocking_fd`].
    pub fn into_nonblocking_fd(self) -> OwnedFd {
        self.socket.into_io().into()
    }

    /// As [`Sender::into_blocking_fd`].
    ///
    /// # Errors
    /// What the system says.
    pub fn into_blocking_fd(self) -> io::Result<OwnedFd> {
        nonblocking(self.into_nonblocking_fd(), false)
    }

    /// Reads what has come already.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut io = self.socket.io();
        self.socket.try_io(Direction::Read, || io.read(buffer))
    }

    /// As [`try_read`](Self::try_read), into several buffers.
    ///
    /// # Errors
    /// As [`try_read`](Self::try_read).
    pub fn try_read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut io = self.socket.io();
        self.socket
            .try_io(Direction::Read, || io.read_vectored(buffers))
    }

    /// A short read does not prove that the pipe is empty: its other end may be in packet mode
    /// (`O_DIRECT`), which this end is not told. So a read is tried until it would block.
    pub(crate) fn poll_read_attempt(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.socket
            .poll_io(cx, Direction::Read, Waiter::Task, attempt)
    }
}

impl AsyncRead for &Receiver {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut io = self.socket.io();
        self.poll_read_attempt(cx, || io.read(buffer))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let most = buffers.len().min(MAX_PARTS);
        let buffers = &mut buffers[..most];
        let mut io = self.socket.io();
        self.poll_read_attempt(cx, || io.read_vectored(buffers))
    }
}

impl AsyncRead for Receiver {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read(cx, buffer)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read_vectored(cx, buffers)
    }
}

impl AsyncWrite for &Sender {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket
            .poll_transfer(cx, Direction::Write, data.len(), || self.write(data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = data.iter().map(|part| part.len()).sum();
        self.socket
            .poll_transfer(cx, Direction::Write, wanted, || self.write_vectored(data))
    }

    /// Nothing is kept back.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Nothing: a pipe's end is closed by dropping it.
    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sender {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write_vectored(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_close(cx)
    }
}
