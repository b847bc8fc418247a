//! Accepting connections inside the turns of a loop.
//!
//! When the process runs out of descriptors, or the system of memory, `accept` fails and the
//! connection stays in the queue, so the socket stays readable. The listener then pauses, tells its
//! owner, and looks again a little later: it neither spins nor loses the listening socket, and
//! clients wait in the queue meanwhile.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use libruntime_core::event_loop as core;

use super::{Subscription, sys};
use crate::event_loop::{Access, Interest, LoopInner, drop_part};
use crate::status::Error;
use crate::task::rt_result;

/// Connections that one event takes, so that others get their turn.
const ACCEPTS_PER_EVENT: usize = 64;
/// How long a listener pauses when something has run out. Short enough for a client not to
/// notice, long enough not to be work.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct LoopListener {
    socket: Arc<OwnedFd>,
    parts: RefCell<Option<Parts>>,
    accept: Box<dyn Fn(OwnedFd) -> rt_result + Send + Sync>,
    stopped: Cell<bool>,
}

/// What belongs to the loop; gone once stopped.
struct Parts {
    watch: core::Watch,
    retry: core::LoopTimer,
}

/// C's hold on a listener that is started: stops it when dropped.
pub(crate) struct Started {
    inner: Arc<LoopInner>,
    listener: Arc<LoopListener>,
}

// SAFETY: `parts` and `stopped` are only touched by the holder of the loop, one thread at a time:
// by the callbacks of the watch and the timer, in `stop`, or in `drop_part`.
unsafe impl Send for LoopListener {}
// SAFETY: as above.
unsafe impl Sync for LoopListener {}

impl LoopListener {
    /// Calls `subscription` with what `accept` makes of each connection, or with an error.
    pub(crate) fn start(
        inner: &Arc<LoopInner>,
        access: &Access<'_>,
        socket: Arc<OwnedFd>,
        subscription: Subscription,
        accept: impl Fn(OwnedFd) -> rt_result + Send + Sync + 'static,
    ) -> Result<Started, Error> {
        let fd = socket.as_raw_fd();
        let listener = Arc::new(LoopListener {
            socket,
            parts: RefCell::new(None),
            accept: Box::new(accept),
            stopped: Cell::new(false),
        });
        let (on_event, on_retry) = (listener.clone(), listener.clone());
        // The closure owns the subscription: it is dropped when the watch is, and if its function
        // is running then, after that.
        let watch = access.watch(fd, Interest::READ, move |_| on_event.ready(&subscription))?;
        let retry = access.timer(move || on_retry.resume());
        *listener.parts.borrow_mut() = Some(Parts { watch, retry });
        Ok(Started {
            inner: inner.clone(),
            listener,
        })
    }

    fn ready(&self, subscription: &Subscription) {
        for _ in 0..ACCEPTS_PER_EVENT {
            if self.stopped.get() {
                return;
            }
            match sys::accept(self.socket.as_raw_fd()) {
                Ok(connection) => subscription.call(&(self.accept)(connection)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if sys::is_of_one_connection(&error) => {}
                Err(error) => {
                    self.pause();
                    return subscription.call(&rt_result::of(Error::from(error).code()));
                }
            }
        }
    }

    fn pause(&self) {
        if let Some(parts) = &*self.parts.borrow() {
            // If the watch cannot be paused it goes on as it was.
            let _ = parts.watch.set_interest(Interest::NONE);
            parts.retry.restart_after(PAUSE, None);
        }
    }

    fn resume(&self) {
        let resumed = match &*self.parts.borrow() {
            Some(parts) => parts.watch.set_interest(Interest::READ),
            None => Ok(()),
        };
        if resumed.is_err() {
            self.pause();
        }
    }

    /// The holder of the loop: ends it at once.
    fn stop(&self) {
        self.stopped.set(true);
        let parts = self.parts.borrow_mut().take();
        drop(parts);
    }
}

impl Started {
    /// Whether it may be stopped from here, and at once.
    pub(crate) fn access(&self) -> Result<Access<'_>, Error> {
        self.inner.access()
    }

    /// Whether the listener keeps the loop's `run` going; it does at first.
    pub(crate) fn set_ref(&self, _access: &Access<'_>, keeps_alive: bool) {
        if let Some(parts) = &*self.listener.parts.borrow() {
            parts.watch.set_referenced(keeps_alive);
            parts.retry.set_referenced(keeps_alive);
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        struct Stop(Arc<LoopListener>);
        impl Drop for Stop {
            fn drop(&mut self) {
                self.0.stop();
            }
        }
        drop_part(&self.inner, Stop(self.listener.clone()));
    }
}
