//! System calls on sockets. None of them blocks, none raises SIGPIPE, and descriptors are closed
//! on exec.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::stream::rt_buf;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

const _: () = assert!(
    size_of::<rt_buf>() == size_of::<libc::iovec>()
        && std::mem::offset_of!(rt_buf, base) == std::mem::offset_of!(libc::iovec, iov_base)
        && std::mem::offset_of!(rt_buf, len) == std::mem::offset_of!(libc::iovec, iov_len)
);

/// The most pieces that one call sends; Linux takes 1024, more do not make it quicker.
pub(crate) const MAX_BUFS: usize = 64;

fn count(n: isize) -> io::Result<usize> {
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Repeats a call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Receives into `len` bytes at `buffer`; 0 is the end of the stream.
///
/// # Safety
/// `buffer` is valid for writes of `len` bytes.
pub(crate) unsafe fn recv(fd: RawFd, buffer: *mut u8, len: usize) -> io::Result<usize> {
    // SAFETY: passed on from the caller.
    retry(|| count(unsafe { libc::recv(fd, buffer.cast(), len, libc::MSG_DONTWAIT) }))
}

/// Sends what it can of the pieces, of which it takes the first `MAX_BUFS`.
///
/// # Safety
/// Each piece is valid for reads.
pub(crate) unsafe fn send(fd: RawFd, bufs: &[rt_buf]) -> io::Result<usize> {
    const FLAGS: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    if let [buf] = bufs {
        // SAFETY: passed on from the caller.
        return retry(|| count(unsafe { libc::send(fd, buf.base, buf.len, FLAGS) }));
    }
    // SAFETY: all zeros are a valid message header.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = bufs.as_ptr().cast_mut().cast();
    message.msg_iovlen = bufs.len().min(MAX_BUFS) as _;
    // SAFETY: `message` refers to pieces that the caller promises to be readable.
    retry(|| count(unsafe { libc::sendmsg(fd, &message, FLAGS) }))
}

/// Takes a connection from the queue of a listening socket.
pub(crate) fn accept(fd: RawFd) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    retry(|| {
        // SAFETY: NULL asks for no address.
        let new = unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
        if new < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(new) })
    })
}

/// Whether `accept` failed because something ran out: the connection is still in the queue.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Whether `accept` failed for one connection only, which is gone: the next may be fine. Linux
/// reports errors of the new connection's network this way.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::EHOSTDOWN
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::ENONET
        )
    )
}

/// How a listening socket is made.
#[derive(Clone, Copy, Default)]
pub(crate) struct ListenSettings {
    /// 0 for the default.
    pub(crate) backlog: u32,
    pub(crate) reuse_port: bool,
}

/// The connections that may wait for `accept` unless the caller says otherwise; the system cuts
/// it to its own limit (`net.core.somaxconn`, 4096 on current Linux).
const BACKLOG: u32 = 4096;

/// A listening socket bound to `address`.
pub(crate) fn listen(address: SocketAddr, settings: ListenSettings) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    // A restarted server can bind while connections of its last life are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if settings.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    let backlog = if settings.backlog == 0 {
        BACKLOG
    } else {
        settings.backlog
    };
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}

/// Begins to connect; whether that is done already.
pub(crate) fn connect(address: SocketAddr) -> io::Result<(OwnedFd, bool)> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::from(address)) {
        Ok(()) => Ok((socket.into(), true)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {
            Ok((socket.into(), false))
        }
        Err(error) => Err(error),
    }
}

/// How an attempt to connect ended.
pub(crate) fn connect_error(fd: BorrowedFd<'_>) -> io::Result<()> {
    match SockRef::from(&fd).take_error()? {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Ends the connection with a reset when it is closed.
pub(crate) fn reset_on_close(fd: BorrowedFd<'_>) {
    let _ = SockRef::from(&fd).set_linger(Some(std::time::Duration::ZERO));
}

/// Ends a connection in both directions, and leaves the descriptor open. With `reset` the peer
/// gets a reset.
pub(crate) fn disconnect(fd: BorrowedFd<'_>, reset: bool) {
    if reset {
        // SAFETY: all zeros are a valid address, of no family.
        let nowhere: libc::sockaddr = unsafe { MaybeUninit::zeroed().assume_init() };
        let len = size_of::<libc::sockaddr>() as libc::socklen_t;
        // To connect to nowhere is to dissolve the connection, with a reset.
        // SAFETY: `nowhere` is valid for the call.
        unsafe { libc::connect(fd.as_raw_fd(), &nowhere, len) };
    } else {
        let _ = SockRef::from(&fd).shutdown(std::net::Shutdown::Both);
    }
}

/// Sends the end of the stream.
pub(crate) fn shutdown_write(fd: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&fd).shutdown(std::net::Shutdown::Write)
}

/// The socket's own address, or the peer's.
pub(crate) fn address(fd: BorrowedFd<'_>, peer: bool) -> io::Result<SocketAddr> {
    let socket = SockRef::from(&fd);
    let address = if peer {
        socket.peer_addr()?
    } else {
        socket.local_addr()?
    };
    address
        .as_socket()
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

/// `TCP_NODELAY`.
pub(crate) fn set_nodelay(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    SockRef::from(&fd).set_tcp_nodelay(on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_closed_peer_is_an_error_and_not_a_signal() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), ListenSettings::default()).unwrap();
        let address = address(listener.as_fd(), false).unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let server = loop {
            match accept(listener.as_raw_fd()) {
                Ok(server) => break server,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        SockRef::from(&client)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
        drop(client);
        let piece = [0u8; 4096];
        let buf = rt_buf {
            base: piece.as_ptr().cast(),
            len: piece.len(),
        };
        let error = loop {
            // SAFETY: the pieces are readable.
            if let Err(error) = unsafe { send(server.as_raw_fd(), &[buf, buf]) } {
                break error;
            }
        };
        assert!(
            matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)),
            "{error}"
        );
    }

    #[test]
    fn an_address_in_use_is_refused() {
        let first = listen("127.0.0.1:0".parse().unwrap(), ListenSettings::default()).unwrap();
        let address = address(first.as_fd(), false).unwrap();
        let error = listen(address, ListenSettings::default()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
    }
}
