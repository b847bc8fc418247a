//! A worker's turns under a policy that has an order of its own: see `policy/mod.rs`.

use super::handover::Seat;
use super::pace::EVENT_INTERVAL;
use super::policy::{Ageing, Ordered, Pick, Service};
use super::shared::Shared;
use super::timing::Timing;
use super::worker::Worker;
use crate::runtime::{Policy, PriorityOptions};
use crate::shim::time::now;
use crate::task::{Notified, coop};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long a worker polls tasks at most before it looks at the reactor and the timers, beside the
/// number of polls: the time for which an urgent task's I/O may be ready without anybody knowing. Its own
/// timers a worker looks at after each poll, for the time of its end is known, and when the earliest is
/// due is a load away.
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
        let now = now();
        Course {
            ageing: Ageing::new(ageing),
            rank: Cell::new(0),
            now: Cell::new(now),
            looked: Cell::new(now),
        }
    }

    /// The worker has looked at the reactor and the timers just now.
    fn look(&self) {
        let now = now();
        self.now.set(now);
        self.looked.set(now);
    }
}

impl Worker {
    /// As [`Worker::take_turns`], with the tasks that come first by the policy.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn take_turns_ordered(
        seat: &Seat,
        worker: *const Worker,
        shared: &Shared,
        queue: &Ordered,
        timing: Option<&Timing>,
    ) -> bool {
        while !shared.is_closed() {
            // SAFETY: the seat is kept. The reference does not outlast the call.
            let Some(pick) = (unsafe { (*worker).begin_turn_ordered(queue) }) else {
                continue;
            };
            // The picks of the others may have held this one up: its time is not the poll's.
            let began = timing.map(|timing| {
                let now = shared.clock.now();
                timing.begin_poll(now, pick.task.ready_at());
                now
            });
            // SAFETY: as above.
            if !unsafe { seat.run(pick.task) } {
                // A poll that blocks elsewhere keeps no worker busy: its group pays what was expected.
                return false;
            }
            // SAFETY: as above.
            let ended = unsafe { (*worker).end_turn_ordered(queue, pick.service) };
            if let (Some(timing), Some(began)) = (timing, began) {
                timing.end_poll(began, || shared.clock.at(ended));
            }
        }
        true
    }

    /// Picks the task that comes first, or sleeps until there may be one.
    #[inline(always)]
    fn begin_turn_ordered(&self, queue: &Ordered) -> Option<Pick> {
        let course = &self.course;
        let tick = self.next_tick();
        if tick.is_multiple_of(EVENT_INTERVAL) || is_due(course) {
            self.look_around();
            if self.shared.crew.is_beyond(self.index()) {
                self.stay_aside();
                course.look();
                return None;
            }
            course.look();
        } else {
            self.fire_due(course.now.get());
        }
        // A pick looks everywhere, so there is no search to begin when it finds nothing. But who
        // was woken was counted as searching.
        let Some(pick) = queue.pick(self.index(), &course.ageing) else {
            self.sleep();
            course.look();
            return None;
        };
        self.end_search();
        if pick.stolen {
            self.counters.steals.inc();
            self.counters.stolen.inc();
        }
        course.rank.set(pick.rank);
        coop::refill();
        Some(pick)
    }

    #[inline(always)]
    fn end_turn_ordered(&self, queue: &Ordered, service: Option<Service>) -> Instant {
        let now = now();
        let began = self.course.now.replace(now);
        if let Some(service) = service {
            let took = now.saturating_duration_since(began);
            queue.charge(service, took.as_nanos() as u64);
        }
        now
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
