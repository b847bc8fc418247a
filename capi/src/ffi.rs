//! The boundary between C and Rust: panics, out-parameters, strings and options structs.

use std::ffi::{CStr, c_char, c_int};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::log::install_panic_hook;
use crate::status::Error;
use crate::thread::contained;

/// Runs the body of an `extern "C"` function: an error becomes its code, a panic `RT_EPANIC`.
pub(crate) fn boundary(body: impl FnOnce() -> Result<c_int, Error>) -> c_int {
    match contained(body) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) | Err(error) => error.code(),
    }
}

/// Runs the body of an `extern "C"` function that returns nothing.
pub(crate) fn boundary_void(body: impl FnOnce()) {
    let _ = contained(body);
}

/// What the first call that makes an object does for the process: panics go to the log, and forks
/// are noticed.
pub(crate) fn first_use() {
    install_panic_hook();
    watch_forks();
}

/// How many forks lie between the start of the program and this process.
static FORKS: AtomicU32 = AtomicU32::new(0);

fn watch_forks() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    ONCE.call_once(|| {
        // SAFETY: the handler only adds to an atomic, and the library is never unmapped.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// The process that an object was made in.
#[derive(Debug)]
pub(crate) struct Origin(AtomicU32);

impl Origin {
    pub(crate) fn here() -> Origin {
        watch_forks();
        Origin(AtomicU32::new(FORKS.load(Ordering::Relaxed)))
    }

    /// `Error::Fork` in a child of the process that the object was made in.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_foreign() {
            Err(Error::Fork)
        } else {
            Ok(())
        }
    }

    pub(crate) fn is_foreign(&self) -> bool {
        FORKS.load(Ordering::Relaxed) != self.0.load(Ordering::Relaxed)
    }

    /// The object is this process's from now on.
    pub(crate) fn adopt(&self) {
        self.0
            .store(FORKS.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// An out-parameter that must be given: `Error::Inval` for NULL.
///
/// # Safety
/// `out` is NULL or valid for writes while `'a` lasts.
pub(crate) unsafe fn out<'a, T>(out: *mut T) -> Result<&'a mut MaybeUninit<T>, Error> {
    // SAFETY: by the caller's promise; `MaybeUninit` makes no claim on the content.
    unsafe { out.cast::<MaybeUninit<T>>().as_mut() }.ok_or(Error::Inval)
}

/// A NUL-terminated string argument in UTF-8: `Error::Inval` for NULL or other bytes.
///
/// # Safety
/// `text` is NULL or NUL-terminated, and stays so while `'a` lasts.
pub(crate) unsafe fn string<'a>(text: *const c_char) -> Result<&'a str, Error> {
    if text.is_null() {
        return Err(Error::Inval);
    }
    // SAFETY: by the caller's promise.
    unsafe { CStr::from_ptr(text) }
        .to_str()
        .map_err(|_| Error::Inval)
}

/// A buffer argument. NULL is allowed only with no length.
///
/// # Safety
/// `data` is valid for reads of `len` bytes while `'a` lasts.
pub(crate) unsafe fn bytes<'a>(data: *const u8, len: usize) -> Result<&'a [u8], Error> {
    match (data.is_null(), len) {
        (true, 0) => Ok(&[]),
        (true, _) => Err(Error::Inval),
        (false, _) if len <= isize::MAX as usize => {
            // SAFETY: by the caller's promise.
            Ok(unsafe { std::slice::from_raw_parts(data, len) })
        }
        _ => Err(Error::Inval),
    }
}

/// An options struct of the header: it begins with its own size in bytes.
///
/// # Safety
/// The type is `repr(C)`, begins with a `usize`, has no padding that matters, and a value of all
/// zero bytes is valid and means the defaults.
pub(crate) unsafe trait Options: Sized {}

/// Copies the options of a caller that may have been built against another version of the header.
/// A smaller struct is completed with zeros, a larger one is accepted if its unknown tail is zero.
///
/// # Safety
/// `options` is NULL, or points to a struct that begins with its own size and is readable for it.
pub(crate) unsafe fn options<T: Options>(options: *const T) -> Result<T, Error> {
    // SAFETY: `Options` says that all zero bytes are valid.
    let mut copy: T = unsafe { std::mem::zeroed() };
    if options.is_null() {
        return Ok(copy);
    }
    if !options.is_aligned() {
        return Err(Error::Inval);
    }
    // SAFETY: every options struct begins with its size, and is readable for that many bytes.
    unsafe {
        let size = options.cast::<usize>().read();
        if size < size_of::<usize>() || size > 4096 {
            return Err(Error::Inval);
        }
        let known = size_of::<T>();
        let tail = bytes(
            options.cast::<u8>().wrapping_add(known),
            size.saturating_sub(known),
        )?;
        if tail.iter().any(|byte| *byte != 0) {
            return Err(Error::TooBig);
        }
        let copied = size.min(known);
        std::ptr::copy_nonoverlapping(
            options.cast::<u8>(),
            std::ptr::from_mut(&mut copy).cast::<u8>(),
            copied,
        );
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Debug, PartialEq)]
    struct Sample {
        size: usize,
        first: u64,
        second: u64,
    }

    // SAFETY: `repr(C)`, begins with its size, integers only.
    unsafe impl Options for Sample {}

    #[test]
    fn a_smaller_struct_is_completed_with_zeros() {
        let words: [u64; 3] = [16, 5, 99];
        // SAFETY: the first word is the size, and the memory is readable for it.
        let sample = unsafe { options(words.as_ptr().cast::<Sample>()) }.unwrap();
        assert_eq!((sample.first, sample.second), (5, 0));
    }

    #[test]
    fn a_larger_struct_needs_a_zero_tail() {
        let words: [u64; 5] = [40, 1, 2, 0, 0];
        // SAFETY: as above.
        let sample = unsafe { options(words.as_ptr().cast::<Sample>()) }.unwrap();
        assert_eq!((sample.first, sample.second), (1, 2));
        let words: [u64; 5] = [40, 1, 2, 0, 1];
        // SAFETY: as above.
        let sample = unsafe { options(words.as_ptr().cast::<Sample>()) };
        assert_eq!(sample, Err(Error::TooBig));
    }

    #[test]
    fn a_size_that_cannot_be_is_refused() {
        for size in [0, 7, 1 << 20] {
            let words: [u64; 3] = [size, 1, 2];
            // SAFETY: the size is refused before anything behind it is read.
            let sample = unsafe { options(words.as_ptr().cast::<Sample>()) };
            assert_eq!(sample, Err(Error::Inval));
        }
    }

    #[test]
    fn null_means_the_defaults() {
        // SAFETY: NULL is allowed.
        let sample = unsafe { options(std::ptr::null::<Sample>()) }.unwrap();
        assert_eq!(
            sample,
            Sample {
                size: 0,
                first: 0,
                second: 0
            }
        );
    }

    #[test]
    fn a_panic_becomes_its_code() {
        first_use();
        assert_eq!(boundary(|| panic!("contained")), crate::status::RT_EPANIC);
    }
}
