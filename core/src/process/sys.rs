//! What only some systems have, and its portable twin.

#[cfg(all(target_os = "linux", not(libruntime_portable)))]
pub(super) use linux::{pidfd, wait_a_moment};
#[cfg(not(all(target_os = "linux", not(libruntime_portable))))]
pub(super) use portable::{pidfd, wait_a_moment};

#[cfg(all(target_os = "linux", not(libruntime_portable)))]
mod linux {
    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

    /// A non-blocking descriptor that is readable when the process has ended; it is not inherited.
    /// `None` where the kernel has none, or none left.
    pub(in super::super) fn pidfd(pid: u32) -> Option<OwnedFd> {
        // SAFETY: the call takes two numbers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, libc::PIDFD_NONBLOCK) };
        let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0)?;
        // SAFETY: a new descriptor, which nobody else has.
        Some(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Blocks until the process has ended, for `millis` at most.
    pub(in super::super) fn wait_a_moment(pidfd: BorrowedFd<'_>, millis: i32) {
        let mut poll = libc::pollfd {
            fd: pidfd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry, which lives on this stack.
        unsafe { libc::poll(&raw mut poll, 1, millis) };
    }
}

#[cfg(not(all(target_os = "linux", not(libruntime_portable))))]
mod portable {
    use std::os::fd::{BorrowedFd, OwnedFd};

    pub(in super::super) fn pidfd(_pid: u32) -> Option<OwnedFd> {
        None
    }

    pub(in super::super) fn wait_a_moment(_pidfd: BorrowedFd<'_>, _millis: i32) {}
}

/// Blocks until a child has ended, and leaves it to be reaped.
pub(super) fn wait_for_end(pid: u32) -> std::io::Result<()> {
    loop {
        // SAFETY: all fields may be zero.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: `info` is written by the call.
        if unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &raw mut info, flags) } == 0 {
            return Ok(());
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
