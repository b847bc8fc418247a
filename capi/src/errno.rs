//! The system's error numbers: names and texts as static strings, so that asking for one never
//! allocates, never leaks and is safe in a signal handler.

use std::ffi::CStr;

/// A NUL-terminated literal as a C string; `text` must end in its only NUL.
const fn c_str(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("an interior NUL in a literal"),
    }
}

/// The name (`EAGAIN`) and the text of the positive error number `errno`.
pub(crate) fn lookup(errno: i32) -> Option<(&'static CStr, &'static CStr)> {
    find(POSIX, errno).or_else(|| find(LINUX, errno))
}

fn find(table: &[Row], errno: i32) -> Option<(&'static CStr, &'static CStr)> {
    let row = table.iter().find(|row| row.0 == errno)?;
    Some((row.1, row.2))
}

type Row = (i32, &'static CStr, &'static CStr);

macro_rules! table {
    ($(($code:ident, $text:literal),)*) => {
        &[$((libc::$code, c_str(concat!(stringify!($code), "\0")), c_str(concat!($text, "\0")))),*]
    };
}

/// What every Unix has.
const POSIX: &[Row] = table![
    (EPERM, "operation not permitted"),
    (ENOENT, "no such file or directory"),
    (ESRCH, "no such process"),
    (EINTR, "interrupted system call"),
    (EIO, "input/output error"),
    (ENXIO, "no such device or address"),
    (E2BIG, "argument list too long"),
    (ENOEXEC, "exec format error"),
    (EBADF, "bad file descriptor"),
    (ECHILD, "no child processes"),
    (EAGAIN, "resource temporarily unavailable"),
    (ENOMEM, "cannot allocate memory"),
    (EACCES, "permission denied"),
    (EFAULT, "bad address"),
    (ENOTBLK, "block device required"),
    (EBUSY, "device or resource busy"),
    (EEXIST, "file exists"),
    (EXDEV, "invalid cross-device link"),
    (ENODEV, "no such device"),
    (ENOTDIR, "not a directory"),
    (EISDIR, "is a directory"),
    (EINVAL, "invalid argument"),
    (ENFILE, "too many open files in system"),
    (EMFILE, "too many open files"),
    (ENOTTY, "inappropriate ioctl for device"),
    (ETXTBSY, "text file busy"),
    (EFBIG, "file too large"),
    (ENOSPC, "no space left on device"),
    (ESPIPE, "illegal seek"),
    (EROFS, "read-only file system"),
    (EMLINK, "too many links"),
    (EPIPE, "broken pipe"),
    (EDOM, "numerical argument out of domain"),
    (ERANGE, "numerical result out of range"),
    (EDEADLK, "resource deadlock avoided"),
    (ENAMETOOLONG, "file name too long"),
    (ENOLCK, "no locks available"),
    (ENOSYS, "function not implemented"),
    (ENOTEMPTY, "directory not empty"),
    (ELOOP, "too many levels of symbolic links"),
    (ENOMSG, "no message of desired type"),
    (EIDRM, "identifier removed"),
    (EPROTO, "protocol error"),
    (EBADMSG, "bad message"),
    (EMULTIHOP, "multihop attempted"),
    (ENOLINK, "link has been severed"),
    (EOVERFLOW, "value too large for defined data type"),
    (EILSEQ, "invalid or incomplete multibyte or wide character"),
    (EUSERS, "too many users"),
    (ENOTSOCK, "socket operation on non-socket"),
    (EDESTADDRREQ, "destination address required"),
    (EMSGSIZE, "message too long"),
    (EPROTOTYPE, "protocol wrong type for socket"),
    (ENOPROTOOPT, "protocol not available"),
    (EPROTONOSUPPORT, "protocol not supported"),
    (ESOCKTNOSUPPORT, "socket type not supported"),
    (EOPNOTSUPP, "operation not supported"),
    (EPFNOSUPPORT, "protocol family not supported"),
    (EAFNOSUPPORT, "address family not supported by protocol"),
    (EADDRINUSE, "address already in use"),
    (EADDRNOTAVAIL, "cannot assign requested address"),
    (ENETDOWN, "network is down"),
    (ENETUNREACH, "network is unreachable"),
    (ENETRESET, "network dropped connection on reset"),
    (ECONNABORTED, "software caused connection abort"),
    (ECONNRESET, "connection reset by peer"),
    (ENOBUFS, "no buffer space available"),
    (EISCONN, "transport endpoint is already connected"),
    (ENOTCONN, "transport endpoint is not connected"),
    (ESHUTDOWN, "cannot send after transport endpoint shutdown"),
    (ETOOMANYREFS, "too many references: cannot splice"),
    (ETIMEDOUT, "connection timed out"),
    (ECONNREFUSED, "connection refused"),
    (EHOSTDOWN, "host is down"),
    (EHOSTUNREACH, "no route to host"),
    (EALREADY, "operation already in progress"),
    (EINPROGRESS, "operation now in progress"),
    (ESTALE, "stale file handle"),
    (EDQUOT, "disk quota exceeded"),
    (ECANCELED, "operation canceled"),
    (EOWNERDEAD, "owner died"),
    (ENOTRECOVERABLE, "state not recoverable"),
];

/// What Linux has beyond them.
#[cfg(target_os = "linux")]
const LINUX: &[Row] = table![
    (ECHRNG, "channel number out of range"),
    (EL2NSYNC, "level 2 not synchronized"),
    (EL3HLT, "level 3 halted"),
    (EL3RST, "level 3 reset"),
    (ELNRNG, "link number out of range"),
    (EUNATCH, "protocol driver not attached"),
    (ENOCSI, "no CSI structure available"),
    (EL2HLT, "level 2 halted"),
    (EBADE, "invalid exchange"),
    (EBADR, "invalid request descriptor"),
    (EXFULL, "exchange full"),
    (ENOANO, "no anode"),
    (EBADRQC, "invalid request code"),
    (EBADSLT, "invalid slot"),
    (EBFONT, "bad font file format"),
    (ENOSTR, "device not a stream"),
    (ENODATA, "no data available"),
    (ETIME, "timer expired"),
    (ENOSR, "out of streams resources"),
    (ENONET, "machine is not on the network"),
    (ENOPKG, "package not installed"),
    (EREMOTE, "object is remote"),
    (EADV, "advertise error"),
    (ESRMNT, "srmount error"),
    (ECOMM, "communication error on send"),
    (EDOTDOT, "RFS specific error"),
    (ENOTUNIQ, "name not unique on network"),
    (EBADFD, "file descriptor in bad state"),
    (EREMCHG, "remote address changed"),
    (ELIBACC, "can not access a needed shared library"),
    (ELIBBAD, "accessing a corrupted shared library"),
    (ELIBSCN, ".lib section in a.out corrupted"),
    (ELIBMAX, "attempting to link in too many shared libraries"),
    (ELIBEXEC, "cannot exec a shared library directly"),
    (ERESTART, "interrupted system call should be restarted"),
    (ESTRPIPE, "streams pipe error"),
    (EUCLEAN, "structure needs cleaning"),
    (ENOTNAM, "not a XENIX named type file"),
    (ENAVAIL, "no XENIX semaphores available"),
    (EISNAM, "is a named type file"),
    (EREMOTEIO, "remote I/O error"),
    (ENOMEDIUM, "no medium found"),
    (EMEDIUMTYPE, "wrong medium type"),
    (ENOKEY, "required key not available"),
    (EKEYEXPIRED, "key has expired"),
    (EKEYREVOKED, "key has been revoked"),
    (EKEYREJECTED, "key was rejected by service"),
    (ERFKILL, "operation not possible due to RF-kill"),
    (EHWPOISON, "memory page has hardware error"),
];

#[cfg(not(target_os = "linux"))]
const LINUX: &[Row] = &[];
