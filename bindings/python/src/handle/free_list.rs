//! Where handles come from and go to: free lists, and a bound on nested releases.

use std::cell::{Cell, UnsafeCell};

use pyo3::ffi;

use super::{slots, view};
use crate::py::{Obj, PyRes, Ref};

/// Freed handles of each kind that are kept for reuse.
const LENGTH: usize = 256;

/// A chain of handles, each an argument of the next, is released this deep on the stack and the
/// rest from a list, as CPython does it for its own containers.
const DEEPEST: usize = 50;

/// Freed objects of one type, their type reference still counted.
pub(super) struct FreeList(UnsafeCell<Vec<Obj>>);

// SAFETY: only touched under the GIL, by code that cannot release it.
unsafe impl Sync for FreeList {}

unsafe extern "C" {
    /// Brings a dead object back with one reference, as every CPython free list does.
    fn _Py_NewReference(object: Obj);
}

impl FreeList {
    pub(super) const fn new() -> FreeList {
        FreeList(UnsafeCell::new(Vec::new()))
    }

    /// An object of `kind` with one reference, untracked, its fields not initialised.
    #[inline]
    pub(super) fn allocate(&self, kind: *mut ffi::PyTypeObject) -> PyRes<Obj> {
        // SAFETY: see `Sync`; a listed object is a dead, untracked instance of `kind`.
        unsafe {
            match (*self.0.get()).pop() {
                Some(object) => {
                    _Py_NewReference(object);
                    Ok(object)
                }
                None => Ref::owned(ffi::PyObject_GC_New::<ffi::PyObject>(kind)).map(Ref::into_ptr),
            }
        }
    }

    /// Keeps a dead object, or frees it.
    #[inline]
    fn give_back(&self, object: Obj) {
        // SAFETY: called at the end of `tp_dealloc` with an untracked object without references.
        unsafe {
            let list = &mut *self.0.get();
            if list.len() < LENGTH && cfg!(not(Py_GIL_DISABLED)) {
                list.push(object);
            } else {
                let kind = ffi::Py_TYPE(object);
                ffi::PyObject_GC_Del(object.cast());
                ffi::Py_DECREF(kind.cast());
            }
        }
    }
}

/// Handles that are being released, one inside the release of another.
struct Nesting {
    depth: Cell<usize>,
    /// Dead handles that were too deep down, and the lists that they go to.
    waiting: UnsafeCell<Vec<(Obj, &'static FreeList)>>,
}

// SAFETY: as `FreeList`; the list is never borrowed while something is released.
unsafe impl Sync for Nesting {}

static NESTING: Nesting = Nesting {
    depth: Cell::new(0),
    waiting: UnsafeCell::new(Vec::new()),
};

/// Ends a handle: the body of its `tp_dealloc`.
#[inline]
pub(super) fn release(object: Obj, list: &'static FreeList) {
    // SAFETY: the last reference has gone; nothing else can reach the object.
    unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
    let depth = NESTING.depth.get();
    if depth >= DEEPEST {
        // SAFETY: see `Nesting`.
        return unsafe { (*NESTING.waiting.get()).push((object, list)) };
    }
    NESTING.depth.set(depth + 1);
    for slot in slots(view(object)) {
        slot.clear();
    }
    list.give_back(object);
    NESTING.depth.set(NESTING.depth.get() - 1);
    if NESTING.depth.get() == 0 {
        release_waiting();
    }
}

#[inline]
fn release_waiting() {
    // SAFETY: see `Nesting`; the borrow ends before anything is released.
    while let Some((handle, list)) = unsafe { (*NESTING.waiting.get()).pop() } {
        release(handle, list);
    }
}
