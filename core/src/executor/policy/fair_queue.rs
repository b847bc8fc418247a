//! The queue of the fair policy: groups that share the workers' time by weight.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996), with the time that polls took in
//! the place of the packets' lengths. Each group has a tag, its virtual time: when it has been served
//! for `t` nanoseconds the tag has advanced by `t / weight`. The group with the lowest tag is served
//! next, so the tags, and with them `time / weight`, stay together.
//!
//! - The virtual time of the queue is the highest tag that was served so far.
//! - A group that has nothing waiting and nothing running saves nothing up: when it comes back, or
//!   when its last poll ends, its tag is at least the virtual time of the queue.
//! - A poll is charged when it begins, with the mean of the group's polls before; what it took more
//!   or less is made good when it ends. Else several workers would choose the same group one after
//!   the other, each before the first had been charged.
//!
//! A pure structure: it knows neither tasks, nor threads, nor a clock.

use std::collections::{BTreeSet, VecDeque};

/// The most that a group may weigh: to it a nanosecond of service is one unit of virtual time.
pub(crate) const MAX_WEIGHT: u32 = 10_000;
/// Places that an empty group keeps for the next items.
const KEPT: usize = 256;

/// Items in weighted groups. Inside a group: first in, first out. Every call is O(log groups).
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    groups: Vec<Group<T>>,
    free: Vec<u32>,
    /// The groups with items, by tag.
    ready: BTreeSet<(u128, u32)>,
    /// The virtual time.
    now: u128,
    len: usize,
}

#[derive(Debug)]
struct Group<T> {
    /// How many groups had this place before.
    generation: u32,
    weight: u32,
    tag: u128,
    items: VecDeque<T>,
    /// Items taken whose service has not ended.
    running: u32,
    /// How long a service took, in nanoseconds: a mean that gives the last one an eighth.
    mean: u64,
    /// What all services took that have ended, in nanoseconds, and how many they were.
    served: u64,
    services: u64,
}

/// A group of one queue. The key of a group that was removed is no other group's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(PartialOrd, Ord))]
pub(crate) struct GroupKey {
    index: u32,
    generation: u32,
}

/// The service of an item that was taken. It has been charged in advance.
#[must_use = "the group pays what was expected until the service ends"]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(test, derive(PartialEq, Eq, PartialOrd, Ord))]
pub(crate) struct Service {
    group: GroupKey,
    expected: u64,
}

impl<T> Group<T> {
    /// What a service of so many nanoseconds adds to the tag.
    fn cost(&self, nanos: u64) -> u64 {
        nanos.saturating_mul(MAX_WEIGHT.into()) / u64::from(self.weight)
    }
}

impl<T> FairQueue<T> {
    /// A queue with one group, which is there for ever.
    pub(super) fn new(weight: u32) -> (FairQueue<T>, GroupKey) {
        let mut queue = FairQueue {
            groups: Vec::new(),
            free: Vec::new(),
            ready: BTreeSet::new(),
            now: 0,
            len: 0,
        };
        let key = queue.add_group(weight);
        (queue, key)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a group, which weighs from 1 to [`MAX_WEIGHT`].
    pub(super) fn add_group(&mut self, weight: u32) -> GroupKey {
        let fresh = |generation| Group {
            generation,
            weight,
            tag: 0,
            items: VecDeque::new(),
            running: 0,
            mean: 0,
            served: 0,
            services: 0,
        };
        match self.free.pop() {
            Some(index) => {
                let place = &mut self.groups[index as usize];
                let generation = place.generation.wrapping_add(1);
                *place = fresh(generation);
                GroupKey { index, generation }
            }
            None => {
                self.groups.push(fresh(0));
                GroupKey {
                    index: (self.groups.len() - 1) as u32,
                    generation: 0,
                }
            }
        }
    }

    /// Removes a group that has no items left.
    pub(super) fn remove_group(&mut self, key: GroupKey) {
        let group = &mut self.groups[key.index as usize];
        debug_assert_eq!(group.generation, key.generation, "removed twice");
        debug_assert!(group.items.is_empty(), "items outlive their group");
        // The place keeps its generation until it is used again: what is left to be charged to the
        // group until then is charged to nobody else.
        group.items = VecDeque::new();
        self.free.push(key.index);
    }

    pub(super) fn push(&mut self, key: GroupKey, item: T) {
        let group = &mut self.groups[key.index as usize];
        debug_assert_eq!(group.generation, key.generation, "the group is there");
        if group.items.is_empty() {
            if group.running == 0 {
                group.tag = group.tag.max(self.now);
            }
            self.ready.insert((group.tag, key.index));
        }
        group.items.push_back(item);
        self.len += 1;
    }

    /// Takes the next item.
    pub(super) fn pop(&mut self) -> Option<(T, Service)> {
        let (tag, index) = self.ready.pop_first()?;
        self.now = self.now.max(tag);
        let group = &mut self.groups[index as usize];
        let item = group.items.pop_front()?;
        let expected = group.cost(group.mean);
        group.tag = tag + u128::from(expected);
        group.running += 1;
        self.len -= 1;
        if !group.items.is_empty() {
            self.ready.insert((group.tag, index));
        } else if group.items.capacity() > KEPT {
            group.items.shrink_to(KEPT);
        }
        let generation = group.generation;
        let group = GroupKey { index, generation };
        Some((item, Service { group, expected }))
    }

    /// How long the group was served, in nanoseconds, and how often.
    pub(super) fn served(&self, key: GroupKey) -> (u64, u64) {
        let group = &self.groups[key.index as usize];
        debug_assert_eq!(group.generation, key.generation, "the group is there");
        (group.served, group.services)
    }

    /// The service has ended, and took so long.
    pub(super) fn charge(&mut self, service: Service, nanos: u64) {
        let Service {
            group: key,
            expected,
        } = service;
        let group = &mut self.groups[key.index as usize];
        if group.generation != key.generation {
            return;
        }
        group.running -= 1;
        group.served += nanos;
        group.services += 1;
        // A clock may be too coarse to see a poll. One that cost nothing could be repeated for ever.
        let nanos = nanos.max(1);
        group.mean = group.mean - group.mean / 8 + nanos / 8;
        let before = group.tag;
        let after = before - u128::from(expected) + u128::from(group.cost(nanos));
        group.tag = after.max(self.now);
        if !group.items.is_empty() && group.tag != before {
            self.ready.remove(&(before, key.index));
            self.ready.insert((group.tag, key.index));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    /// The rules of the module's documentation on a plain list of groups, searched from end to end.
    struct Naive {
        groups: Vec<NaiveGroup>,
        now: u128,
    }

    struct NaiveGroup {
        key: GroupKey,
        weight: u32,
        tag: u128,
        items: Vec<u32>,
        running: u32,
        mean: u64,
    }

    impl NaiveGroup {
        fn new(key: GroupKey, weight: u32) -> NaiveGroup {
            NaiveGroup {
                key,
                weight,
                tag: 0,
                items: Vec::new(),
                running: 0,
                mean: 0,
            }
        }

        fn cost(&self, nanos: u64) -> u128 {
            (nanos * u64::from(MAX_WEIGHT) / u64::from(self.weight)).into()
        }
    }

    impl Naive {
        fn group(&mut self, key: GroupKey) -> &mut NaiveGroup {
            self.groups
                .iter_mut()
                .find(|group| group.key == key)
                .unwrap()
        }

        fn push(&mut self, key: GroupKey, item: u32) {
            let now = self.now;
            let group = self.group(key);
            if group.items.is_empty() && group.running == 0 {
                group.tag = group.tag.max(now);
            }
            group.items.push(item);
        }

        fn pop(&mut self) -> Option<(u32, Service)> {
            let waiting = self
                .groups
                .iter_mut()
                .filter(|group| !group.items.is_empty());
            let group = waiting.min_by_key(|group| (group.tag, group.key.index))?;
            self.now = self.now.max(group.tag);
            group.running += 1;
            let cost = group.cost(group.mean);
            group.tag += cost;
            let service = Service {
                group: group.key,
                expected: cost as u64,
            };
            Some((group.items.remove(0), service))
        }

        fn charge(&mut self, service: Service, nanos: u64) {
            let now = self.now;
            let group = self.group(service.group);
            let nanos = nanos.max(1);
            group.mean = group.mean - group.mean / 8 + nanos / 8;
            let tag = group.tag - u128::from(service.expected) + group.cost(nanos);
            group.tag = tag.max(now);
            group.running -= 1;
        }
    }

    #[test]
    fn does_as_a_list_does_that_is_searched() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut queue, first) = FairQueue::new(100);
            let mut naive = Naive {
                groups: vec![NaiveGroup::new(first, 100)],
                now: 0,
            };
            let mut running = Vec::new();
            for item in 0..2_000 {
                let at = random.usize(..naive.groups.len());
                let key = naive.groups[at].key;
                match random.u32(..20) {
                    0 => {
                        let weight = random.u32(1..=MAX_WEIGHT);
                        let key = queue.add_group(weight);
                        naive.groups.push(NaiveGroup::new(key, weight));
                    }
                    1 if at > 0 => {
                        let group = &naive.groups[at];
                        if group.items.is_empty() && group.running == 0 {
                            queue.remove_group(key);
                            naive.groups.swap_remove(at);
                        }
                    }
                    2..9 => {
                        queue.push(key, item);
                        naive.push(key, item);
                    }
                    9..14 => {
                        let (popped, known) = (queue.pop(), naive.pop());
                        assert_eq!(popped, known, "seed {seed}");
                        running.extend(popped.map(|(_, service)| service));
                    }
                    _ => {
                        if !running.is_empty() {
                            let service = running.swap_remove(random.usize(..running.len()));
                            let nanos = random.u64(..1_000);
                            queue.charge(service, nanos);
                            naive.charge(service, nanos);
                        }
                    }
                }
                let len: usize = naive.groups.iter().map(|group| group.items.len()).sum();
                assert_eq!(queue.len(), len);
            }
        }
    }

    /// Serves groups of tasks that are always ready on some servers for a second of a clock that
    /// nobody waits for, each poll of random length. Returns the time that each group got.
    fn serve(servers: u64, groups: &[(u32, usize)], seed: u64) -> Vec<u64> {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut queue, _) = FairQueue::new(100);
        let keys: Vec<_> = groups
            .iter()
            .map(|(weight, tasks)| {
                let key = queue.add_group(*weight);
                (0..*tasks).for_each(|_| queue.push(key, ()));
                key
            })
            .collect();
        let mut served = vec![0; groups.len()];
        // When each server is free, and what it charges then.
        let mut free: BinaryHeap<_> = (0..servers).map(|id| Reverse((0, id, None))).collect();
        while let Some(Reverse((now, id, done))) = free.pop() {
            if let Some((at, service, nanos)) = done {
                queue.push(keys[at], ());
                queue.charge(service, nanos);
            }
            if now >= 1_000_000_000 {
                continue;
            }
            let next = queue.pop().map(|((), service)| {
                let group = service.group;
                let at = keys.iter().position(|known| *known == group).unwrap();
                let nanos = random.u64(1_000..100_000);
                served[at] += nanos;
                (at, service, nanos)
            });
            let end = now + next.map_or(1_000, |(_, _, nanos)| nanos);
            free.push(Reverse((end, id, next)));
        }
        served
    }

    #[test]
    fn time_is_shared_by_weight() {
        for (servers, seed) in [(1, 1), (2, 2), (8, 3)] {
            let groups = [(100, 10), (200, 10), (400, 10)];
            let served = serve(servers, &groups, seed);
            let (time, weight) = (served.iter().sum::<u64>() as f64, 700.0);
            for ((own, _), got) in groups.iter().zip(&served) {
                let error = (*got as f64 / time) / (f64::from(*own) / weight) - 1.0;
                assert!(error.abs() < 0.01, "{servers} servers: {served:?}");
            }
        }
    }

    #[test]
    fn group_that_can_not_use_its_share_leaves_it_to_the_others() {
        // One task can not have four fifths of two servers: it has one of them.
        let served = serve(2, &[(400, 1), (100, 10)], 1);
        let ratio = served[0] as f64 / served[1] as f64;
        assert!((0.99..1.01).contains(&ratio), "{served:?}");
    }

    #[test]
    fn idle_group_saves_nothing_up() {
        let (mut queue, busy) = FairQueue::new(100);
        let idle = queue.add_group(100);
        let serve = |queue: &mut FairQueue<_>| {
            let (item, service) = queue.pop().unwrap();
            queue.push(service.group, item);
            queue.charge(service, 1_000);
            item
        };
        queue.push(busy, "busy");
        for _ in 0..1_000 {
            assert_eq!(serve(&mut queue), "busy");
        }
        queue.push(idle, "back");
        let back = (0..100).filter(|_| serve(&mut queue) == "back").count();
        assert!((49..=51).contains(&back), "{back} of 100");
    }

    #[test]
    fn charge_to_a_removed_group_goes_to_nobody() {
        let (mut queue, first) = FairQueue::new(100);
        let gone = queue.add_group(100);
        queue.push(gone, ());
        let (_, late) = queue.pop().unwrap();
        queue.remove_group(gone);
        let next = queue.add_group(100);
        assert_ne!(gone, next);
        queue.charge(late, 1_000_000);
        queue.push(first, ());
        let (_, service) = queue.pop().unwrap();
        queue.charge(service, 1);
        queue.push(first, ());
        queue.push(next, ());
        assert_eq!(queue.pop().unwrap().1.group, next);
    }
}
