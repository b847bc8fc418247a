//! Memory straight from the system, in pieces of [`SLAB`] bytes that begin at a multiple of that.

use super::slab::SLAB;
use std::ptr::NonNull;

pub(super) use imp::{map, unmap};

#[cfg(all(unix, not(miri)))]
mod imp {
    use super::{NonNull, SLAB};
    use std::ptr;

    fn reserve(bytes: usize) -> Option<NonNull<u8>> {
        // SAFETY: a new private mapping of nothing, wherever there is room.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return None;
        }
        NonNull::new(start.cast())
    }

    /// # Safety
    /// The bytes are of a mapping of [`reserve`]'s, and the caller's.
    unsafe fn release(start: NonNull<u8>, bytes: usize) {
        if bytes > 0 {
            // SAFETY: by the caller's promise. It fails if the system has no room to note a hole:
            // then the memory stays, and nobody uses it.
            unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
        }
    }

    /// A piece, all zero; `None` if the system has none.
    pub(in super::super) fn map() -> Option<NonNull<u8>> {
        // Systems put a mapping beside the one before, so once one is aligned the next is too.
        let start = reserve(SLAB)?;
        if start.addr().get().is_multiple_of(SLAB) {
            return Some(start);
        }
        // SAFETY: mapped just now.
        unsafe { release(start, SLAB) };
        let start = reserve(2 * SLAB)?;
        let before = start.addr().get().next_multiple_of(SLAB) - start.addr().get();
        // SAFETY: the piece, and what is left on both sides, are parts of the mapping.
        unsafe {
            let piece = start.add(before);
            release(start, before);
            release(piece.add(SLAB), SLAB - before);
            Some(piece)
        }
    }

    /// # Safety
    /// The piece came from [`map`], and is the caller's.
    pub(in super::super) unsafe fn unmap(piece: NonNull<u8>) {
        // SAFETY: passed on from the caller.
        unsafe { release(piece, SLAB) }
    }
}

/// Where there is no `mmap`: the allocator has aligned memory too.
#[cfg(not(all(unix, not(miri))))]
mod imp {
    use super::{NonNull, SLAB};
    use std::alloc::{Layout, alloc_zeroed, dealloc};

    const LAYOUT: Layout = match Layout::from_size_align(SLAB, SLAB) {
        Ok(layout) => layout,
        Err(_) => unreachable!(),
    };

    /// A piece, all zero; `None` if the system has none.
    pub(in super::super) fn map() -> Option<NonNull<u8>> {
        // SAFETY: not of size zero.
        NonNull::new(unsafe { alloc_zeroed(LAYOUT) })
    }

    /// # Safety
    /// The piece came from [`map`], and is the caller's.
    pub(in super::super) unsafe fn unmap(piece: NonNull<u8>) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(piece.as_ptr(), LAYOUT) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn pieces_begin_at_multiples_of_their_size() {
        let pieces: Vec<_> = (0..8).map(|_| map().expect("there is memory")).collect();
        for piece in pieces {
            assert!(piece.addr().get().is_multiple_of(SLAB));
            // SAFETY: its first and last byte; and nobody else has it.
            unsafe {
                assert_eq!((piece.read(), piece.add(SLAB - 1).read()), (0, 0));
                unmap(piece);
            }
        }
    }
}
