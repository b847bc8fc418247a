//! The memory of tasks: magazines of freed blocks in each worker, and a depot behind them.
//!
//! The scheme is Bonwick and Adams' ("Magazines and Vmem", USENIX 2001). Blocks come in a few
//! [sizes](SIZES). A worker has two magazines of freed blocks for each: the one in use, and a spare
//! one, which is full or empty. It takes from and frees to the one in use without a lock or an
//! atomic operation. When that is empty, or full, the spare one takes its place; when that does not
//! help either, a full magazine comes from the [depot](Depot) or goes there, under a lock that is
//! taken once for as many tasks as a magazine holds.
//!
//! A task that was spawned on one worker and freed on another needs no way back: its block is the
//! other worker's now, and where many go the same way the depot evens it out. Threads that are no
//! workers have no magazines; they use the allocator.
//!
//! Every block is an ordinary allocation with the layout of its class. So a block can be given back
//! to the allocator wherever it is, one by one, and that is what happens to those that the depot has
//! no room for. What the runtime keeps is bounded: by two magazines for each class and worker, of
//! [`MAGAZINE`] bytes each, and by the depot's limit, which the builder sets. With a limit of zero
//! the magazines hold nothing: then each task is an allocation of its own, which checkers of memory
//! can follow.
//!
//! A magazine is a chain through the blocks themselves, so exchanging one is the exchange of a
//! pointer.

use crate::shim::figures::{AtomicU32, AtomicUsize};
use crate::shim::sync::Mutex;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::Relaxed;

/// The sizes of blocks. With the eight bytes that the C library's allocator puts before each block
/// they are multiples of 32 and 64 bytes, so that a block ends where a cache line does.
const SIZES: [usize; CLASSES] = [
    120, 152, 184, 216, 248, 312, 376, 440, 504, 632, 760, 888, 1016, 1272, 1528, 1784, 2040,
];
const CLASSES: usize = 17;
/// What malloc guarantees anyway.
const ALIGN: usize = 16;

/// Bytes in a full magazine, but no fewer than [`MAGAZINE_MIN`] blocks.
const MAGAZINE: usize = 8 << 10;
const MAGAZINE_MIN: u32 = 8;

/// Bytes that a worker takes from the allocator, or gives back, before all see it.
const UNSEEN: isize = 64 << 10;

/// What the depot may keep unless the builder says otherwise, in bytes. None in models, which
/// follow each allocation.
pub(crate) const KEEP: usize = if cfg!(any(loom, libruntime_plain_alloc)) {
    0
} else {
    2 << 20
};

const fn blocks_in_magazine(class: usize) -> u32 {
    let blocks = (MAGAZINE / SIZES[class]) as u32;
    if blocks < MAGAZINE_MIN {
        MAGAZINE_MIN
    } else {
        blocks
    }
}

/// What a task needs: a block of some class, or, if it is large or oddly aligned, one of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    layout: Layout,
    class: Option<usize>,
}

impl Slot {
    pub(crate) const fn of<T>() -> Slot {
        let layout = Layout::new::<T>();
        let mut class = 0;
        while class < CLASSES {
            if layout.size() <= SIZES[class] && layout.align() <= ALIGN {
                return Slot::of_class(class);
            }
            class += 1;
        }
        Slot {
            layout,
            class: None,
        }
    }

    const fn of_class(class: usize) -> Slot {
        match Layout::from_size_align(SIZES[class], ALIGN) {
            Ok(layout) => Slot {
                layout,
                class: Some(class),
            },
            Err(_) => unreachable!(),
        }
    }

    /// A block from the allocator.
    pub(crate) fn allocate(self) -> Block {
        // SAFETY: no task is of size zero: each has a header.
        let block = unsafe { alloc(self.layout) };
        match NonNull::new(block) {
            Some(block) => block.cast(),
            None => handle_alloc_error(self.layout),
        }
    }

    /// Gives a block back to the allocator.
    ///
    /// # Safety
    /// The block is one for this slot, and the caller's.
    pub(crate) unsafe fn free(self, block: Block) {
        // SAFETY: it came from the allocator with this layout.
        unsafe { dealloc(block.as_ptr().cast(), self.layout) }
    }
}

/// A piece of memory for a task.
pub(crate) type Block = NonNull<Free>;

/// A block that no task uses.
pub(crate) struct Free {
    /// The next one of the same magazine.
    next: *mut Free,
    /// In the first block of a magazine in the depot: the next magazine.
    next_magazine: *mut Free,
}

/// What the workers of one runtime share of their tasks' memory.
#[derive(Debug)]
pub(crate) struct Pool {
    depot: Depot,
    account: Account,
}

/// Bytes taken from the allocator and not given back. Workers tell of theirs in portions.
#[derive(Debug, Default)]
struct Account {
    held: AtomicUsize,
    peak: AtomicUsize,
}

impl Pool {
    /// A pool whose depot keeps up to `limit` bytes.
    pub(crate) fn new(limit: usize) -> Pool {
        Pool {
            depot: Depot::new(limit),
            account: Account::default(),
        }
    }

    /// A block for a thread that is no worker.
    pub(crate) fn allocate(&self, slot: Slot) -> Block {
        self.account.add(slot.layout.size() as isize);
        slot.allocate()
    }

    /// Takes a block back on a thread that is no worker.
    ///
    /// # Safety
    /// As for [`Slot::free`].
    pub(crate) unsafe fn free(&self, slot: Slot, block: Block) {
        self.account.add(-(slot.layout.size() as isize));
        // SAFETY: passed on from the caller.
        unsafe { slot.free(block) }
    }

    /// No worker is left: gives back what the depot keeps.
    pub(crate) fn close(&self) {
        let bytes = self.depot.empty();
        self.account.add(-(bytes as isize));
    }

    /// Bytes held, and the most that were but for less than [`UNSEEN`].
    pub(crate) fn held(&self) -> (usize, usize) {
        let held = self.account.held.load(Relaxed);
        let held = if held > isize::MAX as usize { 0 } else { held };
        (held, self.account.peak.load(Relaxed).max(held))
    }
}

impl Account {
    fn add(&self, delta: isize) {
        let before = self.held.fetch_add(delta as usize, Relaxed);
        let held = before.wrapping_add(delta as usize);
        // A worker may tell of what it gave back before another one tells of having taken it: such
        // a moment is below zero, and no peak. Small steps up are not written down one by one.
        let grown = held.wrapping_sub(self.peak.load(Relaxed)) as isize;
        if held <= isize::MAX as usize && grown >= UNSEEN {
            self.peak.fetch_max(held, Relaxed);
        }
    }
}

/// A worker's magazines.
#[derive(Debug)]
pub(crate) struct Magazines {
    racks: [Rack; CLASSES],
    /// Bytes taken from the allocator less those given back, since that was last made known.
    unseen: Cell<isize>,
}

/// The two magazines of one class.
#[derive(Debug)]
struct Rack {
    in_use: Cell<*mut Free>,
    /// Blocks in `in_use`.
    len: Cell<u32>,
    /// Blocks in a full magazine; none if the pool is off.
    full: u32,
    /// A full magazine, or null.
    spare: Cell<*mut Free>,
}

// SAFETY: the blocks in the magazines are theirs alone, and may be used and freed on any thread.
unsafe impl Send for Magazines {}

impl Magazines {
    pub(crate) fn new(pool: &Pool) -> Magazines {
        let on = pool.depot.limit > 0;
        Magazines {
            racks: std::array::from_fn(|class| Rack {
                in_use: Cell::new(ptr::null_mut()),
                len: Cell::new(0),
                full: if on { blocks_in_magazine(class) } else { 0 },
                spare: Cell::new(ptr::null_mut()),
            }),
            unseen: Cell::new(0),
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

    /// Takes a block back.
    ///
    /// # Safety
    /// As for [`Slot::free`].
    #[inline(always)]
    pub(crate) unsafe fn free(&self, slot: Slot, block: Block, pool: &Pool) {
        // SAFETY: the block is the caller's, of the slot's class.
        unsafe {
            match slot.class {
                Some(class) if self.racks[class].push(block) => {}
                _ => self.unload(slot, block, pool),
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn refill(&self, slot: Slot, pool: &Pool) -> Block {
        if let Some(class) = slot.class {
            let rack = &self.racks[class];
            let mut magazine = rack.spare.replace(ptr::null_mut());
            if magazine.is_null() {
                magazine = pool.depot.take(class);
            }
            if !magazine.is_null() {
                rack.in_use.set(magazine);
                rack.len.set(rack.full);
                if let Some(block) = rack.pop() {
                    return block;
                }
            }
        }
        self.account(slot.layout.size() as isize, pool);
        slot.allocate()
    }

    /// # Safety
    /// As for [`Slot::free`].
    #[cold]
    #[inline(never)]
    unsafe fn unload(&self, slot: Slot, block: Block, pool: &Pool) {
        if let Some(class) = slot.class
            && self.racks[class].full > 0
        {
            let rack = &self.racks[class];
            let full = rack.in_use.replace(ptr::null_mut());
            rack.len.set(0);
            let surplus = rack.spare.replace(full);
            if !surplus.is_null() && !pool.depot.put(class, surplus) {
                // SAFETY: the magazine was this worker's, and the depot did not take it.
                unsafe { self.give_back(slot, surplus, pool) };
            }
            // SAFETY: passed on from the caller.
            let pushed = unsafe { rack.push(block) };
            debug_assert!(pushed, "an empty magazine has room");
        } else {
            self.account(-(slot.layout.size() as isize), pool);
            // SAFETY: passed on from the caller.
            unsafe { slot.free(block) }
        }
    }

    /// Gives a whole magazine back to the allocator.
    ///
    /// # Safety
    /// The magazine is the caller's, and its blocks are of the slot's class.
    unsafe fn give_back(&self, slot: Slot, magazine: *mut Free, pool: &Pool) {
        // SAFETY: passed on from the caller.
        let blocks = unsafe { free_chain(slot, magazine) };
        self.account(-((blocks * slot.layout.size()) as isize), pool);
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

    /// Gives everything back to the allocator.
    #[cold]
    pub(crate) fn empty(&self, pool: &Pool) {
        for (class, rack) in self.racks.iter().enumerate() {
            let slot = Slot::of_class(class);
            rack.len.set(0);
            // SAFETY: the magazines of the rack, taken from it.
            unsafe {
                self.give_back(slot, rack.in_use.replace(ptr::null_mut()), pool);
                self.give_back(slot, rack.spare.replace(ptr::null_mut()), pool);
            }
        }
        self.publish(pool);
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
        let room = len < self.full;
        if room {
            // SAFETY: the block is the caller's to write to.
            unsafe { (*block.as_ptr()).next = self.in_use.get() };
            self.in_use.set(block.as_ptr());
            self.len.set(len + 1);
        }
        room
    }
}

/// Gives a chain of blocks back to the allocator. Returns how many they were.
///
/// # Safety
/// The chain is the caller's, and of the slot's class.
unsafe fn free_chain(slot: Slot, mut next: *mut Free) -> usize {
    let mut blocks = 0;
    while let Some(block) = NonNull::new(next) {
        // SAFETY: each block of the chain is the caller's, with its link set.
        unsafe {
            next = block.as_ref().next;
            slot.free(block);
        }
        blocks += 1;
    }
    blocks
}

/// Full magazines that no worker needs at the moment.
#[derive(Debug)]
struct Depot {
    limit: usize,
    shelves: Mutex<Shelves>,
    /// How many magazines each shelf has: a look that needs no lock. It may be old, in which case
    /// the allocator serves instead.
    counts: [AtomicU32; CLASSES],
}

#[derive(Debug)]
struct Shelves {
    /// A chain of magazines for each class.
    first: [*mut Free; CLASSES],
    bytes: usize,
}

// SAFETY: the blocks on the shelves are theirs alone, and may be used and freed on any thread.
unsafe impl Send for Shelves {}

impl Depot {
    fn new(limit: usize) -> Depot {
        Depot {
            limit,
            shelves: Mutex::new(Shelves {
                first: [ptr::null_mut(); CLASSES],
                bytes: 0,
            }),
            counts: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// A full magazine, or null.
    fn take(&self, class: usize) -> *mut Free {
        if self.counts[class].load(Relaxed) == 0 {
            return ptr::null_mut();
        }
        let mut shelves = self.shelves.lock();
        let Some(magazine) = NonNull::new(shelves.first[class]) else {
            return ptr::null_mut();
        };
        // SAFETY: a magazine on a shelf is the shelf's, and its links are set.
        shelves.first[class] = unsafe { magazine.as_ref().next_magazine };
        shelves.bytes -= bytes_in_magazine(class);
        self.counts[class].store(self.counts[class].load(Relaxed) - 1, Relaxed);
        magazine.as_ptr()
    }

    /// Takes a full magazine over, unless there is no room.
    fn put(&self, class: usize, magazine: *mut Free) -> bool {
        let bytes = bytes_in_magazine(class);
        let mut shelves = self.shelves.lock();
        if shelves.bytes + bytes > self.limit {
            return false;
        }
        // SAFETY: the magazine is the caller's, who gives it up.
        unsafe { (*magazine).next_magazine = shelves.first[class] };
        shelves.first[class] = magazine;
        shelves.bytes += bytes;
        self.counts[class].store(self.counts[class].load(Relaxed) + 1, Relaxed);
        true
    }

    /// Gives everything back to the allocator. Returns how many bytes that was.
    fn empty(&self) -> usize {
        let mut bytes = 0;
        for class in 0..CLASSES {
            let slot = Slot::of_class(class);
            while let Some(magazine) = NonNull::new(self.take(class)) {
                // SAFETY: the magazine was taken from the depot just now.
                bytes += slot.layout.size() * unsafe { free_chain(slot, magazine.as_ptr()) };
            }
        }
        bytes
    }
}

const fn bytes_in_magazine(class: usize) -> usize {
    blocks_in_magazine(class) as usize * SIZES[class]
}

impl Drop for Depot {
    fn drop(&mut self) {
        self.empty();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Two workers' magazines.
    fn two(pool: &Pool) -> (Magazines, Magazines) {
        (Magazines::new(pool), Magazines::new(pool))
    }

    fn held(pool: &Pool, workers: &[&Magazines]) -> usize {
        for worker in workers {
            worker.publish(pool);
        }
        pool.held().0
    }

    /// More than any of these tests keeps.
    const ROOM: usize = 1 << 20;
    const SMALL: Slot = Slot::of_class(0);

    #[test]
    fn slot_is_the_smallest_that_fits() {
        assert_eq!(Slot::of::<[u8; 1]>().class, Some(0));
        assert_eq!(Slot::of::<[u8; 120]>().class, Some(0));
        assert_eq!(Slot::of::<[u8; 121]>().class, Some(1));
        assert_eq!(Slot::of::<[u8; 2040]>().class, Some(CLASSES - 1));
        assert_eq!(Slot::of::<[u8; 2041]>().class, None);
        assert_eq!(Slot::of::<u128>().class, Some(0));
    }

    #[test]
    fn block_of_unusual_alignment_is_one_of_its_own() {
        #[repr(align(64))]
        struct Line {
            _bytes: [u8; 64],
        }
        let slot = Slot::of::<Line>();
        assert_eq!(slot.class, None);
        let pool = Pool::new(ROOM);
        let worker = Magazines::new(&pool);
        let block = worker.allocate(slot, &pool);
        assert!(block.cast::<Line>().is_aligned());
        assert_eq!(held(&pool, &[&worker]), 64);
        // SAFETY: allocated above.
        unsafe { worker.free(slot, block, &pool) };
        assert_eq!(held(&pool, &[&worker]), 0);
    }

    #[test]
    fn freed_block_is_the_next_one_used() {
        let pool = Pool::new(ROOM);
        let worker = Magazines::new(&pool);
        let block = worker.allocate(SMALL, &pool);
        // SAFETY: allocated above.
        unsafe { worker.free(SMALL, block, &pool) };
        assert_eq!(worker.allocate(SMALL, &pool), block);
        // SAFETY: allocated again.
        unsafe { worker.free(SMALL, block, &pool) };
        worker.empty(&pool);
        assert_eq!(held(&pool, &[&worker]), 0);
    }

    #[test]
    fn what_one_worker_frees_the_other_gets_by_the_depot() {
        let pool = Pool::new(ROOM);
        let (maker, freer) = two(&pool);
        for _ in 0..100 {
            let blocks: Vec<_> = (0..1000).map(|_| maker.allocate(SMALL, &pool)).collect();
            for block in blocks {
                // SAFETY: allocated above.
                unsafe { freer.free(SMALL, block, &pool) };
            }
        }
        let at_once = 1000 * SIZES[0];
        let magazines = 4 * bytes_in_magazine(0);
        assert!(held(&pool, &[&maker, &freer]) <= at_once + magazines);
        maker.empty(&pool);
        freer.empty(&pool);
        pool.close();
        assert_eq!(pool.held().0, 0);
    }

    #[test]
    fn depot_keeps_no_more_than_its_limit() {
        let limit = 3 * bytes_in_magazine(4);
        let pool = Pool::new(limit);
        let worker = Magazines::new(&pool);
        let slot = Slot::of_class(4);
        let blocks: Vec<_> = (0..1000).map(|_| worker.allocate(slot, &pool)).collect();
        assert_eq!(held(&pool, &[&worker]), 1000 * SIZES[4]);
        for block in blocks {
            // SAFETY: allocated above.
            unsafe { worker.free(slot, block, &pool) };
        }
        let kept = held(&pool, &[&worker]);
        assert!(
            kept <= limit + 2 * bytes_in_magazine(4),
            "{kept} bytes are kept"
        );
        assert!(kept > limit);
        assert!(pool.held().1 >= 1000 * SIZES[4] - UNSEEN as usize);
        worker.empty(&pool);
    }

    #[test]
    fn nothing_is_kept_by_a_pool_without_room() {
        let pool = Pool::new(0);
        let worker = Magazines::new(&pool);
        let blocks: Vec<_> = (0..100).map(|_| worker.allocate(SMALL, &pool)).collect();
        for block in blocks {
            // SAFETY: allocated above.
            unsafe { worker.free(SMALL, block, &pool) };
        }
        assert_eq!(held(&pool, &[&worker]), 0);
    }
}
