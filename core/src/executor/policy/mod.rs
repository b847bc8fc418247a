//! Orders other than first in, first out.
//!
//! Under the priority and the fair policy ready tasks are not in the workers' queues, LIFO slots and
//! the injector, which stay empty, but in one [`Ordered`] of the runtime. Every worker takes each
//! task from there, and so always the one that the policy wants next: there is no stealing besides.
//! A task that is woken, spawned, rescheduled or injected goes there at once.
//!
//! `priority_queue.rs`, `ageing.rs` and `fair_queue.rs` are the orders by themselves, `lanes.rs` and
//! `fair_lane.rs` put them under locks; `executor/ordered.rs` is the worker's side.

mod ageing;
mod fair_lane;
mod fair_queue;
mod lanes;
#[cfg(all(test, loom))]
mod loom_tests;
mod priority_queue;

pub(crate) use ageing::Ageing;
pub(crate) use fair_lane::FairLane;
pub(crate) use fair_queue::{GroupKey, MAX_WEIGHT};

use crate::runtime::Policy;
use crate::task::{Meta, Notified, Priority};
pub(super) use fair_queue::Service;
use lanes::Lanes;
use std::sync::Arc;

/// The ready tasks of a runtime with an order of its own.
pub(crate) enum Ordered {
    Priority(Box<Lanes<Notified>>),
    Fair(Arc<FairLane>),
}

/// A task to run.
pub(super) struct Pick {
    pub(super) task: Notified,
    /// The rank of its class; tasks without classes all have the same.
    pub(super) rank: usize,
    pub(super) stolen: bool,
    /// What the length of its poll is to be charged to.
    pub(super) service: Option<Service>,
}

impl Ordered {
    /// `None` for the policies that have no order of their own.
    pub(super) fn new(policy: &Policy, workers: usize) -> Option<Ordered> {
        match policy {
            Policy::Fifo | Policy::Lifo => None,
            Policy::Priority(_) => Some(Ordered::Priority(Box::new(Lanes::new(workers)))),
            Policy::Fair(options) => Some(Ordered::Fair(Arc::new(FairLane::new(options.weight)))),
        }
    }

    /// Queues a task on `worker`. Whether more than this worker should know of it, which polls a
    /// task of `rank` and will look here next.
    #[must_use]
    pub(super) fn push(&self, worker: usize, rank: usize, task: Notified) -> bool {
        match self {
            Ordered::Priority(lanes) => {
                let meta = task.meta();
                let class = meta
                    .map_or(Priority::default(), |meta| meta.priority)
                    .rank();
                let deadline = meta.and_then(|meta| meta.deadline);
                let len = lanes.push(worker, class, deadline, task);
                len > 1 || class < rank
            }
            Ordered::Fair(lane) => {
                let group = group_of(task.meta(), lane).unwrap_or(lane.default_group());
                lane.push(group, task) > 1
            }
        }
    }

    /// Queues a task from a thread that is none of the workers. Returns a worker near to it.
    pub(super) fn push_outside(&self, task: Notified) -> usize {
        let worker = match self {
            Ordered::Priority(lanes) => lanes.next_outside(),
            Ordered::Fair(_) => 0,
        };
        let _: bool = self.push(worker, 0, task);
        worker
    }

    /// Takes the task that `worker` is to run next.
    pub(super) fn pick(&self, worker: usize, ageing: &Ageing) -> Option<Pick> {
        match self {
            Ordered::Priority(lanes) => lanes.pick(worker, ageing).map(|taken| Pick {
                task: taken.item,
                rank: taken.class,
                stolen: taken.stolen,
                service: None,
            }),
            Ordered::Fair(lane) => lane.pick().map(|(task, service)| Pick {
                task,
                rank: 0,
                stolen: false,
                service: Some(service),
            }),
        }
    }

    /// A poll has ended that took so long.
    pub(super) fn charge(&self, service: Service, nanos: u64) {
        match self {
            Ordered::Priority(_) => {}
            Ordered::Fair(lane) => lane.charge(service, nanos),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Ordered::Priority(lanes) => lanes.is_empty(),
            Ordered::Fair(lane) => lane.len() == 0,
        }
    }

    /// How many tasks wait for `worker` first.
    pub(super) fn len(&self, worker: usize) -> usize {
        match self {
            Ordered::Priority(lanes) => lanes.len(worker),
            Ordered::Fair(_) => 0,
        }
    }

    /// How many tasks wait for whichever worker comes.
    pub(super) fn shared_len(&self) -> usize {
        match self {
            Ordered::Priority(lanes) => lanes.dated(),
            Ordered::Fair(lane) => lane.len(),
        }
    }

    /// Takes any task, for its cancellation.
    pub(super) fn drain(&self) -> Option<Notified> {
        self.pick(0, &Ageing::new(u32::MAX)).map(|pick| pick.task)
    }
}

/// The task's group, if it has one in this queue.
fn group_of(meta: Option<&Meta>, lane: &Arc<FairLane>) -> Option<GroupKey> {
    meta?.group.as_ref()?.key_in(lane)
}
