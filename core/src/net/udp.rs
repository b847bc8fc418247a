//! UDP.

use std::future::poll_fn;
use std::io;
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::task::{Context, Poll};

use super::addr::{ToSocketAddrs, resolve, resolve_first};
use super::batch::{Incoming, Outgoing};
use super::byte_stream::readiness;
use super::socket::{Socket, Waiter};
use super::sys;
use crate::reactor::Direction;

/// A UDP socket. See the [module](super).
///
/// A datagram is sent and received whole. One that is longer than the buffer is cut off; only
/// [`recv_many`](Self::recv_many) tells so. Any number of tasks may send and receive: a datagram
/// wakes one of those who wait for it.
///
/// Options that have no method here are set through `socket2::SockRef::from(&socket)`.
///
/// # Cancel safety
/// A future that is dropped before it is ready has sent or received nothing.
///
/// # Several datagrams with one call
/// [`send_many`](Self::send_many) and [`recv_many`](Self::recv_many) hand the system up to 64 datagrams a
/// call (`sendmmsg`, `recvmmsg`), where it knows such calls.
///
/// ```
/// use libruntime_core::net::{Incoming, Outgoing, UdpSocket};
///
/// # libruntime_core::runtime::Runtime::new()?.block_on(async {
/// let server = UdpSocket::bind("127.0.0.1:0").await?;
/// let client = UdpSocket::bind("127.0.0.1:0").await?;
/// let to = server.local_addr()?;
/// let sent = client.send_many(&[Outgoing::to(to, b"one"), Outgoing::to(to, b"two")]).await?;
/// assert_eq!(sent, 2);
/// let mut buffers = [[0; 1500]; 8];
/// let mut room: Vec<_> = buffers.iter_mut().map(|buffer| Incoming::new(buffer)).collect();
/// let received = server.recv_many(&mut room).await?;
/// assert_eq!(room[0].data(), b"one");
/// assert_eq!((received, room[0].from()), (2, Some(client.local_addr()?)));
/// # Ok::<(), std::io::Error>(())
/// # })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct UdpSocket {
    socket: Socket<net::UdpSocket>,
}

readiness!(UdpSocket);

impl UdpSocket {
    /// Binds to the first of the target's addresses that can be bound. Port 0 lets the system choose.
    ///
    /// # Errors
    /// The last address's error: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied` for instance.
    /// `InvalidInput` if the target is none; what the look-up of a name says, or `Unsupported` if
    /// there is no runtime to do it.
    pub async fn bind(to: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        let addresses = resolve(to).await?;
        UdpSocket::from_std(net::UdpSocket::bind(&addresses[..])?)
    }

    /// Takes over a socket from the standard library, and makes it non-blocking.
    ///
    /// # Errors
    /// What the system says.
    pub fn from_std(socket: net::UdpSocket) -> io::Result<UdpSocket> {
        socket.set_nonblocking(true)?;
        Ok(UdpSocket {
            socket: Socket::new(socket),
        })
    }

    /// Gives the socket to the standard library; it stays non-blocking.
    pub fn into_std(self) -> net::UdpSocket {
        self.socket.into_io()
    }

    /// Sends to, and receives from, the first of the target's addresses that can be reached, and
    /// nobody else.
    ///
    /// # Errors
    /// The last address's error: `NetworkUnreachable` for instance. As [`bind`](Self::bind) for the
    /// target.
    pub async fn connect(&self, to: impl ToSocketAddrs) -> io::Result<()> {
        let addresses = resolve(to).await?;
        self.socket.io().connect(&addresses[..])
    }

    /// Sends a datagram to the peer that the socket is connected to.
    ///
    /// # Errors
    /// `NotConnected` (or `EDESTADDRREQ`); `EMSGSIZE` if it is longer than a datagram can be;
    /// `ConnectionRefused` if the peer's system has said so of an earlier one.
    pub async fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.wait(Direction::Write, |socket| socket.send(data))
            .await
    }

    /// Sends a datagram to the first of the target's addresses.
    ///
    /// # Errors
    /// `EMSGSIZE` if it is longer than a datagram can be; `PermissionDenied` for a broadcast without
    /// [`set_broadcast`](Self::set_broadcast); as [`bind`](Self::bind) for the target.
    pub async fn send_to(&self, data: &[u8], to: impl ToSocketAddrs) -> io::Result<usize> {
        let to = resolve_first(to).await?;
        self.wait(Direction::Write, |socket| socket.send_to(data, to))
            .await
    }

    /// Receives a datagram from the peer that the socket is connected to.
    ///
    /// # Errors
    /// `ConnectionRefused` if the peer's system has said so of one that was sent.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(Direction::Read, |socket| socket.recv(buffer))
            .await
    }

    /// Receives a datagram, and who sent it.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.wait(Direction::Read, |socket| socket.recv_from(buffer))
            .await
    }

    /// Waits for a datagram and looks at it, without taking it out.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.watch(|socket| socket.peek(buffer)).await
    }

    /// As [`peek`](Self::peek), and who sent it.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.watch(|socket| socket.peek_from(buffer)).await
    }

    /// Sends datagrams in their order, as many as there is room for. How many were sent: at least
    /// one, unless `messages` is empty; the rest has to be sent again.
    ///
    /// # Errors
    /// That of the first datagram. Of any other that can not be sent the count tells, which ends before
    /// it; sending the rest tells why.
    ///
    /// # Cancel safety
    /// A future that is dropped before it is ready has sent nothing.
    pub async fn send_many(&self, messages: &[Outgoing<'_>]) -> io::Result<usize> {
        if messages.is_empty() {
            return Ok(0);
        }
        self.wait(Direction::Write, |socket| {
            sys::send_many(socket.as_fd(), messages)
        })
        .await
    }

    /// Receives the datagrams that have come, as many as there is room for, and waits for one if none
    /// has. How many of `messages`, from the first, have one now.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// A future that is dropped before it is ready has received nothing.
    pub async fn recv_many(&self, messages: &mut [Incoming<'_>]) -> io::Result<usize> {
        let contender = self.socket.contender(Direction::Read);
        poll_fn(|cx| self.poll_recv_many_as(cx, contender.waiter(), messages)).await
    }

    async fn wait<R>(
        &self,
        direction: Direction,
        mut attempt: impl FnMut(&net::UdpSocket) -> io::Result<R>,
    ) -> io::Result<R> {
        let contender = self.socket.contender(direction);
        poll_fn(|cx| {
            let attempt = || attempt(self.socket.io());
            self.socket
                .poll_io(cx, direction, contender.waiter(), attempt)
        })
        .await
    }

    async fn watch<R>(
        &self,
        mut attempt: impl FnMut(&net::UdpSocket) -> io::Result<R>,
    ) -> io::Result<R> {
        let watcher = self.socket.watcher(Direction::Read);
        poll_fn(|cx| {
            let attempt = || attempt(self.socket.io());
            self.socket
                .poll_io(cx, Direction::Read, watcher.waiter(), attempt)
        })
        .await
    }

    fn poll_recv_many_as(
        &self,
        cx: &mut Context<'_>,
        waiter: Waiter<'_>,
        messages: &mut [Incoming<'_>],
    ) -> Poll<io::Result<usize>> {
        if messages.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let fd = self.as_fd();
        self.socket
            .poll_batch(cx, waiter, messages.len(), || sys::recv_many(fd, messages))
    }

    /// As [`send`](Self::send), for the one task that sends.
    pub fn poll_send(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, Direction::Write, |socket| socket.send(data))
    }

    /// As [`send_to`](Self::send_to), for the one task that sends.
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        data: &[u8],
        to: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, Direction::Write, |socket| socket.send_to(data, to))
    }

    /// As [`recv`](Self::recv), for the one task that receives.
    pub fn poll_recv(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, Direction::Read, |socket| socket.recv(buffer))
    }

    /// As [`recv_from`](Self::recv_from), for the one task that receives.
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.poll(cx, Direction::Read, |socket| socket.recv_from(buffer))
    }

    /// As [`peek_from`](Self::peek_from), for the one task that receives.
    pub fn poll_peek_from(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.poll(cx, Direction::Read, |socket| socket.peek_from(buffer))
    }

    /// As [`send_many`](Self::send_many), for the one task that sends.
    pub fn poll_send_many(
        &self,
        cx: &mut Context<'_>,
        messages: &[Outgoing<'_>],
    ) -> Poll<io::Result<usize>> {
        if messages.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll(cx, Direction::Write, |socket| {
            sys::send_many(socket.as_fd(), messages)
        })
    }

    /// As [`recv_many`](Self::recv_many), for the one task that receives.
    pub fn poll_recv_many(
        &self,
        cx: &mut Context<'_>,
        messages: &mut [Incoming<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_recv_many_as(cx, Waiter::Task, messages)
    }

    fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut attempt: impl FnMut(&net::UdpSocket) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let attempt = || attempt(self.socket.io());
        self.socket.poll_io(cx, direction, Waiter::Task, attempt)
    }

    /// As [`send`](Self::send), if there is room.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn try_send(&self, data: &[u8]) -> io::Result<usize> {
        let io = self.socket.io();
        self.socket.try_io(Direction::Write, || io.send(data))
    }

    /// As [`send_to`](Self::send_to), if there is room.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn try_send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<usize> {
        let io = self.socket.io();
        self.socket
            .try_io(Direction::Write, || io.send_to(data, to))
    }

    /// As [`recv`](Self::recv), if a datagram has come.
    ///
    /// # Errors
    /// `WouldBlock` if none has.
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let io = self.socket.io();
        self.socket.try_io(Direction::Read, || io.recv(buffer))
    }

    /// As [`recv_from`](Self::recv_from), if a datagram has come.
    ///
    /// # Errors
    /// `WouldBlock` if none has.
    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let io = self.socket.io();
        self.socket.try_io(Direction::Read, || io.recv_from(buffer))
    }

    /// As [`peek_from`](Self::peek_from), if a datagram has come.
    ///
    /// # Errors
    /// `WouldBlock` if none has.
    pub fn try_peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let io = self.socket.io();
        self.socket.try_io(Direction::Read, || io.peek_from(buffer))
    }

    /// As [`send_many`](Self::send_many), if there is room.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn try_send_many(&self, messages: &[Outgoing<'_>]) -> io::Result<usize> {
        if messages.is_empty() {
            return Ok(0);
        }
        let fd = self.as_fd();
        self.socket
            .try_io(Direction::Write, || sys::send_many(fd, messages))
    }

    /// As [`recv_many`](Self::recv_many), if a datagram has come.
    ///
    /// # Errors
    /// `WouldBlock` if none has.
    pub fn try_recv_many(&self, messages: &mut [Incoming<'_>]) -> io::Result<usize> {
        if messages.is_empty() {
            return Ok(0);
        }
        let fd = self.as_fd();
        self.socket
            .try_io(Direction::Read, || sys::recv_many(fd, messages))
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().local_addr()
    }

    /// The address that the socket is connected to.
    ///
    /// # Errors
    /// `NotConnected`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().peer_addr()
    }

    /// The error that the system has kept for the socket, which this clears (`SO_ERROR`).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.io().take_error()
    }

    /// Whether it may send to a broadcast address (`SO_BROADCAST`).
    pub fn broadcast(&self) -> io::Result<bool> {
        self.socket.io().broadcast()
    }

    /// Sets whether it may send to a broadcast address (`SO_BROADCAST`).
    pub fn set_broadcast(&self, on: bool) -> io::Result<()> {
        self.socket.io().set_broadcast(on)
    }

    /// How many routers a datagram may pass (`IP_TTL`).
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.io().ttl()
    }

    /// Sets how many routers a datagram may pass (`IP_TTL`).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.io().set_ttl(ttl)
    }

    /// The type of service of what is sent (`IP_TOS`).
    pub fn tos_v4(&self) -> io::Result<u32> {
        self.socket.options().tos_v4()
    }

    /// Sets the type of service of what is sent (`IP_TOS`).
    pub fn set_tos_v4(&self, tos: u32) -> io::Result<()> {
        self.socket.options().set_tos_v4(tos)
    }

    /// How much may wait to be received, in bytes as the system counts them (`SO_RCVBUF`).
    pub fn recv_buffer_size(&self) -> io::Result<usize> {
        self.socket.options().recv_buffer_size()
    }

    /// Sets how much may wait to be received; the system has a limit, and Linux doubles it
    /// (`SO_RCVBUF`).
    pub fn set_recv_buffer_size(&self, bytes: usize) -> io::Result<()> {
        self.socket.options().set_recv_buffer_size(bytes)
    }

    /// How much may wait to be sent, in bytes as the system counts them (`SO_SNDBUF`).
    pub fn send_buffer_size(&self) -> io::Result<usize> {
        self.socket.options().send_buffer_size()
    }

    /// Sets how much may wait to be sent; the system has a limit, and Linux doubles it (`SO_SNDBUF`).
    pub fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        self.socket.options().set_send_buffer_size(bytes)
    }

    /// Receives what is sent to `group`, on the interface with this address; 0.0.0.0 lets the system
    /// choose one.
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.socket.io().join_multicast_v4(&group, &interface)
    }

    /// Ends [`join_multicast_v4`](Self::join_multicast_v4).
    pub fn leave_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.socket.io().leave_multicast_v4(&group, &interface)
    }

    /// Receives what is sent to `group`, on the interface with this index; 0 lets the system choose.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.io().join_multicast_v6(group, interface)
    }

    /// Ends [`join_multicast_v6`](Self::join_multicast_v6).
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.io().leave_multicast_v6(group, interface)
    }

    /// Whether this host receives what it sends to a group (`IP_MULTICAST_LOOP`).
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.socket.io().multicast_loop_v4()
    }

    /// Sets whether this host receives what it sends to a group (`IP_MULTICAST_LOOP`).
    pub fn set_multicast_loop_v4(&self, on: bool) -> io::Result<()> {
        self.socket.io().set_multicast_loop_v4(on)
    }

    /// As [`multicast_loop_v4`](Self::multicast_loop_v4), for IPv6.
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.socket.io().multicast_loop_v6()
    }

    /// As [`set_multicast_loop_v4`](Self::set_multicast_loop_v4), for IPv6.
    pub fn set_multicast_loop_v6(&self, on: bool) -> io::Result<()> {
        self.socket.io().set_multicast_loop_v6(on)
    }

    /// How many routers a datagram to a group may pass (`IP_MULTICAST_TTL`).
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.socket.io().multicast_ttl_v4()
    }

    /// Sets how many routers a datagram to a group may pass (`IP_MULTICAST_TTL`).
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.socket.io().set_multicast_ttl_v4(ttl)
    }
}
