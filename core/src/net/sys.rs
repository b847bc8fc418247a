//! What systems differ in.

/// Asks a send not to raise `SIGPIPE`.
#[cfg(not(target_vendor = "apple"))]
pub(super) const NO_SIGNAL: libc::c_int = libc::MSG_NOSIGNAL;
/// Apple has an option of the socket for it, which mio and socket2 set.
#[cfg(target_vendor = "apple")]
pub(super) const NO_SIGNAL: libc::c_int = 0;

/// Whether a listener's error means that descriptors or memory have run out: the connection is
/// still there, and trying again at once would find the same.
pub(super) fn is_exhausted(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Whether a listener's error is that of one connection, which is gone: `accept(2)` says that these
/// are to be treated as if there had been nothing to accept.
pub(super) fn is_of_one_connection(error: &std::io::Error) -> bool {
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
