//! How long polls take, and how long a ready task waits for its poll.
//!
//! Both are off unless asked for, and cost nothing on the plain path then: a worker that measures runs
//! another loop, and a runtime that stamps its tasks has its workers take their tasks in by the
//! [detour](super::worker) that they look for anyhow. Elsewhere they cost a look at a flag: where a task
//! comes from outside, where one yields under a policy other than the first in, first out, and twice a
//! turn in the loop of the policies that have an order of their own.
//!
//! # The stamp
//!
//! A task of a runtime that measures the wait has a [record](crate::task::Meta), whatever its options,
//! and in it the time at which it became ready: when it was spawned or woken, on whichever thread, or, if
//! it was woken during its own poll, when that ended. It is written by whoever is about to queue the
//! task, whose [`Notified`](crate::task::Notified) there is but one of, and read by the worker that is
//! about to run it. What handed the task from the one to the other, a slot, a queue, a thief, the
//! injector or the queue of a policy, ordered the two; moves in between leave the stamp alone.
//!
//! A task without options gets its record after it is made and before anybody else knows of it, so that
//! a spawn need not ask on its way whether there is to be one.

use crate::metrics::{Histogram, Recorder};

/// What a runtime measures.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) poll_time: bool,
    pub(crate) schedule_latency: bool,
}

/// What one worker measures: it alone records.
#[derive(Debug)]
pub(super) struct Timing {
    polls: Option<Recorder>,
    waits: Option<Recorder>,
}

impl Timing {
    /// `None`: nothing is to be measured.
    pub(super) fn new(what: Measured) -> Option<Box<Timing>> {
        let recorder = |wanted: bool| wanted.then(Recorder::new);
        (what.poll_time || what.schedule_latency).then(|| {
            Box::new(Timing {
                polls: recorder(what.poll_time),
                waits: recorder(what.schedule_latency),
            })
        })
    }

    /// A poll is about to begin, of a task that has been ready since then, if that is known.
    #[inline]
    pub(super) fn begin_poll(&self, now: u64, ready_at: Option<u64>) {
        if let (Some(waits), Some(ready_at)) = (&self.waits, ready_at) {
            waits.record(now.saturating_sub(ready_at));
        }
    }

    /// The poll that began then has ended. The time is asked for if it is wanted.
    #[inline]
    pub(super) fn end_poll(&self, began: u64, now: impl FnOnce() -> u64) {
        if let Some(polls) = &self.polls {
            polls.record(now().saturating_sub(began));
        }
    }

    pub(super) fn poll_time(&self) -> Option<Histogram> {
        self.polls.as_ref().map(Recorder::read)
    }

    pub(super) fn schedule_latency(&self) -> Option<Histogram> {
        self.waits.as_ref().map(Recorder::read)
    }
}
