//! How one worker waits, and how it is woken.
//!
//! ```text
//! EMPTY ──park──> PARKED or IN_REACTOR ──unpark──> NOTIFIED ──> EMPTY, awake
//!   └───unpark──> NOTIFIED ──park or take──> EMPTY, awake at once
//! ```
//!
//! An unpark always swaps in `NOTIFIED`: a compare-and-swap that gave up early would not publish
//! what its thread wrote before. What the word was tells where the worker waits: on its thread's own
//! token, or in the reactor, which has a wake-up of its own. A worker always takes `NOTIFIED` with a
//! swap as well, so that it sees what was written before the unpark even if it never slept. `take` looks
//! before it swaps, for it is called again and again by a worker that [lingers](super::linger): an unpark
//! that the look misses is found by the next one, or by `park`.

use super::driver;
use crate::shim::sync::Mutex;
use crate::shim::sync::atomic::{AtomicU32, Ordering};
use crate::shim::thread::{self, Thread};
use crossbeam_utils::CachePadded;
use std::time::Duration;

const EMPTY: u32 = 0;
const PARKED: u32 = 1;
const IN_REACTOR: u32 = 2;
const NOTIFIED: u32 = 3;

/// On a line of its own: parkers are made together, and small enough for several to share one.
#[derive(Debug)]
pub(super) struct Parker(CachePadded<Word>);

#[derive(Debug)]
struct Word {
    state: AtomicU32,
    /// Changes hands with the worker, and an unpark may still look at it then.
    thread: Mutex<Option<Thread>>,
}

impl Parker {
    pub(super) fn new() -> Parker {
        Parker(CachePadded::new(Word {
            state: AtomicU32::new(EMPTY),
            thread: Mutex::new(None),
        }))
    }

    /// Names the calling thread as the one that will park here from now on.
    pub(super) fn attach(&self) {
        *self.0.thread.lock() = Some(thread::current());
    }

    /// Waits on the thread until unparked or for `timeout`. May return early. Whether it was unparked.
    pub(super) fn park(&self, timeout: Option<Duration>) -> bool {
        if !self.begin(PARKED) {
            return true;
        }
        match timeout {
            None => thread::park(),
            Some(timeout) => thread::park_timeout(timeout),
        }
        self.0.state.swap(EMPTY, Ordering::AcqRel) == NOTIFIED
    }

    /// Waits in the reactor, likewise, and serves the events that end the wait.
    pub(super) fn park_in(&self, reactor: &mut driver::Reactor, timeout: Option<Duration>) -> bool {
        if !self.begin(IN_REACTOR) {
            return true;
        }
        driver::turn(reactor, timeout);
        self.0.state.swap(EMPTY, Ordering::AcqRel) == NOTIFIED
    }

    /// Consumes an unpark that came while the worker was awake. Whether there was one.
    pub(super) fn take(&self) -> bool {
        self.0.state.load(Ordering::Relaxed) == NOTIFIED
            && self.0.state.swap(EMPTY, Ordering::AcqRel) == NOTIFIED
    }

    /// Enters a waiting state. `false`: an unpark came first, and is consumed.
    fn begin(&self, waiting: u32) -> bool {
        let entered =
            self.0
                .state
                .compare_exchange(EMPTY, waiting, Ordering::AcqRel, Ordering::Acquire);
        if entered.is_err() {
            self.0.state.swap(EMPTY, Ordering::AcqRel);
        }
        entered.is_ok()
    }

    /// Ends the wait, or the next one if there is none now. From any thread.
    pub(super) fn unpark(&self, reactor: &driver::ReactorHandle) {
        match self.0.state.swap(NOTIFIED, Ordering::AcqRel) {
            PARKED => {
                // If the worker has another thread by now, that one is unparked for nothing.
                if let Some(thread) = &*self.0.thread.lock() {
                    thread.unpark();
                }
            }
            IN_REACTOR => driver::unpark(reactor),
            _ => {}
        }
    }
}
