//! A runtime's threads, from their start to their end.
//!
//! ```text
//! Created ──> Running ──> ShuttingDown ──> Terminated
//!    └───────────────────────^   (a thread could not be started)
//! ```
//!
//! Where the runtime stands changes under the lock that counts its threads: the last one to end while it
//! is shutting down terminates it.

use crate::shim::sync::{Condvar, Mutex};
use crate::shim::thread::{JoinHandle, is_finished};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Where a runtime stands. It goes through these in order, and never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lifecycle {
    /// Its threads are being started. A [`Runtime`](super::Runtime) that was built is beyond that.
    Created,
    /// Tasks run.
    Running,
    /// Nothing new is accepted, tasks are being dropped, threads end.
    ShuttingDown,
    /// Every worker has ended, and no task is left.
    Terminated,
}

use Lifecycle::{Created, Running, ShuttingDown, Terminated};

impl Lifecycle {
    /// Whether a runtime may go from here to `next`.
    fn allows(self, next: Lifecycle) -> bool {
        matches!(
            (self, next),
            (Created, Running | ShuttingDown)
                | (Running, ShuttingDown)
                | (ShuttingDown, Terminated)
        )
    }

    fn go(&mut self, to: Lifecycle) -> Result<(), IllegalTransition> {
        if !self.allows(to) {
            return Err(IllegalTransition { from: *self, to });
        }
        *self = to;
        Ok(())
    }

    /// The runtime's own code makes no illegal step; if it does, a debug build says so.
    fn must_go(&mut self, to: Lifecycle) {
        let gone = self.go(to);
        debug_assert!(gone.is_ok(), "{}", gone.unwrap_err());
    }
}

/// A runtime was to go where it can not go from where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IllegalTransition {
    from: Lifecycle,
    to: Lifecycle,
}

impl fmt::Display for IllegalTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a runtime can not go from {:?} to {:?}",
            self.from, self.to
        )
    }
}

/// What a shutdown did, and what it had to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Tasks that were dropped before they were done, so far.
    pub tasks_dropped: usize,
    /// Threads of workers that had not ended when the time was over: held by a poll, or by a call of
    /// [`block_in_place`](crate::task::block_in_place), or waiting for such a call on another thread.
    pub workers_left: usize,
    /// Threads still held by a blocking job when the time was over; if there was none, threads of the
    /// blocking pool that had not ended, as one held by its `on_thread_stop` hook.
    pub blocking_left: usize,
}

impl ShutdownReport {
    /// Whether nothing was left.
    pub fn is_complete(&self) -> bool {
        self.workers_left == 0 && self.blocking_left == 0
    }
}

/// The threads of the workers, and one that watches them.
#[derive(Debug)]
pub(super) struct Threads {
    state: Mutex<State>,
    ended: Condvar,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct State {
    lifecycle: Lifecycle,
    /// Threads of workers that have not ended.
    alive: usize,
}

impl State {
    fn terminate_if_all_ended(&mut self) {
        if self.alive == 0 && self.lifecycle == ShuttingDown {
            self.lifecycle.must_go(Terminated);
        }
    }
}

impl Threads {
    pub(super) fn new() -> Threads {
        Threads {
            state: Mutex::new(State {
                lifecycle: Created,
                alive: 0,
            }),
            ended: Condvar::new(),
            handles: Mutex::new(Vec::new()),
        }
    }

    /// Takes a thread to join at the end, and forgets those that have ended.
    pub(super) fn add(&self, handle: JoinHandle<()>) {
        let mut handles = self.handles.lock();
        handles.retain(|handle| !is_finished(handle));
        handles.push(handle);
    }

    /// Every thread was started.
    pub(super) fn started(&self) {
        self.state.lock().lifecycle.must_go(Running);
    }

    /// The runtime is about to be closed. Not the first call changes nothing.
    pub(super) fn shut_down(&self) {
        let mut state = self.state.lock();
        if state.lifecycle < ShuttingDown {
            state.lifecycle.must_go(ShuttingDown);
        }
        state.terminate_if_all_ended();
    }

    pub(super) fn lifecycle(&self) -> Lifecycle {
        self.state.lock().lifecycle
    }

    /// Waits for all of them until `deadline`, and joins them. Returns how many are left.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> usize {
        let mut state = self.state.lock();
        while state.alive > 0 {
            match deadline {
                None => state = self.ended.wait(state),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return state.alive;
                    }
                    state = self.ended.wait_timeout(state, left).0;
                }
            }
        }
        drop(state);
        let handles = std::mem::take(&mut *self.handles.lock());
        for handle in handles {
            crate::thread::join(handle);
        }
        0
    }
}

/// One of the threads, until this is dropped: at its end, or when it could not be started.
#[derive(Debug)]
pub(super) struct Alive(Arc<Threads>);

impl Alive {
    /// Counts one of `threads`.
    pub(super) fn new(threads: &Arc<Threads>) -> Alive {
        threads.state.lock().alive += 1;
        Alive(threads.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.alive -= 1;
        state.terminate_if_all_ended();
        if state.alive == 0 {
            self.0.ended.notify_all();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const ALL: [Lifecycle; 4] = [Created, Running, ShuttingDown, Terminated];

    #[test]
    fn every_step_that_is_not_drawn_is_an_error() {
        let drawn = [
            (Created, &[Running, ShuttingDown][..]),
            (Running, &[ShuttingDown]),
            (ShuttingDown, &[Terminated]),
            (Terminated, &[]),
        ];
        for (from, allowed) in drawn {
            for to in ALL {
                let mut lifecycle = from;
                if allowed.contains(&to) {
                    assert_eq!(lifecycle.go(to), Ok(()));
                    assert_eq!(lifecycle, to);
                } else {
                    let error = lifecycle.go(to).unwrap_err();
                    assert_eq!(error, IllegalTransition { from, to });
                    assert_eq!(lifecycle, from, "{error}");
                }
            }
        }
    }

    #[test]
    fn the_last_thread_to_end_terminates_a_runtime_that_shuts_down() {
        let threads = Arc::new(Threads::new());
        let alive = [(); 2].map(|()| Alive::new(&threads));
        assert_eq!(threads.lifecycle(), Created);
        threads.started();
        assert_eq!(threads.lifecycle(), Running);
        threads.shut_down();
        threads.shut_down();
        let [first, last] = alive;
        drop(first);
        assert_eq!(threads.lifecycle(), ShuttingDown);
        drop(last);
        assert_eq!(threads.lifecycle(), Terminated);
        threads.shut_down();
        assert_eq!(threads.lifecycle(), Terminated);
    }

    #[test]
    fn a_runtime_whose_threads_could_not_be_started_terminates() {
        let threads = Arc::new(Threads::new());
        drop(Alive::new(&threads));
        assert_eq!(threads.lifecycle(), Created);
        threads.shut_down();
        assert_eq!(threads.lifecycle(), Terminated);
    }
}
