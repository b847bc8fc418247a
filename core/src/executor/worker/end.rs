//! How workers end, and what the last of them clears away.

use super::{Current, Worker};
use crate::executor::driver;
use crate::executor::queue::RunQueue;
use crate::executor::shared::{DONE, DRAINING, Shared};
use crate::shim::{thread, time};

impl Worker {
    /// Whether [`Worker::cancel_queued`] has more to do, beside the queue.
    fn has_leftovers(&self) -> bool {
        self.front.has_task() || !self.remote().released.is_empty()
    }

    /// Cancels what is queued here and what waits here. Drops of futures may wake and spawn.
    pub(super) fn cancel_all(&self) {
        let waiting = self.owned.borrow().hold_all();
        for task in waiting {
            // SAFETY: a runtime's futures are Send.
            unsafe { task.shutdown() };
        }
        self.cancel_queued();
    }

    pub(super) fn cancel_queued(&self) {
        while let Some(task) = self.front.take().or_else(|| self.queue.pop()) {
            drop(task);
        }
        self.reap();
    }
}

/// Leaves the worker's remains to the last one to leave, who drains them all.
pub(super) fn leave(worker: Box<Worker>) {
    let shared = worker.shared.clone();
    worker.count_polls(worker.front.tick());
    worker.rest(time::now());
    let remains = {
        let mut remains = shared.remains.lock();
        remains.push(worker);
        if remains.len() < shared.remotes.len() {
            return;
        }
        std::mem::take(&mut *remains)
    };
    drain(&shared, &remains);
    drop(remains);
    shared.memory.close();
}

/// Cancels every task that is left. Runs on the last worker's thread: see the README.
fn drain(shared: &Shared, workers: &[Box<Worker>]) {
    // Wakes of drops go to this worker's queue, and their completions to the lists.
    let last = workers.last().expect("a runtime has a worker");
    let current = Current::enter(&raw const **last);
    shared.enter_phase(DRAINING);
    loop {
        shared.drain_injector();
        for worker in workers {
            worker.cancel_queued();
        }
        if shared.has_work() || workers.iter().any(|worker| worker.has_leftovers()) {
            continue;
        }
        if workers
            .iter()
            .all(|worker| worker.owned.borrow().is_empty())
        {
            break;
        }
        thread::park();
    }
    shared.enter_phase(DONE);
    shared.drain_injector();
    last.cancel_queued();
    drop(current);
    for worker in workers {
        worker.front.state().terminate();
    }
    last.rest(time::now());
    for remote in &shared.remotes {
        remote.driver.close();
    }
    // Whoever waits for I/O from outside of the runtime hears that nothing will come.
    driver::close(shared.reactor_handle());
}
