//! The event loop under the inline back end: all that is used of it, in one place.

use std::cell::UnsafeCell;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use runtime::event_loop::{self, Loop, LoopOptions};

use super::table::Id;

/// What a socket waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interest(event_loop::Interest);

impl Interest {
    pub(crate) const NONE: Self = Self(event_loop::Interest::NONE);
    pub(crate) const READ: Self = Self(event_loop::Interest::READ);

    pub(crate) fn new(read: bool, write: bool) -> Self {
        let mut interest = event_loop::Interest::NONE;
        if read {
            interest |= event_loop::Interest::READ;
        }
        if write {
            interest |= event_loop::Interest::WRITE;
        }
        Self(interest)
    }
}

/// What has happened to the handle of an id.
#[derive(Clone, Copy)]
pub(crate) enum Arrival {
    /// Its descriptor is ready. An error counts as both directions.
    Ready { readable: bool, writable: bool },
    /// Its timer has fired.
    Timer,
}

/// What a turn has found so far.
#[derive(Default)]
struct Arrivals(UnsafeCell<Vec<(Id, Arrival)>>);

// SAFETY: the list is only touched inside a turn, by the callbacks that the loop runs one at a time, and
// by `Poller::turn` between turns; all of it on the one thread that turns the loop.
unsafe impl Send for Arrivals {}
// SAFETY: as above.
unsafe impl Sync for Arrivals {}

impl Arrivals {
    fn push(&self, id: Id, arrival: Arrival) {
        // SAFETY: called inside a turn only; no other reference exists while it lasts (above).
        unsafe { (*self.0.get()).push((id, arrival)) };
    }

    fn swap(&self, other: &mut Vec<(Id, Arrival)>) {
        // SAFETY: called between turns only, when no callback runs (above).
        unsafe { std::ptr::swap(self.0.get(), other) };
    }
}

pub(crate) struct Poller {
    event_loop: Arc<Loop>,
    /// Watched by the host's loop.
    fd: RawFd,
    arrivals: Arc<Arrivals>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let event_loop = Loop::new(&LoopOptions::default())?;
        let fd = event_loop.backend_fd()?;
        Ok(Self {
            event_loop,
            fd,
            arrivals: Arc::default(),
        })
    }

    /// Readable whenever a turn would find something. It belongs to the poller.
    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    /// Puts what has happened into `arrivals` (empty before), without waiting.
    pub(crate) fn turn(&self, arrivals: &mut Vec<(Id, Arrival)>) {
        // What is left for another turn keeps the descriptor readable. A failure (the system's wait
        // refused) leaves the descriptor as it is as well: the next turn tries again.
        let _ = self.event_loop.turn(0);
        self.arrivals.swap(arrivals);
    }

    /// Reports `fd` under `id` in each turn in which it is ready, until the watch is dropped.
    pub(crate) fn watch(&self, id: Id, fd: RawFd, interest: Interest) -> io::Result<Watch> {
        let arrivals = Arc::clone(&self.arrivals);
        let watch = self.event_loop.watch(fd, interest.0, move |ready| {
            let (readable, writable) = (ready.is_readable(), ready.is_writable());
            arrivals.push(id, Arrival::Ready { readable, writable });
        })?;
        Ok(Watch(watch))
    }

    /// Reports `id` once when `after` has passed, unless the timer is dropped before.
    pub(crate) fn timer(&self, id: Id, after: Duration) -> io::Result<Timer> {
        let arrivals = Arc::clone(&self.arrivals);
        let timer = self
            .event_loop
            .timer(move || arrivals.push(id, Arrival::Timer))?;
        timer.start(after, None)?;
        Ok(Timer { _timer: timer })
    }
}

/// A descriptor that is watched until this is dropped.
pub(crate) struct Watch(event_loop::Watch);

impl Watch {
    /// Asks for something else from now on.
    pub(crate) fn set(&self, interest: Interest) -> io::Result<()> {
        Ok(self.0.set_interest(interest.0)?)
    }
}

/// A timer that is stopped when this is dropped.
pub(crate) struct Timer {
    _timer: event_loop::Timer,
}
