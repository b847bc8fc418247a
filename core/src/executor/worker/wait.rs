//! How a worker waits when there is nothing to run.

use super::Worker;
use crate::executor::driver;
use crate::executor::idle::Sleep;
use crate::executor::linger::Look;
use crate::look;
use crate::shim::time;
use crate::thread as thread_hooks;
use std::time::Instant;

/// How a wait went.
pub(in super::super) struct Waited {
    /// When it ended.
    now: Instant,
    /// It was for timers as well.
    own_timers: bool,
    /// It may have ended before it began, without a look at the reactor.
    unparked: bool,
}

impl Worker {
    /// Waits for work, or stays aside until it is let in.
    #[cold]
    pub(in super::super) fn sleep(&self) {
        if self.shared.crew.is_beyond(self.index) {
            self.stay_aside();
            return;
        }
        self.prepare_to_wait();
        self.wait();
        thread_hooks::call(&self.shared.hooks.unpark);
    }

    /// Before a wait is announced: what this wakes is in the queue by then.
    pub(in super::super) fn prepare_to_wait(&self) {
        self.batch(|| {
            self.reap();
            thread_hooks::call(&self.shared.hooks.park);
        });
    }

    /// Counts the turns before a wait. Returns the tick at which it begins.
    pub(in super::super) fn close_turns(&self) -> u32 {
        let tick = self.front.tick();
        self.count_polls(tick.wrapping_sub(1));
        self.counted_turns.set(tick);
        self.turn_began.set(None);
        tick
    }

    pub(super) fn wait(&self) {
        let tick = self.close_turns();
        let searching = self.searching.replace(false);
        self.claimed.set(false);
        let idle = &self.shared.idle;
        if idle.sleep(self.index, searching) == Sleep::LookFirst && self.shared.has_work_to_spare()
        {
            idle.sleep_to_search(self.index);
            self.searching.set(true);
            // Maybe somebody has claimed it meanwhile.
            self.claimed.set(true);
            if !searching {
                self.front.state().search();
            }
            return;
        }
        let waited = self.park(true);
        let claimed = idle.wake(self.index);
        self.resume(tick, &waited, claimed);
    }

    /// Goes on after a wait that began at `tick`. `claimed`: somebody woke it to search.
    pub(in super::super) fn resume(&self, tick: u32, waited: &Waited, claimed: bool) {
        let &Waited {
            now,
            own_timers,
            unparked,
        } = waited;
        self.busy.wake(now, &self.remote().counters);
        self.pace.begin(now, self.counters.polls.get());
        if !unparked {
            let tick = self.pace.after_wait(tick);
            self.front.skip_to(tick);
            self.counted_turns.set(tick);
        }
        self.searching.set(claimed);
        self.claimed.set(claimed);
        self.front.state().wake(claimed);
        self.refresh_eager();
        if own_timers || self.is_eager() {
            self.fire(|| now);
        }
        if self.share() {
            self.counters.hand_overs.add(u64::from(self.is_eager()));
        }
        if self.ready() > 0 {
            self.shared.watch.arm(&self.shared);
        }
    }

    /// Waits in the reactor if it may and nobody else does, else on the thread.
    pub(in super::super) fn park(&self, may_in_reactor: bool) -> Waited {
        let shared = &*self.shared;
        let remote = self.remote();
        // Before it has the reactor and the time: this may take a while.
        if self.magazines.rest(&shared.memory) {
            shared.have_others_give_back(self.index);
        }
        let mut reactor = may_in_reactor.then(|| shared.reactor.try_lock()).flatten();
        self.front.state().park(reactor.is_some());
        if reactor.is_some() {
            shared.lookout.enter(self.index);
        }
        let own = remote
            .driver
            .next_deadline()
            .map(|at| match self.timers_rest.take() {
                Some(rest) => at.max(rest),
                None => at,
            });
        let deadline = if reactor.is_some() && self.is_eager() {
            let all = shared.remotes.iter();
            all.filter_map(|remote| remote.driver.next_deadline()).min()
        } else {
            own
        };
        let now = time::now();
        self.count_park(now);
        let mut waited = Waited {
            now,
            own_timers: own.is_some(),
            unparked: false,
        };
        self.batch(|| match &mut reactor {
            Some(reactor) => self.park_in(reactor, deadline, &mut waited),
            None => {
                let timeout = deadline.map(|at| at.saturating_duration_since(now));
                waited.unparked = remote.parker.park(timeout);
                waited.now = time::now();
            }
        });
        self.counters.unparks.add(waited.unparked.into());
        if reactor.is_some() {
            shared.lookout.leave();
        }
        waited
    }

    /// Waits in the reactor until `deadline`, awake for a while if that is likely to be of use.
    fn park_in(
        &self,
        reactor: &mut driver::Reactor,
        deadline: Option<Instant>,
        waited: &mut Waited,
    ) {
        let parker = &self.remote().parker;
        let began = waited.now;
        let end = began + look::LOOK;
        let looked = self.linger.lingers(deadline, end).then(|| {
            look::until(end, || {
                let events = driver::poll(reactor);
                let unparked = parker.take();
                (unparked || events > 0).then_some(unparked)
            })
        });
        let mut sleep = |now| {
            let timeout = deadline.map(|at| at.saturating_duration_since(now));
            parker.park_in(reactor, timeout)
        };
        let (look, unparked) = match looked {
            None => (Look::None, sleep(began)),
            Some(Ok(unparked)) => (Look::Found, unparked),
            Some(Err(now)) => (Look::InVain, sleep(now)),
        };
        waited.unparked = unparked;
        waited.now = time::now();
        let length = waited.now.saturating_duration_since(began);
        self.linger.waited(look, length);
    }

    /// Counts a wait that is about to begin.
    fn count_park(&self, now: Instant) {
        let polls = self.counters.polls.get();
        self.counters.parks.inc();
        if self.polls_at_park.replace(polls) == polls {
            self.counters.noops.inc();
        }
        self.rest(now);
    }

    /// Shows all counters, and that the worker is not busy from now on.
    pub(super) fn rest(&self, now: Instant) {
        let published = &self.remote().counters;
        self.counters.publish(published);
        self.busy.park(now, published);
    }
}
