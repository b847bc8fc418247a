//! Where a worker puts a task that was spawned, woken, or taken back.

use super::{BATCHING, NEWEST_FIRST, ORDERED, STAMPED, Worker};
use crate::executor::queue::{InjectQueue, RunQueue};
use crate::executor::shared::SharedRef;
use crate::task::{JoinHandle, Notified, Record, new_task_in};
use std::future::Future;

impl Worker {
    /// Starts a task on this thread. After the shutdown has begun it is cancelled when the worker
    /// leaves its loop.
    #[inline]
    pub(crate) fn spawn<F>(&self, future: F, meta: Record) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let memory = |slot| self.allocate(slot);
        let (task, handle) = new_task_in(memory, future, self.take_ref(), meta);
        self.counters.spawned.inc();
        if let Some(other) = self.push_first::<true>(task) {
            self.publish(other);
        }
        handle
    }

    /// Queues a task that was woken on this thread.
    #[inline]
    pub(in super::super) fn push(&self, task: Notified) {
        if let Some(other) = self.push_first::<false>(task) {
            self.push_back(other);
        }
    }

    /// Puts a task in the LIFO slot, and gives back what can not stay there. `NEW`: it was made just now,
    /// and nobody else has seen it.
    #[inline(always)]
    fn push_first<const NEW: bool>(&self, task: Notified) -> Option<Notified> {
        if self.detour.get() & !NEWEST_FIRST != 0 {
            self.push_by_detour::<NEW>(task);
            return None;
        }
        self.push_to_slot(task)
    }

    #[inline(always)]
    fn push_to_slot(&self, task: Notified) -> Option<Notified> {
        match self.front.replace(task) {
            Ok(other) => other,
            Err(task) => {
                self.publish(task);
                None
            }
        }
    }

    /// Queues a task all the way: nothing is given back, so that the plain path has nothing to keep.
    #[inline(never)]
    fn push_by_detour<const NEW: bool>(&self, mut task: Notified) {
        let detour = self.detour.get();
        if detour & STAMPED != 0 {
            task = if NEW {
                // SAFETY: by what `NEW` says.
                unsafe { self.shared.stamp_new(task) }
            } else {
                self.shared.stamp(task)
            };
            if detour & !(STAMPED | NEWEST_FIRST) == 0 {
                match self.push_to_slot(task) {
                    Some(other) if NEW => self.publish(other),
                    Some(other) => self.push_back(other),
                    None => {}
                }
                return;
            }
        }
        if detour & ORDERED != 0 {
            self.push_ordered(task);
        } else if detour & BATCHING != 0 {
            self.queue.push(task);
        } else {
            self.publish(task);
        }
    }

    /// Whether tasks of `runtime` that yield go to the end of this worker's queue. One look tells
    /// that the worker is the runtime's, and that the policy is first in, first out.
    #[inline]
    pub(in super::super) fn takes_back(&self, runtime: &SharedRef) -> bool {
        self.takes_back == runtime.address()
    }

    /// Queues a task that was woken while it was polled, under the policies that do not put it in
    /// the worker's queue, and where it is stamped.
    #[cold]
    pub(in super::super) fn reschedule_by_policy(&self, task: Notified) {
        let task = self.shared.stamp(task);
        if self.detour.get() & ORDERED != 0 {
            self.push_ordered(task);
        } else if self.detour.get() & NEWEST_FIRST != 0 {
            self.shared.inject(task);
        } else {
            self.push_back(task);
        }
    }

    /// Whether somebody announces afterwards what is pushed now.
    pub(in super::super) fn is_batching(&self) -> bool {
        self.detour.get() & BATCHING != 0
    }

    /// Queues a task behind the others, and announces it unless it belongs to the reserve.
    #[inline]
    pub(in super::super) fn push_back(&self, task: Notified) {
        self.queue.push(task);
        let reserve = self.front.reserve().get();
        if reserve == 0 || self.queue.len() > reserve {
            self.shared.notify(self.index);
        }
    }

    /// Queues a task behind the others, and announces it.
    #[inline]
    pub(super) fn publish(&self, task: Notified) {
        self.queue.push(task);
        self.shared.notify(self.index);
    }

    /// Puts what this worker would run where the others find it.
    pub(in super::super) fn give_tasks_up(&self) {
        self.front.reserve().set(0);
        while let Some(task) = self.front.take().or_else(|| self.queue.pop()) {
            self.shared.injector.push(task);
        }
        if self.shared.has_work_to_spare() {
            self.shared.notify(self.index);
        }
    }
}
