//! What a transport has yet to send: held `bytes` and gathered small pieces, in order.

use std::collections::VecDeque;

use pyo3::ffi;

use crate::py::{Obj, Ref};

/// Pieces up to this size are copied together: cheaper than an entry of the vectored write.
const GATHER: usize = 4096;

/// Size of a buffer that gathers small pieces.
const CHUNK: usize = 16 * 1024;

/// Entries of one vectored write; Linux allows 1024, and 64 large ones fill a socket buffer.
const VECTORS: usize = 64;

enum Piece {
    /// An immutable `bytes` object, held until it has gone out.
    Bytes(Ref),
    /// Small pieces, and snapshots of objects that their owner may change.
    Owned(Vec<u8>),
}

impl Piece {
    fn as_slice(&self) -> &[u8] {
        match self {
            // SAFETY: a bytes object never changes, and this piece keeps it alive.
            Piece::Bytes(bytes) => unsafe { bytes_of(bytes.as_ptr()) },
            Piece::Owned(data) => data,
        }
    }
}

/// The content of a `bytes` object.
///
/// # Safety
/// `bytes` is one, and outlives the slice.
pub(super) unsafe fn bytes_of<'a>(bytes: Obj) -> &'a [u8] {
    // SAFETY: see the contract; the storage belongs to the object.
    unsafe {
        std::slice::from_raw_parts(
            ffi::PyBytes_AS_STRING(bytes).cast(),
            ffi::PyBytes_Size(bytes) as usize,
        )
    }
}

#[derive(Default)]
pub(super) struct Queue {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are already sent.
    sent: usize,
    len: usize,
}

impl Queue {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds `data[from..]`; `bytes` is the object it belongs to if that is immutable.
    pub(super) fn push(&mut self, data: &[u8], from: usize, bytes: Option<Obj>) {
        let rest = &data[from..];
        if rest.is_empty() {
            return;
        }
        self.len += rest.len();
        if let Some(bytes) = bytes
            && rest.len() > GATHER
        {
            if self.pieces.is_empty() {
                self.sent = from;
            } else if from > 0 {
                self.pieces.push_back(Piece::Owned(rest.to_vec()));
                return;
            }
            // SAFETY: the caller's object is alive.
            self.pieces
                .push_back(Piece::Bytes(unsafe { Ref::borrowed(bytes) }));
            return;
        }
        if let Some(Piece::Owned(chunk)) = self.pieces.back_mut()
            && chunk.len() + rest.len() <= chunk.capacity()
        {
            chunk.extend_from_slice(rest);
            return;
        }
        let mut chunk = Vec::with_capacity(if rest.len() > GATHER {
            rest.len()
        } else {
            CHUNK
        });
        chunk.extend_from_slice(rest);
        self.pieces.push_back(Piece::Owned(chunk));
    }

    /// Sends as much as the socket takes: bytes sent, or the errno that stopped it (would-block
    /// included).
    pub(super) fn send(&mut self, fd: i32) -> Result<(), i32> {
        while !self.is_empty() {
            let mut vectors = [libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            }; VECTORS];
            let mut used = 0;
            let mut offered = 0;
            for (vector, piece) in vectors.iter_mut().zip(&self.pieces) {
                let skip = if used == 0 { self.sent } else { 0 };
                let data = &piece.as_slice()[skip..];
                *vector = libc::iovec {
                    iov_base: data.as_ptr().cast_mut().cast(),
                    iov_len: data.len(),
                };
                used += 1;
                offered += data.len();
            }
            // SAFETY: a zeroed header is valid; the vectors point into pieces that stay in place.
            let sent = unsafe {
                let mut header: libc::msghdr = std::mem::zeroed();
                header.msg_iov = vectors.as_mut_ptr();
                header.msg_iovlen = used as _;
                libc::sendmsg(fd, &header, libc::MSG_NOSIGNAL)
            };
            if sent < 0 {
                return Err(crate::driver::last_errno());
            }
            self.advance(sent as usize);
            if (sent as usize) < offered {
                return Err(libc::EAGAIN);
            }
        }
        Ok(())
    }

    /// Drops what has been sent.
    fn advance(&mut self, mut sent: usize) {
        self.len -= sent;
        while let Some(first) = self.pieces.front() {
            let left = first.as_slice().len() - self.sent;
            if sent < left {
                self.sent += sent;
                return;
            }
            sent -= left;
            self.sent = 0;
            self.pieces.pop_front();
        }
    }
}
