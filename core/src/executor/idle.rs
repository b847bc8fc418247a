//! Who sleeps and who searches: the word of `README.md`.

use crate::shim::sync::atomic::{AtomicU64, Ordering, fence};
use crossbeam_utils::CachePadded;

/// Workers to a word.
const GROUP: usize = 48;
const SEARCHER: u64 = 1 << GROUP;
const SLEEPERS: u64 = SEARCHER - 1;

/// The words of all groups.
#[derive(Debug)]
pub(super) struct Idle {
    groups: Box<[CachePadded<AtomicU64>]>,
    /// Who sleeps [aside](super::crew), by group and bit as above.
    aside: Box<[AtomicU64]>,
    workers: usize,
}

/// What a worker finds when it has announced its sleep.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sleep {
    /// A searcher is about: it answers for work published before.
    Park,
    /// Nobody else would: look at the queues once more before parking.
    LookFirst,
}

impl Idle {
    pub(super) fn new(workers: usize) -> Idle {
        let groups = workers.div_ceil(GROUP);
        Idle {
            groups: (0..groups)
                .map(|_| CachePadded::new(AtomicU64::new(0)))
                .collect(),
            aside: (0..groups).map(|_| AtomicU64::new(0)).collect(),
            workers,
        }
    }

    fn group(&self, worker: usize) -> (&AtomicU64, u64) {
        (&self.groups[worker / GROUP], 1 << (worker % GROUP))
    }

    /// Chooses a sleeper to wake for work that has just been published, and counts it as
    /// searching. `None` if somebody is searching, or nobody sleeps.
    ///
    /// `near` is a worker whose group is asked first.
    #[inline]
    pub(super) fn claim_sleeper(&self, near: usize) -> Option<usize> {
        fence(Ordering::SeqCst);
        // Nearly every runtime has one group, and nearly every time there is nobody to wake.
        if let [only] = &*self.groups {
            let now = only.load(Ordering::SeqCst);
            if now == 0 || now >= SEARCHER {
                return None;
            }
        }
        self.claim(near)
    }

    fn claim(&self, near: usize) -> Option<usize> {
        let first = near / GROUP;
        for i in 0..self.groups.len() {
            let group = (first + i) % self.groups.len();
            let word = &self.groups[group];
            let mut now = word.load(Ordering::SeqCst);
            loop {
                if now >= SEARCHER {
                    return None;
                }
                if now == 0 {
                    break;
                }
                let bit = now & now.wrapping_neg();
                match word.compare_exchange_weak(
                    now,
                    (now ^ bit) + SEARCHER,
                    Ordering::SeqCst,
                    Ordering::SeqCst,
                ) {
                    Ok(_) => return Some(group * GROUP + bit.trailing_zeros() as usize),
                    Err(actual) => now = actual,
                }
            }
        }
        None
    }

    /// Begins a search, unless half of the group's workers search already.
    pub(super) fn try_search(&self, worker: usize) -> bool {
        let (word, _) = self.group(worker);
        let members = (self.workers - worker / GROUP * GROUP).min(GROUP) as u64;
        if 2 * (word.load(Ordering::SeqCst) / SEARCHER) >= members {
            return false;
        }
        word.fetch_add(SEARCHER, Ordering::SeqCst);
        true
    }

    /// Ends a search that found something. `true`: it was the last one, and the caller answers for
    /// work that was published meanwhile.
    #[must_use]
    pub(super) fn end_search(&self, worker: usize) -> bool {
        let (word, _) = self.group(worker);
        let before = word.fetch_sub(SEARCHER, Ordering::SeqCst);
        debug_assert!(before >= SEARCHER, "a search ended that was not counted");
        fence(Ordering::SeqCst);
        before / SEARCHER == 1
    }

    /// Announces that `worker` goes to sleep.
    pub(super) fn sleep(&self, worker: usize, searching: bool) -> Sleep {
        let (word, bit) = self.group(worker);
        let change = if searching {
            bit.wrapping_sub(SEARCHER)
        } else {
            bit
        };
        let after = word
            .fetch_add(change, Ordering::SeqCst)
            .wrapping_add(change);
        fence(Ordering::SeqCst);
        if after >= SEARCHER {
            Sleep::Park
        } else {
            Sleep::LookFirst
        }
    }

    /// Takes `worker` back from its sleep and counts it as searching, which it is already if
    /// somebody claimed it meanwhile.
    pub(super) fn sleep_to_search(&self, worker: usize) {
        let (word, bit) = self.group(worker);
        let mut now = word.load(Ordering::SeqCst);
        while now & bit != 0 {
            match word.compare_exchange_weak(
                now,
                (now ^ bit) + SEARCHER,
                Ordering::SeqCst,
                Ordering::SeqCst,
            ) {
                Ok(_) => return,
                Err(actual) => now = actual,
            }
        }
    }

    /// Whether every worker sleeps, none of them claimed. Those aside count as asleep.
    pub(super) fn all_asleep(&self) -> bool {
        self.groups.iter().enumerate().all(|(group, word)| {
            let members = (self.workers - group * GROUP).min(GROUP) as u32;
            let now = word.load(Ordering::SeqCst);
            if now >= SEARCHER {
                return false;
            }
            let awake = members - now.count_ones();
            awake == 0 || {
                let aside = self.aside[group].load(Ordering::SeqCst);
                (now | aside).count_ones() == members
            }
        })
    }

    /// `worker` sleeps aside from now on: it is awake and does not search, as far as the word goes.
    pub(super) fn step_aside(&self, worker: usize) {
        let (_, bit) = self.group(worker);
        self.aside[worker / GROUP].fetch_or(bit, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn is_aside(&self, worker: usize) -> bool {
        let (_, bit) = self.group(worker);
        self.aside[worker / GROUP].load(Ordering::SeqCst) & bit != 0
    }

    /// `worker` is awake.
    pub(super) fn come_back(&self, worker: usize) {
        let (_, bit) = self.group(worker);
        self.aside[worker / GROUP].fetch_and(!bit, Ordering::SeqCst);
    }

    /// For whoever has given something up that one of the sleepers is to have: chooses one if all
    /// sleep. A worker that sleeps later finds what was given up.
    pub(super) fn claim_if_all_sleep(&self) -> Option<usize> {
        fence(Ordering::SeqCst);
        if self.all_asleep() {
            self.claim_sleeper(0)
        } else {
            None
        }
    }

    /// Whether `worker` sleeps, and nobody has claimed it.
    pub(super) fn is_asleep(&self, worker: usize) -> bool {
        let (word, bit) = self.group(worker);
        let aside = &self.aside[worker / GROUP];
        (word.load(Ordering::Relaxed) | aside.load(Ordering::Relaxed)) & bit != 0
    }

    /// `worker` is awake. `true`: it was claimed, and is counted as searching.
    #[must_use]
    pub(super) fn wake(&self, worker: usize) -> bool {
        let (word, bit) = self.group(worker);
        word.fetch_and(!bit, Ordering::SeqCst) & bit == 0
    }

    /// Whether somebody of `worker`'s group sleeps whom it could wake. It may be old.
    pub(super) fn can_claim(&self, worker: usize) -> bool {
        let (word, _) = self.group(worker);
        let now = word.load(Ordering::Relaxed);
        now != 0 && now < SEARCHER
    }

    /// How many workers sleep. A figure for observers: it may be old.
    pub(super) fn sleepers(&self) -> usize {
        let groups = self.groups.iter().zip(&self.aside);
        groups
            .map(|(word, aside)| {
                let asleep = word.load(Ordering::Relaxed) & SLEEPERS;
                (asleep | aside.load(Ordering::Relaxed)).count_ones() as usize
            })
            .sum()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_claimed_while_all_are_awake() {
        assert_eq!(Idle::new(4).claim_sleeper(0), None);
    }

    #[test]
    fn one_claim_at_a_time() {
        let idle = Idle::new(4);
        assert_eq!(idle.sleep(2, false), Sleep::LookFirst);
        assert_eq!(idle.sleep(3, false), Sleep::LookFirst);
        assert_eq!(idle.claim_sleeper(0), Some(2));
        assert_eq!(idle.claim_sleeper(0), None, "worker 2 is searching");
        assert!(idle.wake(2));
        assert!(idle.end_search(2));
        assert_eq!(idle.claim_sleeper(0), Some(3));
        assert_eq!(idle.sleepers(), 0);
    }

    #[test]
    fn half_of_the_workers_may_search() {
        let idle = Idle::new(4);
        assert!(idle.try_search(0));
        assert!(idle.try_search(1));
        assert!(!idle.try_search(2));
        assert!(!idle.end_search(0));
        assert!(idle.try_search(2));
    }

    #[test]
    fn lone_worker_may_search() {
        assert!(Idle::new(1).try_search(0));
    }

    #[test]
    fn last_searcher_looks_before_it_parks() {
        let idle = Idle::new(4);
        assert!(idle.try_search(0) && idle.try_search(1));
        assert_eq!(idle.sleep(0, true), Sleep::Park);
        assert_eq!(idle.sleep(1, true), Sleep::LookFirst);
    }

    #[test]
    fn sleeper_that_woke_by_itself_is_not_searching() {
        let idle = Idle::new(2);
        assert_eq!(idle.sleep(0, false), Sleep::LookFirst);
        assert!(!idle.wake(0));
        assert_eq!(idle.claim_sleeper(1), None);
    }

    #[test]
    fn every_group_can_be_claimed() {
        let idle = Idle::new(100);
        for worker in [0, 47, 48, 99] {
            assert_eq!(idle.sleep(worker, false), Sleep::LookFirst);
            assert_eq!(idle.claim_sleeper(10), Some(worker));
            assert!(idle.wake(worker) && idle.end_search(worker));
        }
    }

    #[test]
    fn all_are_asleep_when_every_group_is() {
        let idle = Idle::new(50);
        for worker in 0..50 {
            assert!(!idle.all_asleep());
            let _ = idle.sleep(worker, false);
        }
        assert!(idle.all_asleep());
        assert!(idle.claim_sleeper(49).is_some());
        assert!(!idle.all_asleep());
    }

    #[test]
    fn worker_aside_is_asleep_but_nobody_claims_it() {
        let idle = Idle::new(2);
        idle.step_aside(1);
        assert_eq!(idle.claim_sleeper(0), None);
        assert!(idle.is_asleep(1) && !idle.all_asleep());
        assert_eq!(idle.sleep(0, false), Sleep::LookFirst);
        assert!(idle.all_asleep());
        assert_eq!(idle.sleepers(), 2);
        assert_eq!(idle.claim_if_all_sleep(), Some(0));
        assert!(!idle.all_asleep(), "worker 0 is searching");
        idle.come_back(1);
        assert!(!idle.is_asleep(1));
    }

    #[test]
    fn small_last_group_may_search() {
        let idle = Idle::new(49);
        assert!(idle.try_search(48));
        assert!(!idle.try_search(48));
    }
}
