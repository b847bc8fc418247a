//! Where a reactor keeps the readiness of its registrations: memory that neither moves nor is given
//! back while the reactor is there.
//!
//! So a report is passed on by an index, without a lock, and one that comes late meets a word of
//! another generation rather than freed memory. What is kept is 128 bytes for each of the most
//! registrations that there were at once; an open socket costs the system more than ten times that.

use std::sync::OnceLock;

use super::scheduled_io::ScheduledIo;

/// How many the first chunk has; each further one has twice as many as the one before.
const FIRST: usize = 32;
/// Enough for every index that a key can have.
const CHUNKS: usize = 25;

#[derive(Debug)]
pub(super) struct Slots([OnceLock<Box<[ScheduledIo]>>; CHUNKS]);

impl Slots {
    pub(super) fn new() -> Slots {
        Slots([const { OnceLock::new() }; CHUNKS])
    }

    /// The chunk that has the index, and where in it.
    fn place(index: u32) -> (usize, usize) {
        let position = index as usize + FIRST;
        let chunk = (position / FIRST).ilog2() as usize;
        (chunk, position - (FIRST << chunk))
    }

    /// The one with this index, if there has ever been one.
    pub(super) fn get(&self, index: u32) -> Option<&ScheduledIo> {
        let (chunk, place) = Slots::place(index);
        self.0.get(chunk)?.get()?.get(place)
    }

    /// As [`get`](Self::get), with the memory for it if need be. `None` if there are no more.
    pub(super) fn get_or_add(&self, index: u32) -> Option<&ScheduledIo> {
        let (chunk, place) = Slots::place(index);
        let new = || (0..FIRST << chunk).map(|_| ScheduledIo::new()).collect();
        self.0.get(chunk)?.get_or_init(new).get(place)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::token::MAX_INDICES;
    use super::*;

    #[test]
    fn every_index_has_a_place_of_its_own() {
        let mut expected = (0, 0);
        for index in 0..10_000 {
            assert_eq!(Slots::place(index), expected);
            expected.1 += 1;
            if expected.1 == FIRST << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(Slots::place(MAX_INDICES as u32 - 1).0 < CHUNKS);
    }

    #[test]
    fn memory_is_there_once_it_was_asked_for() {
        let slots = Slots::new();
        assert!(slots.get(40).is_none());
        let first: *const ScheduledIo = slots.get_or_add(40).expect("room");
        assert!(std::ptr::eq(first, slots.get(40).expect("there")));
        assert!(slots.get(3).is_none() && slots.get(u32::MAX).is_none());
        assert!(slots.get_or_add(u32::MAX).is_none());
    }
}
