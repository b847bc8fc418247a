//! A worker: one thread that runs tasks, looks for more, and sleeps.

use super::counters::{Busy, Counters};
use super::driver;
use super::front::OwnFront;
use super::handover::Seat;
use super::idle::Sleep;
use super::linger::{self, Linger, Looked};
use super::ordered::Course;
use super::pace::{EVENT_INTERVAL, EVENT_LEAST, Pace};
use super::parker::Parker;
use super::queue::{InjectQueue, Local, RunQueue, Stolen, Thief};
use super::reserve::{self, BACKLOG};
use super::shared::{DONE, DRAINING, Shared, SharedRef};
use super::state::WorkerState;
use super::sys;
use super::timing::Timing;
use crate::context;
use crate::runtime::Policy;
use crate::shim::thread;
use crate::shim::thread_local;
use crate::shim::time;
use crate::task::memory::{Block, Magazines, Slot};
use crate::task::{JoinHandle, Notified, OwnedTasks, Record, TaskPtr, coop, new_task_in};
use crate::thread as thread_hooks;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::ptr;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Polls in a row from the LIFO slot: two tasks that wake each other must not starve the queue.
pub(super) const LIFO_STREAK: u32 = 3;
/// How often a steal that somebody interfered with is tried again before the next victim.
const STEAL_RETRIES: u32 = 4;
/// A turn of the reactor or the timers is under way: wake-ups are announced once, after it.
const BATCHING: u8 = 1;
/// A poll was overdue lately, somewhere: wake-ups are announced one by one. See [`super::watch`].
const EAGER: u8 = 2;
/// The policy has an order of its own: nothing goes to this worker's queue and slot.
const ORDERED: u8 = 4;
/// The policy is last in, first out. The slot is for that too; only what yields goes elsewhere.
const NEWEST_FIRST: u8 = 8;
/// Polls are long: a woken task goes behind the others, where another worker may take it. See [`Pace`].
const LONG_POLLS: u8 = 16;
/// Tasks are stamped when they become ready. See [`super::timing`].
const STAMPED: u8 = 32;
/// References to the common ground that a worker takes from the count, or gives back, at once.
pub(super) const BANK: usize = 64;
/// Tasks of others' lists that a thread completes before it has sleepers unlink theirs.
pub(super) const RELEASES: usize = 256;

thread_local! {
    /// The worker whose loop runs on this thread.
    static CURRENT: Cell<*const Worker> = const { Cell::new(ptr::null()) };
}

/// Calls `f` with the worker whose loop runs on this thread, if one does.
#[inline(always)]
pub(crate) fn with_current<R>(f: impl FnOnce(Option<&Worker>) -> R) -> R {
    // SAFETY: not kept beyond this call.
    f(unsafe { current() })
}

/// As [`with_current`], where the compiler would not inline `f`.
///
/// # Safety
/// The reference is good as long as the loop runs: it may be kept as long as the caller's call lasts.
#[inline(always)]
pub(super) unsafe fn current<'a>() -> Option<&'a Worker> {
    let current = CURRENT.try_with(Cell::get).unwrap_or(ptr::null());
    // SAFETY: the pointer is set for the length of the worker's loop, on this thread.
    unsafe { current.as_ref() }
}

/// Whether a worker's loop runs on this thread.
pub(crate) fn is_worker() -> bool {
    with_current(|worker| worker.is_some())
}

/// Whether the worker whose loop runs on this thread parks in `parker`.
#[cfg(not(loom))]
pub(super) fn parks_here(parker: &Parker) -> bool {
    with_current(|worker| worker.is_some_and(|worker| ptr::eq(&*worker.remote().parker, parker)))
}

/// The state of one worker, used by its thread alone until it leaves it to the drainer.
pub(crate) struct Worker {
    pub(crate) shared: SharedRef,
    index: usize,
    queue: Local,
    /// What others see: how far it is, and the task woken last, which runs next because its data is
    /// still in this core's cache.
    front: OwnFront,
    lifo_streak: Cell<u32>,
    pace: Pace,
    linger: Linger,
    /// When the turn at hand began, if the reserve was in doubt then.
    turn_began: Cell<Option<Instant>>,
    /// Tasks that had ended here when the worker last looked around, and polls.
    ended_before: Cell<(u64, u64)>,
    owned: RefCell<OwnedTasks>,
    /// Tasks of other workers' lists that completed here, modulo [`RELEASES`].
    released: Cell<usize>,
    /// References to `shared` that belong to nobody yet.
    bank: Cell<usize>,
    /// The turns that `counters.polls` knows of: each was a poll, or a wait.
    counted_turns: Cell<u32>,
    searching: Cell<bool>,
    /// The search was asked for, and may take anything.
    claimed: Cell<bool>,
    /// Why a woken task does not go to the LIFO slot: no bit set is the plain path, which pays for
    /// one look at all reasons together.
    detour: Cell<u8>,
    /// See [`Worker::takes_back`]: the runtime's address, or zero.
    takes_back: usize,
    pub(super) course: Course,
    /// When the next wait for timers may end, after many of them.
    timers_rest: Cell<Option<Instant>>,
    /// Memory for tasks.
    magazines: Magazines,
    pub(super) counters: Counters,
    busy: Busy,
    /// What `counters.polls` was when the worker last waited.
    polls_at_park: Cell<u64>,
    seed: Cell<u64>,
}

/// How a wait went.
pub(super) struct Waited {
    /// When it ended.
    now: Instant,
    /// It was for timers as well.
    own_timers: bool,
    /// It may have ended before it began, without a look at the reactor.
    unparked: bool,
}

impl Worker {
    pub(super) fn new(
        shared: SharedRef,
        index: usize,
        queue: Local,
        front: OwnFront,
        policy: &Policy,
    ) -> Worker {
        let stamped = if shared.stamps { STAMPED } else { 0 };
        let detour = stamped
            | match policy {
                Policy::Fifo => 0,
                Policy::Lifo => NEWEST_FIRST,
                Policy::Priority(_) | Policy::Fair(_) => ORDERED,
            };
        Worker {
            busy: Busy::new(shared.clock),
            magazines: Magazines::new(&shared.memory),
            takes_back: match policy {
                Policy::Fifo if !shared.stamps => shared.address(),
                _ => 0,
            },
            shared,
            index,
            queue,
            front,
            lifo_streak: Cell::new(0),
            pace: Pace::new(match policy {
                // The sooner it measures, the sooner it knows what to keep and where to put what is woken.
                Policy::Fifo => EVENT_LEAST,
                _ => EVENT_INTERVAL,
            }),
            linger: Linger::new(),
            turn_began: Cell::new(None),
            ended_before: Cell::new((0, 0)),
            owned: RefCell::new(OwnedTasks::new(index as u32)),
            released: Cell::new(0),
            bank: Cell::new(0),
            counted_turns: Cell::new(0),
            searching: Cell::new(false),
            claimed: Cell::new(false),
            detour: Cell::new(detour),
            course: Course::new(policy),
            timers_rest: Cell::new(None),
            counters: Counters::default(),
            polls_at_park: Cell::new(u64::MAX),
            // Any odd number will do; different ones send thieves to different victims first.
            seed: Cell::new((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        }
    }

    /// The whole life of a worker's thread.
    pub(crate) fn run(self: Box<Self>) {
        let shared = self.shared.clone();
        // What a poll is inside of that has lost its worker.
        let _entered = context::enter(&shared);
        let mut next = Some(self);
        while let Some(worker) = next {
            next = if worker.work(&shared) {
                None
            } else {
                shared.spares.wait()
            };
        }
    }

    /// Runs tasks until the runtime is closed. `false`: a poll has handed the worker over, and it lives
    /// elsewhere: see [`super::handover`].
    fn work(self: Box<Self>, shared: &Shared) -> bool {
        let remote = &shared.remotes[self.index];
        remote.parker.attach();
        remote.thread.store(sys::thread_id(), Ordering::Relaxed);
        self.linger.rest();
        if self.front.state().see().state() == WorkerState::Starting {
            self.front.state().start();
            self.busy.wake(time::now(), &remote.counters);
        }
        let driver = context::enter_driver(&remote.driver, true);
        let worker = Box::into_raw(self);
        let current = Current::enter(worker);
        let seat = Seat::new(worker);
        {
            let _shown = seat.show();
            // SAFETY: the seat is kept, or the loop has ended.
            let kept = unsafe {
                match (&shared.ordered, &remote.timing) {
                    (None, None) => Worker::take_turns(&seat, worker, shared),
                    (None, Some(timing)) => {
                        Worker::take_turns_measured(&seat, worker, shared, timing)
                    }
                    (Some(ordered), timing) => {
                        let timing = timing.as_deref();
                        Worker::take_turns_ordered(&seat, worker, shared, ordered, timing)
                    }
                }
            };
            if !kept {
                return false;
            }
        }
        // SAFETY: it came from a box above, and has been this thread's ever since.
        let worker = unsafe { Box::from_raw(worker) };
        worker.front.state().drain();
        worker.cancel_all();
        drop(current);
        drop(driver);
        leave(worker);
        true
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn remote(&self) -> &super::shared::Remote {
        &self.shared.remotes[self.index]
    }

    /// Runs tasks until the runtime is closed, or until the seat is lost: `false`.
    ///
    /// # Safety
    /// This thread has the worker, and the seat is the worker's.
    unsafe fn take_turns(seat: &Seat, worker: *const Worker, shared: &Shared) -> bool {
        while !shared.is_closed() {
            // SAFETY: the seat is kept. The reference does not outlast the first call.
            let kept = unsafe {
                match (*worker).begin_turn() {
                    Some(task) => seat.run(task),
                    None => true,
                }
            };
            if !kept {
                return false;
            }
        }
        true
    }

    /// As [`Worker::take_turns`], with looks at the clock around each poll. A poll that hands the
    /// worker over is not measured: whoever runs it has no part in it any more.
    ///
    /// # Safety
    /// As there.
    #[cold]
    unsafe fn take_turns_measured(
        seat: &Seat,
        worker: *const Worker,
        shared: &Shared,
        timing: &Timing,
    ) -> bool {
        while !shared.is_closed() {
            // SAFETY: the seat is kept. The reference does not outlast the call.
            let Some(task) = (unsafe { (*worker).begin_turn() }) else {
                continue;
            };
            let began = shared.clock.now();
            timing.begin_poll(began, task.ready_at());
            // SAFETY: the seat is kept.
            if !unsafe { seat.run(task) } {
                return false;
            }
            timing.end_poll(began, || shared.clock.now());
        }
        true
    }

    /// Finds a task to run, or sleeps until there may be one.
    #[inline(always)]
    fn begin_turn(&self) -> Option<Notified> {
        let tick = self.next_tick();
        if self.pace.events_are_due(tick) {
            self.look_around();
        }
        if self.front.reserve().get() > 0 {
            self.doubt_reserve();
        }
        let task = match self.next_task(tick) {
            None => self.search(),
            task => task,
        };
        match &task {
            Some(_) => {
                self.end_search();
                coop::refill();
            }
            None => self.sleep(),
        }
        task
    }

    #[inline]
    pub(super) fn next_tick(&self) -> u32 {
        self.front.next_tick()
    }

    // In each of the loops, of which but one is in use.
    #[inline(always)]
    fn next_task(&self, tick: u32) -> Option<Notified> {
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

    fn take_injected(&self) -> Option<Notified> {
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
    fn search(&self) -> Option<Notified> {
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
    pub(super) fn end_search(&self) {
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

    /// Waits for work, or stays aside until it is let in.
    #[cold]
    pub(super) fn sleep(&self) {
        if self.shared.crew.is_beyond(self.index) {
            self.stay_aside();
            return;
        }
        self.prepare_to_wait();
        self.wait();
        thread_hooks::call(&self.shared.hooks.unpark);
    }

    /// Before a wait is announced: what this wakes is in the queue by then.
    pub(super) fn prepare_to_wait(&self) {
        self.batch(|| {
            self.reap();
            thread_hooks::call(&self.shared.hooks.park);
        });
    }

    /// Counts the turns before a wait. Returns the tick at which it begins.
    pub(super) fn close_turns(&self) -> u32 {
        let tick = self.front.tick();
        self.count_polls(tick.wrapping_sub(1));
        self.counted_turns.set(tick);
        self.turn_began.set(None);
        tick
    }

    fn wait(&self) {
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
    pub(super) fn resume(&self, tick: u32, waited: &Waited, claimed: bool) {
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
    pub(super) fn park(&self, may_in_reactor: bool) -> Waited {
        let shared = &*self.shared;
        let remote = self.remote();
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

    /// Waits in the reactor until `deadline`, awake for a while if that has proved its worth.
    fn park_in(
        &self,
        reactor: &mut driver::Reactor,
        deadline: Option<Instant>,
        waited: &mut Waited,
    ) {
        let parker = &self.remote().parker;
        let began = waited.now;
        let lingers = self.linger.lingers();
        // Not while others work: one of them may need the processor, and would wake this one anyway.
        let lingers_now = lingers && self.shared.idle.all_asleep();
        let looked = if lingers_now {
            linger::look(parker, reactor, began, deadline)
        } else {
            Looked::Nothing(began)
        };
        let events = match looked {
            Looked::Events(events) => events,
            Looked::Unparked => {
                waited.unparked = true;
                0
            }
            Looked::Nothing(now) => {
                let timeout = deadline.map(|at| at.saturating_duration_since(now));
                let (unparked, events) = parker.park_in(reactor, timeout);
                waited.unparked = unparked;
                if lingers_now { 0 } else { events }
            }
        };
        waited.now = time::now();
        if lingers == lingers_now {
            let length = waited.now.saturating_duration_since(began);
            let alone = events == 1 && !waited.unparked;
            let polls = self.counters.polls.get();
            self.linger.waited(alone, length, polls, sys::own_cpu_time);
        }
    }

    #[inline]
    fn is_eager(&self) -> bool {
        self.detour.get() & EAGER != 0
    }

    /// Learns whether the runtime is eager.
    fn refresh_eager(&self) {
        let eager = self.shared.lookout.is_eager();
        if eager != self.is_eager() {
            self.detour.set(self.detour.get() ^ EAGER);
            // Whoever waits in the reactor hears of each deadline then: see `Lookout`.
            self.remote().driver.tell_own(eager);
            self.front.reserve().set(0);
        }
    }

    /// Sets the reserve by the polls since this was called last.
    fn measure_reserve(&self) {
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
    fn doubt_reserve(&self) {
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

    /// Counts a wait that is about to begin.
    fn count_park(&self, now: Instant) {
        let polls = self.counters.polls.get();
        self.counters.parks.inc();
        if self.polls_at_park.replace(polls) == polls {
            self.counters.noops.inc();
        }
        if self.magazines.rest(&self.shared.memory) {
            // Those who sleep already have a part in it, and completed tasks of theirs hold slabs too.
            self.shared.wake_to_reap();
        }
        self.rest(now);
    }

    /// Counts each turn up to `turn` that has not been counted as a poll, so that a poll itself
    /// counts nothing.
    fn count_polls(&self, turn: u32) {
        let uncounted = turn.wrapping_sub(self.counted_turns.replace(turn));
        self.counters.polls.add(uncounted.into());
    }

    /// Shows all counters, and that the worker is not busy from now on.
    fn rest(&self, now: Instant) {
        let published = &self.remote().counters;
        self.counters.publish(published);
        self.busy.park(now, published);
    }

    /// Serves I/O, timers and completions now and then while there are tasks to run.
    #[cold]
    pub(super) fn look_around(&self) {
        if self.detour.get() & NEWEST_FIRST != 0
            && let Some(oldest) = self.remote().thief.take_oldest()
        {
            self.shared.injector.push(oldest);
        }
        let now = time::now();
        self.count_polls(self.front.tick().wrapping_sub(1));
        let long = self.pace.look(now, self.counters.polls.get());
        let detour = self.detour.get() & !LONG_POLLS;
        self.detour.set(detour | if long { LONG_POLLS } else { 0 });
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
        if self.shared.crew.is_beyond(self.index) {
            self.stay_aside();
        }
    }

    /// Puts what this worker would run where the others find it.
    pub(super) fn give_tasks_up(&self) {
        self.front.reserve().set(0);
        while let Some(task) = self.front.take().or_else(|| self.queue.pop()) {
            self.shared.injector.push(task);
        }
        if self.shared.has_work_to_spare() {
            self.shared.notify(self.index);
        }
    }

    /// Announces what the own queue holds beyond the next task, or all of it if the next task may
    /// hold up what it leaves. Whether there was anything to announce.
    fn share(&self) -> bool {
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
    fn ready(&self) -> usize {
        match &self.shared.ordered {
            None => self.queue.len() + usize::from(self.front.has_task()),
            Some(ordered) => ordered.len(self.index) + ordered.shared_len(),
        }
    }

    /// Wakes whoever waits for a time that has come.
    fn fire(&self, now: impl FnOnce() -> Instant) {
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
    pub(super) fn fire_due(&self, now: Instant) {
        let due = |at: Instant| at <= now;
        if self.remote().driver.next_deadline().is_some_and(due)
            && self.timers_rest.get().is_none_or(due)
        {
            self.fire(|| now);
            self.share();
        }
    }

    fn batch(&self, f: impl FnOnce()) {
        self.detour.set(self.detour.get() | BATCHING);
        f();
        self.detour.set(self.detour.get() & !BATCHING);
    }

    /// Whether [`Worker::cancel_queued`] has more to do, beside the queue.
    fn has_leftovers(&self) -> bool {
        self.front.has_task() || !self.remote().released.is_empty()
    }

    /// Unlinks the tasks of this worker that completed on others.
    fn reap(&self) {
        let released = &self.remote().released;
        if !released.is_empty() {
            self.owned.borrow_mut().reap(released);
        }
    }

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
    pub(super) fn push(&self, task: Notified) {
        if let Some(other) = self.push_first::<false>(task) {
            self.push_back(other);
        }
    }

    /// Puts a task in the LIFO slot, and gives back what can not stay there. `NEW`: it was made just now,
    /// and nobody else has seen it.
    #[inline(always)]
    fn push_first<const NEW: bool>(&self, task: Notified) -> Option<Notified> {
        if self.detour.get() & !NEWEST_FIRST != 0 {
            self.push_aside::<NEW>(task);
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
    fn push_aside<const NEW: bool>(&self, mut task: Notified) {
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
    pub(super) fn takes_back(&self, runtime: &SharedRef) -> bool {
        self.takes_back == runtime.address()
    }

    /// Queues a task that was woken while it was polled, under the policies that do not put it in
    /// the worker's queue, and where it is stamped.
    #[cold]
    pub(super) fn reschedule_by_policy(&self, task: Notified) {
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
    pub(super) fn is_batching(&self) -> bool {
        self.detour.get() & BATCHING != 0
    }

    /// Queues a task behind the others, and announces it unless it belongs to the reserve.
    #[inline]
    pub(super) fn push_back(&self, task: Notified) {
        self.queue.push(task);
        let reserve = self.front.reserve().get();
        if reserve == 0 || self.queue.len() > reserve {
            self.shared.notify(self.index);
        }
    }

    /// Queues a task behind the others, and announces it.
    #[inline]
    fn publish(&self, task: Notified) {
        self.queue.push(task);
        self.shared.notify(self.index);
    }

    /// Links a task that waits for the first time.
    pub(super) fn bind(&self, task: TaskPtr) {
        // SAFETY: called by the poll of a task that is in no list, with its reference.
        unsafe { self.owned.borrow_mut().link(task) }
    }

    /// Links the task that is being polled, unless it is in a list already: then the end of the runtime
    /// waits for it, on whichever thread it is.
    ///
    /// # Safety
    /// This is the run of the task.
    pub(super) unsafe fn answer_for(&self, task: TaskPtr) {
        // SAFETY: the run has RUNNING and a reference. The list gets one of its own.
        unsafe { self.owned.borrow_mut().link_running(task) }
    }

    /// Unlinks a completed task if it is this worker's.
    pub(super) fn unbind(&self, task: TaskPtr, owner: u32) -> bool {
        let own = owner as usize == self.index;
        if own {
            // SAFETY: the owner says that it is linked here.
            unsafe { self.owned.borrow_mut().unlink(task) }
        }
        own
    }

    /// A task of another worker's list completed here.
    pub(super) fn count_release(&self) {
        let released = (self.released.get() + 1) % RELEASES;
        self.released.set(released);
        if released == 0 {
            self.shared.wake_to_reap();
        }
    }

    /// Memory for a task.
    #[inline(always)]
    pub(super) fn allocate(&self, slot: Slot) -> Block {
        self.magazines.allocate(slot, &self.shared.memory)
    }

    /// Takes back the memory of a task.
    ///
    /// # Safety
    /// As for [`Slot::free`].
    #[inline(always)]
    pub(super) unsafe fn free(&self, slot: Slot, block: Block) {
        // SAFETY: passed on from the caller.
        unsafe { self.magazines.free(slot, block, &self.shared.memory) }
    }

    /// A reference to the common ground, from the bank.
    #[inline]
    pub(super) fn take_ref(&self) -> SharedRef {
        let banked = match self.bank.get() {
            0 => {
                SharedRef::add_refs(&self.shared, BANK);
                BANK
            }
            banked => banked,
        };
        self.bank.set(banked - 1);
        // SAFETY: it was counted when the bank was filled.
        unsafe { SharedRef::adopt(&self.shared) }
    }

    /// Puts a reference to the common ground in the bank.
    #[inline]
    pub(super) fn bank_ref(&self) {
        let banked = self.bank.get() + 1;
        if banked == 2 * BANK {
            // SAFETY: the bank's references, and the worker has one of its own.
            unsafe { SharedRef::remove_refs(&self.shared, BANK) };
            self.bank.set(BANK);
        } else {
            self.bank.set(banked);
        }
    }

    /// Cancels what is queued here and what waits here. Drops of futures may wake and spawn.
    fn cancel_all(&self) {
        let waiting = self.owned.borrow().hold_all();
        for task in waiting {
            // SAFETY: a runtime's futures are Send.
            unsafe { task.shutdown() };
        }
        self.cancel_queued();
    }

    fn cancel_queued(&self) {
        while let Some(task) = self.front.take().or_else(|| self.queue.pop()) {
            drop(task);
        }
        self.reap();
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

impl Drop for Worker {
    fn drop(&mut self) {
        self.magazines.empty(&self.shared.memory);
        let banked = self.bank.take();
        if banked > 0 {
            // SAFETY: the bank's references; the field `shared` is another.
            unsafe { SharedRef::remove_refs(&self.shared, banked) };
        }
    }
}

/// Whether `worker` is the one whose loop runs on this thread.
pub(super) fn is_current(worker: *const Worker) -> bool {
    CURRENT.with(Cell::get) == worker
}

/// This thread is no worker's from here on. What it was is to be put back by [`come_back`], if it is.
pub(super) fn leave_current() -> *const Worker {
    CURRENT.with(|current| current.replace(ptr::null()))
}

pub(super) fn come_back(worker: *const Worker) {
    CURRENT.with(|current| current.set(worker));
}

/// Marks the calling thread as a worker's.
struct Current(*const Worker);

impl Current {
    fn enter(worker: *const Worker) -> Current {
        Current(CURRENT.with(|current| current.replace(worker)))
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        CURRENT.with(|current| current.set(self.0));
    }
}

/// Leaves the worker's remains to the last one to leave, who drains them all.
fn leave(worker: Box<Worker>) {
    let shared = worker.shared.clone();
    worker.count_polls(worker.front.tick());
    worker.rest(time::now());
    let remains = {
        let mut remains = shared.remains.lock();
        remains.push(worker);
        if remains.len() < shared.remotes.len() {
            return;
        }
        std::mem::take(&mut *remains)
    };
    drain(&shared, &remains);
    drop(remains);
    shared.memory.close();
}

/// Cancels every task that is left. Runs on the last worker's thread: see the README.
fn drain(shared: &Shared, workers: &[Box<Worker>]) {
    // Wakes of drops go to this worker's queue, and their completions to the lists.
    let last = workers.last().expect("a runtime has a worker");
    let current = Current::enter(&raw const **last);
    shared.enter_phase(DRAINING);
    loop {
        shared.drain_injector();
        for worker in workers {
            worker.cancel_queued();
        }
        if shared.has_work() || workers.iter().any(|worker| worker.has_leftovers()) {
            continue;
        }
        if workers
            .iter()
            .all(|worker| worker.owned.borrow().is_empty())
        {
            break;
        }
        thread::park();
    }
    shared.enter_phase(DONE);
    shared.drain_injector();
    last.cancel_queued();
    drop(current);
    for worker in workers {
        worker.front.state().terminate();
    }
    last.rest(time::now());
    for remote in &shared.remotes {
        remote.driver.close();
    }
    // Whoever waits for I/O from outside of the runtime hears that nothing will come.
    driver::close(shared.reactor_handle());
}

#[cfg(all(test, not(loom)))]
mod costs;
#[cfg(all(test, not(loom)))]
mod reserve_tests;
#[cfg(all(test, not(loom)))]
mod timing_tests;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::blocking::{Pool, Settings};
    use crate::executor::handover::Starters;
    use crate::executor::shared::Workers;
    use crate::executor::{Measured, Neighbours, Plan};
    use crate::task::memory::Pool as Memory;
    use crate::task::new_task;
    use crate::thread::{ParkHooks as Hooks, ThreadOptions};

    /// Two workers that no thread runs, the second asleep.
    pub(super) fn awake_and_asleep() -> (SharedRef, Workers) {
        let (shared, workers) = awake();
        assert_eq!(shared.idle.sleep(1, false), Sleep::LookFirst);
        (shared, workers)
    }

    /// Two workers that no thread runs.
    pub(super) fn awake() -> (SharedRef, Workers) {
        awake_on(&[0, 0])
    }

    /// Workers on those nodes of memory, which no thread runs.
    fn awake_on(nodes: &[usize]) -> (SharedRef, Workers) {
        awake_with(nodes, &Policy::Fifo, Measured::default())
    }

    pub(super) fn awake_with(
        nodes: &[usize],
        policy: &Policy,
        measured: Measured,
    ) -> (SharedRef, Workers) {
        let options = ThreadOptions::plain();
        let pool = Pool::new(options, Settings::default());
        let plan = Plan {
            policy,
            neighbours: Neighbours::new(nodes),
            measured,
        };
        Shared::with_workers(
            nodes.len(),
            plan,
            pool,
            Memory::new(1 << 20),
            Hooks::default(),
            Starters {
                watch: None,
                spare: Box::new(|_, _| Err(std::io::Error::other("no threads here"))),
                most_spares: 0,
            },
        )
        .unwrap()
    }

    pub(super) fn task(shared: &SharedRef) -> Notified {
        new_task(async {}, shared.clone(), None).0
    }

    #[test]
    fn task_behind_the_lifo_slot_is_announced_after_an_event() {
        let (shared, workers) = awake_and_asleep();
        workers[0].push(task(&shared));
        workers[0].batch(|| workers[0].push(task(&shared)));
        assert_eq!(shared.idle.sleepers(), 1);
        workers[0].share();
        assert_eq!(shared.idle.sleepers(), 0);
        workers[0].cancel_queued();
    }

    #[test]
    fn sleeper_is_woken_to_unlink_the_tasks_that_completed_elsewhere() {
        let (shared, workers) = awake();
        let run_all = |worker: &Worker| {
            let _current = Current::enter(worker);
            while let Some(task) = worker.next_task(1) {
                task.run();
            }
        };
        for round in 0..2 * RELEASES {
            let mut wait = true;
            let (tell, told) = std::sync::mpsc::channel::<std::task::Waker>();
            let waits = std::future::poll_fn(move |cx| {
                let _ = tell.send(cx.waker().clone());
                match std::mem::replace(&mut wait, false) {
                    true => std::task::Poll::Pending,
                    false => std::task::Poll::Ready(()),
                }
            });
            workers[0].push(new_task(waits, shared.clone(), None).0);
            run_all(&workers[0]);
            let waker = told.try_recv().expect("it was polled");
            if round == 0 {
                assert_eq!(shared.idle.sleep(0, false), Sleep::LookFirst);
            }
            {
                let _current = Current::enter(&raw const *workers[1]);
                waker.wake();
            }
            run_all(&workers[1]);
            let woken = workers[0].remote().parker.park(Some(Default::default()));
            assert_eq!(woken, (round + 1) % RELEASES == 0, "release {round}");
        }
        assert_eq!(workers[0].owned.borrow().len(), 2 * RELEASES);
        workers[0].reap();
        assert!(workers[0].owned.borrow().is_empty());
    }

    #[test]
    fn worker_steals_from_its_own_node_first() {
        let (shared, workers) = awake_on(&[0, 1, 0, 1]);
        workers[0].front.state().start();
        for _ in 0..20 {
            // Two each: the first is in the slot, the second may be stolen.
            for victim in [1, 2, 3] {
                workers[victim].push(task(&shared));
                workers[victim].push(task(&shared));
            }
            for left in [1, 0] {
                assert!(workers[0].search().is_some());
                workers[0].end_search();
                assert!(workers[2].queue.pop().is_none(), "the near one was first");
                let far = workers[1].queue.len() + workers[3].queue.len();
                assert_eq!(far, 1 + left);
            }
            workers.iter().for_each(|worker| worker.cancel_queued());
        }
    }

    #[test]
    fn timer_that_is_due_is_fired_between_two_polls_without_a_look_around() {
        struct Told(std::sync::atomic::AtomicBool);
        impl std::task::Wake for Told {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let (_shared, workers) = awake();
        let _driver = context::enter_driver(&workers[0].remote().driver, true);
        let due = Instant::now() + std::time::Duration::from_secs(60);
        let mut sleep = std::pin::pin!(crate::time::sleep_until(due));
        let told = std::sync::Arc::new(Told(false.into()));
        let waker = std::task::Waker::from(told.clone());
        let mut cx = std::task::Context::from_waker(&waker);
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        workers[0].fire_due(due - std::time::Duration::from_secs(1));
        assert!(!told.0.load(Ordering::Relaxed));
        workers[0].fire_due(due + std::time::Duration::from_millis(1));
        assert!(told.0.load(Ordering::Relaxed));
    }

    #[test]
    fn look_is_put_off_by_waits_but_not_by_those_that_end_before_they_begin() {
        let (shared, workers) = awake();
        let worker = &workers[0];
        worker.front.state().start();
        worker.remote().parker.attach();
        let looks = |wake: &dyn Fn()| {
            let turn = |_: &u32| {
                let tick = worker.next_tick();
                wake();
                worker.wait();
                worker.pace.events_are_due(tick)
            };
            (0..3 * EVENT_LEAST).filter(turn).count()
        };
        assert_eq!(looks(&|| shared.unpark(0)), 3);
        assert_eq!(looks(&|| driver::unpark(shared.reactor_handle())), 0);
    }

    #[test]
    fn batch_from_the_injector_is_announced() {
        let (shared, workers) = awake_and_asleep();
        for _ in 0..8 {
            shared.injector.push(task(&shared));
        }
        assert!(
            workers[0]
                .next_task(super::super::pace::INJECTOR_INTERVAL)
                .is_some()
        );
        assert_eq!(shared.idle.sleepers(), 0);
        workers[0].cancel_queued();
        shared.drain_injector();
    }
}
