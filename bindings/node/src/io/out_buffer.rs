//! Bytes accepted for sending that the kernel has not taken yet.

/// A byte queue in one piece of memory, so that a flush is one `send`.
#[derive(Default)]
pub(crate) struct OutBuffer {
    bytes: Vec<u8>,
    sent: usize,
}

/// Memory that an empty queue may keep: a burst must not pin its peak on an idle connection.
const KEEP: usize = 16 * 1024;

impl OutBuffer {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // Growth must not drag along what was sent already.
        if self.sent > 0 && self.bytes.len() + bytes.len() > self.bytes.capacity() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets the first `count` pending bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.sent += count;
        debug_assert!(
            self.sent <= self.bytes.len(),
            "{} of {}",
            self.sent,
            self.bytes.len()
        );
        if self.is_empty() {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.sent = 0;
        if self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }
}
