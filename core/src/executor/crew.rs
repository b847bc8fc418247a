//! The crew: how many workers take part, and what those beyond do. The protocol is in the README.

use super::shared::Shared;
use super::worker::Worker;
use crate::shim::sync::atomic::{AtomicUsize, Ordering};
use crate::thread as thread_hooks;
use std::ops::Range;

/// How many of a runtime's workers take part: those with the lowest numbers. Others stay aside.
#[derive(Debug)]
pub(super) struct Crew(AtomicUsize);

impl Crew {
    pub(super) fn new(workers: usize) -> Crew {
        Crew(AtomicUsize::new(workers))
    }

    pub(super) fn size(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether `worker` is to stay aside. It may be old; whoever changes it unparks the workers that it
    /// concerns.
    #[inline]
    pub(super) fn is_beyond(&self, worker: usize) -> bool {
        worker >= self.size()
    }

    /// Sets how many take part, at least one. Returns whose place changed: the caller unparks them.
    #[must_use]
    pub(super) fn set(&self, size: usize) -> Range<usize> {
        let size = size.max(1);
        // What is read after the unpark is this or later: a parker's word carries it over.
        let before = self.0.swap(size, Ordering::Relaxed);
        before.min(size)..before.max(size)
    }
}

impl Shared {
    /// How many workers take part.
    pub(crate) fn active_workers(&self) -> usize {
        self.crew.size()
    }

    /// Has so many workers take part, at least one and all at most. Returns whom it concerns: they are to
    /// be [woken](Shared::wake_all), by a caller that holds no lock by then.
    #[must_use]
    pub(crate) fn set_active_workers(&self, workers: usize) -> Range<usize> {
        self.crew.set(workers.min(self.remotes.len()))
    }

    /// Has these workers look whether they take part.
    pub(crate) fn wake_all(&self, workers: Range<usize>) {
        for worker in workers {
            self.unpark(worker);
        }
    }

    /// Whether `worker` sleeps aside: it has polled what it polled, and begins no other poll there.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_aside(&self, worker: usize) -> bool {
        self.idle.is_aside(worker)
    }
}

impl Worker {
    /// Takes no part until it is let in again, or the runtime is closed. The turn at hand is over then:
    /// it was a wait.
    #[cold]
    pub(super) fn stay_aside(&self) {
        let shared = &*self.shared;
        loop {
            self.end_search();
            self.prepare_to_wait();
            self.give_tasks_up();
            let tick = self.close_turns();
            shared.idle.step_aside(self.index());
            if let Some(sleeper) = shared.idle.claim_if_all_sleep() {
                shared.unpark(sleeper);
            }
            let waited = self.park(false);
            shared.idle.come_back(self.index());
            self.resume(tick, &waited, false);
            thread_hooks::call(&shared.hooks.unpark);
            if !shared.crew.is_beyond(self.index()) || shared.is_closed() {
                break;
            }
            // Each wait is a turn of its own.
            self.next_tick();
        }
    }
}
