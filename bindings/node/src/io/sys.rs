//! System calls on descriptors, with `EINTR` dealt with and errors as `io::Error`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::socket::Settings;

fn retried(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        let result = call();
        if result >= 0 {
            return Ok(result as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

pub(crate) fn receive(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `len` bytes into memory that is exclusively borrowed.
    retried(|| unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) })
}

/// Sends `first`, then `second`, in one call. Never raises SIGPIPE.
pub(crate) fn send(fd: RawFd, first: &[u8], second: &[u8]) -> io::Result<usize> {
    let (lone, gather) = match (first.is_empty(), second.is_empty()) {
        (true, _) => (second, false),
        (_, true) => (first, false),
        _ => (first, true),
    };
    if !gather {
        // SAFETY: the kernel reads at most `len` bytes of borrowed memory.
        return retried(|| unsafe {
            libc::send(fd, lone.as_ptr().cast(), lone.len(), libc::MSG_NOSIGNAL)
        });
    }
    let mut parts = [first, second].map(|part| libc::iovec {
        iov_base: part.as_ptr().cast_mut().cast(),
        iov_len: part.len(),
    });
    // SAFETY: all zero is a valid `msghdr`: no name, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len() as _;
    // SAFETY: the parts describe borrowed memory that the kernel only reads.
    retried(|| unsafe { libc::sendmsg(fd, &message, libc::MSG_NOSIGNAL) })
}

pub(crate) fn shut_down(fd: RawFd, how: libc::c_int) {
    // SAFETY: takes no memory. A connection that is gone already needs no FIN, so errors are ignored.
    unsafe { libc::shutdown(fd, how) };
}

/// The pending error of a socket (0: none), cleared.
pub(crate) fn take_error(fd: RawFd) -> io::Result<i32> {
    with(fd, |socket| socket.take_error())
        .map(|error| error.and_then(|error| error.raw_os_error()).unwrap_or(0))
}

pub(crate) fn set_no_delay(fd: RawFd, on: bool) -> io::Result<()> {
    with(fd, |socket| socket.set_tcp_nodelay(on))
}

/// Probes an idle connection after `idle` seconds (0: the system's default); `None` turns it off.
pub(crate) fn set_keep_alive(fd: RawFd, idle: Option<u32>) -> io::Result<()> {
    with(fd, |socket| {
        socket.set_keepalive(idle.is_some())?;
        match idle {
            // One probe a second, ten of them: what Node asks for.
            Some(seconds) if seconds > 0 => socket.set_tcp_keepalive(
                &TcpKeepalive::new()
                    .with_time(Duration::from_secs(u64::from(seconds)))
                    .with_interval(Duration::from_secs(1))
                    .with_retries(10),
            ),
            _ => Ok(()),
        }
    })
}

/// Makes the coming `close` send an RST and drop what the kernel still holds.
pub(crate) fn reset_on_close(fd: RawFd) {
    // Best effort: a socket that refuses the option still closes.
    let _ = with(fd, |socket| socket.set_linger(Some(Duration::ZERO)));
}

pub(crate) fn local_address(fd: RawFd) -> Option<SocketAddr> {
    with(fd, |socket| socket.local_addr()).ok()?.as_socket()
}

fn with<R>(fd: RawFd, f: impl FnOnce(SockRef<'_>) -> io::Result<R>) -> io::Result<R> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the caller owns the descriptor and does not close it during the call.
    f(SockRef::from(&unsafe { BorrowedFd::borrow_raw(fd) }))
}

/// The next connection that waits on a listener, non-blocking and closed on exec.
pub(crate) fn accept(fd: RawFd) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let accept = |storage: *mut _, length: *mut _| {
        // SAFETY: `try_init` provides room for an address of any family and its length.
        retried(|| unsafe {
            libc::accept4(
                fd,
                storage,
                length,
                libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            ) as isize
        })
    };
    // SAFETY: a successful `accept4` fills in the address and its length.
    let (accepted, address) =
        unsafe { SockAddr::try_init(|storage, length| accept(storage.cast(), length)) }?;
    // SAFETY: a new descriptor that nobody else knows.
    let fd = unsafe { OwnedFd::from_raw_fd(accepted as RawFd) };
    Ok((fd, address.as_socket()))
}

/// How a listening socket is set up.
#[derive(Clone, Copy)]
pub(crate) struct ListenSetup {
    pub(crate) backlog: i32,
    pub(crate) ipv6_only: bool,
    pub(crate) reuse_port: bool,
}

pub(crate) fn listen(address: SocketAddr, setup: ListenSetup) -> io::Result<OwnedFd> {
    let socket = stream_socket(address)?;
    socket.set_reuse_address(true)?;
    if setup.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(setup.ipv6_only)?;
    }
    socket.bind(&address.into())?;
    socket.listen(setup.backlog)?;
    Ok(socket.into())
}

/// Begins to connect. True when that is done already.
pub(crate) fn connect(
    remote: SocketAddr,
    local: Option<SocketAddr>,
) -> io::Result<(OwnedFd, bool)> {
    let socket = stream_socket(remote)?;
    if let Some(local) = local {
        socket.set_reuse_address(true)?;
        socket.bind(&local.into())?;
    }
    let done = match socket.connect(&remote.into()) {
        Ok(()) => true,
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => false,
        Err(error) => return Err(error),
    };
    Ok((socket.into(), done))
}

fn stream_socket(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )
}

/// Applies the options of a new connection; a peer that is gone already shows in the first read.
pub(crate) fn configure(fd: &OwnedFd, settings: &Settings) {
    let fd = fd.as_raw_fd();
    if settings.no_delay {
        let _ = set_no_delay(fd, true);
    }
    if settings.keep_alive.is_some() {
        let _ = set_keep_alive(fd, settings.keep_alive);
    }
}

/// An address from its text: `127.0.0.1`, `::1`, or with a zone as in `fe80::1%eth0`.
pub(crate) fn parse_address(text: &str, port: u16) -> Option<SocketAddr> {
    let (ip, zone) = text
        .split_once('%')
        .map_or((text, None), |(ip, zone)| (ip, Some(zone)));
    let mut address = SocketAddr::new(ip.parse().ok()?, port);
    if let (SocketAddr::V6(address), Some(zone)) = (&mut address, zone) {
        address.set_scope_id(zone.parse().ok().or_else(|| interface_index(zone))?);
    }
    Some(address)
}

fn interface_index(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: the name ends in a zero and is only read.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}
