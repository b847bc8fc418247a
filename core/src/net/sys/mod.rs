//! What systems differ in.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

#[cfg(all(target_os = "linux", not(libruntime_portable)))]
mod linux;
#[cfg(all(target_os = "linux", not(libruntime_portable)))]
pub(super) use linux::{recv_many, send_many};

#[cfg(any(not(target_os = "linux"), libruntime_portable))]
mod portable;
#[cfg(any(not(target_os = "linux"), libruntime_portable))]
pub(super) use portable::{recv_many, send_many};

mod pipe;
pub(super) use pipe::{Access, access_of};

/// Asks a send not to raise `SIGPIPE`.
#[cfg(not(target_vendor = "apple"))]
pub(super) const NO_SIGNAL: libc::c_int = libc::MSG_NOSIGNAL;
/// Apple has an option of the socket for it, which mio and socket2 set.
#[cfg(target_vendor = "apple")]
pub(super) const NO_SIGNAL: libc::c_int = 0;

/// Whether a listener's error means that descriptors or memory have run out: the connection is
/// still there, and trying again at once would find the same.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Whether a listener's error is that of one connection, which is gone: `accept(2)` says that these
/// are to be treated as if there had been nothing to accept.
pub(super) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
                | libc::EPERM
        )
    )
}

/// Makes a descriptor non-blocking, unless it is one that never blocks.
///
/// # Errors
/// `Unsupported` for a file or a directory; what the system says.
pub(super) fn prepare(fd: RawFd) -> io::Result<()> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: there is room for the answer.
    if unsafe { libc::fstat(fd, stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded.
    let kind = unsafe { stat.assume_init() }.st_mode & libc::S_IFMT;
    if kind == libc::S_IFREG || kind == libc::S_IFDIR {
        let message = "a file or a directory can not be waited for: it is always ready";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    // SAFETY: no memory is involved.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    // SAFETY: as above.
    if flags < 0 || unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
