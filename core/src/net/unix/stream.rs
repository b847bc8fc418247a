//! A connection over a Unix socket.

use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use socket2::{SockAddr, Type};

use super::super::byte_stream::{byte_stream, readiness, transfers};
use super::super::socket::{Socket, Waiter};
use super::super::split::{self, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use super::ucred::UCred;
use super::{address, ucred};
use crate::context;
use crate::reactor::Direction;
use crate::time::sleep;

/// How long to wait before a connect to a listener whose queue is full is tried again, at first and at
/// most: nothing tells when there is room.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A connection over a Unix socket. See the [module](super).
///
/// `futures-io`'s `AsyncRead` and `AsyncWrite` are implemented for it, and for references to it.
///
/// # Cancel safety
/// An operation that is dropped before it is ready has transferred nothing. Dropping the stream closes
/// the connection; what was written can still be read.
pub struct UnixStream {
    socket: Socket<net::UnixStream>,
}

readiness!(UnixStream);
byte_stream!(UnixStream);

impl UnixStream {
    /// Connects to a path. If the listener's queue is full this waits for room, and asks again after 1
    /// to 50 ms, since the system does not tell.
    ///
    /// # Errors
    /// `NotFound` if there is no such path, `ConnectionRefused` if nobody listens there,
    /// `PermissionDenied`; `InvalidInput` for a path that is too long; `WouldBlock` if the queue is full
    /// outside of any runtime and event loop.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt.
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<UnixStream> {
        UnixStream::connect_to(&address::of_path(path.as_ref())?).await
    }

    /// As [`connect`](Self::connect), for an address.
    ///
    /// # Errors
    /// As there; `InvalidInput` for an address without a name.
    pub async fn connect_addr(address: &SocketAddr) -> io::Result<UnixStream> {
        UnixStream::connect_to(&address::of(address)?).await
    }

    async fn connect_to(address: &SockAddr) -> io::Result<UnixStream> {
        let socket = address::socket(Type::STREAM)?;
        let mut pause = FIRST_PAUSE;
        loop {
            match socket.connect(address) {
                Ok(()) => return Ok(UnixStream::of_nonblocking(socket.into())),
                // Systems that finish it later.
                Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                    let stream = UnixStream::of_nonblocking(socket.into());
                    stream.writable().await?;
                    return stream.take_error()?.map_or(Ok(stream), Err);
                }
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && context::with_driver(|_| ()).is_some() =>
                {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Two streams that are connected to each other, and have no name.
    ///
    /// # Errors
    /// When there are no descriptors left, for instance.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (one, other) = net::UnixStream::pair()?;
        Ok((UnixStream::from_std(one)?, UnixStream::from_std(other)?))
    }

    /// Takes over a stream from the standard library, and makes it non-blocking.
    ///
    /// # Errors
    /// What the system says.
    pub fn from_std(stream: net::UnixStream) -> io::Result<UnixStream> {
        stream.set_nonblocking(true)?;
        Ok(UnixStream {
            socket: Socket::new(stream),
        })
    }

    /// Gives the stream to the standard library; it stays non-blocking.
    pub fn into_std(self) -> net::UnixStream {
        self.socket.into_io()
    }

    pub(super) fn of_nonblocking(fd: OwnedFd) -> UnixStream {
        UnixStream {
            socket: Socket::new(fd.into()),
        }
    }

    /// This end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().local_addr()
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().peer_addr()
    }

    /// Who was at the other end when it was connected.
    ///
    /// # Errors
    /// `Unsupported` where the system does not tell.
    pub fn peer_cred(&self) -> io::Result<UCred> {
        ucred::of_peer(self.socket.io())
    }
}
