//! Transfers inside the kernel, and their portable twin: a buffer.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// Bytes that go through a buffer at once, where the kernel can not do better.
const BUFFER: usize = 128 * 1024;

/// Copies up to `wanted` bytes; 0 at the end of `from`.
pub(super) fn copy(
    from: &File,
    at: u64,
    to: &File,
    to_at: u64,
    wanted: usize,
) -> io::Result<usize> {
    match in_kernel::copy(from, at, to, to_at, wanted) {
        // The files of procfs are empty to it.
        Ok(0) => {}
        Err(error) if is_declined(&error) => {}
        result => return result,
    }
    let mut buffer = vec![0; wanted.min(BUFFER)];
    let mut copied = 0;
    while copied < wanted {
        let room = buffer.len().min(wanted - copied);
        let count = match read_at(from, &mut buffer[..room], at + copied as u64) {
            Ok(0) => break,
            Ok(count) => count,
            // What went before is told first; the next piece meets the error again.
            Err(_) if copied > 0 => break,
            Err(error) => return Err(error),
        };
        match to.write_all_at(&buffer[..count], to_at + copied as u64) {
            Ok(()) => copied += count,
            Err(_) if copied > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(copied)
}

/// Sends up to `wanted` bytes to a non-blocking socket; 0 at the end of the file.
///
/// # Errors
/// `WouldBlock` if there is no room for any.
pub(super) fn send(from: &File, at: u64, to: BorrowedFd<'_>, wanted: usize) -> io::Result<usize> {
    if wanted == 0 {
        return Ok(0);
    }
    match in_kernel::send(from, at, to, wanted) {
        Err(error) if is_declined(&error) => {}
        result => return result,
    }
    let mut buffer = vec![0; wanted.min(BUFFER)];
    let count = read_at(from, &mut buffer, at)?;
    if count == 0 {
        return Ok(0);
    }
    // SAFETY: the buffer is valid for its length.
    let sent = unsafe { libc::write(to.as_raw_fd(), buffer.as_ptr().cast(), count) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Whether the kernel does not do it for these two, rather than has failed at it.
fn is_declined(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENOSYS
                | libc::EINVAL
                | libc::EXDEV
                | libc::EOPNOTSUPP
                | libc::EPERM
                | libc::EOVERFLOW
                // Opened to append: it writes at the end, whatever the offset.
                | libc::EBADF
        )
    )
}

#[cfg(all(target_os = "linux", not(libruntime_portable)))]
mod in_kernel {
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd};

    fn offset(at: u64) -> io::Result<libc::off64_t> {
        at.try_into()
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
    }

    /// Repeats a call that a signal interrupts.
    fn call(mut attempt: impl FnMut() -> isize) -> io::Result<usize> {
        loop {
            if let Ok(count) = usize::try_from(attempt()) {
                return Ok(count);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    pub(super) fn copy(
        from: &File,
        at: u64,
        to: &File,
        to_at: u64,
        wanted: usize,
    ) -> io::Result<usize> {
        let (at, to_at) = (offset(at)?, offset(to_at)?);
        call(|| {
            let (mut at, mut to_at) = (at, to_at);
            // SAFETY: descriptors that are open, and offsets on this stack.
            unsafe {
                libc::copy_file_range(
                    from.as_raw_fd(),
                    &raw mut at,
                    to.as_raw_fd(),
                    &raw mut to_at,
                    wanted,
                    0,
                )
            }
        })
    }

    pub(super) fn send(
        from: &File,
        at: u64,
        to: BorrowedFd<'_>,
        wanted: usize,
    ) -> io::Result<usize> {
        let at = offset(at)?;
        call(|| {
            let mut at = at;
            // SAFETY: as above.
            unsafe { libc::sendfile64(to.as_raw_fd(), from.as_raw_fd(), &raw mut at, wanted) }
        })
    }
}

#[cfg(not(all(target_os = "linux", not(libruntime_portable))))]
mod in_kernel {
    use std::fs::File;
    use std::io;
    use std::os::fd::BorrowedFd;

    pub(super) fn copy(_: &File, _: u64, _: &File, _: u64, _: usize) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(libc::ENOSYS))
    }

    pub(super) fn send(_: &File, _: u64, _: BorrowedFd<'_>, _: usize) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(libc::ENOSYS))
    }
}
