//! Whether a worker lingers: looks at the reactor for a while before it sleeps in it.
//!
//! Two threads that send each other messages sleep and wake in turn. Where an idle processor falls
//! asleep deeply, as in most virtual machines, each wake costs whoever makes it a trip to the hypervisor,
//! and the one that is woken as much again: tens of microseconds for a message of three. A worker that
//! lingers spares the other side that trip, and is answered so soon that the other side's processor
//! has not fallen asleep either. But a wait that lingers costs the processor's time that it lasts, and
//! where processors wake quickly, or nobody answers soon, it would be wasted.
//!
//! So nothing is assumed: a worker *measures*. What counts is the CPU time of its thread for each poll of
//! a task, by the thread's own clock, over [`TRIAL`] waits of either kind:
//!
//! | from | to | when |
//! |---|---|---|
//! | resting | sleeping, measured | many near waits came in a row |
//! | sleeping, measured | lingering, measured | a sleep is dear, and polls are few |
//! | lingering, measured | lingering | that was not dearer, or little |
//! | lingering | sleeping, measured | its term is over |
//! | each of the others | resting | otherwise, and after a few misses |
//!
//! - A wait is *near* if one event ended it, alone, within [`NEAR`]: one peer that answers soon. A runtime
//!   that has more to do, or less, or that waits for timers or threads, never has many of these in a
//!   row, and is not measured at all.
//! - Lingering may cost a quarter more than sleeping: the other side saves as much again. If it costs more
//!   than that, or ends with misses, twice as many near waits are needed before it is tried again, up to
//!   [`MOST_NEEDED`]: so trials in vain are a small part of all waits.
//! - Else the worker lingers for a term of waits, and then both are measured again; terms grow as long as
//!   it wins.
//! - A wait that is not near is a *miss*, and so is one in which the thread gave its processor to another
//!   one: then others have a use for it. Few misses end the lingering.
//! - Where a wait is followed by more than two polls it is the polls that cost. There it is not tried, and
//!   neither is it where a sleep is cheap.
//!
//! It lingers only if all other workers sleep: so one of a runtime's workers does, and none while others
//! have work.
//!
//! While it lingers a worker is among the sleepers and holds the reactor, as in its sleep, but its parker
//! is empty. **The race to prevent**: it sleeps although it was unparked while it lingered. An unpark leaves
//! its mark in the parker, where each look finds it, and if none does, the step into the sleep: see
//! [`Parker`](super::parker::Parker). And as nobody sleeps in the reactor yet, that unpark writes to no eventfd.

use std::cell::Cell;
use std::time::Duration;

/// How long a worker lingers at most. Longer than two wakes in a row of the slowest machines.
pub(super) const NEAR: Duration = Duration::from_micros(100);
/// A poll with its sleep that costs less, in nanoseconds, is not worth a try.
const CHEAP: u64 = 10_000;
/// Waits to a measurement.
const TRIAL: u32 = 128;
/// Near waits before the first trial, and before one after many in vain.
const NEEDED: u32 = 64;
const MOST_NEEDED: u32 = 1 << 12;
/// Waits between two measurements, at first and at last.
const TERM: u32 = 1 << 10;
const LONGEST_TERM: u32 = 1 << 14;
/// What a miss counts; each wait that is near takes one off.
const MISS: u32 = 4;
const MOST_MISSES: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Sleeps, and waits for a reason to try something else.
    Resting,
    /// Sleeps, and measures.
    Sleeping,
    /// Lingers, and measures.
    Trying,
    /// Lingers.
    Lingering,
}

use Phase::{Lingering, Resting, Sleeping, Trying};

/// What a worker has used when a measurement begins.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    cpu: Duration,
    polls: u64,
}

/// A worker's mind on the matter.
#[derive(Debug)]
pub(super) struct Linger {
    phase: Cell<Phase>,
    /// Near waits in a row if resting, else waits that are left of the phase.
    waits: Cell<u32>,
    misses: Cell<u32>,
    needed: Cell<u32>,
    term: Cell<u32>,
    since: Cell<Account>,
    /// Nanoseconds of CPU time for a poll, measured asleep.
    asleep: Cell<u64>,
}

impl Linger {
    pub(super) fn new() -> Linger {
        Linger {
            phase: Cell::new(Resting),
            waits: Cell::new(0),
            misses: Cell::new(0),
            needed: Cell::new(NEEDED),
            term: Cell::new(TERM),
            since: Cell::new(Account::default()),
            asleep: Cell::new(0),
        }
    }

    #[cfg(test)]
    pub(super) fn linger(&self) {
        self.enter(Lingering, TERM, Account::default());
    }

    /// Begins anew, on another thread whose clock is another one.
    pub(super) fn rest(&self) {
        self.phase.set(Resting);
        self.waits.set(0);
    }

    /// Whether the next wait is to linger.
    pub(super) fn lingers(&self) -> bool {
        matches!(self.phase.get(), Trying | Lingering)
    }

    /// A wait in the reactor of this length is over, awake if the worker [`lingers`](Self::lingers) and
    /// `alone` if one event ended it and nothing else. `polls` is how many the worker has done in all.
    pub(super) fn waited(
        &self,
        alone: bool,
        length: Duration,
        polls: u64,
        cpu: impl FnOnce() -> Option<Duration>,
    ) {
        let near = alone && length <= NEAR;
        let waits = self.waits.get();
        if self.phase.get() == Resting {
            let waits = if near { waits + 1 } else { 0 };
            self.waits.set(waits);
            if waits >= self.needed.get() {
                self.enter(
                    Sleeping,
                    TRIAL,
                    Account {
                        cpu: cpu().unwrap_or_default(),
                        polls,
                    },
                );
            }
            return;
        }
        let misses = self.misses.get();
        self.misses.set(if near {
            misses.saturating_sub(1)
        } else {
            misses + MISS
        });
        if self.misses.get() > MOST_MISSES {
            return self.give_up();
        }
        self.waits.set(waits - 1);
        if waits == 1 {
            self.measured(polls, cpu());
        }
    }

    fn enter(&self, phase: Phase, waits: u32, account: Account) {
        self.phase.set(phase);
        self.waits.set(waits);
        self.misses.set(0);
        self.since.set(account);
    }

    #[cold]
    fn give_up(&self) {
        if self.lingers() {
            self.needed.set((self.needed.get() * 2).min(MOST_NEEDED));
        }
        self.term.set(TERM);
        self.rest();
    }

    /// A phase has lasted as many waits as it should.
    #[cold]
    fn measured(&self, polls: u64, cpu: Option<Duration>) {
        // Without a clock there is nothing to judge by.
        let Some(cpu) = cpu else {
            return self.give_up();
        };
        let account = Account { cpu, polls };
        let since = self.since.get();
        let polled = polls.wrapping_sub(since.polls).max(1);
        let cost = cpu.saturating_sub(since.cpu).as_nanos() as u64 / polled;
        match self.phase.get() {
            Sleeping if polled > u64::from(2 * TRIAL) => self.give_up(),
            Sleeping if cost < CHEAP => self.rest(),
            Sleeping => {
                self.asleep.set(cost);
                self.enter(Trying, TRIAL, account);
            }
            Trying if cost > self.asleep.get() * 5 / 4 => self.give_up(),
            Trying => {
                let term = self.term.get();
                self.needed.set(NEEDED);
                self.term.set((term * 2).min(LONGEST_TERM));
                self.enter(Lingering, term, account);
            }
            Lingering | Resting => self.enter(Sleeping, TRIAL, account),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_micros(30);

    /// A worker that waits and polls, and what its processor's clock says.
    struct Bench {
        linger: Linger,
        polls: u64,
        cpu: Duration,
        /// What a poll and its wait cost, asleep and awake.
        costs: (u64, u64),
    }

    impl Bench {
        fn new(asleep: u64, awake: u64) -> Bench {
            Bench {
                linger: Linger::new(),
                polls: 0,
                cpu: Duration::ZERO,
                costs: (asleep, awake),
            }
        }

        fn wait(&mut self, alone: bool, length: Duration) {
            let (asleep, awake) = self.costs;
            let cost = if self.linger.lingers() { awake } else { asleep };
            self.polls += 1;
            self.cpu += Duration::from_nanos(cost);
            let cpu = self.cpu;
            self.linger.waited(alone, length, self.polls, || Some(cpu));
        }

        /// Near waits until the phase is another one: how many, up to a limit.
        fn until_it_changes(&mut self) -> u32 {
            let phase = self.linger.phase.get();
            let mut waits = 0;
            while self.linger.phase.get() == phase && waits < 100_000 {
                self.wait(true, SOON);
                waits += 1;
            }
            waits
        }
    }

    #[test]
    fn a_worker_that_is_answered_soon_lingers_if_that_is_little_dearer() {
        let mut bench = Bench::new(30_000, 37_000);
        assert_eq!(bench.until_it_changes(), NEEDED);
        assert_eq!(bench.linger.phase.get(), Sleeping);
        assert_eq!(bench.until_it_changes(), TRIAL);
        assert_eq!(bench.linger.phase.get(), Trying);
        assert_eq!(bench.until_it_changes(), TRIAL);
        assert_eq!(bench.linger.phase.get(), Lingering);
        assert_eq!(bench.until_it_changes(), TERM);
        assert_eq!(bench.linger.phase.get(), Sleeping, "measured again");
    }

    #[test]
    fn a_term_grows_while_lingering_wins_up_to_a_limit() {
        let mut bench = Bench::new(30_000, 20_000);
        let mut longest = 0;
        for _ in 0..40 {
            let lingering = bench.linger.phase.get() == Lingering;
            let waits = bench.until_it_changes();
            if lingering {
                assert!(waits >= longest);
                longest = waits;
            }
        }
        assert_eq!(longest, LONGEST_TERM);
    }

    #[test]
    fn a_trial_in_vain_makes_the_next_one_rarer() {
        let mut bench = Bench::new(30_000, 38_000);
        for trial in 0..10 {
            let needed = (NEEDED << trial).min(MOST_NEEDED);
            assert_eq!(bench.until_it_changes(), needed);
            assert_eq!(bench.until_it_changes(), TRIAL);
            assert_eq!(bench.linger.phase.get(), Trying);
            assert_eq!(bench.until_it_changes(), TRIAL);
            assert_eq!(bench.linger.phase.get(), Resting);
        }
    }

    #[test]
    fn nothing_is_tried_where_sleep_is_cheap_or_polls_are_many() {
        let mut bench = Bench::new(CHEAP - 1, 1);
        bench.until_it_changes();
        bench.until_it_changes();
        assert_eq!(bench.linger.phase.get(), Resting);

        let mut bench = Bench::new(30_000, 1);
        bench.until_it_changes();
        while bench.linger.phase.get() == Sleeping {
            bench.polls += 2;
            bench.wait(true, SOON);
        }
        assert_eq!(bench.linger.phase.get(), Resting);
    }

    #[test]
    fn several_events_and_long_waits_begin_nothing() {
        for (alone, length) in [(false, SOON), (true, NEAR * 2)] {
            let mut bench = Bench::new(30_000, 1);
            for _ in 0..100 {
                for _ in 1..NEEDED {
                    bench.wait(true, SOON);
                }
                bench.wait(alone, length);
            }
            assert_eq!(bench.linger.phase.get(), Resting);
        }
    }

    #[test]
    fn few_misses_end_the_lingering() {
        let mut bench = Bench::new(30_000, 20_000);
        while bench.linger.phase.get() != Lingering {
            bench.wait(true, SOON);
        }
        for _ in 0..MOST_MISSES / MISS {
            bench.wait(false, SOON);
            assert!(bench.linger.lingers());
        }
        bench.wait(false, SOON);
        assert_eq!(bench.linger.phase.get(), Resting);
    }

    #[test]
    fn without_a_clock_a_worker_sleeps() {
        let linger = Linger::new();
        for polls in 0..10_000 {
            linger.waited(true, SOON, polls, || None);
            assert!(!linger.lingers());
        }
    }
}
