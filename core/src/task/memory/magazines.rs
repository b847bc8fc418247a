//! The magazines of one worker, or of threads outside that share them.

use super::depot::Depot;
use super::{BLOCK_SIZES, Block, CLASSES, Free, Pool, Slot, UNSEEN, blocks_in_magazine};
use std::alloc::{Layout, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// A worker's magazines.
#[derive(Debug)]
pub(crate) struct Magazines {
    racks: [Rack; CLASSES],
    /// Bytes taken from the allocator less those given back, since that was last made known.
    unseen: Cell<isize>,
    /// What [`Depot::settled`] was when these were emptied.
    settled: Cell<usize>,
}

/// The two magazines of one class.
#[derive(Debug)]
struct Rack {
    in_use: Cell<*mut Free>,
    /// Blocks in `in_use`.
    len: Cell<u32>,
    /// Blocks in a full magazine; none if the pool is off, or closed.
    full: Cell<u32>,
    /// A full magazine, or null.
    spare: Cell<*mut Free>,
}

// SAFETY: the blocks in the magazines are theirs alone, and may be used and freed on any thread.
unsafe impl Send for Magazines {}

impl Magazines {
    pub(crate) fn new(pool: &Pool) -> Magazines {
        Magazines::for_depot(&pool.depot)
    }

    pub(super) fn for_depot(depot: &Depot) -> Magazines {
        let full = |class| {
            if depot.is_on() {
                blocks_in_magazine(class)
            } else {
                0
            }
        };
        Magazines {
            racks: std::array::from_fn(|class| Rack {
                in_use: Cell::new(ptr::null_mut()),
                len: Cell::new(0),
                full: Cell::new(full(class)),
                spare: Cell::new(ptr::null_mut()),
            }),
            unseen: Cell::new(0),
            settled: Cell::new(depot.settled()),
        }
    }

    /// A block for a task.
    #[inline(always)]
    pub(crate) fn allocate(&self, slot: Slot, pool: &Pool) -> Block {
        if let Some(class) = slot.class
            && let Some(block) = self.racks[class].pop()
        {
            return block;
        }
        self.refill(slot, pool)
    }

    /// Takes a block back. `true`: a burst has ended, as it seems, and nobody has [rested](Magazines::rest)
    /// since.
    ///
    /// # Safety
    /// The block is one of this pool's for the same slot, and the caller's.
    #[inline(always)]
    pub(crate) unsafe fn free(&self, slot: Slot, block: Block, pool: &Pool) -> bool {
        // SAFETY: the block is the caller's, of the slot's class.
        unsafe {
            match slot.class {
                Some(class) if self.racks[class].push(block) => false,
                _ => self.unload(slot, block, pool),
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn refill(&self, slot: Slot, pool: &Pool) -> Block {
        let Some(class) = slot.class.filter(|_| pool.depot.is_on()) else {
            self.account(slot.layout.size() as isize, pool);
            return slot.allocate();
        };
        let rack = &self.racks[class];
        let mut magazine = rack.spare.replace(ptr::null_mut());
        let mut len = rack.full.get();
        if magazine.is_null() {
            // One block, if the pool is closed.
            (magazine, len) = pool.depot.take(class, len.max(1), &pool.account);
        }
        rack.in_use.set(magazine);
        rack.len.set(len);
        rack.pop().unwrap_or_else(|| {
            let layout = Layout::from_size_align(BLOCK_SIZES[class], super::ALIGN);
            handle_alloc_error(layout.unwrap_or(slot.layout))
        })
    }

    /// # Safety
    /// As for [`Magazines::free`].
    #[cold]
    #[inline(never)]
    unsafe fn unload(&self, slot: Slot, block: Block, pool: &Pool) -> bool {
        let Some(class) = slot.class.filter(|_| pool.depot.is_on()) else {
            self.account(-(slot.layout.size() as isize), pool);
            // SAFETY: passed on from the caller; such blocks come from the allocator.
            unsafe { slot.free(block) };
            return false;
        };
        let rack = &self.racks[class];
        if rack.full.get() == 0 {
            // SAFETY: a chain of one block, the caller's.
            unsafe {
                (*block.as_ptr()).next = ptr::null_mut();
                pool.depot.give(class, block.as_ptr(), &pool.account);
            }
            return false;
        }
        let full = rack.in_use.replace(ptr::null_mut());
        rack.len.set(0);
        let surplus = rack.spare.replace(full);
        // SAFETY: passed on from the caller.
        let pushed = unsafe { rack.push(block) };
        debug_assert!(pushed, "an empty magazine has room");
        // SAFETY: a full magazine of this class, which was this worker's.
        !surplus.is_null() && unsafe { pool.depot.put(class, surplus, &pool.account) }
    }

    fn account(&self, delta: isize, pool: &Pool) {
        self.unseen.set(self.unseen.get() + delta);
        if self.unseen.get().abs() >= UNSEEN {
            self.publish(pool);
        }
    }

    /// Makes known what was taken from the allocator and given back.
    pub(crate) fn publish(&self, pool: &Pool) {
        let delta = self.unseen.take();
        if delta != 0 {
            pool.account.add(delta);
        }
    }

    /// Gives all blocks back to their slabs.
    #[cold]
    pub(crate) fn empty(&self, pool: &Pool) {
        for (class, rack) in self.racks.iter().enumerate() {
            rack.len.set(0);
            for magazine in [&rack.in_use, &rack.spare] {
                let magazine = magazine.replace(ptr::null_mut());
                if !magazine.is_null() {
                    // SAFETY: the rack's magazine, taken from it.
                    unsafe { pool.depot.give(class, magazine, &pool.account) };
                }
            }
        }
        self.publish(pool);
    }

    /// Called before a wait. After a burst it gives back what holds slabs; each worker does its part.
    /// `true`: this was the first of them, and the others are to do theirs, though they wait already.
    #[inline]
    pub(crate) fn rest(&self, pool: &Pool) -> bool {
        self.publish(pool);
        let first = pool.depot.is_wasteful();
        if first || self.settled.get() != pool.depot.settled() {
            self.empty(pool);
            if first {
                pool.settle();
            }
            self.settled.set(pool.depot.settled());
        }
        first
    }

    /// Gives all blocks back, and keeps none from now on.
    pub(super) fn close(&self, pool: &Pool) {
        for rack in &self.racks {
            rack.full.set(0);
        }
        self.empty(pool);
    }
}

impl Rack {
    #[inline]
    fn pop(&self) -> Option<Block> {
        let block = NonNull::new(self.in_use.get())?;
        // SAFETY: a block in a magazine is the magazine's, and its links are set.
        self.in_use.set(unsafe { block.as_ref().next });
        self.len.set(self.len.get() - 1);
        Some(block)
    }

    /// Returns whether there was room.
    ///
    /// # Safety
    /// The block is the caller's, and of this class.
    #[inline]
    unsafe fn push(&self, block: Block) -> bool {
        let len = self.len.get();
        let room = len < self.full.get();
        if room {
            // SAFETY: the block is the caller's to write to.
            unsafe { (*block.as_ptr()).next = self.in_use.get() };
            self.in_use.set(block.as_ptr());
            self.len.set(len + 1);
        }
        room
    }
}
