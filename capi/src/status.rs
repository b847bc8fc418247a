//! Status codes: what every call that can fail returns.

use std::ffi::{CStr, c_char, c_int};
use std::{fmt, io};

use libc::{
    E2BIG, EADDRINUSE, EAGAIN, EALREADY, EBADF, EBUSY, ECANCELED, ECONNREFUSED, ECONNRESET,
    EDEADLK, EEXIST, EINVAL, EMFILE, ENOMEM, ENOTCONN, EPERM, EPIPE, ESHUTDOWN, ETIMEDOUT,
};

use crate::errno;

/// Done. Results are in the out-parameters.
pub const RT_OK: c_int = 0;
/// Not yet: the callback will come, the waker will be woken, or there is more to do.
pub const RT_PENDING: c_int = 1;

/// Not permitted from this thread: the object belongs to a loop that another thread owns.
pub const RT_EPERM: c_int = -EPERM;
/// An options struct of a newer version has a field set that this library does not know.
pub const RT_E2BIG: c_int = -E2BIG;
/// The descriptor is not open.
pub const RT_EBADF: c_int = -EBADF;
/// Nothing can be done at once, try again later.
pub const RT_EAGAIN: c_int = -EAGAIN;
/// Out of memory.
pub const RT_ENOMEM: c_int = -ENOMEM;
/// Busy: the loop is being turned already, or such an operation is pending on the object.
pub const RT_EBUSY: c_int = -EBUSY;
/// There is one already.
pub const RT_EEXIST: c_int = -EEXIST;
/// NULL, freed or of another type where a live handle is needed; an argument out of range.
pub const RT_EINVAL: c_int = -EINVAL;
/// The process has no descriptor left.
pub const RT_EMFILE: c_int = -EMFILE;
/// The peer does not read any more, or the sending side was shut down.
pub const RT_EPIPE: c_int = -EPIPE;
/// Blocking here would wait for itself: a worker or a turning loop must not block.
pub const RT_EDEADLK: c_int = -EDEADLK;
/// The address is in use.
pub const RT_EADDRINUSE: c_int = -EADDRINUSE;
/// The peer reset the connection.
pub const RT_ECONNRESET: c_int = -ECONNRESET;
/// Not connected.
pub const RT_ENOTCONN: c_int = -ENOTCONN;
/// The runtime or the loop was shut down.
pub const RT_ESHUTDOWN: c_int = -ESHUTDOWN;
/// The time limit passed.
pub const RT_ETIMEDOUT: c_int = -ETIMEDOUT;
/// Nobody listens at the address.
pub const RT_ECONNREFUSED: c_int = -ECONNREFUSED;
/// Finished, or under way, already.
pub const RT_EALREADY: c_int = -EALREADY;
/// Cancelled.
pub const RT_ECANCELED: c_int = -ECANCELED;

/// A panic inside the library or a callback was contained; the log has its message.
pub const RT_EPANIC: c_int = -4001;
/// The object was made before a `fork`, and this is the child.
pub const RT_EFORK: c_int = -4002;
/// The end of the stream: the peer has sent all it will send.
pub const RT_EOF: c_int = -4003;
/// The call needs a runtime, and the loop has none attached.
pub const RT_ENORUNTIME: c_int = -4004;
/// The name does not resolve to an address.
pub const RT_EAI_NONAME: c_int = -4101;
/// The name server failed for now, try again later.
pub const RT_EAI_AGAIN: c_int = -4102;
/// The name server failed for good.
pub const RT_EAI_FAIL: c_int = -4103;
/// The name could not be looked up for another reason.
pub const RT_EAI_OTHER: c_int = -4104;

/// The codes of the library's own range: value, name, text.
const OWN: &[(c_int, &CStr, &CStr)] = &[
    (RT_OK, c"RT_OK", c"done"),
    (RT_PENDING, c"RT_PENDING", c"not yet"),
    (
        RT_EPANIC,
        c"RT_EPANIC",
        c"a panic was contained, see the log",
    ),
    (
        RT_EFORK,
        c"RT_EFORK",
        c"made before a fork, used in the child",
    ),
    (RT_EOF, c"RT_EOF", c"end of stream"),
    (
        RT_ENORUNTIME,
        c"RT_ENORUNTIME",
        c"the loop has no runtime attached",
    ),
    (
        RT_EAI_NONAME,
        c"RT_EAI_NONAME",
        c"the name does not resolve",
    ),
    (
        RT_EAI_AGAIN,
        c"RT_EAI_AGAIN",
        c"the name server failed for now",
    ),
    (RT_EAI_FAIL, c"RT_EAI_FAIL", c"the name server failed"),
    (
        RT_EAI_OTHER,
        c"RT_EAI_OTHER",
        c"the name could not be looked up",
    ),
];

/// The names of the system's codes that the header defines.
const RENAMED: &[(c_int, &CStr)] = &[
    (RT_EPERM, c"RT_EPERM"),
    (RT_E2BIG, c"RT_E2BIG"),
    (RT_EBADF, c"RT_EBADF"),
    (RT_EAGAIN, c"RT_EAGAIN"),
    (RT_ENOMEM, c"RT_ENOMEM"),
    (RT_EBUSY, c"RT_EBUSY"),
    (RT_EEXIST, c"RT_EEXIST"),
    (RT_EINVAL, c"RT_EINVAL"),
    (RT_EMFILE, c"RT_EMFILE"),
    (RT_EPIPE, c"RT_EPIPE"),
    (RT_EDEADLK, c"RT_EDEADLK"),
    (RT_EADDRINUSE, c"RT_EADDRINUSE"),
    (RT_ECONNRESET, c"RT_ECONNRESET"),
    (RT_ENOTCONN, c"RT_ENOTCONN"),
    (RT_ESHUTDOWN, c"RT_ESHUTDOWN"),
    (RT_ETIMEDOUT, c"RT_ETIMEDOUT"),
    (RT_ECONNREFUSED, c"RT_ECONNREFUSED"),
    (RT_EALREADY, c"RT_EALREADY"),
    (RT_ECANCELED, c"RT_ECANCELED"),
];

/// Why a handle's method failed. Each value is one `RT_E*` code of the header.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Error {
    /// `RT_EINVAL`: a bad argument.
    Inval,
    /// `RT_EPERM`: the wrong thread.
    Perm,
    /// `RT_EBUSY`: re-entered, or such an operation is pending.
    Busy,
    /// `RT_EDEADLK`: blocking here would wait for itself.
    Deadlk,
    /// `RT_ESHUTDOWN`: the runtime or loop was shut down.
    Shutdown,
    /// `RT_EFORK`: made before a fork, used in the child.
    Fork,
    /// `RT_EPANIC`: a panic was contained.
    Panic,
    /// `RT_ECANCELED`: the operation was cancelled.
    Canceled,
    /// `RT_EALREADY`: finished or under way already.
    Already,
    /// `RT_ETIMEDOUT`: the time limit passed.
    TimedOut,
    /// `RT_E2BIG`: an options struct with an unknown field set.
    TooBig,
    /// `RT_EOF`: the end of the stream.
    Eof,
    /// `RT_ENORUNTIME`: no runtime is attached to the loop.
    NoRuntime,
    /// `RT_EAI_*`: the status that a name lookup ended with.
    Resolve(c_int),
    /// `-errno` of a system call; the value is the positive number.
    Os(c_int),
}

impl Error {
    /// The header's code: always negative.
    pub fn code(self) -> c_int {
        match self {
            Error::Inval => RT_EINVAL,
            Error::Perm => RT_EPERM,
            Error::Busy => RT_EBUSY,
            Error::Deadlk => RT_EDEADLK,
            Error::Shutdown => RT_ESHUTDOWN,
            Error::Fork => RT_EFORK,
            Error::Panic => RT_EPANIC,
            Error::Canceled => RT_ECANCELED,
            Error::Already => RT_EALREADY,
            Error::TimedOut => RT_ETIMEDOUT,
            Error::TooBig => RT_E2BIG,
            Error::Eof => RT_EOF,
            Error::NoRuntime => RT_ENORUNTIME,
            Error::Resolve(code) => code,
            Error::Os(errno) => -errno,
        }
    }

    /// The error that the calling thread's `errno` holds.
    pub(crate) fn last_os() -> Error {
        Error::from(io::Error::last_os_error())
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        if let Some(errno) = error.raw_os_error().filter(|errno| *errno > 0) {
            return Error::Os(errno);
        }
        match error.kind() {
            io::ErrorKind::WouldBlock => Error::Os(EAGAIN),
            io::ErrorKind::ResourceBusy => Error::Busy,
            io::ErrorKind::Deadlock => Error::Deadlk,
            io::ErrorKind::TimedOut => Error::TimedOut,
            io::ErrorKind::UnexpectedEof => Error::Eof,
            io::ErrorKind::OutOfMemory => Error::Os(ENOMEM),
            io::ErrorKind::BrokenPipe => Error::Os(EPIPE),
            io::ErrorKind::ConnectionReset => Error::Os(ECONNRESET),
            io::ErrorKind::ConnectionRefused => Error::Os(ECONNREFUSED),
            io::ErrorKind::AddrInUse => Error::Os(EADDRINUSE),
            io::ErrorKind::NotConnected => Error::Os(ENOTCONN),
            io::ErrorKind::PermissionDenied => Error::Perm,
            io::ErrorKind::AlreadyExists => Error::Os(EEXIST),
            io::ErrorKind::InvalidInput => Error::Inval,
            io::ErrorKind::Unsupported => Error::Os(libc::ENOSYS),
            _ => Error::Os(libc::EIO),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        match error {
            Error::Os(errno) => io::Error::from_raw_os_error(errno),
            other => io::Error::other(other),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(self.code()).to_string_lossy())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({})",
            name(self.code()).to_string_lossy(),
            self.code()
        )
    }
}

/// The code for a method's result: `RT_OK`, or the error's code.
pub(crate) fn status(result: Result<(), Error>) -> c_int {
    match result {
        Ok(()) => RT_OK,
        Err(error) => error.code(),
    }
}

fn name(code: c_int) -> &'static CStr {
    if let Some(row) = OWN.iter().find(|row| row.0 == code) {
        return row.1;
    }
    if let Some(row) = RENAMED.iter().find(|row| row.0 == code) {
        return row.1;
    }
    system(code).map_or(c"RT_EUNKNOWN", |row| row.0)
}

fn text(code: c_int) -> &'static CStr {
    if let Some(row) = OWN.iter().find(|row| row.0 == code) {
        return row.2;
    }
    system(code).map_or(c"unknown error", |row| row.1)
}

fn system(code: c_int) -> Option<(&'static CStr, &'static CStr)> {
    errno::lookup(code.checked_neg()?)
}

/// The name of a status code: "RT_EINVAL" for a code that this header defines, the system's own
/// name ("EXDEV") for any other error number, "RT_EUNKNOWN" for a value that is no code.
/// The string is static: nothing is allocated, and it is never freed.
///
/// @threads any @signal_safe
#[unsafe(no_mangle)]
pub extern "C" fn rt_err_name(code: c_int) -> *const c_char {
    name(code).as_ptr()
}

/// What a status code says, in words. The string is static: nothing is allocated, and it is never
/// freed.
///
/// @threads any @signal_safe
#[unsafe(no_mangle)]
pub extern "C" fn rt_strerror(code: c_int) -> *const c_char {
    text(code).as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_name_and_a_text() {
        for (code, expected) in RENAMED {
            assert_eq!(name(*code), *expected);
            assert_ne!(text(*code), c"unknown error", "{expected:?}");
        }
        for errno in (1..=133).filter(|errno| ![41, 58].contains(errno)) {
            assert_ne!(name(-errno), c"RT_EUNKNOWN", "errno {errno}");
            assert_ne!(text(-errno), c"unknown error", "errno {errno}");
        }
    }

    #[test]
    fn values_that_are_no_code_are_unknown() {
        for code in [2, c_int::MIN, c_int::MAX, -4000, -9999] {
            assert_eq!(name(code), c"RT_EUNKNOWN");
            assert_eq!(text(code), c"unknown error");
        }
    }

    #[test]
    fn an_error_keeps_the_number_of_its_system_call() {
        let error = Error::from(io::Error::from_raw_os_error(libc::EXDEV));
        assert_eq!(error, Error::Os(libc::EXDEV));
        assert_eq!(error.code(), -libc::EXDEV);
        assert_eq!(format!("{error:?}"), format!("EXDEV ({})", -libc::EXDEV));
    }
}
