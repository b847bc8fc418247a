//! The tuner: it looks at figures now and then, and acts on what [`decide`](super::decide) makes of them.
//!
//! It has no thread: the runtime's watch calls it at each of its looks (every 20 ms while workers are at
//! work, up to 250 ms apart while they hardly wake, never while all sleep), and it reads the figures if
//! [`INTERVAL`] has gone by. While it is off that is one load for each of those looks.

use super::decide::{Figures, Governor};
use super::{Decision, Reason, Setting, Tuning};
use crate::executor::{Shared, WorkerTimes, are_delays_told};
use crate::shim::sync::Mutex;
use crate::topology::unpinned;
use std::collections::VecDeque;
use std::io;
use std::sync::OnceLock;
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
    /// Set once, when the runtime begins.
    obstacle: OnceLock<Obstacle>,
    /// A copy of the state's, for the watch.
    is_on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    on: bool,
    governor: Governor,
    before: Option<(Instant, Vec<WorkerTimes>)>,
    processors: usize,
    processors_last: u32,
    decisions: VecDeque<Decision>,
}

impl State {
    fn forget(&mut self) {
        self.governor = Governor::new();
        self.before = None;
        self.processors_last = 0;
    }

    fn apply(&mut self, shared: &Shared, now: Instant, to: usize, reason: Reason) {
        let from = shared.active_workers();
        if from == to {
            return;
        }
        shared.set_active_workers(to);
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
    }

    fn processors(&mut self) -> usize {
        if self.processors_last == 0 {
            self.processors_last = PROCESSORS_LAST;
            self.processors =
                unpinned(std::thread::available_parallelism).map_or(usize::MAX, usize::from);
        }
        self.processors_last -= 1;
        self.processors
    }

    /// What the workers did since the last call, if that is long enough ago.
    fn figures(&mut self, shared: &Shared, now: Instant) -> Option<Figures> {
        let since = self.before.as_ref().map(|&(at, _)| at);
        let passed = since.map(|since| now.saturating_duration_since(since));
        if passed.is_some_and(|passed| passed < INTERVAL) {
            return None;
        }
        let times = shared.worker_times();
        let before = self.before.replace((now, times));
        let (passed, before) = (passed?, before?.1);
        let (_, times) = self.before.as_ref()?;
        let mut figures = Figures {
            active: shared.active_workers(),
            workers: shared.num_workers(),
            processors: 0,
            passed,
            ran: Duration::ZERO,
            delayed: Duration::ZERO,
            awake: Duration::ZERO,
            queued: shared.queued(),
        };
        for (now, before) in times.iter().zip(&before).take(figures.active) {
            // A worker that has moved to another thread begins anew, and so does one that was let in.
            let did = now.since(before)?;
            figures.ran += did.ran;
            figures.delayed += did.delayed;
            figures.awake += did.awake;
        }
        figures.processors = self.processors();
        Some(figures)
    }
}

impl Tuner {
    /// It is off.
    pub(crate) fn new() -> Tuner {
        Tuner {
            obstacle: OnceLock::new(),
            is_on: AtomicBool::new(false),
            state: Mutex::new(State {
                on: false,
                governor: Governor::new(),
                before: None,
                processors: 0,
                processors_last: 0,
                decisions: VecDeque::new(),
            }),
        }
    }

    /// The runtime begins, with the tuner on or off.
    pub(crate) fn begin(&self, on: bool, obstacle: Option<Obstacle>) {
        if let Some(obstacle) = obstacle {
            let _ = self.obstacle.set(obstacle);
        }
        self.state.lock().on = on;
        self.is_on.store(on, Ordering::Relaxed);
    }

    /// Called by the watch at each look. `stalled`: a poll was overdue lately.
    #[inline]
    pub(crate) fn look(&self, shared: &Shared, now: Instant, stalled: bool) {
        if self.is_on.load(Ordering::Relaxed) {
            self.consider(shared, now, stalled);
        }
    }

    #[cold]
    fn consider(&self, shared: &Shared, now: Instant, stalled: bool) {
        let mut state = self.state.lock();
        if !state.on {
            return;
        }
        if stalled {
            let all = shared.num_workers();
            if shared.active_workers() < all {
                state.governor.lifted();
                state.apply(shared, now, all, Reason::Stalled);
            }
            state.before = None;
            return;
        }
        if let Some(figures) = state.figures(shared, now) {
            decide(&mut state, shared, now, &figures);
        }
    }

    /// Acts on figures that somebody else made up.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn feed(&self, shared: &Shared, figures: &Figures) {
        decide(&mut self.state.lock(), shared, Instant::now(), figures);
    }

    /// Turns it on or off. Off: all workers take part.
    pub(crate) fn set(&self, shared: &Shared, on: bool) -> io::Result<()> {
        if on {
            Obstacle::check(self.obstacle.get().copied())?;
        }
        let mut state = self.state.lock();
        if state.on == on {
            return Ok(());
        }
        state.on = on;
        state.forget();
        self.is_on.store(on, Ordering::Relaxed);
        if !on {
            let all = shared.num_workers();
            state.apply(shared, Instant::now(), all, Reason::TurnedOff);
        }
        Ok(())
    }

    pub(crate) fn report(&self, shared: &Shared) -> Tuning {
        let state = self.state.lock();
        Tuning {
            on: state.on,
            active_workers: shared.active_workers(),
            workers: shared.num_workers(),
            decisions: state.decisions.iter().cloned().collect(),
        }
    }
}

fn decide(state: &mut State, shared: &Shared, now: Instant, figures: &Figures) {
    if let Some((to, reason)) = state.governor.look(figures) {
        state.apply(shared, now, to, reason);
    }
}
