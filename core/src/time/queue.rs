//! The timers of one waiter: a wheel under a lock, entries in the futures that wait.
//!
//! The waiter (a worker, or an event loop) owns the queue: it uses the lock ([`OwnerLock`]) and counts
//! its references ([`OwnerCount`]) without atomic operations. Everybody else may do all that it may:
//! set, cancel, and [`process`](TimerQueue::process) what is overdue while the waiter is held up. What an
//! [`Entry`] goes through, and who may touch it when, is written down there.
//!
//! # How the waiter learns of an earlier deadline
//!
//! `earliest` is a lower bound of the wheel's deadlines, written under the lock, read without. An
//! insert that lowers it calls `unpark`, after the store and after the lock is given up, unless
//! the inserting thread is the waiter itself, which reads `earliest` before it next waits. `unpark`
//! wakes a waiter that sleeps, and makes one that is about to sleep not do so; both read
//! `earliest` again. So a waiter can not sleep past a deadline that was in the wheel when it was
//! last unparked, and it is unparked after each one that matters.
//!
//! # After the waiter's end
//!
//! A future that was polled on a runtime may outlive it, on a thread that blocks or in somebody
//! else's executor, and must not wait for ever. So a queue that is closed goes on, with a
//! [keeper](super::keeper) in the waiter's place: a thread that is started when there is a timer left,
//! and ends when there is none.
//!
//! If the system has no thread to give, the queue is *abandoned*: every entry is given back to its
//! future (`LEFT`), and whoever waits is woken. A future that is polled then sets its timer again, which
//! asks for a keeper again; as long as there is none it wakes itself, and so looks at the clock
//! until its time has come: a processor is busy with that, but nobody waits for ever. It is the
//! future that looks at the clock, so nothing is early.

use std::fmt;
use std::pin::Pin;
use std::task::Waker;
use std::time::Instant;

use crossbeam_utils::CachePadded;

use super::clock::Clock;
use super::entry::{Entry, LINKED};
use super::keeper::Keeper;
use super::owner_count::OwnerCount;
use super::owner_lock::{Guard, OwnerLock};
use super::wake_batch::WakeBatch;
use super::wheel::Wheel;
use crate::shim::sync::atomic::{AtomicU64, Ordering};

/// No deadline at all.
const NEVER: u64 = u64::MAX;

pub(super) struct State {
    pub(super) wheel: Wheel,
    /// Whose the timers are once the waiter has gone.
    pub(super) keeper: Option<Keeper>,
}

/// The timers of one worker, or of one event loop. See the module's documentation.
///
/// `here`, wherever it is asked for, says that the calling thread is the waiter: that it looks at
/// [`next_deadline`](Self::next_deadline) before it next waits, and that nobody else is the waiter
/// before it has ceased to be.
pub(crate) struct TimerQueue {
    clock: Clock,
    unpark: Box<dyn Fn() + Send + Sync>,
    pub(super) refs: OwnerCount,
    earliest: AtomicU64,
    /// Nothing is published through it: the standard library's in models too.
    tells_own: std::sync::atomic::AtomicBool,
    state: CachePadded<OwnerLock<State>>,
}

impl TimerQueue {
    pub(super) fn new(unpark: Box<dyn Fn() + Send + Sync>) -> TimerQueue {
        TimerQueue {
            clock: Clock::new(),
            unpark,
            refs: OwnerCount::new(),
            earliest: AtomicU64::new(NEVER),
            tells_own: std::sync::atomic::AtomicBool::new(false),
            state: CachePadded::new(OwnerLock::new(State {
                wheel: Wheel::new(),
                keeper: None,
            })),
        }
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

    /// Whether `unpark` is called also if it is the waiter that lowers the earliest deadline, because
    /// somebody else waits for it too.
    pub(crate) fn tell_own(&self, tell: bool) {
        self.tells_own.store(tell, Ordering::Relaxed);
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Wakes whoever waited for a time up to `now`, and counts them. From any thread, several at once
    /// included. No lock is held while waking, and none taken if nothing is due.
    #[cfg(not(loom))]
    pub(crate) fn process(&self, now: Instant) -> usize {
        let here = crate::context::is_waiter_of(self);
        // SAFETY: the context knows.
        unsafe { self.process_at(self.clock.elapsed(now), here) }
    }

    /// # Safety
    /// `here` is true.
    pub(super) unsafe fn process_at(&self, now: u64, here: bool) -> usize {
        if self.earliest.load(Ordering::Relaxed) > now {
            return 0;
        }
        let mut count = 0;
        let mut batch = WakeBatch::new();
        // SAFETY: by the caller's promise.
        let mut state = unsafe { self.lock(here) };
        state.wheel.advance(now);
        loop {
            while !batch.is_full() {
                let Some(node) = state.wheel.pop() else { break };
                count += 1;
                // SAFETY: the node is an entry's first field; entries in the wheel are LINKED, so
                // they are valid and the lock's.
                batch.push(unsafe { Entry::fire(node) });
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
            // SAFETY: by the caller's promise.
            state = unsafe { self.lock(here) };
        }
    }

    /// Ends the waiter's time.
    ///
    /// # Safety
    /// As for [`OwnedTimers::close`](super::reference::OwnedTimers::close), and called once.
    pub(super) unsafe fn close(&self) {
        // SAFETY: by the caller's promise. The caller's own reference is the `&self`.
        unsafe { self.refs.disown() };
        // SAFETY: this thread need not be the waiter.
        let mut state = unsafe { self.lock(false) };
        let mut keeper = Keeper::new();
        let kept = state.wheel.len() == 0 || keeper.start(self);
        state.keeper = Some(keeper);
        drop(state);
        if !kept {
            self.abandon();
        }
    }

    /// Gives the entries of a closed queue back to their futures, and wakes whoever waits.
    #[cold]
    pub(super) fn abandon(&self) {
        let mut batch = WakeBatch::new();
        loop {
            // SAFETY: never wrong.
            let mut state = unsafe { self.lock(false) };
            // Somebody else may have had better luck with a keeper.
            let kept = state.keeper.as_ref().is_some_and(Keeper::is_running);
            while !kept && !batch.is_full() {
                let Some(node) = state.wheel.pop_any() else {
                    break;
                };
                // SAFETY: the node is an entry's first field; entries in the wheel are LINKED, so
                // they are valid and the lock's.
                batch.push(unsafe { Entry::leave(node) });
            }
            let over = kept || !batch.is_full();
            self.publish_earliest(&mut state.wheel);
            drop(state);
            batch.wake_all();
            if over {
                return;
            }
        }
    }

    /// Links `entry`, which is not linked, to fire at `deadline` and wake `waker`. `Err` gives the
    /// waker back: there is nobody to serve it, which happens only at the end of everything, if the
    /// system has no thread left.
    ///
    /// # Safety
    /// `here` is true. The caller is the entry's future, and cancels it before it is dropped.
    pub(crate) unsafe fn insert(
        &self,
        entry: Pin<&Entry>,
        deadline: Instant,
        waker: Waker,
        here: bool,
    ) -> Result<(), Waker> {
        entry.put_waker(waker);
        // SAFETY: by the caller's promise.
        let mut state = unsafe { self.lock(here) };
        if let Some(keeper) = &mut state.keeper
            && !keeper.start(self)
        {
            drop(state);
            // SAFETY: it was put there, and not linked.
            let waker = unsafe { entry.take_waker() };
            entry.set_loose(deadline, false);
            return Err(waker);
        }
        entry.to_linked();
        self.link(state, entry, deadline, here);
        Ok(())
    }

    /// The entry is linked, but for the wheel; the lock is given up.
    fn link(&self, mut state: Guard<'_, State>, entry: Pin<&Entry>, deadline: Instant, here: bool) {
        let (tick, before_tick) = self.clock.deadline(deadline);
        entry.set_before_tick(before_tick);
        // SAFETY: the entry is pinned, and its drop unlinks it under the lock before it is freed;
        // LINKED makes it the lock's.
        unsafe { state.wheel.insert(entry.node(), tick) };
        if tick >= self.earliest.load(Ordering::Relaxed) {
            return;
        }
        self.earliest.store(tick, Ordering::Release);
        if here {
            if self.tells_own.load(Ordering::Relaxed) {
                drop(state);
                (self.unpark)();
            }
            return;
        }
        match state.keeper.as_ref().map(Keeper::waker) {
            None => {
                drop(state);
                (self.unpark)();
            }
            Some(wake) => {
                drop(state);
                wake.wake();
            }
        }
    }

    /// Moves a linked entry to another deadline; `false` if it is not linked any more, and was
    /// not touched.
    ///
    /// # Safety
    /// `here` is true. The caller is the entry's future.
    pub(crate) unsafe fn reset(&self, entry: Pin<&Entry>, deadline: Instant, here: bool) -> bool {
        // SAFETY: by the caller's promise.
        let mut state = unsafe { self.lock(here) };
        if !entry.is_linked() {
            return false;
        }
        // SAFETY: LINKED, and the lock is held.
        unsafe { state.wheel.remove(entry.node()) };
        self.link(state, entry, deadline, here);
        true
    }

    /// Exchanges the waker of a linked entry; `false` if it is not linked any more.
    ///
    /// # Safety
    /// `here` is true. The caller is the entry's future.
    pub(crate) unsafe fn replace_waker(
        &self,
        entry: Pin<&Entry>,
        waker: Waker,
        here: bool,
    ) -> bool {
        // SAFETY: by the caller's promise.
        let state = unsafe { self.lock(here) };
        let linked = entry.is_linked();
        let unused = if linked {
            // SAFETY: LINKED, and the lock is held.
            unsafe { entry.replace_waker(waker) }
        } else {
            waker
        };
        drop(state);
        drop(unused);
        linked
    }

    /// Takes the entry out, from any thread: afterwards it is the caller's, and is not fired. Gives
    /// back the waker of an entry that had not. Constant time; without the lock if it has fired
    /// already.
    ///
    /// # Safety
    /// `here` is true. The caller is the entry's future.
    #[inline]
    pub(crate) unsafe fn cancel(&self, entry: Pin<&Entry>, here: bool) -> Option<Waker> {
        if entry.state() != LINKED {
            return None;
        }
        // SAFETY: by the caller's promise.
        let mut state = unsafe { self.lock(here) };
        if !entry.is_linked() {
            return None;
        }
        // SAFETY: LINKED, and the lock is held.
        let waker = unsafe {
            state.wheel.remove(entry.node());
            entry.take_waker()
        };
        entry.to_idle();
        // Otherwise `earliest` stays: it is a lower bound.
        if state.wheel.len() == 0 {
            self.earliest.store(NEVER, Ordering::Release);
            let keeper = state.keeper.as_ref().map(Keeper::waker);
            drop(state);
            if let Some(keeper) = keeper {
                keeper.wake();
            }
        }
        Some(waker)
    }

    /// # Safety
    /// `here` is true.
    #[inline]
    pub(super) unsafe fn lock(&self, here: bool) -> Guard<'_, State> {
        // SAFETY: the waiter is the lock's owner.
        unsafe { self.state.lock(here) }
    }

    fn publish_earliest(&self, wheel: &mut Wheel) {
        self.earliest
            .store(wheel.earliest().unwrap_or(NEVER), Ordering::Release);
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
    use super::super::entry::{FIRED, LEFT};
    use super::super::reference::OwnedTimers;
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;
    use std::time::Duration;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Release);
        }
    }

    impl Count {
        fn get(&self) -> usize {
            self.0.load(Ordering::Acquire)
        }
    }

    /// A queue, how often it was unparked, and how often a waker was called.
    struct Setup {
        queue: OwnedTimers,
        unparks: Arc<Count>,
        wakes: Arc<Count>,
        start: Instant,
    }

    fn setup() -> Setup {
        let unparks = Arc::new(Count::default());
        let unpark = unparks.clone();
        Setup {
            queue: OwnedTimers::new(move || unpark.clone().wake()),
            unparks,
            wakes: Arc::default(),
            start: Instant::now(),
        }
    }

    impl Setup {
        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn entry(&self) -> Pin<Box<Entry>> {
            Box::pin(Entry::new(self.start, false))
        }

        fn insert(&self, entry: &Pin<Box<Entry>>, deadline: Instant, here: bool) {
            let waker = Waker::from(self.wakes.clone());
            // SAFETY: this thread is the waiter and the others in turn, and each test cancels.
            let inserted = unsafe { self.queue.insert(entry.as_ref(), deadline, waker, here) };
            inserted.expect("there is a thread");
        }

        fn cancel(&self, entry: &Pin<Box<Entry>>) {
            // SAFETY: never wrong.
            drop(unsafe { self.queue.cancel(entry.as_ref(), false) });
        }

        fn process(&self, now: Instant, here: bool) -> usize {
            // SAFETY: as in `insert`.
            unsafe { self.queue.process_at(self.queue.clock.elapsed(now), here) }
        }
    }

    #[test]
    fn only_a_foreign_earlier_deadline_unparks() {
        let on = setup();
        let entries: Vec<_> = (0..4).map(|_| on.entry()).collect();
        on.insert(&entries[0], on.at(100), false);
        assert_eq!(on.unparks.get(), 1);
        on.insert(&entries[1], on.at(200), false);
        assert_eq!(on.unparks.get(), 1);
        on.insert(&entries[2], on.at(50), true);
        assert_eq!(on.unparks.get(), 1);
        on.insert(&entries[3], on.at(40), false);
        assert_eq!(on.unparks.get(), 2);
        let next = on.queue.next_deadline();
        assert!(next.is_some_and(|next| next >= on.at(40) && next < on.at(41)));
        for entry in &entries {
            on.cancel(entry);
        }
        assert!(on.queue.is_empty());
    }

    #[test]
    fn more_timers_than_a_batch_fire_together() {
        let on = setup();
        let entries: Vec<_> = (0..100).map(|_| on.entry()).collect();
        for entry in &entries {
            on.insert(entry, on.at(1), true);
        }
        on.cancel(&entries[7]);
        assert_eq!(on.process(on.start, true), 0);
        assert_eq!(on.process(on.at(2), true), 99);
        assert_eq!(on.wakes.get(), 99);
        assert!(entries[7].state() != FIRED && entries[8].state() == FIRED);
        assert_eq!(on.queue.next_deadline(), None);
        assert_eq!(Arc::strong_count(&on.wakes), 1);
    }

    #[test]
    fn a_timer_that_is_set_again_by_what_it_wakes_fires_at_its_next_time() {
        struct Again {
            on: Setup,
            entry: Pin<Box<Entry>>,
        }
        impl Wake for Again {
            fn wake(self: Arc<Self>) {
                // No lock of the queue's is held here, or this would not return.
                self.on.insert(&self.entry, self.on.at(3), true);
                self.on.wakes.clone().wake();
            }
        }
        let on = setup();
        let again = Arc::new(Again {
            entry: on.entry(),
            on,
        });
        let (on, waker) = (&again.on, Waker::from(again.clone()));
        // SAFETY: as in `Setup::insert`.
        unsafe { on.queue.insert(again.entry.as_ref(), on.at(1), waker, true) }.expect("taken");
        assert_eq!(on.process(on.at(2), true), 1);
        assert_eq!(on.wakes.get(), 1);
        assert_eq!(on.process(on.at(2), true), 0);
        assert_eq!(on.process(on.at(4), true), 1);
        assert_eq!(on.wakes.get(), 2);
    }

    #[test]
    fn time_may_jump_by_centuries() {
        let on = setup();
        let year = 365 * 86_400;
        let ages = [0, 1, 60, year, 30 * year, 280 * year];
        let entries: Vec<_> = ages.iter().map(|_| on.entry()).collect();
        for (entry, age) in entries.iter().zip(ages) {
            on.insert(entry, on.at(age), true);
        }
        assert_eq!(on.process(on.at(2 * year), true), 4);
        // A thread that looked at its clock long ago comes late, and does no harm.
        assert_eq!(on.process(on.at(1), false), 0);
        assert_eq!(on.process(on.at(290 * year), false), 2);
        assert_eq!(on.wakes.get(), ages.len());
    }

    #[test]
    fn a_peer_serves_what_the_waiter_left_overdue() {
        let on = setup();
        let (mine, theirs) = (on.entry(), on.entry());
        on.insert(&mine, on.at(1), true);
        on.insert(&theirs, on.at(5), true);
        std::thread::scope(|scope| {
            let peer = scope.spawn(|| on.process(on.at(2), false));
            assert_eq!(peer.join().expect("joined"), 1);
        });
        assert!(on.queue.next_deadline() >= Some(on.at(5)));
        assert_eq!(on.process(on.at(2), true), 0);
        assert_eq!(on.process(on.at(6), true), 1);
    }

    #[test]
    fn timers_that_outlive_their_waiter_are_served_until_the_last() {
        let on = setup();
        let (soon, never, late) = (on.entry(), on.entry(), on.entry());
        on.insert(&soon, on.start, true);
        on.insert(&never, on.at(3600), true);
        // SAFETY: the end of this waiter.
        unsafe { on.queue.close() };
        let wait = |wakes| {
            while on.wakes.get() < wakes {
                std::thread::yield_now();
            }
        };
        wait(1);
        // An earlier deadline than the one that the keeper waits for.
        on.insert(&late, Instant::now() + Duration::from_millis(1), false);
        wait(2);
        assert!(soon.state() == FIRED && late.state() == FIRED);
        on.cancel(&never);
        // The keeper has left when it has given its reference back.
        while on.queue.refs.others() > 1 {
            std::thread::yield_now();
        }
        on.insert(&soon, on.start, false);
        wait(3);
    }

    #[test]
    fn an_abandoned_queue_gives_its_timers_back_and_wakes_whoever_waits() {
        let on = setup();
        let entries: Vec<_> = (0..100).map(|_| on.entry()).collect();
        for (seconds, entry) in (1..).zip(&entries) {
            on.insert(entry, on.at(seconds), true);
        }
        on.queue.abandon();
        assert_eq!(on.wakes.get(), 100);
        assert!(on.queue.is_empty());
        for (seconds, entry) in (1..).zip(&entries) {
            assert_eq!(entry.state(), LEFT);
            assert_eq!(entry.linked_deadline(on.queue.clock()), on.at(seconds));
        }
        // Time has not passed, and they may be set again.
        entries[0].as_ref().set_loose(on.at(1), false);
        on.insert(&entries[0], on.at(1), true);
        assert_eq!(on.process(on.start, true), 0);
        assert_eq!(on.process(on.at(2), true), 1);
    }
}
