//! The state word against every pair of holders that can meet on it.

use super::*;
use crate::runtime::block_on::block_on_thread;
use crate::shim::sync::{Arc, Mutex};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A scheduler that queues; whoever holds it may run what is queued, on one thread at a time.
#[derive(Clone)]
struct Bench(Arc<(Mutex<VecDeque<Notified>>, Mutex<OwnedTasks>)>);

impl Bench {
    fn new() -> Bench {
        Bench(Arc::new((
            Mutex::new(VecDeque::new()),
            Mutex::new(OwnedTasks::new(0)),
        )))
    }

    fn run(&self) {
        loop {
            let task = self.0.0.lock().pop_front();
            let Some(task) = task else { return };
            task.run();
        }
    }

    fn shutdown(&self) {
        let held = self.0.1.lock().hold_all();
        for task in held {
            // SAFETY: the futures here are Send.
            unsafe { task.shutdown() };
        }
        let queued = std::mem::take(&mut *self.0.0.lock());
        drop(queued);
    }
}

impl Schedule for Bench {
    fn schedule(&self, task: Notified) {
        self.0.0.lock().push_back(task);
    }

    fn reschedule(&self, task: Notified) {
        self.schedule(task);
    }

    fn bind(&self, task: TaskPtr) -> bool {
        // SAFETY: called by the poll, with its reference.
        unsafe { self.0.1.lock().link(task) };
        true
    }

    fn release(&self, task: TaskPtr) -> bool {
        let owned = owner_of(task).is_some();
        if owned {
            // SAFETY: there is one list only.
            unsafe { self.0.1.lock().unlink(task) };
        }
        owned
    }
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Spawns a task that waits until `flag` is set, and leaves its waker in `slot`.
fn waiting(
    bench: &Bench,
    flag: Arc<AtomicUsize>,
    slot: Arc<Mutex<Option<Waker>>>,
    drops: Arc<AtomicUsize>,
) -> JoinHandle<usize> {
    let guard = CountDrop(drops);
    let (task, handle) = new_task(
        poll_fn(move |cx| {
            let _guard = &guard;
            *slot.lock() = Some(cx.waker().clone());
            match flag.load(Ordering::Relaxed) {
                0 => Poll::Pending,
                n => Poll::Ready(n),
            }
        }),
        bench.clone(),
        None,
    );
    bench.schedule(task);
    handle
}

#[test]
fn loom_task_wake_is_not_lost_and_publishes() {
    crate::shim::model(|| {
        let bench = Bench::new();
        let (flag, slot) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
        let drops = Arc::new(AtomicUsize::new(0));
        let handle = waiting(&bench, flag.clone(), slot.clone(), drops.clone());
        bench.run();
        let waker = slot.lock().take().unwrap();
        let (second, other) = (waker.clone(), bench.clone());
        let runner = thread::spawn(move || {
            second.wake();
            other.run();
        });
        // Relaxed on purpose: the wake alone has to publish it, also one that finds the task woken
        // by the other thread, which then runs the one poll there is.
        flag.store(1, Ordering::Relaxed);
        waker.wake_by_ref();
        runner.join().unwrap();
        bench.run();
        assert!(handle.is_finished());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn loom_task_abort_races_with_its_run() {
    crate::shim::model(|| {
        let bench = Bench::new();
        let (flag, slot) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
        let drops = Arc::new(AtomicUsize::new(0));
        let handle = waiting(&bench, flag, slot.clone(), drops.clone());
        let abort = handle.abort_handle();
        let other = thread::spawn(move || abort.abort());
        bench.run();
        other.join().unwrap();
        bench.run();
        drop(slot.lock().take());
        assert!(handle.is_finished());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn loom_task_join_races_with_completion() {
    crate::shim::model(|| {
        let bench = Bench::new();
        let (task, handle) = new_task(async { 7 }, bench.clone(), None);
        bench.schedule(task);
        let joiner = thread::spawn(move || block_on_thread(handle));
        bench.run();
        assert_eq!(joiner.join().unwrap().unwrap(), 7);
    });
}

#[test]
fn loom_task_join_handle_drop_races_with_completion() {
    crate::shim::model(|| {
        let bench = Bench::new();
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = CountDrop(drops.clone());
        let (task, mut handle) = new_task(async move { guard }, bench.clone(), None);
        bench.schedule(task);
        let dropper = thread::spawn(move || {
            let mut cx = std::task::Context::from_waker(Waker::noop());
            // Leaves a join waker that one of the two sides has to drop.
            let _ = std::pin::Pin::new(&mut handle).poll(&mut cx);
            drop(handle);
        });
        bench.run();
        dropper.join().unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn loom_task_shutdown_races_with_a_wake() {
    crate::shim::model(|| {
        let bench = Bench::new();
        let (flag, slot) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
        let drops = Arc::new(AtomicUsize::new(0));
        let handle = waiting(&bench, flag, slot.clone(), drops.clone());
        bench.run();
        let waker: Waker = slot.lock().take().unwrap();
        let other = thread::spawn(move || waker.wake());
        bench.shutdown();
        other.join().unwrap();
        bench.shutdown();
        assert!(handle.is_finished());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        assert!(bench.0.1.lock().is_empty());
    });
}

#[test]
fn loom_task_join_handle_drop_races_with_a_wake() {
    crate::shim::model(|| {
        let bench = Bench::new();
        let (flag, slot) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
        let drops = Arc::new(AtomicUsize::new(0));
        let mut handle = waiting(&bench, flag.clone(), slot.clone(), drops.clone());
        bench.run();
        let waker: Waker = slot.lock().take().unwrap();
        flag.store(1, Ordering::Relaxed);
        let other = bench.clone();
        let waking = thread::spawn(move || {
            waker.wake();
            other.run();
        });
        // The join waker goes with the handle or with the task, and the task with the last of them.
        let mut cx = std::task::Context::from_waker(Waker::noop());
        let polled = std::pin::Pin::new(&mut handle).poll(&mut cx);
        drop((polled, handle));
        waking.join().unwrap();
        drop(slot.lock().take());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        assert!(bench.0.1.lock().is_empty());
    });
}

#[test]
fn loom_task_abort_races_with_a_wake_and_another_abort() {
    crate::shim::model(|| {
        let bench = Bench::new();
        let (flag, slot) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
        let drops = Arc::new(AtomicUsize::new(0));
        let handle = waiting(&bench, flag, slot.clone(), drops.clone());
        bench.run();
        let waker: Waker = slot.lock().take().unwrap();
        let abort = handle.abort_handle();
        let waking = thread::spawn(move || waker.wake());
        let aborting = thread::spawn(move || abort.abort());
        handle.abort();
        waking.join().unwrap();
        aborting.join().unwrap();
        assert_eq!(bench.0.0.lock().len(), 1, "queued once");
        bench.run();
        assert!(handle.is_finished());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        assert!(block_on_thread(handle).unwrap_err().is_cancelled());
    });
}

#[test]
fn loom_task_release_stack_keeps_every_task() {
    crate::shim::model(|| {
        let released = Arc::new(Released::new());
        let mut owned = OwnedTasks::new(0);
        let tasks: Vec<TaskPtr> = (0..2)
            .map(|_| {
                let (task, handle) = new_task(async {}, InOnePoll, None);
                drop(handle);
                let ptr = task.0;
                std::mem::forget(task);
                // SAFETY: the Notified's reference goes to the list, in the place of a poll's.
                unsafe { owned.link(ptr) };
                ptr
            })
            .collect();
        let threads: Vec<_> = tasks
            .into_iter()
            .map(|task| {
                let released = released.clone();
                let task = SendPtr(task);
                thread::spawn(move || {
                    let task = task;
                    // SAFETY: linked in the list of this stack's owner; each is pushed once.
                    unsafe { released.push(task.0) }
                })
            })
            .collect();
        owned.reap(&released);
        for thread in threads {
            thread.join().unwrap();
        }
        owned.reap(&released);
        assert!(owned.is_empty());
    });
}

struct SendPtr(TaskPtr);
// SAFETY: the tests hand each pointer to one thread.
unsafe impl Send for SendPtr {}
