//! What a worker looks after between two polls: I/O, timers, completions, and its own pace.

use super::{BATCHING, EAGER, LONG_POLLS, NEWEST_FIRST, ORDERED, STAMPED, Worker};
use crate::executor::driver;
use crate::executor::queue::{InjectQueue, RunQueue, Thief};
use crate::executor::relief::{self, Standing};
use crate::executor::reserve::{self, BACKLOG};
use crate::shim::time;
use std::time::{Duration, Instant};

impl Worker {
    #[inline]
    pub(super) fn is_eager(&self) -> bool {
        self.detour.get() & EAGER != 0
    }

    /// Learns whether the runtime is eager.
    pub(super) fn refresh_eager(&self) {
        let eager = self.shared.lookout.is_eager();
        if eager != self.is_eager() {
            self.detour.set(self.detour.get() ^ EAGER);
            // Whoever waits in the reactor hears of each deadline then: see `Lookout`.
            self.remote().driver.tell_own(eager);
            self.front.reserve().set(0);
        }
    }

    /// Sets the reserve by the polls since this was called last.
    pub(super) fn measure_reserve(&self) {
        let now = (self.counters.completed.get(), self.counters.polls.get());
        let before = self.ended_before.replace(now);
        let tasks = match self.detour.get() & !(BATCHING | STAMPED) {
            0 if self.front.is_watched() => {
                reserve::reserve(self.pace.mean(), now.1 - before.1, now.0 - before.0)
            }
            _ => 0,
        };
        self.front.reserve().set(tasks);
    }

    /// Gives the reserve up if a poll was longer than all of it was to last, while somebody could be
    /// woken for what waits.
    #[inline]
    pub(super) fn doubt_reserve(&self) {
        if self.shared.idle.can_claim(self.index) && self.queue.len() > 0 {
            self.time_turn();
        } else {
            self.turn_began.set(None);
        }
    }

    #[inline(never)]
    fn time_turn(&self) {
        let now = time::now();
        if let Some(before) = self.turn_began.replace(Some(now))
            && now.saturating_duration_since(before) > BACKLOG
        {
            self.front.reserve().set(0);
            self.turn_began.set(None);
            self.shared.notify(self.index);
        }
    }

    /// Counts each turn up to `turn` that has not been counted as a poll, so that a poll itself
    /// counts nothing.
    pub(super) fn count_polls(&self, turn: u32) {
        let uncounted = turn.wrapping_sub(self.counted_turns.replace(turn));
        debug_assert!(
            uncounted <= u32::MAX / 2,
            "turns were counted that have not begun"
        );
        self.counters.polls.add(uncounted.into());
    }

    /// Serves I/O, timers and completions now and then while there are tasks to run.
    #[cold]
    pub(in super::super) fn look_around(&self) {
        if self.detour.get() & NEWEST_FIRST != 0
            && let Some(oldest) = self.remote().thief.take_oldest()
        {
            self.shared.injector.push(oldest);
        }
        let now = time::now();
        self.count_polls(self.front.tick().wrapping_sub(1));
        let crowded = self.queue.len() > reserve::MOST || !self.shared.injector.is_empty();
        let long = self.pace.look(now, self.counters.polls.get(), crowded);
        let detour = self.detour.get() & !LONG_POLLS;
        self.detour.set(detour | if long { LONG_POLLS } else { 0 });
        // Before what takes long: it dates what it sees.
        self.relieve(now);
        self.batch(|| {
            self.reap();
            if let Some(mut reactor) = self.shared.reactor.try_lock() {
                driver::poll(&mut reactor);
            }
        });
        self.refresh_eager();
        self.measure_reserve();
        self.fire(|| now);
        self.share();
        self.counters.publish(&self.remote().counters);
        self.magazines.publish(&self.shared.memory);
    }

    /// Takes over what waits behind a peer that stands still: see [`relief`]. Somebody announces it afterwards.
    pub(super) fn relieve(&self, now: Instant) {
        if self.detour.get() & (ORDERED | NEWEST_FIRST) != 0 {
            return;
        }
        let remotes = &self.shared.remotes;
        let see = |peer: usize| remotes[peer].front.see();
        let waits = |peer: usize| !remotes[peer].thief.is_empty();
        let steals = self.counters.steals.get();
        let next = |peer| self.peer_after(peer);
        let found = self.relief.look(now, steals, next, see, waits);
        let Some(Standing { peer, sight, stood }) = found else {
            return;
        };
        let comes_sooner = || {
            let own = self.pace.mean().saturating_mul(self.queue.len() as u64);
            Duration::from_nanos(own) < stood
        };
        let mut taken = 0;
        while taken < relief::MOST
            && comes_sooner()
            && see(peer) == sight
            && let Some(task) = remotes[peer].thief.take_oldest()
        {
            self.queue.push(task);
            taken += 1;
        }
        self.counters.stolen.add(taken);
    }

    /// The other worker after `peer`, of those that are near to this one's memory.
    fn peer_after(&self, peer: usize) -> Option<usize> {
        let after = |peer| match &self.shared.neighbours {
            None => (peer + 1) % self.shared.remotes.len(),
            Some(neighbours) => neighbours.after(peer),
        };
        [after(peer), after(after(peer))]
            .into_iter()
            .find(|&peer| peer != self.index)
    }

    /// Announces what the own queue holds beyond the next task, or all of it if the next task may
    /// hold up what it leaves. Whether there was anything to announce.
    pub(super) fn share(&self) -> bool {
        let kept = if self.is_eager() {
            0
        } else {
            1 + self.front.reserve().get()
        };
        let shares = self.ready() > kept;
        if shares {
            self.shared.notify(self.index);
        }
        shares
    }

    /// How many tasks this worker could run.
    pub(super) fn ready(&self) -> usize {
        match &self.shared.ordered {
            None => self.queue.len() + usize::from(self.front.has_task()),
            Some(ordered) => ordered.len(self.index) + ordered.shared_len(),
        }
    }

    /// Wakes whoever waits for a time that has come.
    pub(super) fn fire(&self, now: impl FnOnce() -> Instant) {
        self.batch(|| {
            if self.is_eager() {
                let now = now();
                for (worker, remote) in self.shared.remotes.iter().enumerate() {
                    let rest = remote.driver.fire(|| now);
                    if worker == self.index {
                        self.timers_rest.set(rest);
                    }
                }
            } else {
                self.timers_rest.set(self.remote().driver.fire(now));
            }
        });
    }

    /// Wakes those who wait for this worker's timers, if it is time for one of them, and not one of many.
    #[inline]
    pub(in super::super) fn fire_due(&self, now: Instant) {
        let due = |at: Instant| at <= now;
        if self.remote().driver.next_deadline().is_some_and(due)
            && self.timers_rest.get().is_none_or(due)
        {
            self.fire(|| now);
            self.share();
        }
    }

    pub(super) fn batch(&self, f: impl FnOnce()) {
        self.detour.set(self.detour.get() | BATCHING);
        f();
        self.detour.set(self.detour.get() & !BATCHING);
    }

    /// Unlinks the tasks of this worker that completed on others.
    pub(super) fn reap(&self) {
        let released = &self.remote().released;
        if !released.is_empty() {
            self.owned.borrow_mut().reap(released);
        }
    }
}
