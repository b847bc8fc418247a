//! Datagrams over a Unix socket.

use std::future::{Future, poll_fn};
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockAddr, Type};

use super::super::byte_stream::readiness;
use super::super::socket::{Socket, Waiter};
use super::super::sys;
use super::address;
use crate::context;
use crate::reactor::Direction;
use crate::time::sleep;

/// How long to wait for room in a receiver that the socket is not connected to: when others have
/// filled its queue, the system does not tell when there is room.
const PAUSE: Duration = Duration::from_millis(5);

/// A Unix socket for datagrams. See the [module](super).
///
/// A datagram is sent and received whole, in order, and none is lost: a sender waits while the
/// receiver's queue is full. One that is longer than the buffer is cut off. Any number of tasks may
/// send and receive.
///
/// # Cancel safety
/// A future that is dropped before it is ready has sent or received nothing.
pub struct UnixDatagram {
    socket: Socket<net::UnixDatagram>,
}

readiness!(UnixDatagram);

impl UnixDatagram {
    /// Binds to a path, which must not exist, and which stays when the socket is gone.
    ///
    /// # Errors
    /// `AddrInUse` if the path exists; `NotFound` or `PermissionDenied` for its directory;
    /// `InvalidInput` for a path that is too long.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::bind_to(&address::of_path(path.as_ref())?)
    }

    /// As [`bind`](Self::bind), for an address.
    ///
    /// # Errors
    /// As there; `InvalidInput` for an address without a name.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixDatagram> {
        UnixDatagram::bind_to(&address::of(address)?)
    }

    fn bind_to(address: &SockAddr) -> io::Result<UnixDatagram> {
        let socket = address::socket(Type::DGRAM)?;
        socket.bind(address)?;
        Ok(UnixDatagram {
            socket: Socket::new(OwnedFd::from(socket).into()),
        })
    }

    /// A socket without a name: it can send, and nobody can answer.
    ///
    /// # Errors
    /// When there are no descriptors left, for instance.
    pub fn unbound() -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::unbound()?)
    }

    /// Two sockets that are connected to each other, and have no name.
    ///
    /// # Errors
    /// When there are no descriptors left, for instance.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (one, other) = net::UnixDatagram::pair()?;
        Ok((UnixDatagram::from_std(one)?, UnixDatagram::from_std(other)?))
    }

    /// Takes over a socket from the standard library, and makes it non-blocking.
    ///
    /// # Errors
    /// What the system says.
    pub fn from_std(socket: net::UnixDatagram) -> io::Result<UnixDatagram> {
        socket.set_nonblocking(true)?;
        Ok(UnixDatagram {
            socket: Socket::new(socket),
        })
    }

    /// Gives the socket to the standard library; it stays non-blocking.
    pub fn into_std(self) -> net::UnixDatagram {
        self.socket.into_io()
    }

    /// Sends to the socket at a path, and receives from it alone.
    ///
    /// # Errors
    /// `NotFound` if there is no such path, `ConnectionRefused` if it is nobody's, `PermissionDenied`.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let address = address::of_path(path.as_ref())?;
        self.socket.options().connect(&address)
    }

    /// As [`connect`](Self::connect), for an address.
    ///
    /// # Errors
    /// As there; `InvalidInput` for an address without a name.
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        self.socket.options().connect(&address::of(address)?)
    }

    /// Sends a datagram to the socket that this one is connected to.
    ///
    /// # Errors
    /// `NotConnected`; `ConnectionRefused` or `BrokenPipe` if the other is gone; `EMSGSIZE` if it is
    /// longer than a datagram can be.
    pub async fn send(&self, data: &[u8]) -> io::Result<usize> {
        let contender = self.socket.contender(Direction::Write);
        poll_fn(|cx| {
            self.socket
                .poll_io(cx, Direction::Write, contender.waiter(), || {
                    self.socket.send(data)
                })
        })
        .await
    }

    /// Sends a datagram to the socket at a path.
    ///
    /// # Errors
    /// As [`connect`](Self::connect) and [`send`](Self::send).
    pub async fn send_to(&self, data: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.send_to_system(data, &address::of_path(path.as_ref())?)
            .await
    }

    /// As [`send_to`](Self::send_to), for an address.
    ///
    /// # Errors
    /// As there; `InvalidInput` for an address without a name.
    pub async fn send_to_addr(&self, data: &[u8], to: &SocketAddr) -> io::Result<usize> {
        self.send_to_system(data, &address::of(to)?).await
    }

    async fn send_to_system(&self, data: &[u8], to: &SockAddr) -> io::Result<usize> {
        loop {
            let sent = {
                let contender = self.socket.contender(Direction::Write);
                let mut send = pin!(poll_fn(|cx| {
                    self.socket
                        .poll_io(cx, Direction::Write, contender.waiter(), || {
                            self.send_once(data, to)
                        })
                }));
                let mut pause = pin!(None);
                poll_fn(|cx| {
                    if let Poll::Ready(sent) = send.as_mut().poll(cx) {
                        return Poll::Ready(Some(sent));
                    }
                    if pause.is_none() && context::with_driver(|_| ()).is_some() {
                        pause.set(Some(sleep(PAUSE)));
                    }
                    match pause.as_mut().as_pin_mut() {
                        Some(pause) => pause.poll(cx).map(|()| None),
                        None => Poll::Pending,
                    }
                })
                .await
            };
            match sent {
                Some(result) => return result,
                // As if it had been told that there is room.
                None => match self.send_once(data, to) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return result,
                },
            }
        }
    }

    fn send_once(&self, data: &[u8], to: &SockAddr) -> io::Result<usize> {
        self.socket
            .options()
            .send_to_with_flags(data, to, sys::NO_SIGNAL)
    }

    /// Receives a datagram.
    ///
    /// # Errors
    /// What the system says.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(|socket| socket.recv(buffer)).await
    }

    /// Receives a datagram, and who sent it: an address without a name if the sender has none.
    ///
    /// # Errors
    /// What the system says.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.receive(|socket| socket.recv_from(buffer)).await
    }

    async fn receive<R>(
        &self,
        mut attempt: impl FnMut(&net::UnixDatagram) -> io::Result<R>,
    ) -> io::Result<R> {
        let contender = self.socket.contender(Direction::Read);
        poll_fn(|cx| {
            let attempt = || attempt(self.socket.io());
            self.socket
                .poll_io(cx, Direction::Read, contender.waiter(), attempt)
        })
        .await
    }

    /// As [`send`](Self::send), for the one task that sends.
    pub fn poll_send(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.socket.poll_io(cx, Direction::Write, Waiter::Task, || {
            self.socket.send(data)
        })
    }

    /// As [`recv`](Self::recv), for the one task that receives.
    pub fn poll_recv(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let io = self.socket.io();
        self.socket
            .poll_io(cx, Direction::Read, Waiter::Task, || io.recv(buffer))
    }

    /// As [`recv_from`](Self::recv_from), for the one task that receives.
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let io = self.socket.io();
        self.socket
            .poll_io(cx, Direction::Read, Waiter::Task, || io.recv_from(buffer))
    }

    /// As [`send`](Self::send), if there is room.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn try_send(&self, data: &[u8]) -> io::Result<usize> {
        self.socket
            .try_io(Direction::Write, || self.socket.send(data))
    }

    /// As [`send_to`](Self::send_to), if there is room.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn try_send_to(&self, data: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        let to = address::of_path(path.as_ref())?;
        // Room in one receiver says nothing of another, so this is not remembered.
        self.send_once(data, &to)
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

    /// Closes one direction, or both, for every holder of the socket.
    ///
    /// # Errors
    /// `NotConnected`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.io().shutdown(how)
    }

    /// The address that the socket is bound to; one without a name if it is not.
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
}
