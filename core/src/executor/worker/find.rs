//! What a worker runs next: out of its own queue, the injector, or others' queues.

use super::{LIFO_STREAK, NEWEST_FIRST, Worker};
use crate::executor::queue::{InjectQueue, RunQueue, Stolen, Thief};
use crate::task::Notified;

/// How often a steal that somebody interfered with is tried again before the next victim.
const STEAL_RETRIES: u32 = 4;

impl Worker {
    #[inline]
    pub(in super::super) fn next_tick(&self) -> u32 {
        self.front.next_tick()
    }

    // In each of the loops, of which but one is in use.
    #[inline(always)]
    pub(super) fn next_task(&self, tick: u32) -> Option<Notified> {
        if self.pace.injector_is_due(tick)
            && let Some(task) = self.take_injected()
        {
            // The batch may have been out of everybody's sight on its way here.
            if self.queue.len() > 0 {
                self.shared.notify(self.index);
            }
            return Some(task);
        }
        let streak = self.lifo_streak.get();
        if streak < LIFO_STREAK {
            if let Some(task) = self.front.take() {
                self.counters.lifo.inc();
                self.lifo_streak.set(streak + 1);
                return Some(task);
            }
            self.lifo_streak.set(0);
            return self.queue.pop();
        }
        self.lifo_streak.set(0);
        match self.queue.pop() {
            None => self.front.take(),
            task => task,
        }
    }

    pub(super) fn take_injected(&self) -> Option<Notified> {
        if self.detour.get() & NEWEST_FIRST != 0 && self.queue.len() > 0 {
            // A batch would be buried under what is pushed next.
            return self.shared.injector.pop();
        }
        loop {
            match self.shared.injector.take_batch(&self.queue) {
                Stolen::Task(task) => {
                    self.counters.injected.inc();
                    return Some(task);
                }
                Stolen::Nothing => return None,
                Stolen::Retry => {}
            }
        }
    }

    /// Tries every peer once, and the injector.
    pub(super) fn search(&self) -> Option<Notified> {
        if !self.searching.get() {
            if !self.shared.idle.try_search(self.index) {
                return None;
            }
            self.searching.set(true);
            self.front.state().search();
        }
        self.counters.searches.inc();
        let stolen = match &self.shared.neighbours {
            None => {
                let all = self.shared.remotes.len();
                let start = self.random() as usize % all;
                (0..all).find_map(|i| self.steal_from((start + i) % all))
            }
            Some(neighbours) => {
                let mut order = neighbours.order(self.index, self.random());
                order.find_map(|victim| self.steal_from(victim))
            }
        };
        stolen.or_else(|| self.take_injected())
    }

    #[inline]
    fn steal_from(&self, victim: usize) -> Option<Notified> {
        if victim == self.index {
            return None;
        }
        let remote = &self.shared.remotes[victim];
        if !self.claimed.get() && !remote.can_spare() {
            return None;
        }
        for _ in 0..STEAL_RETRIES {
            match remote.thief.steal_half(&self.queue) {
                Stolen::Task(task) => {
                    // Less what has been stolen from here meanwhile.
                    self.counters.stolen.add(1 + self.queue.len() as u64);
                    self.counters.steals.inc();
                    return Some(task);
                }
                Stolen::Nothing => break,
                Stolen::Retry => {}
            }
        }
        None
    }

    #[inline]
    pub(in super::super) fn end_search(&self) {
        if self.searching.get() {
            self.found();
        }
    }

    /// The search ended with a task to run.
    #[cold]
    fn found(&self) {
        self.searching.set(false);
        self.claimed.set(false);
        self.front.state().found();
        if self.shared.idle.end_search(self.index) && self.shared.has_work_to_spare() {
            self.shared.notify(self.index);
        }
        self.shared.watch.arm(&self.shared);
    }

    fn random(&self) -> u64 {
        // Marsaglia's xorshift64.
        let mut x = self.seed.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.seed.set(x);
        x
    }
}
