//! The one module that names the runtime: a loop handle that waits for descriptors and wakes.
//!
//! Python's scheduling does not go through it. What it adds to the handle is the Python view of
//! its errors, and that a loop which is not being turned follows the thread that uses it, as
//! asyncio's do.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use runtime::Error;
use runtime::event_loop::{self as handle, Hooks, Loop, LoopOptions};

use crate::py::{self, PyRes};

/// The calling thread's errno.
pub(crate) fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Sets the Python exception that belongs to a handle's error.
#[cold]
pub(crate) fn raise<T>(error: Error) -> PyRes<T> {
    match error {
        Error::Os(errno) => py::raise_errno(errno),
        Error::Perm => py::raise(
            py::runtime_error(),
            c"Non-thread-safe operation invoked on an event loop other than the current one",
        ),
        Error::Shutdown => py::raise(py::runtime_error(), c"Event loop is closed"),
        Error::Busy => py::raise(py::runtime_error(), c"This event loop is already running"),
        other => py::raise_text(py::runtime_error(), &other.to_string()),
    }
}

/// What a watch waits for; none means that it is paused.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Interest(handle::Interest);

impl Interest {
    pub(crate) fn new(read: bool, write: bool) -> Interest {
        Interest(match (read, write) {
            (false, false) => handle::Interest::NONE,
            (true, false) => handle::Interest::READ,
            (false, true) => handle::Interest::WRITE,
            (true, true) => handle::Interest::READ | handle::Interest::WRITE,
        })
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn read(self) -> bool {
        self.0.contains(handle::Interest::READ)
    }

    pub(crate) fn write(self) -> bool {
        self.0.contains(handle::Interest::WRITE)
    }
}

/// What a descriptor is ready for. A hang-up or an error is both: the call that follows tells.
#[derive(Clone, Copy)]
pub(crate) struct Ready(handle::Ready);

impl Ready {
    #[inline]
    pub(crate) fn readable(self) -> bool {
        self.0.is_readable() || self.0.is_failure()
    }

    #[inline]
    pub(crate) fn writable(self) -> bool {
        self.0.is_writable() || self.0.is_failure()
    }
}

/// A value that stays on the loop's thread, or moves under the GIL.
struct Guarded<T>(T);

// SAFETY: the handle drops hooks and callbacks on the loop's thread, or wherever the loop is
// closed; both happen with the GIL held, which guards all that they point to.
unsafe impl<T> Send for Guarded<T> {}

impl<T> Guarded<T> {
    /// By a method, so that closures capture the whole and not the field.
    fn get(&self) -> &T {
        &self.0
    }
}

/// The loop handle behind one `EventLoop`.
pub(crate) struct Driver(Arc<Loop>);

impl Driver {
    pub(crate) fn new() -> Result<Driver, Error> {
        Loop::new(&LoopOptions::default()).map(Driver)
    }

    /// Sets what runs around a wait that may block: where the GIL is given up.
    pub(crate) fn set_hooks(
        &self,
        before_wait: impl Fn() + 'static,
        after_wait: impl Fn() + 'static,
    ) -> Result<(), Error> {
        let (before, after) = (Guarded(before_wait), Guarded(after_wait));
        let hooks = Hooks {
            before_wait: Some(Box::new(move || (before.get())())),
            after_wait: Some(Box::new(move || (after.get())())),
            after_turn: None,
        };
        self.0.set_hooks(hooks)
    }

    /// Waits for events for up to `timeout` (none: for ever) and runs the watches' callbacks.
    pub(crate) fn turn(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let ns = timeout.map_or(u64::MAX, |timeout| timeout.as_nanos() as u64);
        self.0.turn(ns).map(drop)
    }

    /// Ends a wait, from any thread.
    pub(crate) fn wake(&self) {
        // A closed loop has nobody to wake.
        let _ = self.0.wake();
    }

    /// Calls `callback` whenever `fd` is ready, until the watch is dropped.
    pub(crate) fn watch(
        &self,
        fd: RawFd,
        interest: Interest,
        callback: impl Fn(Ready) + Copy + 'static,
    ) -> Result<Watch, Error> {
        let made = self.owned(|event_loop| {
            let callback = Guarded(callback);
            event_loop.watch(fd, interest.0, move |ready| (callback.get())(Ready(ready)))
        })?;
        Ok(Watch {
            watch: made,
            driver: self.0.clone(),
        })
    }

    fn owned<T>(&self, f: impl Fn(&Loop) -> Result<T, Error>) -> Result<T, Error> {
        owned(&self.0, f)
    }
}

/// Does something that only the loop's owner may. A thread that is not makes itself the owner,
/// which works while no other thread is inside a turn.
fn owned<T>(event_loop: &Loop, f: impl Fn(&Loop) -> Result<T, Error>) -> Result<T, Error> {
    match f(event_loop) {
        Err(Error::Perm) => {
            event_loop.claim()?;
            f(event_loop)
        }
        outcome => outcome,
    }
}

/// A descriptor that is being watched, until this is dropped.
pub(crate) struct Watch {
    watch: handle::Watch,
    driver: Arc<Loop>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A thread that may not touch the loop would only ask for the watch's end. Inside a turn
        // this says `Busy`, and the thread is the owner anyway.
        let _ = self.driver.claim();
    }
}

impl Watch {
    /// Fails with `ENOENT` or `EBADF` if the descriptor was closed since.
    pub(crate) fn set_interest(&self, interest: Interest) -> Result<(), Error> {
        owned(&self.driver, |_| self.watch.set_interest(interest.0))
    }
}
