//! A TCP socket before it is connected or listens.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::listener::TcpListener;
use super::stream::TcpStream;

/// A TCP socket that is neither connected nor listening yet, to set it up.
///
/// ```
/// use libruntime_core::net::TcpSocket;
///
/// # libruntime_core::runtime::Runtime::new()?.block_on(async {
/// let socket = TcpSocket::new_v4()?;
/// socket.set_reuse_address(true)?;
/// socket.bind("127.0.0.1:0".parse().expect("an address"))?;
/// let listener = socket.listen(1024)?;
/// # drop(listener);
/// # Ok::<(), std::io::Error>(())
/// # })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Options that have no method here are set through `socket2::SockRef::from(&socket)`.
pub struct TcpSocket(Socket);

impl TcpSocket {
    /// For addresses of IPv4.
    ///
    /// # Errors
    /// When there are no descriptors left, for instance.
    pub fn new_v4() -> io::Result<TcpSocket> {
        TcpSocket::new(Domain::IPV4)
    }

    /// For addresses of IPv6.
    ///
    /// # Errors
    /// As [`new_v4`](Self::new_v4).
    pub fn new_v6() -> io::Result<TcpSocket> {
        TcpSocket::new(Domain::IPV6)
    }

    fn new(domain: Domain) -> io::Result<TcpSocket> {
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        Ok(TcpSocket(socket))
    }

    /// Takes over a socket that is neither connected nor listening, and makes it non-blocking.
    ///
    /// # Errors
    /// What the system says.
    pub fn from_owned_fd(fd: OwnedFd) -> io::Result<TcpSocket> {
        let socket = Socket::from(fd);
        socket.set_nonblocking(true)?;
        Ok(TcpSocket(socket))
    }

    /// Binds to an address; port 0 lets the system choose.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`; `InvalidInput` for an address of the other
    /// family, or a socket that is bound.
    pub fn bind(&self, address: SocketAddr) -> io::Result<()> {
        self.0.bind(&address.into())
    }

    /// Connects to an address.
    ///
    /// # Errors
    /// As [`TcpStream::connect`].
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt.
    pub async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        match self.0.connect(&SockAddr::from(address)) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let stream = TcpStream::of(mio::net::TcpStream::from_std(self.0.into()));
        stream.connected().await?;
        Ok(stream)
    }

    /// Listens, with up to `backlog` connections that wait to be accepted.
    ///
    /// # Errors
    /// `AddrInUse` if another socket listens there.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        self.0.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(TcpListener::of(mio::net::TcpListener::from_std(
            self.0.into(),
        )))
    }

    /// The address that it is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = self.0.local_addr()?;
        address
            .as_socket()
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// The error that the system has kept for the socket, which this clears (`SO_ERROR`).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.take_error()
    }

    /// Whether an address can be bound that connections which have ended still use
    /// (`SO_REUSEADDR`).
    pub fn reuse_address(&self) -> io::Result<bool> {
        self.0.reuse_address()
    }

    /// Sets [`reuse_address`](Self::reuse_address).
    pub fn set_reuse_address(&self, on: bool) -> io::Result<()> {
        self.0.set_reuse_address(on)
    }

    /// Whether several sockets may listen on an address (`SO_REUSEPORT`).
    #[cfg(not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin")))]
    pub fn reuse_port(&self) -> io::Result<bool> {
        self.0.reuse_port()
    }

    /// Sets [`reuse_port`](Self::reuse_port).
    #[cfg(not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin")))]
    pub fn set_reuse_port(&self, on: bool) -> io::Result<()> {
        self.0.set_reuse_port(on)
    }

    /// The size of the buffer for sending, in bytes (`SO_SNDBUF`).
    pub fn send_buffer_size(&self) -> io::Result<usize> {
        self.0.send_buffer_size()
    }

    /// Sets [`send_buffer_size`](Self::send_buffer_size); the system has limits, and Linux doubles it.
    pub fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        self.0.set_send_buffer_size(bytes)
    }

    /// The size of the buffer for receiving, in bytes (`SO_RCVBUF`).
    pub fn recv_buffer_size(&self) -> io::Result<usize> {
        self.0.recv_buffer_size()
    }

    /// Sets [`recv_buffer_size`](Self::recv_buffer_size), which bounds the window that is announced, and
    /// so has to be set before the socket is connected or listens.
    pub fn set_recv_buffer_size(&self, bytes: usize) -> io::Result<()> {
        self.0.set_recv_buffer_size(bytes)
    }

    /// Whether small writes are sent at once (`TCP_NODELAY`).
    pub fn nodelay(&self) -> io::Result<bool> {
        self.0.tcp_nodelay()
    }

    /// Sets [`nodelay`](Self::nodelay).
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.0.set_tcp_nodelay(on)
    }

    /// How long closing waits for what was not sent yet (`SO_LINGER`).
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.0.linger()
    }

    /// Sets [`linger`](Self::linger), in whole seconds.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.0.set_linger(linger)
    }

    /// Whether the system probes an idle connection (`SO_KEEPALIVE`).
    pub fn keepalive(&self) -> io::Result<bool> {
        self.0.keepalive()
    }

    /// Sets [`keepalive`](Self::keepalive).
    pub fn set_keepalive(&self, on: bool) -> io::Result<()> {
        self.0.set_keepalive(on)
    }

    /// The type of service of what is sent over IPv4 (`IP_TOS`).
    pub fn tos_v4(&self) -> io::Result<u32> {
        self.0.tos_v4()
    }

    /// Sets [`tos_v4`](Self::tos_v4).
    pub fn set_tos_v4(&self, tos: u32) -> io::Result<()> {
        self.0.set_tos_v4(tos)
    }

    /// Uses one interface only, by its name; `None` for any (`SO_BINDTODEVICE`).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn bind_device(&self, interface: Option<&[u8]>) -> io::Result<()> {
        self.0.bind_device(interface)
    }
}

impl AsFd for TcpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for TcpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl fmt::Debug for TcpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
