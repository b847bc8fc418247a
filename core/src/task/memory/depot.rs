//! What the workers of a runtime have in common of task memory: full magazines that no worker needs at
//! the moment, and the slabs.
//!
//! All under one lock, which is held for a few hundred instructions for each magazine, and for the
//! system's mapping of a slab once in some hundred tasks. Fresh memory is touched first, and slabs are
//! given back, when the lock has been given up.

use super::slab::{SLAB, Slabs, Taken};
use super::{Account, BLOCK_SIZES, CLASSES, Free, blocks_in_magazine, sys};
use crate::shim::sync::Mutex;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Bytes that may be unused whatever the limit: a few slabs that have just been begun are no waste.
const LITTLE: usize = 8 * SLAB;

#[derive(Debug)]
pub(super) struct Depot {
    on: bool,
    stock: Mutex<Stock>,
    /// More is mapped and unused than may be. Nothing is published through this and the next two: the
    /// standard library's in models too.
    wasteful: AtomicBool,
    /// What [`Stock::is_scattered`] said last.
    scattered: AtomicBool,
    /// How often all was settled.
    settled: AtomicUsize,
}

#[derive(Debug)]
struct Stock {
    /// Bytes that may be kept.
    limit: usize,
    /// Bytes on the shelves and in empty slabs.
    kept: usize,
    /// A chain of full magazines for each class.
    shelves: [*mut Free; CLASSES],
    slabs: Slabs,
    empty: Pieces,
    /// Bytes of all slabs, the empty ones included.
    mapped: usize,
    /// Bytes of the blocks that are in use, as far as this can tell: those in workers' magazines count.
    used: usize,
    /// What was unused when last settled, and could not go back because of what stands beside it.
    stuck: usize,
}

// SAFETY: the blocks on the shelves are theirs alone, and may be used and freed on any thread; so are
// the slabs.
unsafe impl Send for Stock {}

/// A chain of slabs without a block that is out, each of which begins with the next one's address.
#[derive(Debug)]
struct Pieces(*mut u8);

impl Pieces {
    const NONE: Pieces = Pieces(ptr::null_mut());

    /// # Safety
    /// The piece is the caller's, who gives it up.
    unsafe fn push(&mut self, piece: NonNull<u8>) {
        // SAFETY: by the caller's promise.
        unsafe { piece.cast::<*mut u8>().write(self.0) };
        self.0 = piece.as_ptr();
    }

    fn pop(&mut self) -> Option<NonNull<u8>> {
        let piece = NonNull::new(self.0)?;
        // SAFETY: what is in the chain is the chain's, and begins so.
        self.0 = unsafe { piece.cast::<*mut u8>().read() };
        Some(piece)
    }

    /// Gives all of them back to the system.
    fn unmap(mut self, account: &Account) {
        while let Some(piece) = self.pop() {
            // SAFETY: it was mapped, and nobody else has it.
            unsafe { sys::unmap(piece) };
            account.add(-(SLAB as isize));
        }
    }
}

const fn bytes_in_magazine(class: usize) -> usize {
    blocks_in_magazine(class) as usize * BLOCK_SIZES[class]
}

impl Depot {
    /// Keeps up to `limit` bytes; with none there is no pool.
    pub(super) fn new(limit: usize) -> Depot {
        Depot {
            on: limit > 0,
            stock: Mutex::new(Stock {
                limit,
                kept: 0,
                shelves: [ptr::null_mut(); CLASSES],
                slabs: Slabs::new(),
                empty: Pieces::NONE,
                mapped: 0,
                used: 0,
                stuck: 0,
            }),
            wasteful: AtomicBool::new(false),
            scattered: AtomicBool::new(false),
            settled: AtomicUsize::new(0),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    pub(super) fn is_wasteful(&self) -> bool {
        self.wasteful.load(Relaxed)
    }

    /// Whether many slabs are held by few blocks each. It may be old.
    pub(super) fn is_scattered(&self) -> bool {
        self.scattered.load(Relaxed)
    }

    /// A number that changes whenever all is settled.
    pub(super) fn settled(&self) -> usize {
        self.settled.load(Relaxed)
    }

    /// A chain of up to `most` blocks, and how many they are: none if the system has no memory.
    pub(super) fn take(&self, class: usize, most: u32, account: &Account) -> (*mut Free, u32) {
        let taken = {
            let stock = &mut *self.stock.lock();
            if most >= blocks_in_magazine(class)
                && let Some(magazine) = stock.take_magazine(class)
            {
                return (magazine.as_ptr(), blocks_in_magazine(class));
            }
            let taken = stock.slabs.take(class, most);
            let taken = taken.or_else(|| stock.take_of_new_slab(class, most, account));
            let blocks = taken.as_ref().map_or(0, Taken::len);
            stock.used += blocks as usize * BLOCK_SIZES[class];
            taken
        };
        match taken {
            Some(taken) => taken.chain(),
            None => (ptr::null_mut(), 0),
        }
    }

    /// Takes a full magazine over. Whether there is waste.
    ///
    /// # Safety
    /// The magazine is full, of this class, and the caller's.
    pub(super) unsafe fn put(&self, class: usize, magazine: *mut Free, account: &Account) -> bool {
        let mut doomed = Pieces::NONE;
        let mut stock = self.stock.lock();
        let bytes = bytes_in_magazine(class);
        if stock.kept + bytes <= stock.limit && !stock.is_scattered() {
            // SAFETY: the magazine is the caller's, who gives it up.
            unsafe { (*magazine).next_magazine = stock.shelves[class] };
            stock.shelves[class] = magazine;
            stock.kept += bytes;
            stock.used -= bytes;
        } else {
            // SAFETY: passed on from the caller.
            unsafe { stock.give(class, magazine, &mut doomed) };
        }
        let wasteful = stock.is_wasteful();
        if wasteful {
            self.wasteful.store(true, Relaxed);
        }
        self.show(&stock);
        drop(stock);
        doomed.unmap(account);
        wasteful
    }

    /// Gives blocks back to their slabs.
    ///
    /// # Safety
    /// The chain is of this class, and the caller's.
    pub(super) unsafe fn give(&self, class: usize, chain: *mut Free, account: &Account) {
        let mut doomed = Pieces::NONE;
        let mut stock = self.stock.lock();
        // SAFETY: passed on from the caller.
        unsafe { stock.give(class, chain, &mut doomed) };
        self.show(&stock);
        drop(stock);
        doomed.unmap(account);
    }

    /// Gives all magazines back to their slabs.
    pub(super) fn settle(&self, account: &Account) {
        let mut doomed = Pieces::NONE;
        let mut stock = self.stock.lock();
        stock.clear_shelves(&mut doomed);
        stock.stuck = stock.unused();
        self.wasteful.store(false, Relaxed);
        self.show(&stock);
        self.settled.fetch_add(1, Relaxed);
        drop(stock);
        doomed.unmap(account);
    }

    fn show(&self, stock: &Stock) {
        let scattered = stock.is_scattered();
        // Others read it often: it is written only if it changes.
        if self.scattered.load(Relaxed) != scattered {
            self.scattered.store(scattered, Relaxed);
        }
    }

    /// Gives back everything that is not out, and all that comes from now on.
    pub(super) fn close(&self, account: &Account) {
        let mut doomed = Pieces::NONE;
        let mut stock = self.stock.lock();
        stock.limit = 0;
        stock.clear_shelves(&mut doomed);
        let empty = std::mem::replace(&mut stock.empty, Pieces::NONE);
        stock.mapped -= stock.kept;
        stock.kept = 0;
        drop(stock);
        doomed.unmap(account);
        empty.unmap(account);
    }
}

impl Stock {
    fn take_of_new_slab(&mut self, class: usize, most: u32, account: &Account) -> Option<Taken> {
        let piece = match self.empty.pop() {
            Some(piece) => {
                self.kept -= SLAB;
                piece
            }
            None => {
                let piece = sys::map()?;
                account.add(SLAB as isize);
                self.mapped += SLAB;
                piece
            }
        };
        // SAFETY: one of the empty pieces, or a new one.
        unsafe { self.slabs.add(piece, class) };
        self.slabs.take(class, most)
    }

    fn take_magazine(&mut self, class: usize) -> Option<NonNull<Free>> {
        let magazine = NonNull::new(self.shelves[class])?;
        // SAFETY: a magazine on a shelf is the shelf's, and its links are set.
        self.shelves[class] = unsafe { magazine.as_ref().next_magazine };
        self.kept -= bytes_in_magazine(class);
        self.used += bytes_in_magazine(class);
        Some(magazine)
    }

    /// # Safety
    /// The chain is of this class, and the caller's.
    unsafe fn give(&mut self, class: usize, mut chain: *mut Free, doomed: &mut Pieces) {
        while let Some(block) = NonNull::new(chain) {
            // SAFETY: each block of the chain is the caller's, with its link set; a slab without a
            // block that is out is ours.
            unsafe {
                chain = block.as_ref().next;
                self.used -= BLOCK_SIZES[class];
                let Some(piece) = self.slabs.put(block, class) else {
                    continue;
                };
                if self.kept + SLAB <= self.limit {
                    self.kept += SLAB;
                    self.empty.push(piece);
                } else {
                    self.mapped -= SLAB;
                    doomed.push(piece);
                }
            }
        }
    }

    fn unused(&self) -> usize {
        self.mapped - self.used
    }

    /// Whether slabs that are held by others' blocks have more than the limit unused. A magazine on a
    /// shelf might hold as many of them as it has blocks.
    fn is_scattered(&self) -> bool {
        self.unused() - self.kept > self.limit.max(LITTLE)
    }

    /// Whether a burst has ended, as far as that can be told: more than the limit is unused, beside what
    /// could not be helped the last time.
    fn is_wasteful(&mut self) -> bool {
        let unused = self.unused();
        self.stuck = self.stuck.min(unused);
        unused - self.stuck > self.limit.max(LITTLE)
    }

    fn clear_shelves(&mut self, doomed: &mut Pieces) {
        for class in 0..CLASSES {
            while let Some(magazine) = self.take_magazine(class) {
                // SAFETY: it was on the shelf of this class.
                unsafe { self.give(class, magazine.as_ptr(), doomed) };
            }
        }
    }
}
