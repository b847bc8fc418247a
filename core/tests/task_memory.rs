//! The memory of tasks: none is asked for in the steady state, and none is kept without bound.

mod common;

use common::until;
use libruntime_core::metrics::WorkerState;
use libruntime_core::runtime::{Builder, Runtime};
use libruntime_core::task::{JoinHandle, yield_now};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::hint::black_box;
use std::sync::mpsc;
use std::task::Poll;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: passed on from the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: passed on from the caller.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the builder's documentation says that the runtime keeps: by default, and for each worker and
/// size of task. The tests have few sizes.
const KEPT: usize = 2 << 20;
const KEPT_BY_WORKER: usize = 8 * (32 << 10);

fn runtime(workers: usize) -> Runtime {
    // The default, but also where the tests are built to keep nothing.
    let mut builder = Builder::new();
    builder.worker_threads(workers).keep_task_memory(KEPT);
    builder.build().unwrap()
}

/// Runs a task's future on a worker.
fn inside<F>(runtime: &Runtime, future: F) -> F::Output
where
    F: Future<Output: Send> + Send + 'static,
{
    runtime.block_on(runtime.spawn(future)).unwrap().unwrap()
}

async fn spawn_and_join(tasks: usize) {
    for number in 0..tasks {
        let task = libruntime_core::spawn(async move {
            yield_now().await;
            number
        });
        assert_eq!(task.await.unwrap(), number);
    }
}

/// Tasks that are all alive at once, until each is dropped, polled twice.
async fn burst(tasks: usize) {
    let handles: Vec<_> = (0..tasks)
        .map(|_| libruntime_core::spawn(yield_now()))
        .collect();
    for handle in handles {
        handle.await.unwrap();
    }
}

#[test]
fn worker_spawns_and_joins_without_an_allocation() {
    let runtime = runtime(1);
    let allocations = inside(&runtime, async {
        spawn_and_join(100).await;
        let before = ALLOCATIONS.get();
        spawn_and_join(10_000).await;
        ALLOCATIONS.get() - before
    });
    assert_eq!(allocations, 0);
}

#[test]
fn bursts_of_a_thousand_tasks_need_no_memory_but_the_first() {
    let runtime = runtime(1);
    let allocations = inside(&runtime, async {
        for _ in 0..3 {
            burst(1_000).await;
        }
        let before = ALLOCATIONS.get();
        for _ in 0..100 {
            burst(1_000).await;
        }
        ALLOCATIONS.get() - before
    });
    // The vector of each burst, and the run queue, which grows and shrinks with what is in it.
    let others = 100 * (1 + 31);
    assert!(allocations <= others, "{allocations} for 100,000 tasks");
}

#[test]
fn task_is_an_allocation_of_its_own_if_none_is_to_be_kept() {
    let runtime = Builder::new()
        .worker_threads(1)
        .keep_task_memory(0)
        .build()
        .unwrap();
    let allocations = inside(&runtime, async {
        spawn_and_join(100).await;
        let before = ALLOCATIONS.get();
        spawn_and_join(100).await;
        ALLOCATIONS.get() - before
    });
    assert_eq!(allocations, 100);
}

#[test]
fn memory_is_given_back_after_a_burst() {
    const TASKS: usize = 200_000;
    for workers in [1, 2] {
        let runtime = runtime(workers);
        inside(&runtime, burst(TASKS));
        let bound = KEPT + workers * KEPT_BY_WORKER;
        until("memory goes back", || {
            runtime.metrics().task_memory_bytes() <= bound
        });
        let peak = runtime.metrics().task_memory_peak_bytes();
        // No task is smaller than 100 bytes.
        assert!(peak > TASKS * 100, "a peak of {peak}");
    }
}

#[test]
fn memory_is_given_back_though_the_workers_sleep_when_the_handles_go() {
    use WorkerState::{InReactor, Parked};
    const TASKS: usize = 40_000;
    // Of which a magazine holds eight: what may hold a slab each is little beside them all.
    const SIZE: usize = 900;
    let runtime = runtime(2);
    let spawn = |_| {
        let bytes = [0_u8; SIZE];
        Some(runtime.spawn(async move { black_box(bytes) }))
    };
    let mut handles: Vec<_> = (0..TASKS).map(spawn).collect();
    until("all end", || {
        handles.iter().flatten().all(JoinHandle::is_finished)
    });
    until("all wait", || {
        let now = runtime.metrics();
        let waits = |worker| matches!(now.worker_state(worker), Parked | InReactor);
        waits(0) && waits(1)
    });
    assert!(runtime.metrics().task_memory_bytes() > TASKS * SIZE);
    // In an order that has nothing to do with where the tasks stand.
    for number in 0..TASKS {
        handles[number * 7919 % TASKS] = None;
    }
    until("their memory goes back", || {
        runtime.metrics().task_memory_bytes() < TASKS * SIZE / 2
    });
}

#[test]
fn nothing_is_held_after_the_end_of_a_runtime() {
    for workers in [1, 2, 4] {
        let runtime = runtime(workers);
        let handle = runtime.handle().clone();
        inside(&runtime, async {
            burst(1_000).await;
            libruntime_core::spawn(pending::<()>());
        });
        runtime.spawn(pending::<()>());
        assert_ne!(handle.metrics().task_memory_peak_bytes(), 0);
        drop(runtime);
        assert_eq!(handle.metrics().task_memory_bytes(), 0);
    }
}

#[test]
fn task_that_outlives_its_runtime_is_held_until_its_last_waker_goes() {
    let runtime = runtime(1);
    let handle = runtime.handle().clone();
    let (tell, hear) = mpsc::channel();
    runtime.spawn(poll_fn(move |cx| {
        tell.send(cx.waker().clone()).unwrap();
        Poll::<()>::Pending
    }));
    let waker = hear.recv().unwrap();
    drop(runtime);
    assert_ne!(handle.metrics().task_memory_bytes(), 0);
    waker.wake_by_ref();
    drop(waker);
    assert_eq!(handle.metrics().task_memory_bytes(), 0);
}

#[test]
fn large_and_aligned_futures_run() {
    #[derive(Clone, Copy)]
    #[repr(align(256))]
    struct Aligned([u8; 256]);
    let runtime = runtime(1);
    let sum = inside(&runtime, async {
        let large = [7_u8; 100_000];
        let aligned = Aligned([3; 256]);
        let task = libruntime_core::spawn(async move {
            yield_now().await;
            assert_eq!((&raw const aligned).addr() % 256, 0);
            yield_now().await;
            large
                .iter()
                .chain(&aligned.0)
                .map(|&byte| byte as usize)
                .sum::<usize>()
        });
        task.await.unwrap()
    });
    assert_eq!(sum, 700_000 + 768);
}
