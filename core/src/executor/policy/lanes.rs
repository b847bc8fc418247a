//! The queues of the priority policy: a lane for each worker, and how peers see what is in them.
//!
//! A lane is a [`PriorityQueue`] under a lock of its own. Lane 0 holds every item that has a
//! deadline, so that inside a class the earliest of the whole runtime comes first; an item without
//! goes to the lane of the worker that pushed it, or, from other threads, to each in turn. Beyond
//! [`WORKER_LANES`] workers several share a lane.
//!
//! For each class one word has a bit for each lane that holds an item of it. A bit is set and
//! cleared under its lane's lock, and only when the class becomes non-empty or empty: so the bits
//! are right whenever the lock is free, and lanes that stay full do not write them at all.
//!
//! A pick goes through the words from the highest class down and takes from lane 0, else from the
//! worker's own lane, else from the next one after it. An item that was pushed before the pick
//! began is seen by its bit: so a worker never takes an item while one of a higher class waits in
//! any lane. A bit may be gone by the time the lane is locked, when somebody else took the last
//! item; the pick then goes on to the other lanes and classes. It may come back with nothing only
//! if each bit that it saw was taken by somebody else.
//!
//! *Sleep.* [`Lanes::is_empty`] looks at the words. A push is complete when the lock is free, with
//! the bit set by it or by somebody before it under the same lock; the fence of `notify` comes after
//! that, and the proof in `executor/README.md` holds with the words in the place of the queues: a
//! look that comes after the fence sees the bit, or that it was cleared because the item was taken.

use super::ageing::{Ageing, next_after};
use super::priority_queue::{CLASSES, PriorityQueue};
use crate::shim::sync::Mutex;
use crate::shim::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crossbeam_utils::CachePadded;
use std::time::Instant;

/// Lanes for workers: one bit less than a word has.
const WORKER_LANES: usize = 63;
/// The lane of what has a deadline.
const DATED: u32 = 0;

pub(crate) struct Lanes<T> {
    lanes: Box<[CachePadded<Mutex<PriorityQueue<T>>>]>,
    held: CachePadded<[AtomicU64; CLASSES]>,
    /// Where the next item from outside goes.
    outside: CachePadded<AtomicUsize>,
}

/// What a pick came away with.
#[derive(Debug)]
pub(super) struct Taken<T> {
    pub(super) item: T,
    pub(super) class: usize,
    /// Whether it was in the lane of another worker.
    pub(super) stolen: bool,
}

impl<T> Lanes<T> {
    pub(super) fn new(workers: usize) -> Lanes<T> {
        let lanes = 1 + workers.clamp(1, WORKER_LANES);
        Lanes {
            lanes: (0..lanes)
                .map(|_| CachePadded::new(Mutex::new(PriorityQueue::new())))
                .collect(),
            held: CachePadded::new(std::array::from_fn(|_| AtomicU64::new(0))),
            outside: CachePadded::new(AtomicUsize::new(0)),
        }
    }

    fn home(&self, worker: usize) -> u32 {
        (1 + worker % (self.lanes.len() - 1)) as u32
    }

    /// Puts an item in the lane of `worker`, or in that of the deadlines. Returns how many the lane
    /// holds.
    pub(super) fn push(
        &self,
        worker: usize,
        class: usize,
        deadline: Option<Instant>,
        item: T,
    ) -> usize {
        let lane = match deadline {
            None => self.home(worker),
            Some(_) => DATED,
        };
        let mut queue = self.lanes[lane as usize].lock();
        if queue.is_class_empty(class) {
            self.held[class].fetch_or(1 << lane, Ordering::SeqCst);
        }
        queue.push(class, deadline, item);
        queue.len()
    }

    /// The worker whose lane takes the next item from outside.
    pub(super) fn next_outside(&self) -> usize {
        self.outside.fetch_add(1, Ordering::Relaxed) % (self.lanes.len() - 1)
    }

    /// Takes the item that is to run next on `worker`.
    pub(super) fn pick(&self, worker: usize, ageing: &Ageing) -> Option<Taken<T>> {
        let home = self.home(worker);
        let held = |class: usize| self.held[class].load(Ordering::SeqCst);
        if ageing.is_turn()
            && let Some((class, lane)) = ageing.turn(held)
            && let Some(taken) = self.take(class, lane, home, PriorityQueue::pop_oldest)
        {
            return Some(taken);
        }
        for class in 0..CLASSES {
            let mut lanes = held(class);
            while lanes != 0 {
                let lane = if lanes & 1 << DATED != 0 {
                    DATED
                } else if lanes & 1 << home != 0 {
                    home
                } else {
                    next_after(lanes, home)
                };
                let taken = self.take(class, lane, home, PriorityQueue::pop);
                if taken.is_some() {
                    return taken;
                }
                lanes &= !(1 << lane);
            }
        }
        None
    }

    fn take(
        &self,
        class: usize,
        lane: u32,
        home: u32,
        pop: fn(&mut PriorityQueue<T>, usize) -> Option<T>,
    ) -> Option<Taken<T>> {
        let mut queue = self.lanes[lane as usize].lock();
        let item = pop(&mut queue, class)?;
        if queue.is_class_empty(class) {
            self.held[class].fetch_and(!(1 << lane), Ordering::SeqCst);
        }
        Some(Taken {
            item,
            class,
            stolen: lane != home && lane != DATED,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held
            .iter()
            .all(|lanes| lanes.load(Ordering::SeqCst) == 0)
    }

    /// How many items the lane of `worker` holds.
    pub(super) fn len(&self, worker: usize) -> usize {
        self.lanes[self.home(worker) as usize].lock().len()
    }

    /// How many items with a deadline there are.
    pub(super) fn dated(&self) -> usize {
        self.lanes[DATED as usize].lock().len()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Never a turn for those that wait.
    fn ageless() -> Ageing {
        Ageing::new(u32::MAX)
    }

    fn picks<T>(lanes: &Lanes<T>, worker: usize, ageing: &Ageing) -> Vec<T> {
        std::iter::from_fn(|| lanes.pick(worker, ageing).map(|taken| taken.item)).collect()
    }

    #[test]
    fn best_class_of_all_lanes_is_taken_first() {
        let lanes = Lanes::new(3);
        lanes.push(0, 4, None, "own background");
        lanes.push(1, 1, None, "peer's high");
        lanes.push(2, 0, None, "peer's critical");
        lanes.push(0, 1, None, "own high");
        let order = picks(&lanes, 0, &ageless());
        assert_eq!(
            order,
            [
                "peer's critical",
                "own high",
                "peer's high",
                "own background"
            ]
        );
        assert!(lanes.is_empty());
    }

    #[test]
    fn earliest_deadline_of_all_workers_is_taken_first() {
        let lanes = Lanes::new(2);
        let start = Instant::now();
        let after = |ms| Some(start + Duration::from_millis(ms));
        lanes.push(0, 2, None, "no deadline");
        lanes.push(0, 2, after(30), "third");
        lanes.push(1, 2, after(10), "first");
        lanes.push(0, 2, after(20), "second");
        lanes.push(0, 3, after(1), "lower class");
        let order = picks(&lanes, 1, &ageless());
        assert_eq!(
            order,
            ["first", "second", "third", "no deadline", "lower class"]
        );
    }

    #[test]
    fn more_workers_than_lanes_share_them() {
        let lanes = Lanes::new(1_000);
        for worker in 0..1_000 {
            lanes.push(worker, worker % CLASSES, None, worker);
        }
        let mut all = picks(&lanes, 999, &ageless());
        all.sort_unstable();
        assert!(all.into_iter().eq(0..1_000));
        assert!(lanes.is_empty());
    }

    /// The bound of `ageing.rs`, at saturation: each pick is followed by a push of a higher class,
    /// with an earlier deadline, in every lane.
    #[test]
    fn waiting_item_is_taken_within_the_stated_number_of_picks() {
        const INTERVAL: u32 = 8;
        const WORKERS: usize = 4;
        let now = Instant::now();
        for class in 0..CLASSES {
            for deadline in [None, Some(now + Duration::from_secs(3_600))] {
                for older in [0, 5] {
                    let lanes = Lanes::new(WORKERS);
                    let storm = |pick: u32| {
                        for worker in 0..WORKERS {
                            for class in 0..CLASSES {
                                lanes.push(worker, class, None, pick);
                            }
                        }
                        for class in 0..CLASSES {
                            lanes.push(0, class, Some(now), pick);
                        }
                    };
                    for _ in 0..older {
                        lanes.push(1, class, deadline, 0);
                    }
                    lanes.push(1, class, deadline, u32::MAX);
                    let ageing = Ageing::new(INTERVAL);
                    let queues = WORKERS as u32 + 1;
                    let bound = INTERVAL * CLASSES as u32 * queues * (older + 1);
                    let taken = (1..=bound).find(|pick| {
                        storm(*pick);
                        lanes.pick(0, &ageing).unwrap().item == u32::MAX
                    });
                    assert!(
                        taken.is_some(),
                        "class {class}, {older} older: not in {bound}"
                    );
                    if class == CLASSES - 1 && older == 0 {
                        assert!(taken > Some(INTERVAL * 4), "nothing was in its way");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_lost_or_taken_twice_among_threads() {
        const EACH: usize = 20_000;
        let lanes = Lanes::new(2);
        let taken = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2)
                .map(|worker| {
                    let lanes = &lanes;
                    scope.spawn(move || {
                        let mut random = fastrand::Rng::with_seed(worker as u64);
                        let ageing = Ageing::new(4);
                        let mut taken = Vec::new();
                        for n in 0..EACH {
                            lanes.push(worker, random.usize(..CLASSES), None, worker * EACH + n);
                            if random.bool() {
                                taken.extend(lanes.pick(worker, &ageing));
                            }
                        }
                        taken.extend(std::iter::from_fn(|| lanes.pick(worker, &ageing)));
                        taken
                    })
                })
                .collect();
            let taken = threads.into_iter().map(|thread| thread.join().unwrap());
            taken.flatten().map(|taken| taken.item).collect::<Vec<_>>()
        });
        let mut all = taken;
        all.extend(picks(&lanes, 0, &ageless()));
        all.sort_unstable();
        assert!(all.into_iter().eq(0..2 * EACH));
        assert!(lanes.is_empty());
    }
}
