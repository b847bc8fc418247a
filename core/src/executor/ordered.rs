//! A worker's turns under a policy that has an order of its own: see `policy/mod.rs`.

use super::pace::EVENT_INTERVAL;
use super::policy::{Ageing, Ordered};
use super::worker::Worker;
use crate::runtime::{Policy, PriorityOptions};
use crate::task::{Notified, coop};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long a worker polls tasks at most before it looks at the reactor and the timers, beside the
/// number of polls: the time for which an urgent task may be due without anybody knowing. Without it
/// a critical task's timer beside polls of 20 us was 1.9 ms late in the median, with it 0.1 to 0.2.
const LOOK_AFTER: Duration = Duration::from_micros(100);

/// What a worker knows about its turns.
pub(super) struct Course {
    ageing: Ageing,
    /// The rank of the task that is polled.
    rank: Cell<usize>,
    /// When the last poll ended.
    now: Cell<Instant>,
    /// When the worker last looked at the reactor and the timers.
    looked: Cell<Instant>,
}

impl Course {
    pub(super) fn new(policy: &Policy) -> Course {
        let ageing = match policy {
            Policy::Priority(options) => options.ageing,
            _ => PriorityOptions::DEFAULT_AGEING,
        };
        let now = Instant::now();
        Course {
            ageing: Ageing::new(ageing),
            rank: Cell::new(0),
            now: Cell::new(now),
            looked: Cell::new(now),
        }
    }
}

impl Worker {
    /// Runs the task that comes first, or sleeps until there is one.
    pub(super) fn turn_ordered(&self, queue: &Ordered) {
        let course = &self.course;
        let tick = self.next_tick();
        if tick.is_multiple_of(EVENT_INTERVAL) || is_due(course) {
            self.look_around();
            course.now.set(now());
            course.looked.set(course.now.get());
        }
        // A pick looks everywhere, so there is no search to begin when it finds nothing. But who
        // was woken was counted as searching.
        let Some(pick) = queue.pick(self.index(), &course.ageing) else {
            self.sleep();
            course.now.set(now());
            course.looked.set(course.now.get());
            return;
        };
        self.end_search();
        if pick.stolen {
            self.counters.steals.inc();
            self.counters.stolen.inc();
        }
        course.rank.set(pick.rank);
        coop::refill();
        pick.task.run();
        let began = course.now.replace(now());
        if let Some(service) = pick.service {
            let took = course.now.get().saturating_duration_since(began);
            queue.charge(service, took.as_nanos() as u64);
        }
    }

    /// Queues a task that was woken, spawned or rescheduled on this thread.
    #[cold]
    pub(super) fn push_ordered(&self, task: Notified) {
        let Some(queue) = &self.shared.ordered else {
            unreachable!("the worker's policy has an order")
        };
        let share = queue.push(self.index(), self.course.rank.get(), task);
        if share && !self.is_batching() {
            self.shared.notify(self.index());
        }
    }
}

fn is_due(course: &Course) -> bool {
    course
        .now
        .get()
        .saturating_duration_since(course.looked.get())
        >= LOOK_AFTER
}

/// Time does not pass in a model.
fn now() -> Instant {
    #[cfg(loom)]
    {
        use std::sync::OnceLock;
        static ONCE: OnceLock<Instant> = OnceLock::new();
        *ONCE.get_or_init(Instant::now)
    }
    #[cfg(not(loom))]
    Instant::now()
}
