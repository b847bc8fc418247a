//! What a task does, seen through a scheduler that is a queue and a list.

use super::*;
use crate::shim::sync::Mutex;
use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A scheduler for one thread's tests: what is woken waits in a queue until `run` is called.
#[derive(Clone)]
pub(super) struct Bench(Arc<Shared>);

struct Shared {
    queue: Mutex<VecDeque<Notified>>,
    owned: Mutex<OwnedTasks>,
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench(Arc::new(Shared {
            queue: Mutex::new(VecDeque::new()),
            owned: Mutex::new(OwnedTasks::new(0)),
        }))
    }

    fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (task, handle) = new_task(future, self.clone(), None);
        self.0.queue.lock().push_back(task);
        handle
    }

    /// Runs what is queued and returns how many polls that took.
    fn run(&self) -> usize {
        let mut polls = 0;
        loop {
            let Some(task) = self.0.queue.lock().pop_front() else {
                return polls;
            };
            task.run();
            polls += 1;
        }
    }

    fn owned(&self) -> usize {
        self.0.owned.lock().len()
    }

    fn shutdown(&self) {
        let held = self.0.owned.lock().hold_all();
        for task in held {
            // SAFETY: the test's futures are Send.
            unsafe { task.shutdown() };
        }
        let queued = std::mem::take(&mut *self.0.queue.lock());
        drop(queued);
    }
}

impl Schedule for Bench {
    fn schedule(&self, task: Notified) {
        self.0.queue.lock().push_back(task);
    }

    fn reschedule(&self, task: Notified) {
        self.schedule(task);
    }

    fn bind(&self, task: TaskPtr) -> bool {
        // SAFETY: called by the poll, with its reference.
        unsafe { self.0.owned.lock().link(task) };
        true
    }

    fn release(&self, task: TaskPtr) -> bool {
        let owned = owner_of(task).is_some();
        if owned {
            // SAFETY: there is one list only.
            unsafe { self.0.owned.lock().unlink(task) };
        }
        owned
    }
}

/// A waker that counts.
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counter() -> (std::sync::Arc<Count>, Waker) {
    let count = std::sync::Arc::new(Count(AtomicUsize::new(0)));
    (count.clone(), Waker::from(count))
}

/// Counts its drops.
struct Dropped(std::sync::Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn dropped() -> (std::sync::Arc<AtomicUsize>, Dropped) {
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    (count.clone(), Dropped(count))
}

fn poll_once<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

#[test]
fn output_reaches_the_join_handle() {
    let bench = Bench::new();
    let mut handle = pin!(bench.spawn(async { 7 }));
    let (count, waker) = counter();
    assert!(poll_once(handle.as_mut(), &waker).is_pending());
    assert!(!handle.is_finished());
    assert_eq!(bench.run(), 1);
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert!(handle.is_finished());
    assert!(matches!(
        poll_once(handle.as_mut(), &waker),
        Poll::Ready(Ok(7))
    ));
}

#[test]
fn task_that_completes_in_its_first_poll_is_never_linked() {
    let bench = Bench::new();
    drop(bench.spawn(async {}));
    assert_eq!(bench.owned(), 0);
    assert_eq!(bench.run(), 1);
    assert_eq!(bench.owned(), 0);
}

#[test]
fn wakes_before_a_poll_make_one_poll() {
    let bench = Bench::new();
    let slot = std::sync::Arc::new(Mutex::new(None::<Waker>));
    let polls = std::sync::Arc::new(AtomicUsize::new(0));
    let (stored, counted) = (slot.clone(), polls.clone());
    drop(bench.spawn(poll_fn(move |cx| {
        counted.fetch_add(1, Ordering::SeqCst);
        *stored.lock() = Some(cx.waker().clone());
        Poll::<()>::Pending
    })));
    bench.run();
    let waker = slot.lock().take().unwrap();
    for _ in 0..5 {
        waker.wake_by_ref();
    }
    assert_eq!(bench.run(), 1);
    waker.wake();
    assert_eq!(bench.run(), 1);
    assert_eq!(polls.load(Ordering::SeqCst), 3);
    assert_eq!(bench.owned(), 1);
    bench.shutdown();
    assert_eq!(bench.owned(), 0);
}

#[test]
fn wake_during_a_poll_makes_one_more_poll() {
    let bench = Bench::new();
    let mut polls = 0;
    drop(bench.spawn(poll_fn(move |cx| {
        polls += 1;
        if polls == 3 {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        cx.waker().wake_by_ref();
        Poll::Pending
    })));
    assert_eq!(bench.run(), 3);
    assert_eq!(bench.owned(), 0);
}

#[test]
fn wake_after_completion_does_nothing() {
    let bench = Bench::new();
    let slot = std::sync::Arc::new(Mutex::new(None::<Waker>));
    let stored = slot.clone();
    drop(bench.spawn(poll_fn(move |cx| {
        *stored.lock() = Some(cx.waker().clone());
        Poll::Ready(())
    })));
    bench.run();
    let waker = slot.lock().take().unwrap();
    waker.wake_by_ref();
    waker.wake();
    assert_eq!(bench.run(), 0);
}

#[test]
fn abort_drops_the_future_and_reports_it() {
    let bench = Bench::new();
    let (drops, guard) = dropped();
    let mut handle = pin!(bench.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    }));
    bench.run();
    handle.abort();
    handle.abort();
    assert_eq!(
        drops.load(Ordering::SeqCst),
        0,
        "dropped by the abort, not by its thread"
    );
    bench.run();
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    let Poll::Ready(Err(error)) = poll_once(handle.as_mut(), Waker::noop()) else {
        panic!("an aborted task joined without an error")
    };
    assert!(error.is_cancelled() && !error.is_panic());
    assert!(error.into_panic().is_err());
    assert_eq!(bench.owned(), 0);
}

#[test]
fn abort_from_inside_its_own_poll_is_seen_when_the_poll_is_pending() {
    let bench = Bench::new();
    let slot = std::sync::Arc::new(Mutex::new(None::<AbortHandle>));
    let own = slot.clone();
    let (drops, guard) = dropped();
    let handle = bench.spawn(poll_fn(move |_| {
        let _guard = &guard;
        own.lock().take().unwrap().abort();
        Poll::<()>::Pending
    }));
    *slot.lock() = Some(handle.abort_handle());
    assert_eq!(bench.run(), 1);
    assert!(handle.is_finished());
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    assert_eq!(bench.owned(), 0);
}

#[test]
fn aborted_task_that_is_ready_keeps_its_output() {
    let bench = Bench::new();
    let slot = std::sync::Arc::new(Mutex::new(None::<AbortHandle>));
    let own = slot.clone();
    let mut handle = pin!(bench.spawn(poll_fn(move |_| {
        own.lock().take().unwrap().abort();
        Poll::Ready(3)
    })));
    *slot.lock() = Some(handle.abort_handle());
    bench.run();
    assert!(matches!(
        poll_once(handle.as_mut(), Waker::noop()),
        Poll::Ready(Ok(3))
    ));
}

#[test]
fn panic_becomes_a_join_error() {
    let bench = Bench::new();
    let (drops, guard) = dropped();
    let mut handle = pin!(bench.spawn(async move {
        let _guard = guard;
        panic!("went wrong: {}", std::hint::black_box(5));
    }));
    bench.run();
    let Poll::Ready(Err(error)) = poll_once(handle.as_mut(), Waker::noop()) else {
        panic!("a panic joined without an error")
    };
    assert!(error.is_panic());
    assert_eq!(
        error.to_string(),
        format!("task {} panicked: went wrong: 5", error.id())
    );
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    assert!(error.into_panic().unwrap().is::<String>());
}

#[test]
fn panic_in_the_drop_of_a_cancelled_future_is_reported() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    let bench = Bench::new();
    let mut handle = pin!(bench.spawn(async {
        let _bomb = Bomb;
        pending::<()>().await;
    }));
    bench.run();
    handle.abort();
    bench.run();
    let Poll::Ready(Err(error)) = poll_once(handle.as_mut(), Waker::noop()) else {
        panic!("an aborted task joined without an error")
    };
    assert!(error.is_panic());
}

#[test]
fn dropped_notified_cancels_its_task() {
    let bench = Bench::new();
    let (drops, guard) = dropped();
    let handle = bench.spawn(async move { drop(guard) });
    let queued = std::mem::take(&mut *bench.0.queue.lock());
    drop(queued);
    assert!(handle.is_finished());
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn shutdown_drops_waiting_and_queued_tasks_once() {
    let bench = Bench::new();
    let drops = std::sync::Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..10)
        .map(|i| {
            let guard = Dropped(drops.clone());
            bench.spawn(async move {
                let _guard = guard;
                if i % 2 == 0 {
                    pending::<()>().await;
                }
            })
        })
        .collect();
    for _ in 0..4 {
        let task = bench.0.queue.lock().pop_front().unwrap();
        task.run();
    }
    bench.shutdown();
    assert!(handles.iter().all(JoinHandle::is_finished));
    assert_eq!(drops.load(Ordering::SeqCst), 10);
    assert_eq!(bench.owned(), 0);
}

#[test]
fn output_nobody_wants_is_dropped() {
    let bench = Bench::new();
    let (drops, guard) = dropped();
    drop(bench.spawn(async move { guard }));
    bench.run();
    assert_eq!(drops.load(Ordering::SeqCst), 1);

    let (drops, guard) = dropped();
    let handle = bench.spawn(async move { guard });
    bench.run();
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    drop(handle);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn join_handle_wakes_the_last_waker_it_was_polled_with() {
    let bench = Bench::new();
    let mut handle = pin!(bench.spawn(async {}));
    let (first, first_waker) = counter();
    let (second, second_waker) = counter();
    assert!(poll_once(handle.as_mut(), &first_waker).is_pending());
    assert!(poll_once(handle.as_mut(), &second_waker).is_pending());
    assert!(poll_once(handle.as_mut(), &second_waker).is_pending());
    bench.run();
    assert_eq!(first.0.load(Ordering::SeqCst), 0);
    assert_eq!(second.0.load(Ordering::SeqCst), 1);
}

#[test]
fn budget_ends_a_poll_that_would_never_wait() {
    let bench = Bench::new();
    let mut done = 0_u32;
    drop(bench.spawn(poll_fn(move |cx| {
        coop::refill();
        while let Poll::Ready(permit) = coop::poll_proceed(cx) {
            permit.made_progress();
            done += 1;
            if done == 1000 {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })));
    assert_eq!(bench.run(), 1000_usize.div_ceil(coop::BUDGET.into()));
}

#[test]
fn unused_permit_gives_its_unit_back() {
    coop::refill();
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        assert!(coop::poll_proceed(&mut cx).is_ready());
    }
}

#[test]
fn yield_now_is_pending_once() {
    let (count, waker) = counter();
    let mut yielding = pin!(yield_now());
    assert!(poll_once(yielding.as_mut(), &waker).is_pending());
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert!(poll_once(yielding.as_mut(), &waker).is_ready());
}

#[test]
fn waiting_task_is_small() {
    // The header, the scheduler's pointer, and room for the future or its output, whichever is more.
    assert_eq!(size_of::<Header>(), 72);
    assert_eq!(size_of::<JoinError>(), 16);
}
