//! The queue of the priority policy: classes, and deadlines inside a class.
//!
//! A pure structure: it knows neither tasks nor threads.

use crate::task::Priority;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

/// Classes, numbered by [`Priority::rank`].
pub(super) const CLASSES: usize = Priority::COUNT;
/// Places that an empty class keeps for the next items.
const KEPT: usize = 256;

/// Items in classes. Inside a class those with a deadline come first, the earliest before the others
/// (Liu and Layland, JACM 1973), then those without, first in, first out.
///
/// Items with a deadline cost O(log n), others O(1).
#[derive(Debug)]
pub(super) struct PriorityQueue<T> {
    classes: [Class<T>; CLASSES],
    /// What the next item is numbered: the lower, the older.
    next: u64,
    len: usize,
}

#[derive(Debug)]
struct Class<T> {
    plain: VecDeque<(u64, T)>,
    /// By deadline, then by age.
    dated: BTreeMap<(Instant, u64), T>,
    /// The keys of `dated`, by age.
    ages: BTreeSet<(u64, Instant)>,
}

impl<T> PriorityQueue<T> {
    pub(super) fn new() -> PriorityQueue<T> {
        PriorityQueue {
            classes: std::array::from_fn(|_| Class {
                plain: VecDeque::new(),
                dated: BTreeMap::new(),
                ages: BTreeSet::new(),
            }),
            next: 0,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_class_empty(&self, class: usize) -> bool {
        let class = &self.classes[class];
        class.plain.is_empty() && class.dated.is_empty()
    }

    pub(super) fn push(&mut self, class: usize, deadline: Option<Instant>, item: T) {
        let number = self.next;
        self.next += 1;
        self.len += 1;
        let class = &mut self.classes[class];
        match deadline {
            None => class.plain.push_back((number, item)),
            Some(at) => {
                class.dated.insert((at, number), item);
                class.ages.insert((number, at));
            }
        }
    }

    /// Takes the item of the class that comes first.
    pub(super) fn pop(&mut self, class: usize) -> Option<T> {
        let class = &mut self.classes[class];
        let item = match class.dated.pop_first() {
            Some(((at, number), item)) => {
                class.ages.remove(&(number, at));
                item
            }
            None => class.pop_plain()?,
        };
        self.len -= 1;
        Some(item)
    }

    /// Takes the item of the class that was pushed first, whatever the deadlines are.
    pub(super) fn pop_oldest(&mut self, class: usize) -> Option<T> {
        let class = &mut self.classes[class];
        let plain = class.plain.front().map(|(number, _)| *number);
        let item = match class.ages.first().copied() {
            Some((number, at)) if plain.is_none_or(|plain| number < plain) => {
                class.ages.pop_first();
                class.dated.remove(&(at, number))?
            }
            _ => class.pop_plain()?,
        };
        self.len -= 1;
        Some(item)
    }
}

impl<T> Class<T> {
    fn pop_plain(&mut self) -> Option<T> {
        let (_, item) = self.plain.pop_front()?;
        if self.plain.is_empty() && self.plain.capacity() > KEPT {
            self.plain.shrink_to(KEPT);
        }
        Some(item)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A list in the order of arrival, searched from end to end.
    struct Naive(Vec<(usize, Option<Instant>, u32)>);

    impl Naive {
        fn pop(&mut self, class: usize) -> Option<u32> {
            // No deadline comes after all of them; `min_by_key` keeps the first of equals.
            let (at, _) = self
                .0
                .iter()
                .enumerate()
                .filter(|(_, entry)| entry.0 == class)
                .min_by_key(|(_, entry)| (entry.1.is_none(), entry.1))?;
            Some(self.0.remove(at).2)
        }

        fn pop_oldest(&mut self, class: usize) -> Option<u32> {
            let at = self.0.iter().position(|entry| entry.0 == class)?;
            Some(self.0.remove(at).2)
        }
    }

    #[test]
    fn does_as_a_list_does_that_is_searched() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let start = Instant::now();
            let (mut queue, mut naive) = (PriorityQueue::new(), Naive(Vec::new()));
            for item in 0..2_000 {
                let class = random.usize(..CLASSES);
                match random.u32(..5) {
                    0 | 1 => {
                        let deadline = random
                            .bool()
                            .then(|| start + Duration::from_millis(random.u64(..20)));
                        queue.push(class, deadline, item);
                        naive.0.push((class, deadline, item));
                    }
                    2 => assert_eq!(queue.pop_oldest(class), naive.pop_oldest(class)),
                    _ => assert_eq!(queue.pop(class), naive.pop(class), "seed {seed}"),
                }
                assert_eq!(queue.len(), naive.0.len());
                let empty = naive.0.iter().all(|entry| entry.0 != class);
                assert_eq!(queue.is_class_empty(class), empty);
            }
        }
    }

    #[test]
    fn room_of_a_burst_is_given_back() {
        let mut queue = PriorityQueue::new();
        for item in 0..100_000 {
            queue.push(2, None, item);
        }
        while queue.pop(2).is_some() {}
        assert!(queue.classes[2].plain.capacity() <= 2 * KEPT);
    }
}
