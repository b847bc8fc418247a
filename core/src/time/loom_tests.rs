//! Models of a queue of timers: its waiter, the futures in it, and others that come by.

use super::entry::{Entry, FIRED, IDLE, LEFT};
use super::queue::TimerQueue;
use super::reference::{OwnedTimers, TimerRef};
use crate::shim::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

fn count() -> Arc<Count> {
    Arc::new(Count(AtomicUsize::new(0)))
}

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    fn waker(self: &Arc<Self>) -> Waker {
        self.clone().into()
    }
}

/// A future with one timer, which notices if two threads use it at once.
struct Timer {
    queue: TimerRef,
    entry: Pin<Box<Entry>>,
    own: UnsafeCell<()>,
}

impl Timer {
    fn new(queue: &TimerQueue) -> Timer {
        Timer {
            queue: unsafe { TimerRef::to(queue, false) },
            entry: Box::pin(Entry::new(Instant::now(), false)),
            own: UnsafeCell::new(()),
        }
    }

    fn set(&self, seconds: u64, waker: Waker, here: bool) {
        self.own.with_mut(|_| ());
        let inserted = unsafe {
            self.queue.insert(
                self.entry.as_ref(),
                after(&self.queue, seconds),
                waker,
                here,
            )
        };
        inserted.expect("there is a thread");
    }

    fn reset(&self, seconds: u64, here: bool) -> bool {
        self.own.with_mut(|_| ());
        unsafe {
            self.queue
                .reset(self.entry.as_ref(), after(&self.queue, seconds), here)
        }
    }

    fn replace(&self, waker: Waker, here: bool) -> bool {
        self.own.with_mut(|_| ());
        unsafe { self.queue.replace_waker(self.entry.as_ref(), waker, here) }
    }

    /// Whether it was in time to keep it from firing.
    fn cancel(&self, here: bool) -> bool {
        self.own.with_mut(|_| ());
        unsafe { self.queue.cancel(self.entry.as_ref(), here) }.is_some()
    }

    fn has_fired(&self) -> bool {
        self.entry.state() == FIRED
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.cancel(false);
        // The entry's memory is this thread's: a queue that still touched it would be reported.
        self.entry.set_loose(Instant::now(), false);
        assert_eq!(self.entry.state(), IDLE);
    }
}

fn after(queue: &TimerQueue, seconds: u64) -> Instant {
    queue.clock().at(0) + Duration::from_secs(seconds)
}

fn process(queue: &TimerQueue, seconds: u64, here: bool) -> usize {
    unsafe { queue.process_at(queue.clock().elapsed(after(queue, seconds)), here) }
}

fn queue() -> OwnedTimers {
    OwnedTimers::new(|| ())
}

fn other(queue: &TimerQueue) -> TimerRef {
    unsafe { TimerRef::to(queue, false) }
}

/// The waiter fires what another thread's future drops: either it was woken or it was not, and nobody
/// touches the entry afterwards.
#[test]
fn loom_timer_fires_or_is_dropped() {
    crate::shim::model(|| {
        let (queue, count) = (queue(), count());
        let timer = Timer::new(&queue);
        timer.set(1, count.waker(), true);
        let thread = thread::spawn(move || timer.cancel(false));
        let fired = process(&queue, 2, true);
        let cancelled = thread.join().expect("joined");
        assert_eq!(count.get(), fired);
        assert_eq!(usize::from(cancelled), 1 - fired);
    });
}

/// The waiter's own future is dropped while a peer runs the overdue timers.
#[test]
fn loom_timer_is_dropped_by_its_waiter_while_a_peer_fires() {
    crate::shim::model(|| {
        let (queue, count) = (queue(), count());
        let timer = Timer::new(&queue);
        timer.set(1, count.waker(), true);
        let peer = other(&queue);
        let thread = thread::spawn(move || process(&peer, 2, false));
        let cancelled = timer.cancel(true);
        drop(timer);
        let fired = thread.join().expect("joined");
        assert_eq!(count.get(), fired);
        assert_eq!(usize::from(cancelled), 1 - fired);
    });
}

/// A future that has seen that its timer fired owns it without a lock.
#[test]
fn loom_timer_that_fired_is_its_futures() {
    crate::shim::model(|| {
        let (queue, count) = (queue(), count());
        let timer = Timer::new(&queue);
        timer.set(1, count.waker(), true);
        let thread = thread::spawn(move || {
            if timer.has_fired() {
                // As a sleep that is set again: by writing what firing has read.
                timer.entry.set_loose(Instant::now(), false);
            }
            drop(timer);
        });
        process(&queue, 2, true);
        thread.join().expect("joined");
    });
}

/// Waiter and peer run the same wheel: each timer is fired by one of them.
#[test]
fn loom_timer_is_fired_once_by_two() {
    crate::shim::model(|| {
        let (queue, count) = (queue(), count());
        let timers = [Timer::new(&queue), Timer::new(&queue)];
        timers[0].set(1, count.waker(), true);
        timers[1].set(2, count.waker(), true);
        let peer = other(&queue);
        let thread = thread::spawn(move || process(&peer, 3, false));
        let here = process(&queue, 3, true);
        let there = thread.join().expect("joined");
        assert_eq!((here + there, count.get()), (2, 2));
        assert!(timers.iter().all(Timer::has_fired));
    });
}

/// The waker is exchanged while the timer fires: the new one is woken, or the future learns that it
/// has fired.
#[test]
fn loom_timer_that_changes_its_waker_wakes_one() {
    crate::shim::model(|| {
        let (queue, old, new) = (queue(), count(), count());
        let timer = Timer::new(&queue);
        timer.set(1, old.waker(), true);
        let waker = new.waker();
        let thread = thread::spawn(move || (timer.replace(waker, false), timer));
        assert_eq!(process(&queue, 2, true), 1);
        let (replaced, timer) = thread.join().expect("joined");
        assert!(timer.has_fired());
        assert_eq!(
            (old.get(), new.get()),
            if replaced { (0, 1) } else { (1, 0) }
        );
        assert_eq!((Arc::strong_count(&old), Arc::strong_count(&new)), (1, 1));
    });
}

/// The deadline is moved while the timer fires, and by another than its waiter: it fires at the old
/// time, which the future learns, or at the new one.
#[test]
fn loom_timer_that_is_reset_fires_at_one_of_its_times() {
    crate::shim::model(|| {
        let (queue, count) = (queue(), count());
        let timer = Timer::new(&queue);
        timer.set(1, count.waker(), true);
        let thread = thread::spawn(move || {
            let moved = timer.reset(10, false);
            (moved, timer)
        });
        let early = process(&queue, 2, true);
        let (moved, timer) = thread.join().expect("joined");
        assert_eq!(early, usize::from(!moved));
        assert_eq!(process(&queue, 11, true), usize::from(moved));
        assert!(timer.has_fired() && count.get() == 1);
    });
}

/// Firing, moving and dropping by three threads, the waiter being the one that moves.
#[test]
fn loom_timer_fire_reset_and_cancel_across_workers() {
    crate::shim::model(|| {
        let (queue, count) = (queue(), count());
        let (moved, dropped) = (Timer::new(&queue), Timer::new(&queue));
        moved.set(1, count.waker(), true);
        dropped.set(1, count.waker(), true);
        let peer = other(&queue);
        let firing = thread::spawn(move || process(&peer, 2, false));
        let dropping = thread::spawn(move || usize::from(dropped.cancel(false)));
        let kept = usize::from(moved.reset(10, true));
        let fired = firing.join().expect("joined");
        let cancelled = dropping.join().expect("joined");
        assert_eq!(fired + kept + cancelled, 2);
        assert_eq!(process(&queue, 11, true), kept);
        assert_eq!(count.get(), fired + kept);
    });
}

/// The waiter sets timers while others set and cancel theirs.
#[test]
fn loom_timers_are_set_and_cancelled_by_all() {
    crate::shim::model(|| {
        let (queue, count) = (queue(), count());
        let (foreign, waker) = (Timer::new(&queue), count.waker());
        let thread = thread::spawn(move || {
            foreign.set(1, waker, false);
            foreign.cancel(false)
        });
        let mine = [Timer::new(&queue), Timer::new(&queue)];
        mine[0].set(1, count.waker(), true);
        mine[1].set(1, count.waker(), true);
        assert!(mine[0].cancel(true));
        assert!(thread.join().expect("joined"));
        assert_eq!(process(&queue, 2, true), 1);
        assert_eq!(count.get(), 1);
        drop(mine);
        assert_eq!(Arc::strong_count(&count), 1);
    });
}

/// A waiter that reads the next deadline and then sleeps is told of an earlier one.
#[test]
fn loom_timer_with_an_earlier_deadline_reaches_the_waiter() {
    crate::shim::model(|| {
        let unparked = Arc::new(AtomicUsize::new(0));
        let unpark = unparked.clone();
        let queue = OwnedTimers::new(move || unpark.store(1, Ordering::Release));
        let (timer, waker) = (Timer::new(&queue), count().waker());
        let thread = thread::spawn(move || {
            timer.set(1, waker, false);
            timer
        });
        // What a waiter does: consume the token, look, and sleep only if neither told it.
        let seen = queue.next_deadline().is_some();
        let timer = thread.join().expect("joined");
        assert!(seen || unparked.load(Ordering::Acquire) == 1);
        assert!(queue.next_deadline().is_some());
        drop(timer);
    });
}

/// A timer that is set while the waiter goes is served by the waiter's successor, and freeing the
/// queue falls to whoever is last.
#[test]
fn loom_timer_set_while_the_queue_is_closed_has_a_keeper() {
    crate::shim::model(|| {
        let (queue, count) = (queue(), count());
        // A reference that the waiter counted, and another gives back.
        let own = unsafe { TimerRef::to(&queue, true) };
        let (timer, waker) = (Timer::new(&queue), count.waker());
        let thread = thread::spawn(move || {
            timer.set(1, waker, false);
            drop(own);
            timer
        });
        unsafe { queue.close() };
        let peer = other(&queue);
        drop(queue);
        let timer = thread.join().expect("joined");
        let kept = unsafe { peer.lock(false) }
            .keeper
            .as_ref()
            .is_some_and(|keeper| keeper.is_running());
        assert!(kept);
        assert_eq!(process(&peer, 2, false), 1);
        assert!(timer.has_fired());
    });
}

/// A queue that nobody can keep gives its timers back while their futures are at them: each waiter
/// is woken, by its last waker, or has cancelled.
#[test]
fn loom_timer_is_cancelled_or_changes_its_waker_while_its_queue_is_abandoned() {
    crate::shim::model(|| {
        let (queue, first, second) = (queue(), count(), count());
        let (kept, dropped) = (Timer::new(&queue), Timer::new(&queue));
        kept.set(1, first.waker(), true);
        dropped.set(1, first.waker(), true);
        let (woken_first, woken_second) = (first.clone(), second.clone());
        let thread = thread::spawn(move || {
            let replaced = kept.replace(second.waker(), false);
            let cancelled = dropped.cancel(false);
            (kept, replaced, cancelled)
        });
        let peer = other(&queue);
        queue.abandon();
        let (kept, replaced, cancelled) = thread.join().expect("joined");
        assert_eq!(kept.entry.state(), LEFT);
        assert_eq!(kept.entry.linked_deadline(peer.clock()), after(&peer, 1));
        assert_eq!(woken_second.get(), usize::from(replaced));
        assert_eq!(
            woken_first.get(),
            usize::from(!replaced) + usize::from(!cancelled)
        );
        assert!(peer.is_empty());
    });
}
