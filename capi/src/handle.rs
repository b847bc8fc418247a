//! The handles that C holds, and how a wrong one is told from a right one.
//!
//! A handle is a slot: a tag word that names the type, and three words of payload (an `Arc`, a
//! `Waker`, ...). Slots come from chunks that are never given back to the system, so the tag of a
//! freed handle can always be read: `NULL`, a freed handle, a handle of another type and a pointer
//! to something else with the wrong alignment are all seen before anything is used. What cannot be
//! seen: a freed handle whose slot has become a new handle of the same type, and a pointer to
//! unmapped memory.
//!
//! Free slots are kept in a cache for each thread, which trades batches with one global list. A
//! live handle is counted by looking at the tags, so that counting costs nothing until asked for.

use std::cell::{RefCell, UnsafeCell};
use std::mem::{MaybeUninit, align_of, size_of};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::status::Error;

/// The payload of a slot, in words.
const WORDS: usize = 3;
/// Slots of one chunk.
const CHUNK: usize = 128;
/// Free slots that a thread keeps before it gives half of them back.
const CACHE: usize = 64;
/// The tag of a slot that is not a handle.
const FREE: u64 = 0;

#[repr(C, align(32))]
struct Slot {
    tag: AtomicU64,
    payload: UnsafeCell<[MaybeUninit<usize>; WORDS]>,
}

/// A free slot on its way between lists.
struct Free(*mut Slot);

// SAFETY: a free slot is referenced by nothing but the list that holds it.
unsafe impl Send for Free {}

struct Global {
    free: Vec<Free>,
    chunks: Vec<&'static [Slot]>,
}

// SAFETY: `chunks` is only used to read the atomic tags.
unsafe impl Send for Global {}

static GLOBAL: Mutex<Global> = Mutex::new(Global {
    free: Vec::new(),
    chunks: Vec::new(),
});

fn global() -> MutexGuard<'static, Global> {
    GLOBAL.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Cache(Vec<Free>);

impl Drop for Cache {
    fn drop(&mut self) {
        global().free.append(&mut self.0);
    }
}

thread_local! {
    static SLOTS: RefCell<Cache> = const { RefCell::new(Cache(Vec::new())) };
}

fn refill(into: &mut Vec<Free>) {
    let mut global = global();
    if global.free.is_empty() {
        let chunk: Vec<Slot> = (0..CHUNK)
            .map(|_| Slot {
                tag: AtomicU64::new(FREE),
                payload: UnsafeCell::new([MaybeUninit::uninit(); WORDS]),
            })
            .collect();
        // Deliberately never freed: see the module's text.
        let chunk: &'static [Slot] = chunk.leak();
        global.chunks.push(chunk);
        global.free.extend(
            chunk
                .iter()
                .map(|slot| Free(std::ptr::from_ref(slot).cast_mut())),
        );
    }
    let keep = global.free.len().saturating_sub(CACHE / 2);
    into.extend(global.free.drain(keep..));
}

fn take_slot() -> *mut Slot {
    let cached = SLOTS.try_with(|cache| {
        let cache = &mut cache.borrow_mut().0;
        if cache.is_empty() {
            refill(cache);
        }
        cache.pop()
    });
    if let Ok(Some(free)) = cached {
        return free.0;
    }
    // The thread is ending and has no cache any more.
    let mut some = Vec::new();
    refill(&mut some);
    let slot = some.pop().expect("a refill yields a slot").0;
    global().free.append(&mut some);
    slot
}

fn give_slot(slot: *mut Slot) {
    let cached = SLOTS.try_with(|cache| {
        let cache = &mut cache.borrow_mut().0;
        if cache.len() >= CACHE {
            global().free.extend(cache.drain(CACHE / 2..));
        }
        cache.push(Free(slot));
    });
    if cached.is_err() {
        global().free.push(Free(slot));
    }
}

/// An opaque type of the header, and the Rust value that its handles carry.
///
/// # Safety
/// `TAG` is not zero and no two types share one.
pub(crate) unsafe trait Handle: Sized {
    /// What the slot holds: an `Arc` of an object, or a small value.
    type Value;
    /// The word that marks a live handle of this type.
    const TAG: u64;

    /// A new handle for `value`, owned by the caller.
    fn new(value: Self::Value) -> *mut Self {
        const {
            assert!(size_of::<Self::Value>() <= WORDS * size_of::<usize>());
            assert!(align_of::<Self::Value>() <= align_of::<usize>());
        }
        let slot = take_slot();
        // SAFETY: the slot is free, so nothing else refers to its payload, and the value fits by
        // the assertions above.
        unsafe {
            (*slot).payload.get().cast::<Self::Value>().write(value);
            (*slot).tag.store(Self::TAG, Ordering::Release);
        }
        slot.cast()
    }

    /// The value of the handle `ptr`; `Error::Inval` if `ptr` is not a live handle of this type.
    ///
    /// # Safety
    /// `ptr` is NULL or readable, and no other thread frees the handle while `'a` lasts.
    unsafe fn get<'a>(ptr: *const Self) -> Result<&'a Self::Value, Error> {
        let slot = slot_of(ptr)?;
        // SAFETY: `slot` is aligned and readable by the caller's promise; slots are never unmapped.
        let slot = unsafe { &*slot };
        if slot.tag.load(Ordering::Acquire) != Self::TAG {
            return Err(Error::Inval);
        }
        // SAFETY: the tag says that the payload holds a `Value`, and the caller keeps it alive.
        Ok(unsafe { &*slot.payload.get().cast::<Self::Value>() })
    }

    /// Ends the handle `ptr` and returns its value; `Error::Inval` as in [`get`](Handle::get).
    ///
    /// # Safety
    /// As [`get`](Handle::get), and no reference from it is still in use.
    unsafe fn take(ptr: *mut Self) -> Result<Self::Value, Error> {
        let slot = slot_of(ptr)?.cast_mut();
        // SAFETY: aligned and readable as in `get`. The exchange makes this call the only one that
        // takes the payload, also when a handle is freed twice at once.
        unsafe {
            (*slot)
                .tag
                .compare_exchange(Self::TAG, FREE, Ordering::Acquire, Ordering::Relaxed)
                .map_err(|_| Error::Inval)?;
            let value = (*slot).payload.get().cast::<Self::Value>().read();
            give_slot(slot);
            Ok(value)
        }
    }
}

fn slot_of<T>(ptr: *const T) -> Result<*const Slot, Error> {
    let slot: *const Slot = ptr.cast();
    if slot.is_null() || !slot.is_aligned() {
        Err(Error::Inval)
    } else {
        Ok(slot)
    }
}

/// A handle that lives in a variable instead of a chunk, for something that is lent to a callback.
/// It does not own its value, cannot be freed, and is dead when it goes out of scope.
pub(crate) struct Lent(Slot);

impl Lent {
    /// Lends a bitwise copy of `value`.
    ///
    /// # Safety
    /// `value` stays as it is for as long as the result and handles from it are used.
    pub(crate) unsafe fn new<T: Handle>(value: &T::Value) -> Lent {
        const { assert!(size_of::<T::Value>() <= WORDS * size_of::<usize>()) };
        let slot = Slot {
            tag: AtomicU64::new(T::TAG),
            payload: UnsafeCell::new([MaybeUninit::uninit(); WORDS]),
        };
        // SAFETY: the payload has room; the copy is never dropped, so ownership is not doubled.
        unsafe { std::ptr::copy_nonoverlapping(value, slot.payload.get().cast(), 1) };
        Lent(slot)
    }

    /// The handle; it must not be used after `self` is gone.
    pub(crate) fn as_handle<T: Handle>(&self) -> *const T {
        (&raw const self.0).cast()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.tag.store(FREE, Ordering::Relaxed);
    }
}

/// How many handles of all types have been given to C in this process and not been freed. For
/// leak checks at the end of a program: it looks at every handle, so it is not for hot paths.
///
/// @threads any
#[unsafe(no_mangle)]
pub extern "C" fn rt_handles_live() -> usize {
    let chunks = global().chunks.clone();
    chunks
        .iter()
        .flat_map(|chunk| chunk.iter())
        .filter(|slot| slot.tag.load(Ordering::Relaxed) != FREE)
        .count()
}

/// A tag from eight letters, so that a debugger shows what a handle is.
pub(crate) const fn tag(letters: &[u8; 8]) -> u64 {
    u64::from_be_bytes(*letters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Apple;
    struct Pear;

    // SAFETY: the tags differ and are not zero.
    unsafe impl Handle for Apple {
        type Value = Arc<u32>;
        const TAG: u64 = tag(b"t-apple ");
    }

    // SAFETY: as above.
    unsafe impl Handle for Pear {
        type Value = Arc<u32>;
        const TAG: u64 = tag(b"t-pear  ");
    }

    #[test]
    fn null_freed_and_foreign_handles_are_refused() {
        let apple = Apple::new(Arc::new(7));
        // SAFETY: the pointers are NULL, slots, or readable memory that is not a slot.
        unsafe {
            assert_eq!(**Apple::get(apple).unwrap(), 7);
            assert_eq!(Pear::get(apple.cast()).unwrap_err(), Error::Inval);
            assert_eq!(Apple::get(std::ptr::null()).unwrap_err(), Error::Inval);
            let words = [0u64; 8];
            assert_eq!(Apple::get(words.as_ptr().cast()).unwrap_err(), Error::Inval);
            assert_eq!(
                Apple::get(words.as_ptr().byte_add(1).cast()).unwrap_err(),
                Error::Inval
            );
            assert_eq!(*Apple::take(apple).unwrap(), 7);
            assert_eq!(Apple::get(apple).unwrap_err(), Error::Inval);
            assert_eq!(Apple::take(apple).unwrap_err(), Error::Inval);
        }
    }

    #[test]
    fn freeing_gives_the_value_back_once() {
        let value = Arc::new(1);
        let handles: Vec<_> = (0..1000).map(|_| Apple::new(value.clone())).collect();
        assert_eq!(Arc::strong_count(&value), 1001);
        for handle in handles {
            // SAFETY: each handle is live and freed once.
            drop(unsafe { Apple::take(handle) }.unwrap());
        }
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn slots_of_an_ended_thread_are_used_again() {
        let round = || {
            std::thread::spawn(|| {
                let handles: Vec<_> = (0..300).map(|n| Apple::new(Arc::new(n)) as usize).collect();
                for handle in handles {
                    // SAFETY: each handle is live and freed once.
                    drop(unsafe { Apple::take(handle as *mut Apple) }.unwrap());
                }
            })
            .join()
            .unwrap();
        };
        round();
        let chunks = global().chunks.len();
        for _ in 0..20 {
            round();
        }
        // Other tests of this process take slots as well, but not thousands of them.
        assert!(
            global().chunks.len() <= chunks + 16,
            "{chunks} -> {}",
            global().chunks.len()
        );
    }
}
