//! Large reads straight into a recycled `bytes` object.
//!
//! A copy costs a fifth of what the kernel takes to deliver a large read, and a fresh object of
//! that size costs system calls. So each loop has one large object: a read fills it, the protocol
//! gets it, and if nobody holds it when `data_received` returns, the next read fills it again.
//! Nobody can tell, because nobody else has a reference. A protocol that keeps what it gets would
//! keep the unused end of the object too: it gets exact copies from then on.

use std::ptr;

use pyo3::ffi;

use crate::event_loop::READ_SIZE;
use crate::py::{Obj, PyRes, Ref, Slot};

/// A read this large makes the next one a bulk read, and a bulk read below it is the last one.
pub(super) const BULK: usize = READ_SIZE / 4;

/// The head of a `bytes` object, in front of its data. Stable since Python 3.0.
#[repr(C)]
struct BytesHead {
    base: ffi::PyVarObject,
    hash: ffi::Py_hash_t,
}

/// A `bytes` object with room for `READ_SIZE` bytes that nobody else has a reference to.
pub(super) struct Block(Ref);

impl Block {
    /// The loop's spare one, or a new one.
    pub(super) fn take(spare: &Slot) -> PyRes<Block> {
        if let Some(object) = spare.replace(None) {
            return Ok(Block(object));
        }
        // SAFETY: without a source the content is uninitialised, and filled before anyone sees it.
        unsafe {
            Ref::owned(ffi::PyBytes_FromStringAndSize(
                ptr::null(),
                READ_SIZE as isize,
            ))
            .map(Block)
        }
    }

    /// The room to fill.
    pub(super) fn room(&mut self) -> &mut [u8] {
        // SAFETY: the object has READ_SIZE bytes, this is its only reference, and a byte of any
        // value is valid to overwrite.
        unsafe { std::slice::from_raw_parts_mut(data(self.0.as_ptr()), READ_SIZE) }
    }

    /// Makes an ordinary `bytes` of the first `length` bytes.
    pub(super) fn fill(self, length: usize) -> Ref {
        set_length(&self.0, length);
        self.0
    }

    /// Keeps the block for the next bulk read.
    pub(super) fn give_back(self, spare: &Slot) {
        spare.set(self.0);
    }

    /// Takes back what [`fill`](Block::fill) gave away, if nobody kept it.
    pub(super) fn recover(filled: Ref) -> Option<Block> {
        // SAFETY: a live object.
        let alone = unsafe { ffi::Py_REFCNT(filled.as_ptr()) } == 1;
        (alone && cfg!(not(Py_GIL_DISABLED))).then(|| {
            set_length(&filled, READ_SIZE);
            Block(filled)
        })
    }
}

fn data(bytes: Obj) -> *mut u8 {
    // SAFETY: a live `bytes` object.
    unsafe { ffi::PyBytes_AS_STRING(bytes).cast_mut().cast() }
}

/// Sets the length of a block that nobody else has a reference to.
fn set_length(block: &Ref, length: usize) {
    let object = block.as_ptr();
    // SAFETY: the object has READ_SIZE bytes and one more for the NUL behind the last; nobody else
    // looks at it, so neither the length nor the cached hash is in use.
    unsafe {
        let head = object.cast::<BytesHead>();
        (*head).base.ob_size = length as isize;
        (*head).hash = -1;
        data(object).add(length).write(0);
    }
}
