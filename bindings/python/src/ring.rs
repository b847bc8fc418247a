//! The ready ring: a growing circular buffer of callbacks waiting for their turn.
//!
//! It has no lock. Every access happens under the GIL, and nothing inside these methods can run
//! Python code or release it, so a push from a foreign thread and a pop by the loop exclude each
//! other.

use std::cell::{Cell, UnsafeCell};

use crate::py::{Obj, Ref};

/// First capacity; doubled whenever it is full. A power of two, as every later one.
const FIRST: usize = 256;

pub(crate) struct Ring {
    slots: UnsafeCell<Box<[Obj]>>,
    /// Position of the oldest entry; positions only grow, and wrap by the mask.
    head: Cell<usize>,
    len: Cell<usize>,
}

impl Ring {
    pub(crate) fn new() -> Ring {
        Ring {
            slots: UnsafeCell::new(Box::new([])),
            head: Cell::new(0),
            len: Cell::new(0),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.get()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len.get() == 0
    }

    /// Appends an entry; the ring owns the reference.
    #[inline]
    pub(crate) fn push(&self, entry: Ref) {
        // SAFETY: no other reference to the slots is alive: no method here calls out.
        let slots = unsafe { &mut *self.slots.get() };
        if self.len.get() == slots.len() {
            grow(slots, self.head.replace(0));
        }
        let mask = slots.len() - 1;
        slots[(self.head.get() + self.len.get()) & mask] = entry.into_ptr();
        self.len.set(self.len.get() + 1);
    }

    /// Takes the oldest entry.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Ref> {
        let len = self.len.get().checked_sub(1)?;
        // SAFETY: as in `push`; a used slot holds a reference that the ring owns.
        let entry = unsafe {
            let slots = &*self.slots.get();
            Ref::owned(slots[self.head.get() & (slots.len() - 1)])
        };
        self.head.set(self.head.get().wrapping_add(1));
        self.len.set(len);
        entry.ok()
    }

    /// Calls `f` with every entry, oldest first, until it returns something other than 0.
    pub(crate) fn visit(&self, mut f: impl FnMut(Obj) -> i32) -> i32 {
        // SAFETY: `f` is the garbage collector's visitor, which does not reach this ring's methods.
        let slots = unsafe { &*self.slots.get() };
        (0..self.len.get())
            .map(|i| slots[self.head.get().wrapping_add(i) & (slots.len() - 1)])
            .map(&mut f)
            .find(|&result| result != 0)
            .unwrap_or(0)
    }
}

/// Doubles the slots and moves the entries to the front.
#[cold]
fn grow(slots: &mut Box<[Obj]>, head: usize) {
    let old = slots.len();
    let size = (old * 2).max(FIRST);
    let mut bigger = Vec::with_capacity(size);
    for i in 0..old {
        bigger.push(slots[head.wrapping_add(i) & (old - 1)]);
    }
    bigger.resize(size, std::ptr::null_mut());
    *slots = bigger.into_boxed_slice();
}
