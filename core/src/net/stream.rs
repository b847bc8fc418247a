//! A TCP connection.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use socket2::SockRef;

use super::addr::{ToSocketAddrs, resolve};
use super::socket::{Socket, Waiter};
use super::sys;
use crate::reactor::Direction;

/// A TCP connection. See the [module](super).
///
/// `futures-io`'s `AsyncRead` and `AsyncWrite` are implemented for it, and for references to it, which
/// serve as its two halves.
///
/// # Cancel safety
/// An operation that is dropped before it is ready has transferred nothing. Dropping the stream closes
/// the connection; what was written is still sent.
pub struct TcpStream {
    socket: Socket<mio::net::TcpStream>,
}

impl TcpStream {
    /// Connects to the first of the target's addresses that answers.
    ///
    /// # Errors
    /// The last address's error. `InvalidInput` if the target is none; what the look-up of a name
    /// says, or `Unsupported` if there is no runtime to do it.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt.
    pub async fn connect(to: impl ToSocketAddrs) -> io::Result<TcpStream> {
        let mut last = None;
        for address in resolve(to).await? {
            match TcpStream::connect_addr(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there was an address"))
    }

    async fn connect_addr(address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::start_connect(address)?;
        poll_fn(|cx| stream.poll_connect(cx)).await?;
        Ok(stream)
    }

    /// Begins to connect, without waiting. [`poll_connect`](Self::poll_connect) tells the outcome.
    ///
    /// # Errors
    /// What the system knows at once, when it has no descriptors left for instance.
    pub fn start_connect(address: SocketAddr) -> io::Result<TcpStream> {
        mio::net::TcpStream::connect(address).map(TcpStream::of)
    }

    /// Waits for the outcome of [`start_connect`](Self::start_connect).
    ///
    /// # Errors
    /// Why there is no connection: `ConnectionRefused` for instance. The stream is of no use then.
    pub fn poll_connect(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.socket.io();
        self.socket.poll_connected(cx, || {
            if let Some(error) = io.take_error()? {
                return Err(error);
            }
            match io.peer_addr() {
                Ok(_) => Ok(()),
                // Without a connection and without an error: it is on its way, or the error that was
                // the end of it has been told.
                Err(error)
                    if error.kind() == io::ErrorKind::NotConnected && !self.socket.is_hung_up() =>
                {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                Err(error) => Err(error),
            }
        })
    }

    /// Takes over a connection from the standard library, and makes it non-blocking.
    ///
    /// # Errors
    /// What the system says.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<TcpStream> {
        stream.set_nonblocking(true)?;
        Ok(TcpStream::of(mio::net::TcpStream::from_std(stream)))
    }

    /// Gives the connection to the standard library; it stays non-blocking.
    pub fn into_std(self) -> std::net::TcpStream {
        OwnedFd::from(self.socket.into_io()).into()
    }

    pub(super) fn of(io: mio::net::TcpStream) -> TcpStream {
        TcpStream {
            socket: Socket::new(io),
        }
    }

    fn options(&self) -> SockRef<'_> {
        SockRef::from(self.socket.io())
    }

    /// Reads what has come, up to the buffer's length. `Ok(0)` is the end of the stream, unless
    /// `buffer` is empty.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let (mut io, wanted) = (self.socket.io(), buffer.len());
        self.socket
            .poll_transfer(cx, Direction::Read, wanted, || io.read(buffer))
    }

    /// As [`poll_read`](Self::poll_read), into several buffers.
    pub fn poll_read_vectored(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
        let mut io = self.socket.io();
        self.socket
            .poll_transfer(cx, Direction::Read, wanted, || io.read_vectored(buffers))
    }

    /// Attempts something that reads until it does not answer `WouldBlock`.
    pub(crate) fn poll_read_attempt<R>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.socket
            .poll_io(cx, Direction::Read, Waiter::Task, attempt)
    }

    /// Attempts something that writes, likewise.
    pub(crate) fn poll_write_attempt<R>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.socket
            .poll_io(cx, Direction::Write, Waiter::Task, attempt)
    }

    /// Reads without taking it out.
    pub fn poll_peek(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let io = self.socket.io();
        self.socket
            .poll_io(cx, Direction::Read, Waiter::Task, || io.peek(buffer))
    }

    /// Writes as much as there is room for.
    pub fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.socket
            .poll_transfer(cx, Direction::Write, data.len(), || self.send(data))
    }

    /// As [`poll_write`](Self::poll_write), from several buffers.
    pub fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = data.iter().map(|part| part.len()).sum();
        self.socket
            .poll_transfer(cx, Direction::Write, wanted, || self.send_vectored(data))
    }

    fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.options().send_with_flags(data, sys::NO_SIGNAL)
    }

    fn send_vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        // More than the system takes at once would be refused, rather than shortened.
        let data = &data[..data.len().min(MAX_PARTS)];
        self.options()
            .send_vectored_with_flags(data, sys::NO_SIGNAL)
    }

    /// Reads what has come already.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut io = self.socket.io();
        self.socket.try_io(Direction::Read, || io.read(buffer))
    }

    /// Writes what there is room for.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn try_write(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.try_io(Direction::Write, || self.send(data))
    }

    /// As [`try_write`](Self::try_write), from several buffers.
    ///
    /// # Errors
    /// As [`try_write`](Self::try_write).
    pub fn try_write_vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket
            .try_io(Direction::Write, || self.send_vectored(data))
    }

    /// Waits until a [`try_read`](Self::try_read) is worth trying; it may still find nothing.
    pub async fn readable(&self) -> io::Result<()> {
        self.ready(Direction::Read).await
    }

    /// Waits until a [`try_write`](Self::try_write) is worth trying; it may still find no room.
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(Direction::Write).await
    }

    async fn ready(&self, direction: Direction) -> io::Result<()> {
        let watcher = self.socket.watcher(direction);
        poll_fn(|cx| self.socket.poll_ready(cx, direction, watcher.waiter())).await
    }

    /// As [`readable`](Self::readable), for the one task that reads.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_ready(cx, Direction::Read, Waiter::Task)
    }

    /// As [`writable`](Self::writable), for the one task that writes.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_ready(cx, Direction::Write, Waiter::Task)
    }

    /// Closes one direction, or both, for every holder of the connection. What was written before is
    /// sent, and then the peer reads the end of the stream.
    ///
    /// # Errors
    /// `NotConnected`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.io().shutdown(how)
    }

    /// Ends the connection at once: what was not sent yet is discarded, and the peer gets a reset
    /// rather than an end.
    ///
    /// # Errors
    /// What the system says; the connection is closed all the same.
    pub fn reset(self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
    }

    /// This end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().local_addr()
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().peer_addr()
    }

    /// Whether small writes are sent at once (`TCP_NODELAY`).
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.io().nodelay()
    }

    /// Sets whether small writes are sent at once rather than gathered (`TCP_NODELAY`).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.io().set_nodelay(nodelay)
    }

    /// How long the system goes on sending after the connection was closed (`SO_LINGER`).
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.options().linger()
    }

    /// Sets how long closing waits for what was not sent yet, in whole seconds (`SO_LINGER`). Zero
    /// discards it and resets the connection; `None`, the default, lets the system see to it.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.options().set_linger(linger)
    }

    /// Makes the system probe an idle connection after `idle` (`SO_KEEPALIVE`); `None` makes it stop.
    pub fn set_keepalive(&self, idle: Option<Duration>) -> io::Result<()> {
        match idle {
            Some(idle) => {
                let keepalive = socket2::TcpKeepalive::new().with_time(idle);
                self.options().set_tcp_keepalive(&keepalive)
            }
            None => self.options().set_keepalive(false),
        }
    }

    /// The error that the system has kept for the connection, which this clears (`SO_ERROR`).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.io().take_error()
    }
}

/// How many buffers one call takes: `IOV_MAX` of every system that is supported.
const MAX_PARTS: usize = 1024;

impl AsyncRead for &TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        TcpStream::poll_read(&self, cx, buffer)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        TcpStream::poll_read_vectored(&self, cx, buffers)
    }
}

impl AsyncWrite for &TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        TcpStream::poll_write(&self, cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        TcpStream::poll_write_vectored(&self, cx, data)
    }

    /// Nothing is kept back.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Closes the writing direction.
    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.shutdown(Shutdown::Write) {
            // The peer was quicker.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        TcpStream::poll_read(&self, cx, buffer)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        TcpStream::poll_read_vectored(&self, cx, buffers)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        TcpStream::poll_write(&self, cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        TcpStream::poll_write_vectored(&self, cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_close(cx)
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.io().as_fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.io().as_raw_fd()
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}
