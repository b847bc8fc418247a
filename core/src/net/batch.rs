//! Several datagrams at a time.

use std::fmt;
use std::net::SocketAddr;

/// A datagram to [send](super::UdpSocket::send_many).
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// What is in it; nothing is allowed.
    pub data: &'a [u8],
    /// Where it goes; `None` where the socket is connected to.
    pub to: Option<SocketAddr>,
}

impl<'a> Outgoing<'a> {
    /// A datagram for `to`.
    pub fn to(to: SocketAddr, data: &'a [u8]) -> Outgoing<'a> {
        Outgoing { data, to: Some(to) }
    }

    /// A datagram for the peer that the socket is connected to.
    pub fn connected(data: &'a [u8]) -> Outgoing<'a> {
        Outgoing { data, to: None }
    }
}

/// Room for a datagram, and the datagram once it is
/// [received](super::UdpSocket::recv_many).
pub struct Incoming<'a> {
    pub(super) buffer: &'a mut [u8],
    pub(super) len: usize,
    pub(super) from: Option<SocketAddr>,
    pub(super) truncated: bool,
}

impl<'a> Incoming<'a> {
    /// Room for a datagram of up to the buffer's length.
    pub fn new(buffer: &'a mut [u8]) -> Incoming<'a> {
        Incoming {
            buffer,
            len: 0,
            from: None,
            truncated: false,
        }
    }

    /// What was received.
    pub fn data(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// Who sent it; `None` before one is received.
    pub fn from(&self) -> Option<SocketAddr> {
        self.from
    }

    /// Whether it was longer than the buffer. The rest is lost.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }
}

impl fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("len", &self.len)
            .field("from", &self.from)
            .field("truncated", &self.truncated)
            .finish_non_exhaustive()
    }
}
