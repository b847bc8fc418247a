//! The timers of one waiter: a wheel under a lock, entries in the futures that wait.
//!
//! # Who may touch an [`Entry`]
//!
//! An entry stands inside its future, which is pinned. Its `state` says whose the rest of it is:
//!
//! | state | `node` and `waker` belong to | left by |
//! |---|---|---|
//! | `IDLE` | the future | the future, which links it under the lock → `LINKED` |
//! | `LINKED` | whoever holds the queue's lock | the queue when it fires → `FIRED`; the future when it cancels → `IDLE` |
//! | `FIRED` | the future | the future → `IDLE` |
//!
//! **The race to prevent**: one thread fires an entry while another drops the future around it.
//! Firing happens under the lock, and storing `FIRED` (release) is the last thing it does to the
//! entry: the waker has been moved out by then, and is called after the lock is given up. A future
//! that is dropped loads `state` (acquire): `FIRED` means that the queue will not touch the entry
//! again, so no lock is needed; `LINKED` sends it to the lock, under which it finds the entry
//! either still linked, and unlinks it, or fired in between. Only the future leaves `IDLE` and
//! `FIRED`, and a future is in one thread's hands at a time.
//!
//! # How the waiter learns of an earlier deadline
//!
//! `earliest` is a lower bound of the wheel's deadlines, written under the lock, read without. An
//! insert that lowers it calls `unpark`, after the store and after the lock is given up, unless
//! the inserting thread is the waiter itself, which reads `earliest` before it next waits. `unpark`
//! wakes a waiter that sleeps, and makes one that is about to sleep not do so; both read
//! `earliest` again. So a waiter can not sleep past a deadline that was in the wheel when it was
//! last unparked, and it is unparked after each one that matters.

use std::fmt;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use crossbeam_utils::CachePadded;

use super::clock::Clock;
use super::wake_batch::WakeBatch;
use super::wheel::{Node, Wheel};
use crate::shim::cell::UnsafeCell;
use crate::shim::sync::Mutex;
use crate::shim::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const IDLE: usize = 0;
const LINKED: usize = 1;
const FIRED: usize = 2;

/// No deadline at all.
const NEVER: u64 = u64::MAX;

/// One future's place in a queue. See the module's documentation.
#[repr(C)]
pub(crate) struct Entry {
    /// First, so that a node's address is its entry's.
    node: std::cell::UnsafeCell<Node>,
    state: AtomicUsize,
    waker: UnsafeCell<Option<Waker>>,
    _pinned: PhantomPinned,
}

// SAFETY: the module's table says which thread may touch what.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

impl Entry {
    pub(crate) fn new() -> Entry {
        Entry {
            node: std::cell::UnsafeCell::new(Node::new()),
            state: AtomicUsize::new(IDLE),
            waker: UnsafeCell::new(None),
            _pinned: PhantomPinned,
        }
    }

    /// Whether the deadline has passed, and nothing has been done about it since.
    pub(crate) fn has_fired(&self) -> bool {
        self.state.load(Ordering::Acquire) == FIRED
    }

    fn is_linked(&self) -> bool {
        // Only the queue takes this state away from under its owner, and the lock decides then.
        self.state.load(Ordering::Relaxed) == LINKED
    }
}

struct State {
    wheel: Wheel,
    closed: bool,
}

/// The timers of one worker, or of one event loop. See the module's documentation.
pub(crate) struct TimerQueue {
    clock: Clock,
    state: CachePadded<Mutex<State>>,
    earliest: AtomicU64,
    unpark: Box<dyn Fn() + Send + Sync>,
}

impl TimerQueue {
    /// A queue whose waiter is woken by `unpark`, which may be called by any thread, and holds no
    /// lock that is held while the queue is used.
    pub(crate) fn new(unpark: impl Fn() + Send + Sync + 'static) -> Arc<TimerQueue> {
        Arc::new(TimerQueue {
            clock: Clock::new(),
            state: CachePadded::new(Mutex::new(State {
                wheel: Wheel::new(),
                closed: false,
            })),
            earliest: AtomicU64::new(NEVER),
            unpark: Box::new(unpark),
        })
    }

    /// The waiter: when it has to [`process`](Self::process) again. No lock is taken.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match self.earliest.load(Ordering::Acquire) {
            NEVER => None,
            tick => self.clock.instant(tick),
        }
    }

    /// Whether there is no timer at all. No lock is taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.earliest.load(Ordering::Relaxed) == NEVER
    }

    /// Wakes whoever waited for a time up to `now`, and counts them. No lock is held while waking,
    /// and none taken if nothing is due.
    pub(crate) fn process(&self, now: Instant) -> usize {
        let now = self.clock.elapsed(now);
        if self.earliest.load(Ordering::Relaxed) > now {
            return 0;
        }
        self.fire(now)
    }

    fn fire(&self, now: u64) -> usize {
        let mut count = 0;
        let mut batch = WakeBatch::new();
        let mut state = self.state.lock();
        state.wheel.advance(now);
        loop {
            while !batch.is_full() {
                let Some(node) = state.wheel.pop() else { break };
                count += 1;
                // SAFETY: the node is an entry's first field; entries in the wheel are LINKED, so
                // they are valid and the lock's.
                if let Some(waker) = unsafe { fired(node) } {
                    batch.push(waker);
                }
            }
            let full = batch.is_full();
            if !full {
                self.publish_earliest(&mut state.wheel);
            }
            drop(state);
            batch.wake_all();
            if !full {
                return count;
            }
            state = self.state.lock();
        }
    }

    /// Ends the queue: what waits is let go without being woken, and nothing fires any more.
    pub(crate) fn close(&self) {
        let mut wakers = Vec::new();
        {
            let mut state = self.state.lock();
            state.closed = true;
            while let Some(node) = state.wheel.pop_any() {
                let entry = node.cast::<Entry>();
                // SAFETY: as in `fire`; IDLE is the last thing that is done to the entry.
                unsafe {
                    wakers.push(entry.as_ref().waker.with_mut(|waker| (*waker).take()));
                    entry.as_ref().state.store(IDLE, Ordering::Release);
                }
            }
            self.publish_earliest(&mut state.wheel);
        }
        drop(wakers);
    }

    /// Links `entry`, which is not linked, to fire at `deadline` and wake `waker`. `here` says that
    /// the calling thread is the waiter. Nothing happens in a queue that is closed.
    pub(crate) fn insert(&self, entry: Pin<&Entry>, deadline: Instant, waker: Waker, here: bool) {
        debug_assert!(!entry.is_linked());
        let tick = self.clock.deadline(deadline);
        // SAFETY: not LINKED: the entry is the caller's.
        let old = entry
            .waker
            .with_mut(|slot| unsafe { (*slot).replace(waker) });
        drop(old);
        let lowered = {
            let mut state = self.state.lock();
            if state.closed {
                return;
            }
            entry.state.store(LINKED, Ordering::Relaxed);
            self.link(&mut state.wheel, entry, tick)
        };
        if lowered && !here {
            (self.unpark)();
        }
    }

    /// Whether the earliest deadline is earlier now.
    fn link(&self, wheel: &mut Wheel, entry: Pin<&Entry>, tick: u64) -> bool {
        let node = NonNull::from(entry.get_ref()).cast::<Node>();
        // SAFETY: the entry is pinned, and its drop unlinks it under the lock before it is freed;
        // LINKED makes it the lock's.
        unsafe { wheel.insert(node, tick) };
        let before = self.earliest.load(Ordering::Relaxed);
        if tick < before {
            self.earliest.store(tick, Ordering::Release);
        }
        tick < before
    }

    /// Moves a linked entry to another deadline; `false` if it is not linked any more, and was
    /// not touched.
    pub(crate) fn reset(&self, entry: Pin<&Entry>, deadline: Instant, here: bool) -> bool {
        let tick = self.clock.deadline(deadline);
        let lowered = {
            let mut state = self.state.lock();
            if !entry.is_linked() {
                return false;
            }
            // SAFETY: LINKED, and the lock is held.
            unsafe { state.wheel.remove(NonNull::from(entry.get_ref()).cast()) };
            self.link(&mut state.wheel, entry, tick)
        };
        if lowered && !here {
            (self.unpark)();
        }
        true
    }

    /// Exchanges the waker of a linked entry; `false` if it is not linked any more.
    pub(crate) fn replace_waker(&self, entry: Pin<&Entry>, waker: Waker) -> bool {
        let (old, linked) = {
            let _state = self.state.lock();
            if entry.is_linked() {
                // SAFETY: LINKED, and the lock is held.
                (
                    entry
                        .waker
                        .with_mut(|slot| unsafe { (*slot).replace(waker) }),
                    true,
                )
            } else {
                (Some(waker), false)
            }
        };
        drop(old);
        linked
    }

    /// Takes the entry out, from any thread: afterwards it is the caller's, and is not fired.
    /// Constant time; without the lock if it has fired already.
    pub(crate) fn cancel(&self, entry: Pin<&Entry>) {
        if entry.state.load(Ordering::Acquire) == LINKED {
            let mut state = self.state.lock();
            if entry.is_linked() {
                // SAFETY: LINKED, and the lock is held. `earliest` stays: it is a lower bound.
                unsafe { state.wheel.remove(NonNull::from(entry.get_ref()).cast()) };
                if state.wheel.len() == 0 {
                    self.earliest.store(NEVER, Ordering::Release);
                }
            }
        }
        // A relaxed store will do: the lock, or the load above, ordered this after the queue's
        // last touch, and nobody else reads it.
        entry.state.store(IDLE, Ordering::Relaxed);
        // SAFETY: not LINKED: the entry is the caller's.
        let waker = entry.waker.with_mut(|slot| unsafe { (*slot).take() });
        drop(waker);
    }

    fn publish_earliest(&self, wheel: &mut Wheel) {
        self.earliest
            .store(wheel.earliest().unwrap_or(NEVER), Ordering::Release);
    }
}

/// Marks an entry as fired and takes its waker.
///
/// # Safety
/// `node` belongs to a valid entry that is LINKED and was just taken out; the lock is held.
unsafe fn fired(node: NonNull<Node>) -> Option<Waker> {
    let entry = node.cast::<Entry>();
    // SAFETY: the caller's promise. After the store the entry may be gone.
    unsafe {
        let waker = entry.as_ref().waker.with_mut(|waker| (*waker).take());
        (*entry.as_ptr()).state.store(FIRED, Ordering::Release);
        waker
    }
}

impl fmt::Debug for TimerQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerQueue")
            .field("next_deadline", &self.next_deadline())
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;
    use std::time::Duration;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Count {
        fn get(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn setup() -> (Arc<TimerQueue>, Arc<Count>, Arc<Count>) {
        let (unparks, wakes) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let unpark = unparks.clone();
        let queue = TimerQueue::new(move || unpark.clone().wake());
        (queue, unparks, wakes)
    }

    #[test]
    fn only_a_foreign_earlier_deadline_unparks() {
        let (queue, unparks, wakes) = setup();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let entries: Vec<_> = (0..4).map(|_| Box::pin(Entry::new())).collect();
        let waker = Waker::from(wakes);
        queue.insert(entries[0].as_ref(), at(100), waker.clone(), false);
        assert_eq!(unparks.get(), 1);
        queue.insert(entries[1].as_ref(), at(200), waker.clone(), false);
        assert_eq!(unparks.get(), 1);
        queue.insert(entries[2].as_ref(), at(50), waker.clone(), true);
        assert_eq!(unparks.get(), 1);
        queue.insert(entries[3].as_ref(), at(40), waker, false);
        assert_eq!(unparks.get(), 2);
        assert!(
            queue
                .next_deadline()
                .is_some_and(|next| next >= at(40) && next < at(41))
        );
        for entry in &entries {
            queue.cancel(entry.as_ref());
        }
        assert!(queue.is_empty());
    }

    #[test]
    fn more_timers_than_a_batch_fire_together() {
        let (queue, _, wakes) = setup();
        let entries: Vec<_> = (0..100).map(|_| Box::pin(Entry::new())).collect();
        let deadline = Instant::now() + Duration::from_secs(1);
        for entry in &entries {
            queue.insert(entry.as_ref(), deadline, Waker::from(wakes.clone()), true);
        }
        queue.cancel(entries[7].as_ref());
        assert_eq!(queue.process(Instant::now()), 0);
        assert_eq!(queue.process(deadline + Duration::from_millis(1)), 99);
        assert_eq!(wakes.get(), 99);
        assert!(!entries[7].has_fired() && entries[8].has_fired());
        assert_eq!(queue.next_deadline(), None);
        assert_eq!(Arc::strong_count(&wakes), 1);
    }

    #[test]
    fn a_closed_queue_lets_go_of_its_wakers_and_takes_no_more() {
        let (queue, _, wakes) = setup();
        let (early, late) = (Box::pin(Entry::new()), Box::pin(Entry::new()));
        let deadline = Instant::now();
        queue.insert(early.as_ref(), deadline, Waker::from(wakes.clone()), true);
        queue.close();
        assert_eq!(Arc::strong_count(&wakes), 1);
        queue.insert(late.as_ref(), deadline, Waker::from(wakes.clone()), true);
        assert_eq!(queue.process(deadline + Duration::from_secs(1)), 0);
        queue.cancel(early.as_ref());
        queue.cancel(late.as_ref());
        assert_eq!((wakes.get(), Arc::strong_count(&wakes)), (0, 1));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::atomic::AtomicUsize as LoomUsize;
    use std::task::Wake;
    use std::time::Duration;

    struct Count(LoomUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A timer is fired by its waiter while its future is dropped elsewhere: either it was woken or
    /// it was not, and nobody touches the entry afterwards, which loom's cell would notice.
    #[test]
    fn loom_firing_races_cancelling() {
        crate::shim::model(|| {
            let queue = TimerQueue::new(|| ());
            let count = Arc::new(Count(LoomUsize::new(0)));
            let entry = Box::pin(Entry::new());
            let deadline = Instant::now();
            queue.insert(entry.as_ref(), deadline, Waker::from(count.clone()), true);
            let (firing, now) = (queue.clone(), deadline + Duration::from_secs(1));
            let thread = loom::thread::spawn(move || firing.process(now));
            queue.cancel(entry.as_ref());
            // The entry is this thread's: an access that races would be reported here.
            entry
                .waker
                .with_mut(|waker| assert!(unsafe { (*waker).is_none() }));
            drop(entry);
            let fired = thread.join().expect("joined");
            assert_eq!(count.0.load(Ordering::Relaxed), fired);
        });
    }

    /// As above, with the future looking at its state instead: once it has seen that it has fired,
    /// the entry is its own without a lock.
    #[test]
    fn loom_a_fired_entry_is_its_futures() {
        crate::shim::model(|| {
            let queue = TimerQueue::new(|| ());
            let count = Arc::new(Count(LoomUsize::new(0)));
            let entry = Box::pin(Entry::new());
            let deadline = Instant::now();
            queue.insert(entry.as_ref(), deadline, Waker::from(count), true);
            let (firing, now) = (queue.clone(), deadline + Duration::from_secs(1));
            let thread = loom::thread::spawn(move || firing.process(now));
            if entry.has_fired() {
                entry
                    .waker
                    .with_mut(|waker| assert!(unsafe { (*waker).is_none() }));
            }
            queue.cancel(entry.as_ref());
            drop(entry);
            thread.join().expect("joined");
        });
    }

    /// A waiter that reads the next deadline and then sleeps is told of an earlier one.
    #[test]
    fn loom_an_earlier_deadline_reaches_the_waiter() {
        crate::shim::model(|| {
            let unparked = Arc::new(LoomUsize::new(0));
            let unpark = unparked.clone();
            let queue = TimerQueue::new(move || unpark.store(1, Ordering::Release));
            let inserting = queue.clone();
            let count = Arc::new(Count(LoomUsize::new(0)));
            let deadline = Instant::now() + Duration::from_secs(1);
            let thread = loom::thread::spawn(move || {
                let entry = Box::pin(Entry::new());
                inserting.insert(entry.as_ref(), deadline, Waker::from(count), false);
                entry
            });
            // What a waiter does: consume the token, look, and sleep only if neither told it.
            let seen = queue.next_deadline().is_some();
            let entry = thread.join().expect("joined");
            assert!(seen || unparked.load(Ordering::Acquire) == 1);
            assert!(queue.next_deadline().is_some());
            queue.cancel(entry.as_ref());
        });
    }
}
