//! The tuner: it looks at figures now and then, and acts on what [`decide`](super::decide) makes of them.
//!
//! It has no thread: the runtime's watch calls it at each of its looks (every 20 ms while workers are at
//! work, 1 to 4 ms apart in the beginning and while a poll is overdue, up to 250 ms apart while workers
//! hardly wake, never while all sleep), and it reads the figures if [`INTERVAL`] has gone by. While it is
//! off that is one load for each of those looks.
//!
//! Nothing is read from files, and nobody is woken, while the lock of its state is held.

use super::decide::{Figures, Governor};
use super::{Decision, Reason, Setting, Tuning};
use crate::executor::{Shared, WorkerTimes, are_delays_told};
use crate::shim::sync::Mutex;
use crate::topology::unpinned;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The shortest time between two looks at the figures.
const INTERVAL: Duration = Duration::from_millis(200);
/// Looks for which the number of processors is taken to stay what it is.
const PROCESSORS_LAST: u32 = 5;
/// Decisions that are remembered.
const MOST_DECISIONS: usize = 64;

/// Why a runtime can have no tuner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    NoWatch,
    Pinned,
    NotTold,
}

impl Obstacle {
    pub(crate) fn find(workers: usize, watch: bool, pinned: bool) -> Option<Obstacle> {
        if pinned {
            Some(Obstacle::Pinned)
        } else if !watch && workers > 1 {
            Some(Obstacle::NoWatch)
        } else {
            None
        }
    }

    /// The error that an obstacle is, or that the system tells too little.
    pub(crate) fn check(obstacle: Option<Obstacle>) -> io::Result<()> {
        let not_told = || (!are_delays_told()).then_some(Obstacle::NotTold);
        let Some(obstacle) = obstacle.or_else(not_told) else {
            return Ok(());
        };
        let (kind, message) = match obstacle {
            Obstacle::NoWatch => (
                io::ErrorKind::InvalidInput,
                "a tuner needs the watch for stalls, which is turned off",
            ),
            Obstacle::Pinned => (
                io::ErrorKind::InvalidInput,
                "a tuner can not choose among workers that are pinned to processors",
            ),
            Obstacle::NotTold => (
                io::ErrorKind::Unsupported,
                "the system does not tell a tuner how long threads wait for a processor",
            ),
        };
        Err(io::Error::new(kind, message))
    }
}

/// A runtime's tuner, on or off.
#[derive(Debug)]
pub(crate) struct Tuner {
    obstacle: Option<Obstacle>,
    /// Written under the state's lock.
    is_on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    governor: Governor,
    before: Option<(Instant, Vec<WorkerTimes>)>,
    processors: usize,
    processors_last: u32,
    decisions: VecDeque<Decision>,
}

/// Workers that are to be woken once no lock is held.
type Woken = Range<usize>;

/// What is read for a look, some of it from files.
struct Reading {
    times: Vec<WorkerTimes>,
    queued: usize,
    /// Read anew, if it was asked for.
    processors: Option<usize>,
}

impl Reading {
    fn take(shared: &Shared, with_processors: bool) -> Reading {
        let processors =
            || unpinned(std::thread::available_parallelism).map_or(usize::MAX, usize::from);
        Reading {
            times: shared.worker_times(),
            queued: shared.queued(),
            processors: with_processors.then(processors),
        }
    }
}

impl State {
    fn forget(&mut self) {
        self.governor = Governor::new();
        self.before = None;
        self.processors_last = 0;
    }

    fn apply(&mut self, shared: &Shared, now: Instant, to: usize, reason: Reason) -> Woken {
        let from = shared.active_workers();
        if from == to {
            return 0..0;
        }
        let woken = shared.set_active_workers(to);
        if self.decisions.len() == MOST_DECISIONS {
            self.decisions.pop_front();
        }
        self.decisions.push_back(Decision {
            at: now,
            what: Setting::ActiveWorkers,
            from,
            to,
            reason,
        });
        woken
    }

    fn decide(&mut self, shared: &Shared, now: Instant, figures: &Figures) -> Woken {
        match self.governor.look(figures) {
            Some((to, reason)) => self.apply(shared, now, to, reason),
            None => 0..0,
        }
    }

    /// A poll holds up its worker.
    fn stalled(&mut self, shared: &Shared, now: Instant) -> Woken {
        self.before = None;
        let all = shared.num_workers();
        if shared.active_workers() == all {
            return 0..0;
        }
        self.governor.lifted();
        self.apply(shared, now, all, Reason::Stalled)
    }

    /// Whether it is time for a look.
    fn is_due(&self, now: Instant) -> bool {
        let passed = |&(at, _): &(Instant, _)| now.saturating_duration_since(at);
        self.before
            .as_ref()
            .map(passed)
            .is_none_or(|passed| passed >= INTERVAL)
    }

    /// What the workers did since the last reading, if that can be told.
    fn figures(&mut self, shared: &Shared, now: Instant, reading: Reading) -> Option<Figures> {
        if let Some(processors) = reading.processors {
            self.processors = processors;
            self.processors_last = PROCESSORS_LAST;
        }
        self.processors_last = self.processors_last.saturating_sub(1);
        let before = self.before.replace((now, reading.times));
        let (since, before) = before?;
        let (_, times) = self.before.as_ref()?;
        // The number has changed: of one that was let in there is nothing to compare with.
        if before.len() != times.len() || times.len() != shared.active_workers() {
            return None;
        }
        let mut figures = Figures {
            active: times.len(),
            workers: shared.num_workers(),
            processors: self.processors,
            passed: now.saturating_duration_since(since),
            ran: Duration::ZERO,
            delayed: Duration::ZERO,
            awake: Duration::ZERO,
            queued: reading.queued,
        };
        for (now, before) in times.iter().zip(&before) {
            // A worker that has moved to another thread begins anew.
            let did = now.since(before)?;
            figures.ran += did.ran;
            figures.delayed += did.delayed;
            figures.awake += did.awake;
        }
        Some(figures)
    }
}

impl Tuner {
    pub(crate) fn new(on: bool, obstacle: Option<Obstacle>) -> Tuner {
        Tuner {
            obstacle,
            is_on: AtomicBool::new(on),
            state: Mutex::new(State {
                governor: Governor::new(),
                before: None,
                processors: 0,
                processors_last: 0,
                decisions: VecDeque::new(),
            }),
        }
    }

    #[inline]
    fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Called by the watch at each look, and by nobody else. `stalled`: a poll was overdue lately.
    #[inline]
    pub(crate) fn look(&self, shared: &Shared, now: Instant, stalled: bool) {
        if self.is_on() {
            self.consider(shared, now, stalled);
        }
    }

    #[cold]
    fn consider(&self, shared: &Shared, now: Instant, stalled: bool) {
        if stalled {
            self.act(shared, |state| state.stalled(shared, now));
            return;
        }
        let with_processors = {
            let state = self.state.lock();
            if !state.is_due(now) {
                return;
            }
            state.processors_last == 0
        };
        // Files are read while nobody waits for the lock.
        let reading = Reading::take(shared, with_processors);
        self.act(shared, |state| match state.figures(shared, now, reading) {
            Some(figures) => state.decide(shared, now, &figures),
            None => 0..0,
        });
    }

    /// Changes the state unless it was turned off meanwhile, and wakes whom that concerns.
    fn act(&self, shared: &Shared, change: impl FnOnce(&mut State) -> Woken) {
        let mut state = self.state.lock();
        if !self.is_on() {
            return;
        }
        let woken = change(&mut state);
        drop(state);
        shared.wake_all(woken);
    }

    /// Acts on figures that somebody else made up.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn feed(&self, shared: &Shared, figures: &Figures) {
        let woken = self.state.lock().decide(shared, Instant::now(), figures);
        shared.wake_all(woken);
    }

    /// Turns it on or off. Off: all workers take part.
    pub(crate) fn set(&self, shared: &Shared, on: bool) -> io::Result<()> {
        if on {
            Obstacle::check(self.obstacle)?;
        }
        let mut state = self.state.lock();
        if self.is_on() == on {
            return Ok(());
        }
        self.is_on.store(on, Ordering::Relaxed);
        state.forget();
        let woken = if on {
            0..0
        } else {
            let all = shared.num_workers();
            state.apply(shared, Instant::now(), all, Reason::TurnedOff)
        };
        drop(state);
        shared.wake_all(woken);
        Ok(())
    }

    pub(crate) fn report(&self, shared: &Shared) -> Tuning {
        let state = self.state.lock();
        Tuning {
            on: self.is_on(),
            active_workers: shared.active_workers(),
            workers: shared.num_workers(),
            decisions: state.decisions.iter().cloned().collect(),
        }
    }
}
