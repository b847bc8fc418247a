//! Where panics of foreign code end.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls `f`. A panic of its ends here.
pub(crate) fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        discard_payload(payload);
    }
}

/// Drops what a panic ended with, and what the panic of that drop did. Whoever panics even then is
/// not asked again, and leaks.
#[cold]
pub(crate) fn discard_payload(mut payload: Box<dyn Any + Send>) {
    for _ in 0..2 {
        match catch_unwind(AssertUnwindSafe(move || drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    std::mem::forget(payload);
}
