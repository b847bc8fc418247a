//! Addresses for the system's calls.

use std::io;
use std::os::unix::net::SocketAddr;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

/// # Errors
/// `InvalidInput` for a path that is too long, or has a zero byte in it.
pub(super) fn of_path(path: &Path) -> io::Result<SockAddr> {
    use std::os::unix::ffi::OsStrExt;
    // The first may be zero: an abstract name, in which zeroes are allowed.
    let bytes = path.as_os_str().as_bytes();
    if bytes.first() != Some(&0) && bytes.contains(&0) {
        let message = "the path has a zero byte in it";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    if bytes.is_empty() {
        let message = "the path is empty";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    SockAddr::unix(path)
}

/// # Errors
/// `InvalidInput` for an address without a name.
pub(super) fn of(address: &SocketAddr) -> io::Result<SockAddr> {
    if let Some(path) = address.as_pathname() {
        return of_path(path);
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStringExt;
        if let Some(name) = address.as_abstract_name() {
            let mut bytes = vec![0];
            bytes.extend_from_slice(name);
            return SockAddr::unix(std::ffi::OsString::from_vec(bytes));
        }
    }
    let message = "the address has no name";
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// A new socket, non-blocking.
pub(super) fn socket(kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
