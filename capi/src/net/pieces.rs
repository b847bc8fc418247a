//! The pieces of memory that a write sends, and how far it has come.

use crate::stream::rt_buf;

/// The bytes in all pieces.
pub(crate) fn total(bufs: &[rt_buf]) -> usize {
    bufs.iter().map(|buf| buf.len).sum()
}

/// The pieces of one write. The memory that they point to is the submitter's.
pub(crate) struct Pieces {
    list: Vec<rt_buf>,
    next: usize,
    sent: usize,
}

// SAFETY: the pointers are only passed to the system, and who submitted them promised that the
// memory stays valid until the write has ended.
unsafe impl Send for Pieces {}
// SAFETY: as above.
unsafe impl Sync for Pieces {}

impl Pieces {
    pub(crate) fn new(bufs: &[rt_buf]) -> Pieces {
        Pieces {
            list: bufs.to_vec(),
            next: 0,
            sent: 0,
        }
    }

    /// What has not been sent.
    pub(crate) fn left(&self) -> &[rt_buf] {
        &self.list[self.next..]
    }

    /// How many bytes have been sent.
    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.next == self.list.len()
    }

    /// Notes that up to `n` bytes of these pieces have been sent; returns how many of the `n` lie
    /// beyond them.
    pub(crate) fn advance(&mut self, mut n: usize) -> usize {
        while let Some(buf) = self.list.get_mut(self.next) {
            if n < buf.len {
                buf.base = buf.base.wrapping_byte_add(n);
                buf.len -= n;
                self.sent += n;
                return 0;
            }
            n -= buf.len;
            self.sent += buf.len;
            self.next += 1;
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buf(bytes: &[u8]) -> rt_buf {
        rt_buf {
            base: bytes.as_ptr().cast(),
            len: bytes.len(),
        }
    }

    #[test]
    fn sent_bytes_are_taken_off_the_front() {
        let (a, b, c) = (*b"abcd", *b"", *b"efg");
        let mut pieces = Pieces::new(&[buf(&a), buf(&b), buf(&c)]);
        assert_eq!(total(pieces.left()), 7);
        assert_eq!(pieces.advance(3), 0);
        assert_eq!(
            (total(pieces.left()), pieces.left().len(), pieces.sent()),
            (4, 3, 3)
        );
        assert_eq!(pieces.advance(2), 0);
        assert_eq!((total(pieces.left()), pieces.left().len()), (2, 1));
        assert_eq!(pieces.left()[0].base, a_byte(&c, 1));
        assert_eq!(pieces.advance(10), 8);
        assert!(pieces.is_sent());
        assert_eq!(pieces.sent(), 7);
    }

    fn a_byte(bytes: &[u8], at: usize) -> *const libc::c_void {
        bytes[at..].as_ptr().cast()
    }

    #[test]
    fn a_write_of_nothing_is_sent_when_what_stands_before_it_is() {
        let mut pieces = Pieces::new(&[buf(b"")]);
        assert!(!pieces.is_sent());
        assert_eq!(pieces.advance(0), 0);
        assert!(pieces.is_sent());
    }
}
