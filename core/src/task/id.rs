//! Numbers that tell tasks apart.
//!
//! A thread that makes tasks takes a block of numbers from the counter of the process and deals
//! them out by itself, so that a spawn touches nothing that threads share. No number is dealt
//! twice; neither order nor density means anything.
//!
//! The counter and the blocks are the standard library's also under loom: nothing that a model
//! checks depends on them.

use crate::shim::figures::AtomicU64;
use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::Ordering;

/// Numbers in a block. The first of each is not dealt out: it is what a thread without a block has,
/// and what one is left with that has used its block up.
const BLOCK: u64 = 1024;

/// The block that is dealt out next.
static BLOCKS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// What this thread deals out next; a multiple of `BLOCK` stands for a new block.
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

/// The number of a task. No other task of this process has it, or had it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(NonZeroU64);

impl Id {
    /// The number itself, for logs and maps. Neither its order nor its size means anything.
    pub fn as_u64(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.0)
    }
}

/// The number for a new task.
#[inline]
pub(crate) fn next() -> Id {
    NEXT.with(|next| {
        let mut id = next.get();
        if id.is_multiple_of(BLOCK) {
            id = new_block();
        }
        next.set(id + 1);
        // SAFETY: zero is a multiple of BLOCK, and those are not dealt out.
        Id(unsafe { NonZeroU64::new_unchecked(id) })
    })
}

/// Relaxed: the addition alone keeps blocks apart.
#[cold]
fn new_block() -> u64 {
    BLOCKS.fetch_add(1, Ordering::Relaxed) * BLOCK + 1
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_of_several_threads_are_distinct() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..3 * BLOCK).map(|_| next()).collect::<Vec<_>>()))
            .collect();
        let mut seen = HashSet::new();
        for thread in threads {
            for id in thread.join().unwrap() {
                assert!(seen.insert(id), "{id} was dealt out twice");
            }
        }
    }

    #[test]
    fn id_shows_its_number() {
        let id = next();
        assert_eq!(id.to_string(), id.as_u64().to_string());
        assert_eq!(format!("{id:?}"), format!("Id({})", id.as_u64()));
    }
}
