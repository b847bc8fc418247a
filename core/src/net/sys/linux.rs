//! Linux: several datagrams with one call (`sendmmsg`, `recvmmsg`).

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use socket2::SockAddr;

use super::super::batch::{Incoming, Outgoing};

/// How many one call takes. Their headers are on the stack, some 13 KB of it; more in one call win
/// nothing that can be measured.
const MOST: usize = 64;

const NO_HEADER: libc::mmsghdr = libc::mmsghdr {
    // SAFETY: zeroes are a valid header, one without anything.
    msg_hdr: unsafe { std::mem::zeroed() },
    msg_len: 0,
};

const NO_DATA: libc::iovec = libc::iovec {
    iov_base: ptr::null_mut(),
    iov_len: 0,
};

/// Sends the first of `messages`, as many as there is room for. How many; at least one.
///
/// # Errors
/// What the system says of the first.
pub(in super::super) fn send_many(
    fd: BorrowedFd<'_>,
    messages: &[Outgoing<'_>],
) -> io::Result<usize> {
    let mut sent = 0;
    for chunk in messages.chunks(MOST) {
        match send_chunk(fd, chunk) {
            Ok(n) => sent += n,
            Err(error) if sent == 0 => return Err(error),
            Err(_) => break,
        }
        if sent % MOST != 0 {
            break;
        }
    }
    Ok(sent)
}

fn send_chunk(fd: BorrowedFd<'_>, messages: &[Outgoing<'_>]) -> io::Result<usize> {
    let mut headers = [NO_HEADER; MOST];
    let mut parts = [NO_DATA; MOST];
    let mut addresses = [const { MaybeUninit::<SockAddr>::uninit() }; MOST];
    for (index, message) in messages.iter().enumerate() {
        parts[index] = libc::iovec {
            iov_base: message.data.as_ptr().cast_mut().cast(),
            iov_len: message.data.len(),
        };
        let header = &mut headers[index].msg_hdr;
        header.msg_iov = &raw mut parts[index];
        header.msg_iovlen = 1;
        if let Some(to) = message.to {
            // `SockAddr` has nothing to drop.
            let address = addresses[index].write(to.into());
            header.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_namelen = address.len();
        }
    }
    // SAFETY: the headers, and what they point to, outlive the call, which changes only the headers.
    let n = unsafe {
        libc::sendmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr(),
            messages.len() as libc::c_uint,
            libc::MSG_NOSIGNAL,
        )
    };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(n as usize)
}

/// Receives what has come, into the first of `messages`. How many; at least one.
///
/// # Errors
/// What the system says of the first.
pub(in super::super) fn recv_many(
    fd: BorrowedFd<'_>,
    messages: &mut [Incoming<'_>],
) -> io::Result<usize> {
    let mut received = 0;
    for chunk in messages.chunks_mut(MOST) {
        match recv_chunk(fd, chunk) {
            Ok(n) => received += n,
            Err(error) if received == 0 => return Err(error),
            Err(_) => break,
        }
        if received % MOST != 0 {
            break;
        }
    }
    Ok(received)
}

fn recv_chunk(fd: BorrowedFd<'_>, messages: &mut [Incoming<'_>]) -> io::Result<usize> {
    let mut headers = [NO_HEADER; MOST];
    let mut parts = [NO_DATA; MOST];
    let mut addresses = [const { MaybeUninit::<libc::sockaddr_storage>::uninit() }; MOST];
    for (index, message) in messages.iter_mut().enumerate() {
        parts[index] = libc::iovec {
            iov_base: message.buffer.as_mut_ptr().cast(),
            iov_len: message.buffer.len(),
        };
        let header = &mut headers[index].msg_hdr;
        header.msg_iov = &raw mut parts[index];
        header.msg_iovlen = 1;
        header.msg_name = addresses[index].as_mut_ptr().cast();
        header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    }
    // SAFETY: the headers, and what they point to, outlive the call and are ours to be written.
    let n = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr(),
            messages.len() as libc::c_uint,
            0,
            ptr::null_mut(),
        )
    };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    let n = n as usize;
    for (index, message) in messages[..n].iter_mut().enumerate() {
        let header = &headers[index];
        message.len = header.msg_len as usize;
        message.truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        // SAFETY: the call has written as much of the address as the length says.
        message.from = unsafe { address(&addresses[index], header.msg_hdr.msg_namelen) };
    }
    Ok(n)
}

/// # Safety
/// The first `len` bytes of `storage` are initialised.
unsafe fn address(
    storage: &MaybeUninit<libc::sockaddr_storage>,
    len: libc::socklen_t,
) -> Option<SocketAddr> {
    if (len as usize) < size_of::<libc::sockaddr_in>() {
        return None;
    }
    let storage = storage.as_ptr();
    // SAFETY: the family is part of what is initialised.
    match libc::c_int::from(unsafe { (*storage).ss_family }) {
        libc::AF_INET => {
            // SAFETY: this family's address has this form, and its length was looked at.
            let address = unsafe { &*storage.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
        }
        libc::AF_INET6 if len as usize >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: as above.
            let address = unsafe { &*storage.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            let (flow, scope) = (address.sin6_flowinfo, address.sin6_scope_id);
            Some(SocketAddrV6::new(ip, u16::from_be(address.sin6_port), flow, scope).into())
        }
        _ => None,
    }
}
