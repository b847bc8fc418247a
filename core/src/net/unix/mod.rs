//! Sockets of one machine, and pipes.
//!
//! A [`UnixListener`] and a [`UnixDatagram`] that are bound to a path leave the file there when they are
//! gone, as the standard library's do: remove it before binding again. On Linux a path that begins
//! with a zero byte is a name in the *abstract* namespace, which has no file and goes with the socket.

mod address;
mod datagram;
mod listener;
pub mod pipe;
mod stream;
mod ucred;

pub use datagram::UnixDatagram;
pub use listener::UnixListener;
pub use std::os::unix::net::SocketAddr;
pub use stream::UnixStream;
pub use ucred::UCred;
