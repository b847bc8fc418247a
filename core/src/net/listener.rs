//! A TCP socket that accepts connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::task::{Context, Poll};

use super::accept::{Acceptor, BACKLOG};
use super::addr::{ToSocketAddrs, resolve};
use super::stream::TcpStream;

/// A TCP socket that accepts connections. See the [module](super).
///
/// # When descriptors run out
/// A connection that can not be accepted for want of a descriptor (`EMFILE`, `ENFILE`) or of memory
/// stays in the system's queue. Accepting pauses, for 5 ms at first and up to 500 ms, and tries again:
/// it neither spins nor fails, and serves the connection when there is room.
/// [`stalls`](Self::stalls) counts the pauses. (The other way, to keep a descriptor in reserve for
/// closing such connections, costs each listener a descriptor, and its clients their connections.) A
/// connection that was gone before it was accepted is passed over.
pub struct TcpListener {
    acceptor: Acceptor<mio::net::TcpListener>,
}

impl TcpListener {
    /// Listens on the first of the target's addresses that can be bound. Port 0 lets the system
    /// choose. The address can be bound again at once when a listener is gone (`SO_REUSEADDR`).
    ///
    /// # Errors
    /// The last address's error: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied` for instance.
    /// `InvalidInput` if the target is none; what the look-up of a name says, or `Unsupported` if
    /// there is no runtime to do it.
    pub async fn bind(to: impl ToSocketAddrs) -> io::Result<TcpListener> {
        let mut last = None;
        for address in resolve(to).await? {
            match TcpListener::bind_addr(address, BACKLOG) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there was an address"))
    }

    /// Listens on `address`, with up to `backlog` connections that wait to be accepted.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_addr(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        Ok(TcpListener::of(mio::net::TcpListener::from_std(
            socket.into(),
        )))
    }

    /// Takes over a listener from the standard library, and makes it non-blocking.
    ///
    /// # Errors
    /// What the system says.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        Ok(TcpListener::of(mio::net::TcpListener::from_std(listener)))
    }

    /// Gives the listener to the standard library; it stays non-blocking.
    pub fn into_std(self) -> std::net::TcpListener {
        OwnedFd::from(self.acceptor.socket.into_io()).into()
    }

    pub(super) fn of(io: mio::net::TcpListener) -> TcpListener {
        TcpListener {
            acceptor: Acceptor::new(io),
        }
    }

    /// Accepts a connection. Any number of tasks may; a connection wakes one of them.
    ///
    /// # Errors
    /// Only what concerns the listener itself; see above.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.acceptor.accept(accept).await
    }

    /// Polls for a connection, for one task: the last waker that was given is woken.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.acceptor.poll_accept(cx, accept)
    }

    /// Accepts a connection that waits already.
    ///
    /// # Errors
    /// `WouldBlock` if none does. Unlike [`accept`](Self::accept) this also tells when descriptors
    /// have run out; the connection waits on.
    pub fn try_accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
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

    /// How many routers what is sent may pass (`IP_TTL`).
    pub fn ttl(&self) -> io::Result<u32> {
        self.acceptor.socket.io().ttl()
    }

    /// Sets how many routers what is sent may pass (`IP_TTL`).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.acceptor.socket.io().set_ttl(ttl)
    }
}

fn accept(listener: &mio::net::TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept()?;
    Ok((TcpStream::of(stream), peer))
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.acceptor.socket.io().as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.acceptor.socket.io().as_raw_fd()
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.acceptor.socket.fmt(f)
    }
}
