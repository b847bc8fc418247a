//! The watch: a thread that sees to it that nothing waits for a worker whose poll does not end.
//!
//! # What it does
//!
//! A poll is *overdue* when two looks at a worker, at least [`FIRST`] apart, find it running and find
//! the same [`Sight`]. Then
//! - the task in its LIFO slot goes to the injector, and the slot stays [open](super::slot): what the
//!   poll wakes further goes to the worker's queue, where others may take it;
//! - a sleeper is woken for what is in either;
//! - its timers that are due are fired;
//! - if nobody waits in the reactor, a sleeper is woken, which finds nothing and then waits there; if
//!   nobody sleeps, the watch itself serves what is ready, at each look;
//! - the runtime is eager for [`EAGER_FOR`]: see below.
//!
//! A thread that the system keeps from running looks like one that is held up by a poll. What waits
//! for it is served in the same way, but that is no reason to be eager: other tasks have done no wrong.
//!
//! # Eager
//!
//! While it is eager a worker puts what it wakes in its queue and announces it, as if there were no LIFO
//! slot; a worker that leaves the reactor with something to run wakes a sleeper to wait there in its
//! stead; whoever waits in the reactor waits for everybody's timers. So the first stall is noticed by a
//! look, and the next ones cost what a wake-up costs. All the time that would cost wake-ups in
//! runtimes whose polls are short, which is why others had to take it back.
//!
//! # When it looks
//!
//! Not at all while everybody sleeps: it is *disarmed*, and sleeps too. A worker that has got something
//! to run looks whether the watch is armed, which costs a load; if not it arms and wakes it. The intervals
//! between looks begin at [`FIRST`] and grow. While workers are at work they end at [`BUSY`]. If they only
//! wake now and then, so that a look finds all asleep, there is one look to [`PARKS`] of their waits, but
//! no less than one in [`QUIET`]: so the watch adds little to what the workers do themselves. If nothing
//! happened in [`QUIET`] it disarms.
//!
//! [`Arming`] has the race that this is about.
//!
//! # Who holds the reactor
//!
//! A worker that goes to sleep while the watch serves the reactor finds it taken, and waits on its
//! thread. So whoever held it without being a worker looks afterwards whether all sleep, and wakes one
//! of them if so. The fences in [`Idle::sleep`](super::idle::Idle::sleep) and
//! [`Idle::claim_if_all_sleep`](super::idle::Idle::claim_if_all_sleep) make sure: either the worker finds
//! the reactor free, or the watch finds the worker asleep.

use super::arming::Arming;
use super::driver;
use super::front::Sight;
use super::shared::Shared;
use super::state::WorkerState;
use super::sys;
use crate::shim::sync::Mutex;
use crate::shim::sync::atomic::Ordering;
use crate::shim::thread;
use crate::time::membarrier;
use std::fmt;
use std::io;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// The shortest time between two looks, and so the shortest poll that counts as overdue.
const FIRST: Duration = Duration::from_millis(1);
/// Between two looks while a poll is overdue.
const STALLED: Duration = Duration::from_millis(4);
/// Between two looks while workers are at work.
const BUSY: Duration = Duration::from_millis(20);
/// Between two looks while workers hardly wake.
const QUIET: Duration = Duration::from_millis(250);
/// Waits of workers to one look: the watch wakes for one in so many of their wake-ups.
const PARKS: u64 = 40;
/// How long a runtime stays eager after a stall.
const EAGER_FOR: Duration = Duration::from_secs(1);

/// Starts the watch's thread.
pub(crate) type Starter = Box<dyn FnOnce(Box<dyn FnOnce() + Send>) -> io::Result<()> + Send>;

/// What the workers and the watch share.
pub(super) struct Watch {
    arming: Arming,
    /// Until the watch is first needed.
    starter: Mutex<Option<Starter>>,
    pub(super) hand_overs: AtomicU64,
}

impl Watch {
    /// `None`: there will be no watch.
    pub(super) fn new(starter: Option<Starter>) -> Watch {
        Watch {
            arming: Arming::new(starter.is_none()),
            starter: Mutex::new(starter),
            hand_overs: AtomicU64::new(0),
        }
    }

    /// A worker that is not among the sleepers has something to run.
    #[inline]
    pub(super) fn arm(&self, shared: &Shared) {
        if !self.arming.is_armed() {
            self.wake(shared);
        }
    }

    #[cold]
    fn wake(&self, shared: &Shared) {
        if !self.arming.arm() {
            return;
        }
        let starter = self.starter.lock().take();
        match starter {
            Some(starter) => {
                let shared = shared.share();
                // Without a thread for it there is no watch: it counts as armed for ever.
                let _ = starter(Box::new(move || watch(&shared)));
            }
            None => self.arming.unpark(),
        }
    }

    /// The runtime is closed: the watch ends, and none is started.
    pub(super) fn close(&self) {
        let unused = self.starter.lock().take();
        drop(unused);
        self.arming.unpark();
    }

    /// Serves what is ready for I/O, if nobody else is there.
    fn serve_reactor(&self, shared: &Shared) {
        let Some(mut reactor) = shared.reactor.try_lock() else {
            return;
        };
        driver::poll(&mut reactor);
        drop(reactor);
        if let Some(sleeper) = shared.idle.claim_if_all_sleep() {
            shared.unpark(sleeper);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// The life of the watch's thread.
fn watch(shared: &Shared) {
    let arming = &shared.watch.arming;
    arming.attach();
    let mut rounds = Rounds::new(shared, membarrier::prepare_here());
    let mut before = Instant::now();
    let mut pace = rounds.look(shared, before, Duration::ZERO);
    while !shared.is_closed() {
        let passed = before.elapsed();
        if let Some(left) = pace.checked_sub(passed).filter(|left| !left.is_zero()) {
            thread::park_timeout(left);
            continue;
        }
        before = Instant::now();
        pace = rounds.look(shared, before, passed);
        if rounds.quiet && passed >= QUIET && arming.disarm(&shared.idle) {
            arming.rest(|| shared.is_closed());
            before = Instant::now();
            pace = rounds.look(shared, before, Duration::ZERO);
        }
    }
}

/// What the watch remembers from look to look.
struct Rounds {
    seen: Box<[Seen]>,
    /// Whether the system has the barrier that a slot is opened with.
    barrier: bool,
    parks: u64,
    stalled_at: Option<Instant>,
    /// Everybody slept, as at the look before, and the runtime is not eager.
    quiet: bool,
}

struct Seen {
    sight: Sight,
    /// The poll that this is a sight of has been found overdue before.
    overdue: bool,
    /// That poll is what holds its thread up, which stays true until it ends.
    to_blame: bool,
    /// The slot was opened in that poll: it stays open, and empty, until it ends.
    opened: bool,
    cpu: sys::ThreadTime,
}

impl Seen {
    fn new(sight: Sight) -> Seen {
        Seen {
            sight,
            overdue: false,
            to_blame: false,
            opened: false,
            cpu: sys::ThreadTime::default(),
        }
    }
}

impl Rounds {
    fn new(shared: &Shared, barrier: bool) -> Rounds {
        Rounds {
            seen: shared
                .remotes
                .iter()
                .map(|remote| Seen::new(remote.front.see()))
                .collect(),
            barrier,
            parks: 0,
            stalled_at: None,
            quiet: false,
        }
    }

    /// Looks at everybody, `passed` after the look before, and says when to look again.
    fn look(&mut self, shared: &Shared, now: Instant, passed: Duration) -> Duration {
        let mut changed = false;
        let mut stalls = false;
        let mut eager = false;
        for worker in 0..self.seen.len() {
            let remote = &shared.remotes[worker];
            let sight = remote.front.see();
            let seen = &mut self.seen[worker];
            if seen.sight != sight {
                changed = true;
                *seen = Seen::new(sight);
                continue;
            }
            if sight.state.state() != WorkerState::Running || passed < FIRST {
                continue;
            }
            stalls = true;
            let first = !std::mem::replace(&mut seen.overdue, true);
            if first {
                remote.stalls.fetch_add(1, Ordering::Relaxed);
            }
            if !seen.to_blame {
                let thread = remote.thread.load(Ordering::Relaxed);
                seen.to_blame = seen.cpu.is_to_blame(thread, now);
            }
            eager |= seen.to_blame;
            self.rescue(shared, worker, now, first);
        }
        if eager {
            self.stalled_at = Some(now);
            shared.lookout.set_eager(true);
        } else if let Some(at) = self.stalled_at
            && now.saturating_duration_since(at) > EAGER_FOR
            // Without the barrier an eager runtime is the only one whose slots hold up nobody.
            && self.barrier
        {
            self.stalled_at = None;
            shared.lookout.set_eager(false);
        }
        // Not whether it is eager, which without the barrier it stays.
        let lately = |at| now.saturating_duration_since(at) <= EAGER_FOR;
        shared
            .tuner
            .look(shared, now, self.stalled_at.is_some_and(lately));
        let asleep = shared.idle.all_asleep();
        self.quiet = asleep && !changed && self.stalled_at.is_none();
        let manned = stalls && self.man_reactor(shared);
        self.pace(
            shared,
            passed,
            if stalls { Some(manned) } else { None },
            asleep,
        )
    }

    /// The poll of `worker` is overdue.
    #[cold]
    fn rescue(&mut self, shared: &Shared, worker: usize, now: Instant, first: bool) {
        if !self.barrier {
            // Somebody else may have been finding out when this was asked before.
            self.barrier = membarrier::prepare_here();
        }
        let remote = &shared.remotes[worker];
        remote.front.reserve.set(0);
        let mut rescued = None;
        if self.barrier
            && !self.seen[worker].opened
            && let Ok(task) = remote.front.rescue(membarrier::heavy)
        {
            self.seen[worker].opened = true;
            rescued = task;
        }
        if let Some(task) = rescued {
            shared.inject(task);
        } else if shared.has_work() {
            shared.notify(worker);
        }
        remote.driver.fire(|| now);
        if first && remote.driver.next_deadline().is_some() {
            shared.lookout.alert(shared.reactor_handle());
        }
    }

    /// Sees to it that I/O is served while a poll is overdue. Whether somebody waits for it.
    fn man_reactor(&self, shared: &Shared) -> bool {
        if shared.lookout.is_manned() {
            return true;
        }
        match shared.idle.claim_sleeper(0) {
            Some(sleeper) => {
                shared.watch.hand_overs.fetch_add(1, Ordering::Relaxed);
                shared.unpark(sleeper);
            }
            None => shared.watch.serve_reactor(shared),
        }
        false
    }

    fn pace(
        &mut self,
        shared: &Shared,
        passed: Duration,
        stalled: Option<bool>,
        asleep: bool,
    ) -> Duration {
        let parks: u64 = shared.remotes.iter().map(|r| r.counters.parks()).sum();
        let parked = parks.wrapping_sub(std::mem::replace(&mut self.parks, parks));
        let longer = passed.max(FIRST / 2) * 2;
        match stalled {
            Some(true) => longer.min(STALLED),
            Some(false) => FIRST,
            None if passed.is_zero() => FIRST,
            None if asleep => {
                let due = passed.as_nanos() * u128::from(PARKS) / u128::from(parked.max(1));
                Duration::from_nanos(due.min(QUIET.as_nanos()) as u64).max(BUSY)
            }
            None => longer.min(BUSY),
        }
    }
}
