//! What only some systems have, and its portable twin.

#[cfg(all(target_os = "linux", not(libruntime_portable)))]
pub(super) use linux::pidfd;
#[cfg(not(all(target_os = "linux", not(libruntime_portable))))]
pub(super) use portable::pidfd;

#[cfg(all(target_os = "linux", not(libruntime_portable)))]
mod linux {
    use std::os::fd::{FromRawFd, OwnedFd};

    /// A non-blocking descriptor that is readable when the process has ended; it is not inherited.
    /// `None` where the kernel has none, or none left.
    pub(in super::super) fn pidfd(pid: u32) -> Option<OwnedFd> {
        // SAFETY: the call takes two numbers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, libc::PIDFD_NONBLOCK) };
        let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0)?;
        // SAFETY: a new descriptor, which nobody else has.
        Some(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

#[cfg(not(all(target_os = "linux", not(libruntime_portable))))]
mod portable {
    use std::os::fd::OwnedFd;

    pub(in super::super) fn pidfd(_pid: u32) -> Option<OwnedFd> {
        None
    }
}
