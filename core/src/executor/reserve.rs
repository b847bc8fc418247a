//! What a worker keeps to itself: a few short tasks that are not worth another one's wake-up.
//!
//! To wake a worker costs both sides some microseconds, and more after that: the tasks that it steals
//! move to another core with all that they touch. Where a handful of tasks wake each other (senders
//! and the receiver of a channel, those that wait for a lock) they are over before the thief arrives,
//! or it steals one of them, waits for the others, and both workers send the same lines to and fro. So
//! a worker whose polls are short announces what it wakes only if its queue is longer than its
//! *reserve*: so many tasks as it polls in [`BACKLOG`], [`MOST`] at most.
//!
//! # Who looks at it
//!
//! | who | and then |
//! |---|---|
//! | the worker, when it wakes a task or takes one back that yields | does not announce it if the queue is no longer than the reserve |
//! | the worker, between two polls, if somebody sleeps | gives its reserve up, and announces the queue, if a poll took longer than [`BACKLOG`] |
//! | a searcher that nobody claimed, and a worker before it sleeps | leaves a queue alone that is no longer than its owner's reserve |
//! | a busy worker that sees its owner [stand still](super::relief) | takes the queue over, reserve or not |
//!
//! A task that is *spawned* is announced as if there were no reserve, because nobody knows how long it
//! takes; and whoever is claimed, by that or by the watch, may take anything.
//!
//! # Why no task is lost
//!
//! A reserve is of tasks in the queue of a worker that is awake: it pops them before it sleeps, or a worker
//! takes them over that is awake as well, and a worker with a task in its queue never sleeps. If its poll
//! does not end the watch ends the reserve and wakes a thief ([`watch`](super::watch)). So the proof of the
//! README holds for what is beyond the reserve, and needs nothing for the rest: the figure is stale for an
//! observer at worst, who then steals a task that he need not have, or leaves one that its owner runs.
//!
//! # When there is none
//!
//! Until the worker has first measured its [pace](super::pace), while polls are long, while the runtime
//! is eager, without a watch, under policies other than first in, first out, and while many of the
//! polls end their task: forks and joins, connections of one request. There a short poll says nothing
//! about what waits, which may be the half of a tree.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How much work is kept: several times what a wake-up costs, and about the time until one that is
/// asked for arrives.
pub(super) const BACKLOG: Duration = Duration::from_micros(40);
/// The most tasks that are kept. More than these are a load that two workers share for a while,
/// however short each poll is.
pub(super) const MOST: usize = 16;
/// One in so many polls may end its task.
const POLLS_TO_END: u64 = 3;

/// The reserve of one worker, which writes it; the watch ends it.
#[derive(Debug)]
pub(super) struct Reserve(AtomicU32);

impl Reserve {
    pub(super) fn new() -> Reserve {
        Reserve(AtomicU32::new(0))
    }

    #[inline]
    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed) as usize
    }

    pub(super) fn set(&self, tasks: u32) {
        if self.0.load(Ordering::Relaxed) != tasks {
            self.0.store(tasks, Ordering::Relaxed);
        }
    }
}

/// How many tasks a worker keeps that did `polls`, of `mean` nanoseconds each, by which `ended` tasks ended.
pub(super) fn reserve(mean: u64, polls: u64, ended: u64) -> u32 {
    if ended * POLLS_TO_END > polls {
        return 0;
    }
    (BACKLOG.as_nanos() as u64 / mean.max(1)).min(MOST as u64) as u32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn reserve_lasts_for_the_backlog() {
        assert_eq!(reserve(10_000, 64, 0), 4);
        assert_eq!(reserve(4_000, 64, 0), 10);
        assert_eq!(reserve(41_000, 64, 0), 0);
    }

    #[test]
    fn reserve_is_of_a_few_tasks_however_short() {
        assert_eq!(reserve(0, 64, 0), MOST as u32);
        assert_eq!(reserve(30, 64, 0), MOST as u32);
    }

    #[test]
    fn polls_that_end_their_tasks_leave_no_reserve() {
        assert_eq!(reserve(4_000, 64, 21), 10);
        assert_eq!(reserve(4_000, 64, 22), 0);
    }
}
