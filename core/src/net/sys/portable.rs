//! Everywhere else: one datagram after the other.
//!
//! Build with `--cfg libruntime_portable` to use this on Linux too.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use socket2::{MaybeUninitSlice, SockRef};

use super::super::batch::{Incoming, Outgoing};
use super::NO_SIGNAL;

/// Sends the first of `messages`, as many as there is room for. How many; at least one.
///
/// # Errors
/// What the system says of the first.
pub(in super::super) fn send_many(
    fd: BorrowedFd<'_>,
    messages: &[Outgoing<'_>],
) -> io::Result<usize> {
    let socket = SockRef::from(&fd);
    for (sent, message) in messages.iter().enumerate() {
        let result = match message.to {
            Some(to) => socket.send_to_with_flags(message.data, &to.into(), NO_SIGNAL),
            None => socket.send_with_flags(message.data, NO_SIGNAL),
        };
        match result {
            Ok(_) => {}
            Err(error) if sent == 0 => return Err(error),
            Err(_) => return Ok(sent),
        }
    }
    Ok(messages.len())
}

/// Receives what has come, into the first of `messages`. How many; at least one.
///
/// # Errors
/// What the system says of the first.
pub(in super::super) fn recv_many(
    fd: BorrowedFd<'_>,
    messages: &mut [Incoming<'_>],
) -> io::Result<usize> {
    let socket = SockRef::from(&fd);
    let most = messages.len();
    for (received, message) in messages.iter_mut().enumerate() {
        // SAFETY: the system writes bytes, and never uninitialised ones.
        let buffer =
            unsafe { &mut *(std::ptr::from_mut(&mut *message.buffer) as *mut [MaybeUninit<u8>]) };
        let mut parts = [MaybeUninitSlice::new(buffer)];
        match socket.recv_from_vectored(&mut parts) {
            Ok((len, flags, from)) => {
                message.len = len;
                message.truncated = flags.is_truncated();
                message.from = from.as_socket();
            }
            Err(error) if received == 0 => return Err(error),
            Err(_) => return Ok(received),
        }
    }
    Ok(most)
}
