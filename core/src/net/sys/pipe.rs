//! What a pipe is.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Whether a pipe's descriptor reads and writes; `None` if it is not a pipe's.
///
/// # Errors
/// What the system says about the descriptor.
pub(in super::super) fn access_of(fd: BorrowedFd<'_>) -> io::Result<Option<Access>> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: there is room for the answer.
    if unsafe { libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded.
    if unsafe { stat.assume_init() }.st_mode & libc::S_IFMT != libc::S_IFIFO {
        return Ok(None);
    }
    // SAFETY: no memory is involved.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    let mode = flags & libc::O_ACCMODE;
    Ok(Some(Access {
        reads: mode == libc::O_RDONLY || mode == libc::O_RDWR,
        writes: mode == libc::O_WRONLY || mode == libc::O_RDWR,
    }))
}

/// What a descriptor of a pipe is good for.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Access {
    pub(in super::super) reads: bool,
    pub(in super::super) writes: bool,
}
