//! A Unix socket that accepts connections.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::task::{Context, Poll};

use socket2::{SockAddr, Type};

use super::super::accept::{Acceptor, BACKLOG};
use super::address;
use super::stream::UnixStream;

/// A Unix socket that accepts connections. See the [module](super).
///
/// When descriptors run out it pauses, as [`TcpListener`](crate::net::TcpListener) does.
pub struct UnixListener {
    acceptor: Acceptor<mio::net::UnixListener>,
}

impl UnixListener {
    /// Listens on a path, which must not exist, and which stays when the listener is gone.
    ///
    /// # Errors
    /// `AddrInUse` if the path exists; `NotFound` or `PermissionDenied` for its directory;
    /// `InvalidInput` for a path that is too long (108 bytes on Linux).
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::listen(&address::of_path(path.as_ref())?)
    }

    /// As [`bind`](Self::bind), for an address.
    ///
    /// # Errors
    /// As there; `InvalidInput` for an address without a name.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixListener> {
        UnixListener::listen(&address::of(address)?)
    }

    fn listen(address: &SockAddr) -> io::Result<UnixListener> {
        let socket = address::socket(Type::STREAM)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?;
        let listener = net::UnixListener::from(OwnedFd::from(socket));
        Ok(UnixListener {
            acceptor: Acceptor::new(mio::net::UnixListener::from_std(listener)),
        })
    }

    /// Takes over a listener from the standard library, and makes it non-blocking.
    ///
    /// # Errors
    /// What the system says.
    pub fn from_std(listener: net::UnixListener) -> io::Result<UnixListener> {
        listener.set_nonblocking(true)?;
        Ok(UnixListener {
            acceptor: Acceptor::new(mio::net::UnixListener::from_std(listener)),
        })
    }

    /// Gives the listener to the standard library; it stays non-blocking.
    pub fn into_std(self) -> net::UnixListener {
        OwnedFd::from(self.acceptor.socket.into_io()).into()
    }

    /// Accepts a connection. Any number of tasks may; a connection wakes one of them.
    ///
    /// # Errors
    /// Only what concerns the listener itself.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        self.acceptor.accept(accept).await
    }

    /// Polls for a connection, for one task: the last waker that was given is woken.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, SocketAddr)>> {
        self.acceptor.poll_accept(cx, accept)
    }

    /// Accepts a connection that waits already.
    ///
    /// # Errors
    /// `WouldBlock` if none does. Unlike [`accept`](Self::accept) this also tells when descriptors
    /// have run out; the connection waits on.
    pub fn try_accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        self.acceptor.try_accept(accept)
    }

    /// How often accepting has paused because descriptors or memory had run out.
    pub fn stalls(&self) -> u64 {
        self.acceptor.stalls()
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.acceptor.socket.io().local_addr()
    }

    /// The error that the system has kept for the socket, which this clears (`SO_ERROR`).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.acceptor.socket.io().take_error()
    }
}

fn accept(listener: &mio::net::UnixListener) -> io::Result<(UnixStream, SocketAddr)> {
    let (stream, peer) = listener.accept()?;
    Ok((UnixStream::of_nonblocking(stream.into()), peer))
}

impl AsFd for UnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.acceptor.socket.io().as_fd()
    }
}

impl AsRawFd for UnixListener {
    fn as_raw_fd(&self) -> RawFd {
        self.acceptor.socket.io().as_raw_fd()
    }
}

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.acceptor.socket.fmt(f)
    }
}
