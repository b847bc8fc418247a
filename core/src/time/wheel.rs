//! A hierarchical timing wheel: a pure structure that knows neither clock nor thread.
//!
//! The algorithm is Varghese and Lauck's ("Hashed and Hierarchical Timing Wheels", SOSP 1987),
//! with Tokio's choice of level: time is a number written in base [`SLOTS`], and an entry lives on the
//! level of the highest digit in which its time differs from the wheel's own (`elapsed`), in the
//! slot that this digit names. From that follow the invariants:
//!
//! 1. Every entry in a slot is later than `elapsed`, and its slot's digit is above `elapsed`'s digit
//!    on that level. So the earliest slot is the lowest occupied one of the lowest occupied level.
//! 2. `elapsed` never passes the start of an occupied slot without emptying it: entries of level 0
//!    fire, those of a higher level are placed anew, which brings them down at least one level.
//! 3. Two entries for the same tick are always in the same list, in order of insertion, because
//!    both are placed by the same `elapsed` and a list is moved from its front to another's back.
//!
//! Insert and remove are O(1); an entry is moved at most once for each level before it fires.
//! Memory is the caller's: a [`Node`] is linked into the wheel where it stands.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

/// Two levels reach 8.6 seconds, so that most timers are moved once, together with those of 8.4 ms.
/// With 6 bits a million timers that were spread over a second were moved three times, the first time
/// all at once: that took 20 ms, and a quarter more time altogether. A slot that no entry was ever in
/// is memory that was never touched.
const LEVEL_BITS: u32 = 10;
const SLOTS: usize = 1 << LEVEL_BITS;
/// Words of 64 bits that tell which slots of a level are occupied.
const WORDS: usize = SLOTS / 64;
/// Enough levels for every `u64` of nanoseconds at [`TICK_SHIFT`](super::TICK_SHIFT).
const LEVELS: usize = (u64::BITS - super::TICK_SHIFT).div_ceil(LEVEL_BITS) as usize;
/// The list of entries whose time had come when they were inserted.
const DUE: usize = LEVELS * SLOTS;
/// The list of entries that [`Wheel::advance`] has found to be due.
const FIRED: usize = DUE + 1;
const LISTS: usize = FIRED + 1;
const LAYOUT: Layout = match Layout::array::<Links>(LISTS) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};
/// How many entries of a slot [`Wheel::earliest`] looks at before it takes the slot's start for an
/// answer. A loop with few timers sleeps exactly as long as it may; a slot with many has an entry
/// near its start anyhow.
const SCAN: usize = 16;

/// A place in a circular list. A list's own place stands for its two ends: it is its own neighbour
/// when the list is empty, and all null as long as nothing was ever in it.
#[derive(Debug)]
struct Links {
    next: *mut Links,
    prev: *mut Links,
}

/// One entry of a wheel. The owner embeds it, and keeps it in place while it is linked.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Node {
    /// First, so that the links' address is the node's. Null while it is in no list.
    links: Links,
    when: u64,
}

impl Node {
    pub(crate) const fn new() -> Node {
        Node {
            links: Links {
                next: ptr::null_mut(),
                prev: ptr::null_mut(),
            },
            when: 0,
        }
    }

    /// Whether the node is in a wheel, fired ones that were not yet taken included.
    pub(crate) fn is_linked(&self) -> bool {
        !self.links.next.is_null()
    }

    /// The time that the node was last inserted with.
    ///
    /// # Safety
    /// `node` is valid, and is not being inserted. It may be anything else, linked included.
    pub(crate) unsafe fn when(node: *const Node) -> u64 {
        // SAFETY: nothing but an insertion writes it; no reference is made, for a wheel may write the
        // links meanwhile.
        unsafe { (*node).when }
    }
}

/// Which slots of a level hold entries.
#[derive(Clone, Copy)]
struct Occupied {
    words: [u64; WORDS],
    /// Which words are not zero.
    summary: u64,
}

impl Occupied {
    const NONE: Occupied = Occupied {
        words: [0; WORDS],
        summary: 0,
    };

    #[inline]
    fn set(&mut self, slot: usize) {
        self.words[slot / 64] |= 1 << (slot % 64);
        self.summary |= 1 << (slot / 64);
    }

    #[inline]
    fn clear(&mut self, slot: usize) {
        let word = &mut self.words[slot / 64];
        *word &= !(1 << (slot % 64));
        if *word == 0 {
            self.summary &= !(1 << (slot / 64));
        }
    }

    /// The lowest one; there is one.
    #[inline]
    fn first(&self) -> usize {
        let word = self.summary.trailing_zeros() as usize;
        word * 64 + self.words[word].trailing_zeros() as usize
    }
}

/// See the module's documentation. Times are in ticks since an origin that the owner knows.
pub(crate) struct Wheel {
    elapsed: u64,
    occupied: [Occupied; LEVELS],
    /// The first of [`LISTS`] lists' own places, which stay where they are: nodes point at them.
    lists: NonNull<Links>,
    len: usize,
    /// A lower bound of the earliest time, if it is known.
    earliest: Option<u64>,
}

// SAFETY: the wheel owns no thread-bound data; the nodes are reached only through it, and `insert`
// makes its caller answer for them.
unsafe impl Send for Wheel {}

impl Wheel {
    pub(crate) fn new() -> Wheel {
        // SAFETY: the layout is not of size zero.
        let lists = unsafe { alloc_zeroed(LAYOUT) };
        let Some(lists) = NonNull::new(lists) else {
            handle_alloc_error(LAYOUT)
        };
        let wheel = Wheel {
            elapsed: 0,
            occupied: [Occupied::NONE; LEVELS],
            lists: lists.cast(),
            len: 0,
            earliest: None,
        };
        wheel.clear(DUE);
        wheel.clear(FIRED);
        wheel
    }

    fn list(&self, index: usize) -> *mut Links {
        debug_assert!(index < LISTS);
        // SAFETY: there are that many.
        unsafe { self.lists.as_ptr().add(index) }
    }

    fn clear(&self, list: usize) {
        let list = self.list(list);
        // SAFETY: a list's own place is always valid.
        unsafe {
            list.write(Links {
                next: list,
                prev: list,
            })
        };
    }

    /// The first of a list, or the list's own place.
    fn first(&self, list: usize) -> *mut Links {
        // SAFETY: a list's own place is always valid.
        let first = unsafe { (*self.list(list)).next };
        if first.is_null() {
            return self.list(list);
        }
        first
    }

    fn is_empty(&self, list: usize) -> bool {
        self.first(list) == self.list(list)
    }

    /// Entries that are linked, fired ones that were not yet taken included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether an entry waits whose time had come when it was inserted.
    pub(crate) fn has_due(&self) -> bool {
        !self.is_empty(DUE)
    }

    /// Adds `node`, to fire when the wheel is advanced to `when` or later.
    ///
    /// # Safety
    /// `node` is valid, unlinked, and stays in place and valid until it is taken by
    /// [`pop`](Self::pop) or [`remove`](Self::remove)d. Nobody else touches it in the meantime.
    pub(crate) unsafe fn insert(&mut self, node: NonNull<Node>, when: u64) {
        // SAFETY: the caller's promise.
        unsafe {
            debug_assert!(!node.as_ref().is_linked());
            (*node.as_ptr()).when = when;
            self.place(node);
        }
        // An empty wheel knows its earliest again; one that has forgotten it still does not.
        if self.len == 0 || self.earliest.is_some_and(|earliest| when < earliest) {
            self.earliest = Some(when);
        }
        self.len += 1;
    }

    /// Takes `node` out, if it is in.
    ///
    /// # Safety
    /// `node` is valid, and if it is linked, it is linked into this wheel.
    pub(crate) unsafe fn remove(&mut self, node: NonNull<Node>) -> bool {
        // SAFETY: the caller's promise.
        let when = unsafe {
            if !node.as_ref().is_linked() {
                return false;
            }
            node.as_ref().when
        };
        // SAFETY: it is linked, into this wheel.
        if let Some(emptied) = unsafe { self.unlink(node) }
            && emptied < DUE
        {
            self.occupied[emptied / SLOTS].clear(emptied % SLOTS);
        }
        if self.earliest == Some(when) {
            self.earliest = None;
        }
        true
    }

    /// A time before which nothing is due: the earliest entry's, or at worst the start of the slot
    /// that holds it. `None` if the wheel is empty.
    pub(crate) fn earliest(&mut self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        if self.earliest.is_none() {
            self.earliest = Some(self.find_earliest());
        }
        self.earliest
    }

    fn find_earliest(&self) -> u64 {
        if !self.is_empty(DUE) || !self.is_empty(FIRED) {
            return self.elapsed;
        }
        let (level, slot, start) = self.next_slot().expect("a wheel with entries has a slot");
        if level == 0 {
            return start;
        }
        let mut earliest = u64::MAX;
        let end = self.list(level * SLOTS + slot);
        let mut cursor = self.first(level * SLOTS + slot);
        for _ in 0..SCAN {
            if cursor == end {
                return earliest;
            }
            // SAFETY: what is in a list is a valid node, by `insert`.
            unsafe {
                earliest = earliest.min((*cursor.cast::<Node>()).when);
                cursor = (*cursor).next;
            }
        }
        if cursor == end { earliest } else { start }
    }

    /// Moves time to `now`: everything due by then is set aside for [`pop`](Self::pop), in order of
    /// time, and in order of insertion where times are equal.
    pub(crate) fn advance(&mut self, now: u64) {
        if self.earliest.is_some_and(|earliest| earliest > now) {
            // Still before everything; `elapsed` may stay behind.
            return;
        }
        self.fire_list(DUE);
        while let Some((level, slot, start)) = self.next_slot() {
            if start > now {
                break;
            }
            debug_assert!(start >= self.elapsed);
            self.elapsed = start;
            self.occupied[level].clear(slot);
            let list = level * SLOTS + slot;
            if level == 0 {
                self.fire_list(list);
            } else {
                self.cascade(list);
                // Those for this very tick were placed among the due.
                self.fire_list(DUE);
            }
        }
        self.elapsed = self.elapsed.max(now);
        self.earliest = None;
    }

    /// The next of those that [`advance`](Self::advance) has set aside; it is the caller's again.
    pub(crate) fn pop(&mut self) -> Option<NonNull<Node>> {
        let node = self.first(FIRED);
        if node == self.list(FIRED) {
            return None;
        }
        // SAFETY: what is in a list is a valid node, by `insert`. The next one is not touched.
        unsafe {
            prefetch((*node).next);
            let node = NonNull::new_unchecked(node.cast());
            self.unlink(node);
            Some(node)
        }
    }

    /// Takes any entry out: for the end of the wheel.
    pub(crate) fn pop_any(&mut self) -> Option<NonNull<Node>> {
        if self.len == 0 {
            return None;
        }
        let list = match self.next_slot() {
            Some((level, slot, _)) => level * SLOTS + slot,
            None if self.is_empty(DUE) => FIRED,
            None => DUE,
        };
        let node = NonNull::new(self.first(list).cast())?;
        // SAFETY: nodes in a list are valid, and linked into this wheel.
        unsafe { self.remove(node) };
        Some(node)
    }

    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|slots| slots.summary != 0)?;
        let slot = self.occupied[level].first();
        let shift = level as u32 * LEVEL_BITS;
        // The digits above this level are `elapsed`'s, those below are zero.
        let above = self.elapsed.checked_shr(shift + LEVEL_BITS).unwrap_or(0);
        let start = ((above << LEVEL_BITS) | slot as u64) << shift;
        Some((level, slot, start))
    }

    /// # Safety
    /// `node` is valid and unlinked, its `when` is set, and the promise of `insert` holds for it.
    unsafe fn place(&mut self, node: NonNull<Node>) {
        // SAFETY: the caller's promise.
        let when = unsafe { node.as_ref().when };
        let list = if when <= self.elapsed {
            DUE
        } else {
            let level = ((63 - (when ^ self.elapsed).leading_zeros()) / LEVEL_BITS) as usize;
            let slot = (when >> (level as u32 * LEVEL_BITS)) as usize % SLOTS;
            self.occupied[level].set(slot);
            level * SLOTS + slot
        };
        let end = self.list(list);
        let links = node.as_ptr().cast::<Links>();
        // SAFETY: `node` is valid by the caller's promise, the old last by `insert`'s.
        unsafe {
            let mut last = (*end).prev;
            if last.is_null() {
                last = end;
            }
            links.write(Links {
                next: end,
                prev: last,
            });
            (*last).next = links;
            (*end).prev = links;
        }
    }

    /// Takes a node out of its list, and tells which list that has emptied.
    ///
    /// # Safety
    /// `node` is linked into this wheel.
    unsafe fn unlink(&mut self, node: NonNull<Node>) -> Option<usize> {
        self.len -= 1;
        let links = node.as_ptr().cast::<Links>();
        // SAFETY: a linked node and its neighbours are valid, by `insert`.
        let (next, prev) = unsafe {
            let (next, prev) = ((*links).next, (*links).prev);
            (*prev).next = next;
            (*next).prev = prev;
            links.write(Node::new().links);
            (next, prev)
        };
        // Only a list's own place can be on both sides.
        (next == prev).then(|| (next.addr() - self.lists.as_ptr().addr()) / size_of::<Links>())
    }

    /// Appends the whole of `list` to the fired ones.
    fn fire_list(&mut self, list: usize) {
        if self.is_empty(list) {
            return;
        }
        let (from, to) = (self.list(list), self.list(FIRED));
        // SAFETY: the ends of lists are valid, by `insert`.
        unsafe {
            let (first, last) = ((*from).next, (*from).prev);
            let before = (*to).prev;
            (*before).next = first;
            (*first).prev = before;
            (*last).next = to;
            (*to).prev = last;
        }
        self.clear(list);
    }

    fn cascade(&mut self, list: usize) {
        let end = self.list(list);
        let mut cursor = self.first(list);
        self.clear(list);
        while cursor != end {
            // SAFETY: nodes in a list are valid; this one has just left its list, and its links
            // are written before anybody reads them.
            unsafe {
                let node = NonNull::new_unchecked(cursor.cast());
                cursor = (*cursor).next;
                prefetch(cursor);
                self.place(node);
            }
        }
    }
}

impl Drop for Wheel {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout. Nodes that are still linked are not looked at.
        unsafe { dealloc(self.lists.as_ptr().cast(), LAYOUT) };
    }
}

/// Begins to fetch what `place` points at, which need not be valid.
#[inline(always)]
fn prefetch(place: *const Links) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which reads nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast())
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

impl std::fmt::Debug for Wheel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wheel")
            .field("elapsed", &self.elapsed)
            .field("len", &self.len)
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashMap};

    /// A wheel whose nodes are boxed and known by a number.
    struct Numbered {
        wheel: Wheel,
        nodes: HashMap<u32, Box<Node>>,
        ids: HashMap<NonNull<Node>, u32>,
    }

    impl Numbered {
        fn new() -> Numbered {
            Numbered {
                wheel: Wheel::new(),
                nodes: HashMap::new(),
                ids: HashMap::new(),
            }
        }

        fn insert(&mut self, id: u32, when: u64) {
            let mut node = Box::new(Node::new());
            let pointer = NonNull::from(&mut *node);
            self.nodes.insert(id, node);
            self.ids.insert(pointer, id);
            // SAFETY: the box stays in the map until it is popped or removed.
            unsafe { self.wheel.insert(pointer, when) };
        }

        fn remove(&mut self, id: u32) -> bool {
            let Some(node) = self.nodes.get_mut(&id) else {
                return false;
            };
            let pointer = NonNull::from(&mut **node);
            // SAFETY: the node was inserted into this wheel.
            let removed = unsafe { self.wheel.remove(pointer) };
            self.forget(pointer);
            removed
        }

        fn forget(&mut self, pointer: NonNull<Node>) -> u32 {
            let id = self.ids.remove(&pointer).expect("a known node");
            self.nodes.remove(&id);
            id
        }

        fn fire(&mut self, now: u64) -> Vec<u32> {
            self.wheel.advance(now);
            std::iter::from_fn(|| {
                let node = self.wheel.pop()?;
                Some(self.forget(node))
            })
            .collect()
        }
    }

    #[test]
    fn equal_times_fire_in_order_of_insertion_across_levels() {
        let mut wheel = Numbered::new();
        let slots = SLOTS as u64;
        let when = 3 * slots * slots + 5;
        wheel.insert(1, when);
        assert!(wheel.fire(3 * slots * slots - 1).is_empty());
        wheel.insert(2, when);
        assert!(wheel.fire(3 * slots * slots + 1).is_empty());
        wheel.insert(3, when);
        assert_eq!(wheel.fire(when), [1, 2, 3]);
    }

    #[test]
    fn a_time_that_has_come_fires_at_the_next_advance() {
        let mut wheel = Numbered::new();
        wheel.fire(1000);
        wheel.insert(1, 1000);
        wheel.insert(2, 3);
        assert!(
            wheel
                .wheel
                .earliest()
                .is_some_and(|earliest| earliest <= 1000)
        );
        assert_eq!(wheel.fire(1000), [1, 2]);
    }

    #[test]
    fn the_end_of_time_is_a_time() {
        let mut wheel = Numbered::new();
        let end = u64::MAX >> super::super::TICK_SHIFT;
        wheel.insert(1, end);
        wheel.insert(2, 7);
        assert_eq!(wheel.fire(end - 1), [2]);
        assert_eq!(wheel.wheel.earliest(), Some(end));
        assert_eq!(wheel.fire(end), [1]);
    }

    #[test]
    fn a_fired_entry_can_still_be_removed() {
        let mut wheel = Numbered::new();
        for id in 0..4 {
            wheel.insert(id, 10);
        }
        wheel.wheel.advance(10);
        assert!(wheel.remove(2));
        assert_eq!(wheel.fire(10), [0, 1, 3]);
        assert_eq!(wheel.wheel.len(), 0);
    }

    #[test]
    fn pop_any_empties_the_wheel() {
        let mut wheel = Numbered::new();
        for id in 0..100 {
            wheel.insert(id, u64::from(id).pow(4));
        }
        let mut count = 0;
        while let Some(node) = wheel.wheel.pop_any() {
            wheel.forget(node);
            count += 1;
        }
        assert_eq!(count, 100);
        assert_eq!(wheel.wheel.earliest(), None);
    }

    /// A distance of any magnitude up to the wheel's whole range.
    fn distance(rng: &mut fastrand::Rng) -> u64 {
        let bits = rng.u32(0..=(u64::BITS - super::super::TICK_SHIFT));
        rng.u64(..) >> (63 - bits.min(50)) >> 1
    }

    #[test]
    fn behaves_as_a_sorted_map_does() {
        for seed in 0..if cfg!(miri) { 2 } else { 60 } {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut wheel = Numbered::new();
            let mut twin: BTreeMap<(u64, u32), ()> = BTreeMap::new();
            let mut whens: HashMap<u32, u64> = HashMap::new();
            let mut now = 0u64;
            for id in 0..if cfg!(miri) { 150 } else { 3000 } {
                match rng.u32(0..10) {
                    0..=5 => {
                        // Some in the past, some crowded onto a few ticks.
                        let when: u64 = match rng.u32(0..8) {
                            0 => now.saturating_sub(distance(&mut rng)),
                            1..=3 => now + rng.u64(0..200),
                            _ => now + distance(&mut rng),
                        };
                        wheel.insert(id, when);
                        // What is before the wheel's own time fires in order of insertion.
                        let when = when.max(wheel.wheel.elapsed);
                        twin.insert((when, id), ());
                        whens.insert(id, when);
                    }
                    6..=7 => {
                        let known: Vec<u32> = whens.keys().copied().collect();
                        if !known.is_empty() {
                            let victim = known[rng.usize(..known.len())];
                            assert!(wheel.remove(victim));
                            let when = whens.remove(&victim).expect("it is known");
                            twin.remove(&(when, victim));
                        }
                    }
                    _ => {
                        now += if rng.bool() {
                            rng.u64(0..300)
                        } else {
                            distance(&mut rng) >> 4
                        };
                        let mut expected = Vec::new();
                        while let Some((&(when, id), ())) = twin.first_key_value() {
                            if when > now {
                                break;
                            }
                            twin.pop_first();
                            whens.remove(&id);
                            expected.push(id);
                        }
                        assert_eq!(wheel.fire(now), expected, "seed {seed} at {now}");
                    }
                }
                assert_eq!(wheel.wheel.len(), twin.len());
                let earliest = twin.first_key_value().map(|(&(when, _), ())| when);
                let bound = wheel.wheel.earliest();
                assert_eq!(bound.is_some(), earliest.is_some());
                assert!(
                    bound <= earliest,
                    "seed {seed}: {bound:?} is later than {earliest:?}"
                );
                if twin.len() <= SCAN {
                    // Looked for anew, it is exact.
                    wheel.wheel.earliest = None;
                    let bound = wheel.wheel.earliest();
                    let bound = bound.map(|bound| bound.max(wheel.wheel.elapsed));
                    assert!(bound >= earliest.map(|earliest| earliest.min(now)));
                }
            }
        }
    }
}
