//! A runtime's threads, from their start to their end.

use crate::executor::SharedRef;
use crate::shim::sync::{Condvar, Mutex};
use crate::shim::thread::JoinHandle;
use std::sync::Arc;
use std::time::Instant;

/// Where a runtime stands. It goes through these in order, and never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lifecycle {
    /// Tasks run.
    Running,
    /// Nothing new is accepted, tasks are being dropped, threads end.
    ShuttingDown,
    /// Every worker has ended, and no task is left.
    Terminated,
}

/// What a shutdown did, and what it had to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Tasks that were dropped before they were done, so far.
    pub tasks_dropped: usize,
    /// Workers still held by a poll when the time was over.
    pub workers_left: usize,
    /// Threads still held by a blocking job when the time was over.
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
    /// Those of the workers.
    alive: Mutex<usize>,
    ended: Condvar,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// For as many threads as there are workers.
    pub(super) fn new(workers: usize) -> Threads {
        Threads {
            alive: Mutex::new(workers),
            ended: Condvar::new(),
            handles: Mutex::new(Vec::with_capacity(workers)),
        }
    }

    pub(super) fn add(&self, handle: JoinHandle<()>) {
        self.handles.lock().push(handle);
    }

    pub(super) fn lifecycle(&self, shared: &SharedRef) -> Lifecycle {
        if !shared.is_closed() {
            Lifecycle::Running
        } else if *self.alive.lock() > 0 {
            Lifecycle::ShuttingDown
        } else {
            Lifecycle::Terminated
        }
    }

    /// Waits for all of them until `deadline`, and joins them. Returns how many are left.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> usize {
        let mut alive = self.alive.lock();
        while *alive > 0 {
            match deadline {
                None => alive = self.ended.wait(alive),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return *alive;
                    }
                    alive = self.ended.wait_timeout(alive, left).0;
                }
            }
        }
        drop(alive);
        let handles = std::mem::take(&mut *self.handles.lock());
        for handle in handles {
            crate::thread::join(handle);
        }
        0
    }
}

/// One of the threads, until this is dropped: at its end, or when it could not be started.
#[derive(Debug)]
pub(super) struct Alive(pub(super) Arc<Threads>);

impl Drop for Alive {
    fn drop(&mut self) {
        let mut alive = self.0.alive.lock();
        *alive -= 1;
        if *alive == 0 {
            self.0.ended.notify_all();
        }
    }
}
