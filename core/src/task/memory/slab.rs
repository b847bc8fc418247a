//! Slabs: pieces of the system's memory, each cut into blocks of one size.
//!
//! A slab knows how many of its blocks are out. One of which none is goes back to the system as it
//! is, so memory falls when tasks end, whatever an allocator would have kept. It begins at a multiple
//! of its size: a block's address tells its slab.
//!
//! Pure structures: whoever has them sees to it that one thread at a time does.

use super::{BLOCK_SIZES, Block, CLASSES, Free};
use std::ptr::{self, NonNull};

/// Bytes of a slab: 400 tasks of 160 bytes, for which mapping and unmapping are two calls of some
/// microseconds. Larger ones would more often be held by a single task.
pub(super) const SLAB: usize = 64 << 10;
/// Where the blocks begin: behind the header, at the start of a cache line.
const FIRST: usize = 64;
const _: () = assert!(size_of::<Slab>() <= FIRST);

/// The header of a slab, in its first bytes.
pub(super) struct Slab {
    prev: *mut Slab,
    next: *mut Slab,
    /// A chain of blocks that came back.
    free: *mut Free,
    /// Blocks that are out.
    out: u32,
    /// Blocks that were never out, the last ones of the slab.
    fresh: u32,
}

const fn blocks_in_slab(class: usize) -> u32 {
    ((SLAB - FIRST) / BLOCK_SIZES[class]) as u32
}

/// Blocks that are being moved from slabs to a magazine.
pub(super) struct Taken {
    /// A chain of blocks that were used before.
    used: *mut Free,
    used_len: u32,
    /// The first of some that stand side by side and were never touched, if there are any.
    fresh: *mut u8,
    fresh_len: u32,
    class: usize,
}

impl Taken {
    pub(super) fn len(&self) -> u32 {
        self.used_len + self.fresh_len
    }

    /// Makes one chain of all, and says how many they are. Apart from the taking, as this touches fresh
    /// memory, which the system has to find first: no lock need be held for that.
    pub(super) fn chain(self) -> (*mut Free, u32) {
        let size = BLOCK_SIZES[self.class];
        let mut chain = self.used;
        for index in (0..self.fresh_len as usize).rev() {
            // SAFETY: so many blocks stand there, the caller's.
            unsafe {
                let block = self.fresh.add(index * size).cast::<Free>();
                (&raw mut (*block).next).write(chain);
                chain = block;
            }
        }
        (chain, self.len())
    }
}

/// The slabs that have blocks to give, by class. Those of which all blocks are out are known to
/// their blocks alone.
#[derive(Debug)]
pub(super) struct Slabs {
    partial: [*mut Slab; CLASSES],
}

// SAFETY: slabs are plain memory, reached by whoever has these alone.
unsafe impl Send for Slabs {}

impl Slabs {
    pub(super) const fn new() -> Slabs {
        Slabs {
            partial: [ptr::null_mut(); CLASSES],
        }
    }

    /// Takes up to `most` blocks of one slab; `None` if no slab has any: see [`Slabs::add`].
    pub(super) fn take(&mut self, class: usize, most: u32) -> Option<Taken> {
        let slab = NonNull::new(self.partial[class])?.as_ptr();
        // SAFETY: what is in the list is a slab of this class, ours alone; so are the blocks in it.
        unsafe {
            let mut taken = Taken {
                used: (*slab).free,
                used_len: 0,
                fresh: ptr::null_mut(),
                fresh_len: (*slab).fresh.min(most),
                class,
            };
            if taken.used.is_null() {
                let begin = (blocks_in_slab(class) - (*slab).fresh) as usize;
                taken.fresh = slab.cast::<u8>().add(FIRST + begin * BLOCK_SIZES[class]);
                (*slab).fresh -= taken.fresh_len;
            } else {
                taken.fresh_len = 0;
                let mut last = taken.used;
                taken.used_len = 1;
                while taken.used_len < most && !(*last).next.is_null() {
                    last = (*last).next;
                    taken.used_len += 1;
                }
                (*slab).free = (*last).next;
                (*last).next = ptr::null_mut();
            }
            (*slab).out += taken.used_len + taken.fresh_len;
            if (*slab).free.is_null() && (*slab).fresh == 0 {
                self.unlink(slab, class);
            }
            Some(taken)
        }
    }

    /// Makes a slab of a piece, for blocks of this class.
    ///
    /// # Safety
    /// The piece is [`SLAB`] bytes at a multiple of that, and the caller gives it up.
    pub(super) unsafe fn add(&mut self, piece: NonNull<u8>, class: usize) {
        let slab = piece.cast::<Slab>().as_ptr();
        // SAFETY: by the caller's promise.
        unsafe {
            slab.write(Slab {
                prev: ptr::null_mut(),
                next: ptr::null_mut(),
                free: ptr::null_mut(),
                out: 0,
                fresh: blocks_in_slab(class),
            });
            self.link(slab, class);
        }
    }

    /// Puts a block back. Gives up its slab if no other block of it is out.
    ///
    /// # Safety
    /// The block was taken from these slabs, by this class, and is the caller's.
    pub(super) unsafe fn put(&mut self, block: Block, class: usize) -> Option<NonNull<u8>> {
        let slab = block.as_ptr().map_addr(|block| block & !(SLAB - 1));
        let slab = slab.cast::<Slab>();
        // SAFETY: a block stands in a slab, whose memory is one piece, and which is ours alone.
        unsafe {
            let was_full = (*slab).free.is_null() && (*slab).fresh == 0;
            (*slab).out -= 1;
            if (*slab).out == 0 {
                if !was_full {
                    self.unlink(slab, class);
                }
                return NonNull::new(slab.cast());
            }
            (&raw mut (*block.as_ptr()).next).write((*slab).free);
            (*slab).free = block.as_ptr();
            if was_full {
                self.link(slab, class);
            }
        }
        None
    }

    /// # Safety
    /// The slab is valid, and not in the list.
    unsafe fn link(&mut self, slab: *mut Slab, class: usize) {
        let head = &mut self.partial[class];
        // SAFETY: by the caller's promise, and what is in the list is valid.
        unsafe {
            (*slab).prev = ptr::null_mut();
            (*slab).next = *head;
            if !head.is_null() {
                (**head).prev = slab;
            }
        }
        *head = slab;
    }

    /// # Safety
    /// The slab is in the list of this class.
    unsafe fn unlink(&mut self, slab: *mut Slab, class: usize) {
        // SAFETY: what is in the list is valid.
        unsafe {
            let (prev, next) = ((*slab).prev, (*slab).next);
            if prev.is_null() {
                self.partial[class] = next;
            } else {
                (*prev).next = next;
            }
            if !next.is_null() {
                (*next).prev = prev;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::sys;
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn blocks_are_apart_and_slabs_come_back_when_their_last_block_does() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut slabs = Slabs::new();
        let mut pieces = HashSet::new();
        let mut out: Vec<(Block, usize)> = Vec::new();
        let mut written: HashMap<usize, u64> = HashMap::new();
        for step in 0..if cfg!(miri) { 100 } else { 4000 } {
            let class = rng.usize(0..3) * 9;
            if rng.u32(0..100) < if step < 2000 { 60 } else { 45 } {
                let taken = slabs.take(class, rng.u32(1..90)).unwrap_or_else(|| {
                    let piece = sys::map().expect("there is memory");
                    assert!(pieces.insert(piece));
                    // SAFETY: mapped just now.
                    unsafe { slabs.add(piece, class) };
                    slabs.take(class, 5).expect("a slab was added")
                });
                let (mut next, len) = taken.chain();
                for _ in 0..len {
                    let block = NonNull::new(next).expect("as many as it says");
                    assert!(block.cast::<u128>().is_aligned());
                    // SAFETY: the block is ours; its link is set.
                    unsafe {
                        next = block.as_ref().next;
                        block.cast::<u64>().write(step);
                        let last = block.cast::<u8>().add(BLOCK_SIZES[class] - 8);
                        last.cast::<u64>().write(step);
                    }
                    written.insert(block.addr().get(), step);
                    out.push((block, class));
                }
                assert!(next.is_null());
            } else {
                for _ in 0..rng.usize(0..200).min(out.len()) {
                    let (block, class) = out.swap_remove(rng.usize(..out.len()));
                    let step = written.remove(&block.addr().get()).expect("it was written");
                    // SAFETY: the block is ours until it is put back, and the piece if it is given up.
                    unsafe {
                        let last = block.cast::<u8>().add(BLOCK_SIZES[class] - 8);
                        let seen = (block.cast::<u64>().read(), last.cast::<u64>().read());
                        assert_eq!(seen, (step, step), "somebody else wrote to a block");
                        if let Some(piece) = slabs.put(block, class) {
                            assert!(pieces.remove(&piece));
                            sys::unmap(piece);
                        }
                    }
                }
            }
        }
        for (block, class) in out {
            // SAFETY: as above.
            if let Some(piece) = unsafe { slabs.put(block, class) } {
                assert!(pieces.remove(&piece));
                // SAFETY: as above.
                unsafe { sys::unmap(piece) };
            }
        }
        assert!(pieces.is_empty());
    }
}
