//! The queue of the fair policy: one for the runtime, under one lock.
//!
//! Shares of the whole runtime need one order of the groups, so there is one queue. The lock is
//! held for a look at the lowest tag and a step of it; a poll takes it three times: pick, charge,
//! and the push of whatever comes next. What that allows is in `docs/policies.md`.

use super::fair_queue::{FairQueue, GroupKey, Service};
use crate::shim::sync::Mutex;
use crate::shim::sync::atomic::{AtomicUsize, Ordering};
use crate::task::Notified;
use std::time::Duration;

pub(crate) struct FairLane {
    queue: Mutex<FairQueue<Notified>>,
    /// How many tasks the queue holds; written under its lock.
    len: AtomicUsize,
    /// The group of tasks that have none.
    default: GroupKey,
}

impl FairLane {
    pub(super) fn new(weight: u32) -> FairLane {
        let (queue, default) = FairQueue::new(weight);
        FairLane {
            queue: Mutex::new(queue),
            len: AtomicUsize::new(0),
            default,
        }
    }

    pub(super) fn default_group(&self) -> GroupKey {
        self.default
    }

    pub(crate) fn add_group(&self, weight: u32) -> GroupKey {
        self.queue.lock().add_group(weight)
    }

    /// Removes a group that none of the queue's tasks is in.
    pub(crate) fn remove_group(&self, group: GroupKey) {
        self.queue.lock().remove_group(group);
    }

    /// How long the group's polls took in all, and how many there were.
    pub(crate) fn served(&self, group: GroupKey) -> (Duration, u64) {
        let (nanos, polls) = self.queue.lock().served(group);
        (Duration::from_nanos(nanos), polls)
    }

    /// Queues a task. Returns how many the queue holds.
    pub(super) fn push(&self, group: GroupKey, task: Notified) -> usize {
        let mut queue = self.queue.lock();
        queue.push(group, task);
        let len = queue.len();
        self.len.store(len, Ordering::SeqCst);
        len
    }

    pub(super) fn pick(&self) -> Option<(Notified, Service)> {
        // A push is seen by its length, which is stored before the fence of its `notify`.
        if self.len() == 0 {
            return None;
        }
        let mut queue = self.queue.lock();
        let taken = queue.pop();
        self.len.store(queue.len(), Ordering::SeqCst);
        taken
    }

    pub(super) fn charge(&self, service: Service, nanos: u64) {
        self.queue.lock().charge(service, nanos);
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }
}
