//! The memory of tasks: magazines of freed blocks in each worker, a depot of magazines behind them,
//! and slabs behind that.
//!
//! The scheme is Bonwick and Adams' ("Magazines and Vmem", USENIX 2001). Blocks come in a few
//! [sizes](BLOCK_SIZES). A worker has two magazines of freed blocks for each: the one in use, and a
//! spare one, which is full or empty. It takes from and frees to the one in use without a lock or an
//! atomic operation. When that is empty, or full, the spare one takes its place; when that does not
//! help either, a magazine comes from the [depot](Depot) or goes there, under a lock that is taken
//! once for as many tasks as a magazine holds.
//!
//! A task that was spawned on one worker and freed on another needs no way back: its block is the
//! other worker's now, and where many go the same way the depot evens it out. Threads that are no
//! workers share a few racks of magazines, each under a lock.
//!
//! Blocks are cut from [slabs](slab), which the system gives and takes back: not from the allocator,
//! which keeps for itself what a burst of small blocks leaves. A magazine that the depot has no room
//! for goes back to the slabs, block by block, and so does each while slabs are scattered: held by few
//! blocks each, with more than the depot's limit unused beside those.
//!
//! If more than the limit is mapped and unused, that is taken for the end of a burst: the next worker
//! that waits gives back its own magazines, those of the threads outside and the depot's, and has every
//! other one wait anew, before which it gives back its own. Who sleeps is unparked for that. Who does
//! not finds the unpark at its next wait, which ends at once: so each has waited anew after all that led
//! to the unpark, and no order of a flag and a sleep has to be argued about.
//!
//! Which worker is the first needs that argument only where a thread outside finds out, while all
//! workers sleep: it marks the waste, fences, and unparks a worker that has announced its sleep; a worker
//! announces its sleep, fences, and looks for the mark. One of the two sees the other. If no worker sleeps
//! the next to wait is the first, however long that takes: workers that do not wait have not done with
//! the burst.
//!
//! What the runtime keeps when all is quiet is bounded. By three times the depot's limit, which the
//! builder sets: that is kept, as much was unused when last settled or is since no waste, and as much
//! again is not yet taken for one. And by a slab for each block that may hold one: those of live tasks; of
//! ended ones that their worker has not unlinked yet; and of two magazines, of [`MAGAZINE`] bytes each, for
//! each class and worker, and for each class and rack of the threads outside. With a limit of zero there
//! are neither magazines nor slabs: then each task is an allocation of its own, which checkers of memory
//! can follow.
//!
//! A magazine is a chain through the blocks themselves, so exchanging one is the exchange of a
//! pointer.

mod depot;
mod magazines;
mod slab;
mod sys;

use crate::shim::figures::AtomicUsize;
use crate::shim::sync::{Mutex, MutexGuard};
use crossbeam_utils::CachePadded;
use depot::Depot;
pub(crate) use magazines::Magazines;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;

/// The sizes of blocks: 16 bytes apart where most tasks are, then in steps of an eighth or less.
const BLOCK_SIZES: [usize; CLASSES] = [
    96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384, 416, 448, 480, 512,
    576, 640, 704, 768, 896, 1024, 1152, 1280, 1536, 1792, 2048,
];
const CLASSES: usize = 30;
/// What malloc guarantees anyway.
const ALIGN: usize = 16;

/// Bytes in a full magazine, but no fewer than [`MAGAZINE_MIN`] blocks.
const MAGAZINE: usize = 8 << 10;
const MAGAZINE_MIN: u32 = 8;

/// Bytes that a worker takes from the allocator, or gives back, before all see it.
const UNSEEN: isize = 64 << 10;

/// Racks for threads that are no workers: so that two of them seldom want the same one.
const OUTSIDE: usize = 4;

/// What the depot may keep unless the builder says otherwise, in bytes. None in models, which
/// follow each allocation.
pub(crate) const KEEP: usize = if cfg!(any(loom, libruntime_plain_alloc)) {
    0
} else {
    2 << 20
};

const fn blocks_in_magazine(class: usize) -> u32 {
    let blocks = (MAGAZINE / BLOCK_SIZES[class]) as u32;
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
            if layout.size() <= BLOCK_SIZES[class] && layout.align() <= ALIGN {
                return Slot {
                    layout,
                    class: Some(class),
                };
            }
            class += 1;
        }
        Slot {
            layout,
            class: None,
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
    /// The block is one of [`allocate`](Self::allocate)'s for this slot, and the caller's.
    pub(crate) unsafe fn free(self, block: Block) {
        // SAFETY: it came from the allocator with this layout.
        unsafe { dealloc(block.as_ptr().cast(), self.layout) }
    }
}

/// A piece of memory for a task.
pub(crate) type Block = NonNull<Free>;

/// A block that no task uses.
pub(crate) struct Free {
    /// The next one of the same magazine, or of the same slab.
    next: *mut Free,
    /// In the first block of a magazine in the depot: the next magazine.
    next_magazine: *mut Free,
}

/// What the workers of one runtime share of their tasks' memory.
#[derive(Debug)]
pub(crate) struct Pool {
    depot: Depot,
    account: Account,
    /// None if the pool is off.
    outside: Box<[CachePadded<Mutex<Magazines>>]>,
}

/// Bytes that were taken and not given back: slabs, and what the allocator was asked for. Of the
/// latter workers tell in portions.
#[derive(Debug, Default)]
struct Account {
    held: AtomicUsize,
    peak: AtomicUsize,
}

impl Pool {
    /// A pool whose depot keeps up to `limit` bytes.
    pub(crate) fn new(limit: usize) -> Pool {
        let depot = Depot::new(limit);
        let racks = if depot.is_on() { OUTSIDE } else { 0 };
        Pool {
            outside: (0..racks)
                .map(|_| CachePadded::new(Mutex::new(Magazines::for_depot(&depot))))
                .collect(),
            depot,
            account: Account::default(),
        }
    }

    /// A block for a thread that is no worker.
    pub(crate) fn allocate(&self, slot: Slot) -> Block {
        match self.rack(slot) {
            Some(rack) => rack.allocate(slot, self),
            None => {
                self.account.add(slot.layout.size() as isize);
                slot.allocate()
            }
        }
    }

    /// Takes a block back on a thread that is no worker. The result is that of [`Magazines::free`].
    ///
    /// # Safety
    /// The block came from this pool or a worker's magazines, for the same slot, and is the caller's.
    pub(crate) unsafe fn free(&self, slot: Slot, block: Block) -> bool {
        match self.rack(slot) {
            // SAFETY: passed on from the caller.
            Some(rack) => unsafe { rack.free(slot, block, self) },
            None => {
                self.account.add(-(slot.layout.size() as isize));
                // SAFETY: passed on from the caller; without a class, or a pool, it was allocated.
                unsafe { slot.free(block) };
                false
            }
        }
    }

    /// The magazines for this thread, which is no worker, if it needs any.
    fn rack(&self, slot: Slot) -> Option<MutexGuard<'_, Magazines>> {
        thread_local! {
            /// Its address tells threads apart.
            static HERE: u8 = const { 0 };
        }
        slot.class?;
        let racks = self.outside.len();
        let here = HERE.with(|here| (&raw const *here).addr() as u64);
        let own = here.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let own = (own as usize).checked_rem(racks)?;
        let free = (own..own + racks).find_map(|rack| self.outside[rack % racks].try_lock());
        Some(free.unwrap_or_else(|| self.outside[own].lock()))
    }

    /// Whether many slabs are held by few blocks each: ended tasks should not wait long to be unlinked
    /// then. It may be old.
    pub(crate) fn is_scattered(&self) -> bool {
        self.depot.is_scattered()
    }

    /// After a burst: gives back what holds slabs, but for what workers have.
    #[cold]
    fn settle(&self) {
        for rack in &self.outside {
            rack.lock().empty(self);
        }
        self.depot.settle(&self.account);
    }

    /// No worker is left: gives back everything, and at once from now on.
    pub(crate) fn close(&self) {
        for rack in &self.outside {
            rack.lock().close(self);
        }
        self.depot.close(&self.account);
    }

    /// Bytes held, and the most that were but for less than [`UNSEEN`].
    pub(crate) fn held(&self) -> (usize, usize) {
        let held = self.account.held.load(Relaxed);
        let held = if held > isize::MAX as usize { 0 } else { held };
        (held, self.account.peak.load(Relaxed).max(held))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::slab::SLAB;
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

    const fn of_class(class: usize) -> Slot {
        match Layout::from_size_align(BLOCK_SIZES[class], ALIGN) {
            Ok(layout) => Slot {
                layout,
                class: Some(class),
            },
            Err(_) => unreachable!(),
        }
    }

    /// More than any of these tests keeps.
    const ROOM: usize = 1 << 20;
    const SMALL: Slot = of_class(0);

    fn slabs_for(blocks: usize, class: usize) -> usize {
        (blocks * BLOCK_SIZES[class]).div_ceil(SLAB - 2 * BLOCK_SIZES[class])
    }

    /// So many blocks of class 4, of a worker that has none: one of each slab, and the others.
    fn one_of_each_slab_and_the_others(
        blocks: usize,
        worker: &Magazines,
        pool: &Pool,
    ) -> (Vec<Block>, Vec<Block>) {
        let (mut few, mut many) = (Vec::new(), Vec::new());
        for number in 0..blocks {
            let first = number % (SLAB / BLOCK_SIZES[4]) == 0;
            let part = if first { &mut few } else { &mut many };
            part.push(worker.allocate(of_class(4), pool));
        }
        (few, many)
    }

    #[test]
    fn slot_is_the_smallest_that_fits() {
        assert_eq!(Slot::of::<[u8; 1]>().class, Some(0));
        assert_eq!(Slot::of::<[u8; 96]>().class, Some(0));
        assert_eq!(Slot::of::<[u8; 97]>().class, Some(1));
        assert_eq!(Slot::of::<[u8; 2048]>().class, Some(CLASSES - 1));
        assert_eq!(Slot::of::<[u8; 2049]>().class, None);
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
        assert_eq!(held(&pool, &[&worker]), SLAB);
        pool.close();
        assert_eq!(pool.held().0, 0);
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
        let magazines = 4 * blocks_in_magazine(0) as usize;
        assert!(held(&pool, &[&maker, &freer]) <= slabs_for(1000 + magazines, 0) * SLAB);
        maker.empty(&pool);
        freer.empty(&pool);
        pool.close();
        assert_eq!(pool.held().0, 0);
    }

    #[test]
    fn depot_keeps_no_more_than_its_limit() {
        let limit = 4 * SLAB;
        let pool = Pool::new(limit);
        let worker = Magazines::new(&pool);
        let slot = of_class(4);
        let mut blocks: Vec<_> = (0..10_000).map(|_| worker.allocate(slot, &pool)).collect();
        let peak = held(&pool, &[&worker]);
        assert!(peak <= slabs_for(10_000, 4) * SLAB);
        // In no order: what the magazines and the depot keep stands in all slabs.
        fastrand::Rng::with_seed(3).shuffle(&mut blocks);
        for block in blocks {
            // SAFETY: allocated above.
            unsafe { worker.free(slot, block, &pool) };
        }
        assert!(pool.depot.is_wasteful());
        worker.rest(&pool);
        assert!(!pool.depot.is_wasteful());
        assert_eq!(held(&pool, &[&worker]), limit);
        assert_eq!(pool.held().1, peak);
        // What is kept is used before more is taken.
        let blocks: Vec<_> = (0..1000).map(|_| worker.allocate(slot, &pool)).collect();
        assert_eq!(held(&pool, &[&worker]), limit);
        for block in blocks {
            // SAFETY: allocated above.
            unsafe { worker.free(slot, block, &pool) };
        }
        worker.empty(&pool);
    }

    #[test]
    fn each_worker_gives_back_what_holds_slabs_when_it_waits_after_a_burst() {
        let pool = Pool::new(SLAB);
        let (early, late) = two(&pool);
        let slot = of_class(4);
        let (few, many) = one_of_each_slab_and_the_others(20_000, &late, &pool);
        // The few go to a worker that has none else to free, and then waits.
        for (worker, blocks) in [(&early, &few), (&late, &many)] {
            for block in blocks {
                // SAFETY: allocated above.
                unsafe { worker.free(slot, *block, &pool) };
            }
        }
        late.rest(&pool);
        assert!(held(&pool, &[]) >= few.len() * SLAB);
        early.rest(&pool);
        assert_eq!(held(&pool, &[]), SLAB);
    }

    #[test]
    fn block_that_holds_a_slab_goes_back_to_it_and_not_to_a_shelf() {
        let pool = Pool::new(ROOM);
        let (early, late) = two(&pool);
        let slot = of_class(4);
        let (few, many) =
            one_of_each_slab_and_the_others(400 * (SLAB / BLOCK_SIZES[4]), &late, &pool);
        for block in many {
            // SAFETY: allocated above.
            unsafe { early.free(slot, block, &pool) };
        }
        assert!(early.rest(&pool) && !late.rest(&pool));
        assert!(held(&pool, &[]) >= few.len() * SLAB);
        assert!(pool.is_scattered());
        // Their tasks end later, and nobody rests after that.
        for block in few {
            // SAFETY: allocated above.
            unsafe { late.free(slot, block, &pool) };
        }
        let in_magazines = 2 * blocks_in_magazine(4) as usize * SLAB;
        assert!(held(&pool, &[]) <= in_magazines + ROOM);
        late.empty(&pool);
        assert!(!pool.is_scattered());
        assert_eq!(held(&pool, &[]), ROOM);
    }

    #[test]
    fn end_of_a_burst_is_told_until_somebody_rests() {
        let pool = Pool::new(8 * SLAB);
        let (maker, freer) = two(&pool);
        for _ in 0..2 {
            let blocks: Vec<_> = (0..20_000).map(|_| maker.allocate(SMALL, &pool)).collect();
            let told = blocks.into_iter().filter(|block| {
                // SAFETY: allocated above.
                unsafe { freer.free(SMALL, *block, &pool) }
            });
            assert!(told.count() > 1);
            assert!(freer.rest(&pool), "the first to rest");
            assert!(!freer.rest(&pool) && !maker.rest(&pool));
        }
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
        let block = pool.allocate(SMALL);
        // SAFETY: allocated above.
        unsafe { pool.free(SMALL, block) };
        assert_eq!(held(&pool, &[&worker]), 0);
    }

    #[test]
    fn blocks_of_threads_outside_come_back_after_the_close() {
        struct Sent(Block);
        // SAFETY: a block is good on every thread.
        unsafe impl Send for Sent {}
        let pool = Pool::new(ROOM);
        let mut blocks: Vec<_> = std::thread::scope(|scope| {
            let allocate = || -> Vec<_> { (0..100).map(|_| Sent(pool.allocate(SMALL))).collect() };
            let threads: Vec<_> = (0..2 * OUTSIDE).map(|_| scope.spawn(allocate)).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<_>>| thread.join().unwrap();
            threads.into_iter().flat_map(join).collect()
        });
        let distinct: std::collections::HashSet<_> = blocks.iter().map(|sent| sent.0).collect();
        assert_eq!(distinct.len(), 200 * OUTSIDE);
        let late = blocks.split_off(blocks.len() / 2);
        for (round, blocks) in [blocks, late].into_iter().enumerate() {
            if round == 1 {
                pool.close();
                blocks_can_be_had_still(&pool);
            }
            for Sent(block) in blocks {
                // SAFETY: allocated above.
                unsafe { pool.free(SMALL, block) };
            }
        }
        assert_eq!(pool.held().0, 0);
    }

    fn blocks_can_be_had_still(pool: &Pool) {
        let block = pool.allocate(SMALL);
        // SAFETY: allocated above.
        unsafe { pool.free(SMALL, block) };
    }
}
