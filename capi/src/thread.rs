//! What the library knows of the current thread: its number, and what is on its stack.

use std::cell::Cell;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::status::Error;

struct Local {
    /// How many of the library's boundaries are on the stack: panics go to the log then.
    inside: Cell<u32>,
    /// How many of the caller's callbacks and polls are on the stack: blocking is refused then.
    callbacks: Cell<u32>,
    /// The thread's number; 0 until it is asked for.
    id: Cell<u64>,
}

thread_local! {
    static LOCAL: Local = const {
        Local { inside: Cell::new(0), callbacks: Cell::new(0), id: Cell::new(0) }
    };
}

/// A number that no other thread of the process has or had.
pub(crate) fn id() -> NonZeroU64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = LOCAL.with(|local| {
        if local.id.get() == 0 {
            local.id.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        local.id.get()
    });
    NonZeroU64::new(id).expect("numbers begin at 1")
}

/// Whether the library is on this thread's stack.
pub(crate) fn is_inside() -> bool {
    LOCAL.with(|local| local.inside.get() > 0)
}

/// `Error::Deadlk` inside a callback or a poll, where blocking would hold up a worker or a loop,
/// and might wait for itself.
pub(crate) fn may_block() -> Result<(), Error> {
    if LOCAL.with(|local| local.callbacks.get() > 0) {
        Err(Error::Deadlk)
    } else {
        Ok(())
    }
}

struct Depth {
    callback: u32,
}

impl Depth {
    fn enter(callback: u32) -> Depth {
        LOCAL.with(|local| {
            local.inside.set(local.inside.get() + 1);
            local.callbacks.set(local.callbacks.get() + callback);
        });
        Depth { callback }
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        LOCAL.with(|local| {
            local.inside.set(local.inside.get() - 1);
            local.callbacks.set(local.callbacks.get() - self.callback);
        });
    }
}

/// Runs code of the library and contains its panic; the message has gone to the log then.
pub(crate) fn contained<R>(call: impl FnOnce() -> R) -> Result<R, Error> {
    let _depth = Depth::enter(0);
    caught(call)
}

/// Calls a caller's function, which may not block, and contains its panic.
pub(crate) fn callback<R>(call: impl FnOnce() -> R) -> Result<R, Error> {
    let _depth = Depth::enter(1);
    caught(call)
}

fn caught<R>(call: impl FnOnce() -> R) -> Result<R, Error> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        // A payload whose own drop panics must not get out either.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        Error::Panic
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_different_numbers() {
        let here = id();
        assert_eq!(here, id());
        assert_ne!(here, std::thread::spawn(id).join().unwrap());
    }

    #[test]
    fn a_callback_may_not_block_and_its_panic_ends_there() {
        assert_eq!(may_block(), Ok(()));
        assert_eq!(callback(may_block), Ok(Err(Error::Deadlk)));
        crate::ffi::first_use();
        assert_eq!(callback(|| panic!("contained")), Err(Error::Panic));
        assert_eq!(may_block(), Ok(()));
        assert!(!is_inside());
    }
}
