//! Which picks go to those that wait, rather than to the best.
//!
//! Every `interval`-th pick is such a turn. The classes that hold anything have these turns one
//! after the other, and so, inside a class, have the queues that hold anything of it; the oldest
//! of that class in that queue is taken. So one that waits in a queue with `p` older ones of its
//! class is taken within `interval * CLASSES * queues * (p + 1)` picks, whatever else comes: with
//! each turn of its queue the older ones get fewer, and younger ones do not go before it.

use super::priority_queue::CLASSES;
use std::cell::Cell;

/// The turns of one worker.
#[derive(Debug)]
pub(crate) struct Ageing {
    interval: u32,
    picks: Cell<u32>,
    /// The class that had the last turn.
    class: Cell<usize>,
    /// The queue that had the last turn of each class.
    queues: [Cell<u32>; CLASSES],
}

impl Ageing {
    pub(crate) fn new(interval: u32) -> Ageing {
        Ageing {
            interval,
            picks: Cell::new(0),
            class: Cell::new(0),
            queues: std::array::from_fn(|_| Cell::new(0)),
        }
    }

    /// Counts a pick. `true`: it is a turn of those that wait.
    pub(super) fn is_turn(&self) -> bool {
        let picks = self.picks.get() + 1;
        let turn = picks >= self.interval;
        self.picks.set(if turn { 0 } else { picks });
        turn
    }

    /// The class and the queue whose turn it is. `held` has a bit for each queue that holds something
    /// of a class.
    pub(super) fn turn(&self, held: impl Fn(usize) -> u64) -> Option<(usize, u32)> {
        let (class, queues) = (1..=CLASSES)
            .map(|i| (self.class.get() + i) % CLASSES)
            .map(|class| (class, held(class)))
            .find(|(_, queues)| *queues != 0)?;
        let queue = next_after(queues, self.queues[class].get());
        self.class.set(class);
        self.queues[class].set(queue);
        Some((class, queue))
    }
}

/// The first bit of `word`, which is not zero, above `bit`; from the lowest on again if there is none.
pub(super) fn next_after(word: u64, bit: u32) -> u32 {
    let above = word & u64::MAX.checked_shl(bit + 1).unwrap_or(0);
    if above == 0 { word } else { above }.trailing_zeros()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_nth_pick_is_a_turn() {
        let ageing = Ageing::new(4);
        let turns: Vec<_> = (1..=12).filter(|_| ageing.is_turn()).collect();
        assert_eq!(turns.len(), 3);
        let ageing = Ageing::new(4);
        let first = (1..=12).find(|_| ageing.is_turn());
        assert_eq!(first, Some(4));
    }

    #[test]
    fn next_bit_wraps_around() {
        assert_eq!(next_after(0b1010, 1), 3);
        assert_eq!(next_after(0b1010, 3), 1);
        assert_eq!(next_after(1 << 63, 63), 63);
        assert_eq!(next_after(1, 63), 0);
    }

    #[test]
    fn each_queue_of_each_class_has_its_turn_whatever_else_comes() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let ageing = Ageing::new(2);
            let (class, queue) = (random.usize(..CLASSES), random.u32(..64));
            let waits = |other: u64, of: usize| other | if of == class { 1 << queue } else { 0 };
            let queues = 8;
            let mut turns = 0;
            loop {
                turns += 1;
                // Up to seven other queues, others each time.
                let other = (0..queues - 1).fold(0, |word, _| word | 1 << random.u32(..8));
                if ageing.turn(|of| waits(other, of)) == Some((class, queue)) {
                    break;
                }
                assert!(turns <= CLASSES * 9, "seed {seed}: no turn in {turns}");
            }
        }
    }

    #[test]
    fn nobody_waits_and_nobody_has_a_turn() {
        assert_eq!(Ageing::new(2).turn(|_| 0), None);
    }
}
