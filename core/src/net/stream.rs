//! A TCP connection.

use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};

use super::addr::{Target, ToSocketAddrs, resolve_target};
use super::byte_stream::{byte_stream, readiness, transfers};
use super::race;
use super::socket::{Socket, Waiter};
use super::split::{self, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
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

readiness!(TcpStream);
byte_stream!(TcpStream);

impl TcpStream {
    /// Connects to the first of the target's addresses that answers. Addresses are tried in turn; those
    /// of a name as RFC 8305 ("Happy Eyeballs") says: the families alternate, and an attempt that has
    /// taken 250 ms goes on beside the next.
    ///
    /// # Errors
    /// The last address's error. `InvalidInput` if the target is none; what the look-up of a name
    /// says, or `Unsupported` if there is no runtime to do it.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt.
    pub async fn connect(to: impl ToSocketAddrs) -> io::Result<TcpStream> {
        let (addresses, by_name) = match to.target() {
            Target::One(address) => return TcpStream::connect_addr(address).await,
            target => {
                let by_name = matches!(target, Target::Name(..));
                (resolve_target(target).await?, by_name)
            }
        };
        if by_name && addresses.len() > 1 {
            return race::connect(addresses).await;
        }
        let mut last = None;
        for address in addresses {
            match TcpStream::connect_addr(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there was an address"))
    }

    async fn connect_addr(address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::start_connect(address)?;
        stream.connected().await?;
        Ok(stream)
    }

    /// Waits for [`poll_connect`](Self::poll_connect).
    pub(super) async fn connected(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_connect(cx)).await
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
        self.socket.options().linger()
    }

    /// Sets how long closing waits for what was not sent yet, in whole seconds (`SO_LINGER`). Zero
    /// discards it and resets the connection; `None`, the default, lets the system see to it.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.socket.options().set_linger(linger)
    }

    /// Makes the system probe an idle connection after `idle` (`SO_KEEPALIVE`); `None` makes it stop.
    pub fn set_keepalive(&self, idle: Option<Duration>) -> io::Result<()> {
        match idle {
            Some(idle) => {
                let keepalive = socket2::TcpKeepalive::new().with_time(idle);
                self.socket.options().set_tcp_keepalive(&keepalive)
            }
            None => self.socket.options().set_keepalive(false),
        }
    }

    /// How many routers what is sent may pass (`IP_TTL`).
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.io().ttl()
    }

    /// Sets how many routers what is sent may pass (`IP_TTL`).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.io().set_ttl(ttl)
    }
}
