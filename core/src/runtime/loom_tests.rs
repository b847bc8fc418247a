//! The whole executor: workers, injector, sleep and shutdown, without a reactor.

use super::block_on::block_on_thread;
use super::{Builder, Policy, Runtime};
use crate::shim::sync::{Arc, Mutex};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::future::{pending, poll_fn};
use std::task::{Poll, Waker};

pub(super) fn runtime(workers: usize) -> Runtime {
    runtime_with(Policy::Fifo, workers)
}

pub(crate) fn runtime_with(policy: Policy, workers: usize) -> Runtime {
    Builder::new()
        .worker_threads(workers)
        .max_blocking_threads(1)
        .policy(policy)
        .build()
        .unwrap()
}

pub(crate) struct CountDrop(pub(crate) Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn loom_runtime_spawned_task_runs_and_joins() {
    crate::shim::model(|| {
        let runtime = runtime(1);
        let task = runtime.spawn(async { 7 });
        assert_eq!(block_on_thread(task).unwrap(), 7);
    });
}

#[test]
fn loom_runtime_nested_spawns_run_on_two_workers() {
    crate::shim::model(|| {
        let runtime = runtime(2);
        let task = runtime.spawn(async { crate::spawn(async { 7 }).await.unwrap() });
        assert_eq!(block_on_thread(task).unwrap(), 7);
    });
}

pub(crate) fn wake_from_outside_is_not_lost(runtime: &Runtime) {
    let slot = Arc::new(Mutex::new(None::<Waker>));
    let flag = Arc::new(AtomicUsize::new(0));
    let (stored, seen) = (slot.clone(), flag.clone());
    let task = runtime.spawn(poll_fn(move |cx| {
        *stored.lock() = Some(cx.waker().clone());
        if seen.load(Ordering::SeqCst) == 1 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    flag.store(1, Ordering::SeqCst);
    if let Some(waker) = slot.lock().take() {
        waker.wake();
    }
    block_on_thread(task).unwrap();
}

#[test]
fn loom_runtime_wake_from_outside_is_not_lost() {
    crate::shim::model(|| wake_from_outside_is_not_lost(&runtime(1)));
}

#[test]
fn loom_runtime_task_behind_a_blocked_worker_runs() {
    crate::shim::model(|| {
        let runtime = runtime(2);
        let done = Arc::new(AtomicUsize::new(0));
        let (wait, blocked) = (done.clone(), Arc::new(Mutex::new(None::<thread::Thread>)));
        let slot = blocked.clone();
        let blocker = runtime.spawn(async move {
            *slot.lock() = Some(thread::current());
            while wait.load(Ordering::SeqCst) == 0 {
                thread::park();
            }
        });
        let second = runtime.spawn(async move {
            done.store(1, Ordering::SeqCst);
            if let Some(thread) = &*blocked.lock() {
                thread.unpark();
            }
        });
        block_on_thread(second).unwrap();
        block_on_thread(blocker).unwrap();
    });
}

#[test]
fn loom_runtime_shutdown_drops_a_waiting_task_once() {
    crate::shim::model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = CountDrop(drops.clone());
        let runtime = runtime(1);
        let task = runtime.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        drop(runtime);
        assert!(task.is_finished());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn loom_runtime_shutdown_races_with_a_wake() {
    crate::shim::model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = CountDrop(drops.clone());
        let runtime = runtime(1);
        let slot = Arc::new(Mutex::new(None::<Waker>));
        let stored = slot.clone();
        let task = runtime.spawn(poll_fn(move |cx| {
            let _guard = &guard;
            *stored.lock() = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        let waking = thread::spawn(move || {
            let waker = slot.lock().take();
            if let Some(waker) = waker {
                waker.wake();
            }
            slot
        });
        drop(runtime);
        let slot = waking.join().unwrap();
        drop(slot.lock().take());
        assert!(task.is_finished());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn loom_runtime_spawn_races_with_shutdown() {
    crate::shim::model(|| {
        let runtime = runtime(1);
        let handle = runtime.handle().clone();
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = CountDrop(drops.clone());
        let spawning = thread::spawn(move || handle.spawn(async move { drop(guard) }));
        drop(runtime);
        let task = spawning.join().unwrap();
        let _ = block_on_thread(task);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn loom_runtime_shutdown_with_a_drop_that_wakes() {
    crate::shim::model(|| {
        let runtime = runtime(2);
        let first = runtime.spawn(pending::<()>());
        let second = runtime.spawn(async move { drop(first.await) });
        drop(runtime);
        assert!(second.is_finished());
    });
}

#[test]
fn loom_blocking_job_at_the_thread_cap_runs() {
    crate::shim::model(|| {
        let runtime = runtime(1);
        let first = runtime.spawn_blocking(|| 1);
        let second = runtime.spawn_blocking(|| 2);
        assert_eq!(block_on_thread(second).unwrap(), 2);
        assert_eq!(block_on_thread(first).unwrap(), 1);
    });
}

#[test]
fn loom_blocking_job_races_with_shutdown() {
    crate::shim::model(|| {
        let runtime = runtime(1);
        let handle = runtime.handle().clone();
        let submitting = thread::spawn(move || handle.spawn_blocking(|| 1));
        drop(runtime);
        let task = submitting.join().unwrap();
        match block_on_thread(task) {
            Ok(value) => assert_eq!(value, 1),
            Err(error) => assert!(error.is_cancelled()),
        }
    });
}

#[test]
fn loom_blocking_thread_has_ended_when_its_runtime_has() {
    crate::shim::model(|| {
        let running = Arc::new(AtomicUsize::new(0));
        let (begun, ended) = (running.clone(), running.clone());
        let runtime = Builder::new()
            .worker_threads(1)
            .max_blocking_threads(1)
            .on_thread_start(move || assert_eq!(begun.fetch_add(1, Ordering::SeqCst) / 3, 0))
            .on_thread_stop(move || assert_ne!(ended.fetch_sub(1, Ordering::SeqCst), 0))
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        let ending = thread::spawn(move || {
            drop(runtime);
            assert_eq!(running.load(Ordering::SeqCst), 0);
        });
        drop(handle.spawn_blocking(|| ()));
        ending.join().unwrap();
    });
}
