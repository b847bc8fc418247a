//! The timer heap: deadlines in order, equal deadlines in the order of their scheduling.
//!
//! Cancelling is O(1): the entry stays until it reaches the top, until it is the last of the
//! array (then it leaves at once, so a timer that is set and cancelled costs no memory), or until
//! more than half of the entries are cancelled (then they all leave together).

use std::cell::{Cell, UnsafeCell};

use crate::handle;
use crate::py::{Obj, Ref};

/// Children of a node. Four deadlines fill two cache lines, and the heap is half as deep as a
/// binary one.
const ARITY: usize = 4;

/// Below this many cancelled entries a compaction is not worth its pass over the heap.
const COMPACT_FROM: usize = 64;

#[derive(Clone, Copy)]
struct Entry {
    when: f64,
    /// Order among equal deadlines.
    seq: u64,
    /// A timer handle; the heap owns the reference.
    handle: Obj,
}

impl Entry {
    #[inline]
    fn before(&self, other: &Entry) -> bool {
        self.when < other.when || (self.when == other.when && self.seq < other.seq)
    }
}

pub(crate) struct Timers {
    heap: UnsafeCell<Vec<Entry>>,
    next_seq: Cell<u64>,
    cancelled: Cell<usize>,
}

impl Timers {
    pub(crate) const fn new() -> Timers {
        Timers {
            heap: UnsafeCell::new(Vec::new()),
            next_seq: Cell::new(0),
            cancelled: Cell::new(0),
        }
    }

    /// The entries. The GIL keeps other threads out, and no method holds this borrow across
    /// anything that can run Python code.
    #[allow(clippy::mut_from_ref)]
    fn heap(&self) -> &mut Vec<Entry> {
        // SAFETY: see above.
        unsafe { &mut *self.heap.get() }
    }

    /// Entries held, cancelled ones included.
    pub(crate) fn len(&self) -> usize {
        self.heap().len()
    }

    /// Adds a timer handle, due at `when` seconds of the loop's clock.
    #[inline]
    pub(crate) fn push(&self, when: f64, handle: Ref) {
        let seq = self.next_seq.get();
        self.next_seq.set(seq + 1);
        let heap = self.heap();
        let entry = Entry {
            when,
            seq,
            handle: handle.into_ptr(),
        };
        heap.push(entry);
        let last = heap.len() - 1;
        sift_up(heap, last);
    }

    /// Notes that `handle`, which is in the heap, has just been cancelled.
    #[inline]
    pub(crate) fn note_cancelled(&self, handle: Obj) {
        let heap = self.heap();
        if heap.last().is_some_and(|last| last.handle == handle) {
            let last = heap.pop();
            handle::left_heap(handle);
            // SAFETY: the heap owned this reference.
            drop(last.map(|last| unsafe { Ref::owned(last.handle) }));
            return;
        }
        self.cancelled.set(self.cancelled.get() + 1);
        if self.cancelled.get() > COMPACT_FROM && self.cancelled.get() * 2 > heap.len() {
            self.compact();
        }
    }

    /// The earliest deadline of a timer that is not cancelled.
    pub(crate) fn next_deadline(&self) -> Option<f64> {
        loop {
            let first = *self.heap().first()?;
            if !handle::is_cancelled(first.handle) {
                return Some(first.when);
            }
            drop(self.pop());
            self.cancelled.set(self.cancelled.get() - 1);
        }
    }

    /// Takes the earliest timer that is due at `now` and not cancelled.
    pub(crate) fn pop_due(&self, now: f64) -> Option<Ref> {
        if self.next_deadline()? > now {
            return None;
        }
        self.pop()
    }

    /// Empties the heap.
    pub(crate) fn clear(&self) {
        self.cancelled.set(0);
        release(std::mem::take(self.heap()));
    }

    /// Calls `f` with every handle until it returns something other than 0.
    pub(crate) fn visit(&self, mut f: impl FnMut(Obj) -> i32) -> i32 {
        self.heap()
            .iter()
            .map(|entry| f(entry.handle))
            .find(|&result| result != 0)
            .unwrap_or(0)
    }

    fn pop(&self) -> Option<Ref> {
        let heap = self.heap();
        if heap.is_empty() {
            return None;
        }
        let first = heap.swap_remove(0);
        if !heap.is_empty() {
            sift_down(heap, 0);
        }
        handle::left_heap(first.handle);
        // SAFETY: the heap owned this reference.
        unsafe { Ref::owned(first.handle) }.ok()
    }

    #[cold]
    fn compact(&self) {
        let entries = std::mem::take(self.heap());
        let (gone, mut kept): (Vec<Entry>, Vec<Entry>) = entries
            .into_iter()
            .partition(|entry| handle::is_cancelled(entry.handle));
        if kept.len() > 1 {
            for i in (0..=(kept.len() - 2) / ARITY).rev() {
                sift_down(&mut kept, i);
            }
        }
        *self.heap() = kept;
        self.cancelled.set(0);
        release(gone);
    }
}

/// Drops the references of entries that have left the heap. This may run Python code, so the heap
/// must be whole again before.
fn release(entries: Vec<Entry>) {
    for entry in entries {
        handle::left_heap(entry.handle);
        // SAFETY: the heap owned this reference.
        drop(unsafe { Ref::owned(entry.handle) });
    }
}

fn sift_up(heap: &mut [Entry], mut at: usize) {
    let entry = heap[at];
    while at > 0 {
        let parent = (at - 1) / ARITY;
        if !entry.before(&heap[parent]) {
            break;
        }
        heap[at] = heap[parent];
        at = parent;
    }
    heap[at] = entry;
}

fn sift_down(heap: &mut [Entry], mut at: usize) {
    let entry = heap[at];
    loop {
        let first = at * ARITY + 1;
        let Some(children) = heap.get(first..heap.len().min(first + ARITY)) else {
            break;
        };
        let Some((least, child)) = children.iter().enumerate().reduce(|least, child| {
            if child.1.before(least.1) {
                child
            } else {
                least
            }
        }) else {
            break;
        };
        if !child.before(&entry) {
            break;
        }
        heap[at] = *child;
        at = first + least;
    }
    heap[at] = entry;
}
