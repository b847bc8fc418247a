//! What a runtime says of itself.

use futures_lite::AsyncReadExt;
use futures_lite::future::poll_once;
use libruntime_core::metrics::{Snapshot, WorkerState};
use libruntime_core::net::UnixStream;
use libruntime_core::runtime::{Builder, Runtime};
use libruntime_core::task::yield_now;
use std::future::pending;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

fn runtime(workers: usize) -> Runtime {
    Builder::new().worker_threads(workers).build().unwrap()
}

/// Ends the runtime, after which its figures are exact.
fn at_rest(runtime: Runtime) -> Snapshot {
    let handle = runtime.handle().clone();
    drop(runtime);
    handle.metrics()
}

/// Reads again and again until the figures are as they should be: a worker shows them when it waits.
fn eventually(runtime: &Runtime, what: &str, holds: impl Fn(&Snapshot) -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !holds(&runtime.metrics()) {
        let late = Instant::now() > patience;
        assert!(!late, "never saw {what}: {:?}", runtime.metrics());
        std::thread::yield_now();
    }
}

fn total(metrics: &Snapshot, figure: impl Fn(&Snapshot, usize) -> u64) -> u64 {
    let workers = 0..metrics.num_workers();
    workers.map(|worker| figure(metrics, worker)).sum()
}

#[test]
fn every_task_is_counted_once_at_its_spawn_and_once_at_its_end() {
    for workers in [1, 2, 4] {
        let runtime = runtime(workers);
        let inside = runtime.spawn(async {
            for _ in 0..50 {
                libruntime_core::spawn(async { yield_now().await });
            }
            libruntime_core::spawn(async { panic!("on purpose") });
            libruntime_core::spawn(pending::<()>()).abort();
            libruntime_core::spawn(pending::<()>());
        });
        runtime.block_on(inside).unwrap().unwrap();
        for _ in 0..7 {
            runtime.spawn(pending::<()>());
        }
        let metrics = at_rest(runtime);
        assert_eq!(metrics.spawned_tasks_count(), 1 + 53 + 7);
        assert_eq!(metrics.spawned_outside_count(), 1 + 7);
        assert_eq!(
            total(&metrics, Snapshot::worker_spawned_count),
            53,
            "spawned on workers"
        );
        assert_eq!(metrics.completed_tasks_count(), 1 + 53 + 7);
        assert_eq!(metrics.num_alive_tasks(), 0);
    }
}

#[test]
fn task_refused_after_the_shutdown_is_counted_at_both_ends() {
    let runtime = runtime(1);
    let handle = runtime.handle().clone();
    drop(runtime);
    drop(handle.spawn(async {}));
    let metrics = handle.metrics();
    assert_eq!(metrics.spawned_tasks_count(), 1);
    assert_eq!(metrics.completed_tasks_count(), 1);
}

#[test]
fn tasks_that_wait_are_alive_until_they_are_aborted() {
    let runtime = runtime(2);
    let tasks: Vec<_> = (0..5).map(|_| runtime.spawn(pending::<()>())).collect();
    eventually(&runtime, "five alive", |now| now.num_alive_tasks() == 5);
    for task in &tasks {
        task.abort();
    }
    eventually(&runtime, "none alive", |now| now.num_alive_tasks() == 0);
    assert_eq!(runtime.metrics().completed_tasks_count(), 5);
}

#[test]
fn each_poll_is_counted() {
    let runtime = runtime(1);
    let task = runtime.spawn(async {
        for _ in 0..100 {
            yield_now().await;
        }
    });
    runtime.block_on(task).unwrap().unwrap();
    assert_eq!(at_rest(runtime).worker_poll_count(0), 101);
}

#[test]
fn figures_of_a_worker_that_never_waits_are_shown_too() {
    let runtime = runtime(1);
    let handle = runtime.handle().clone();
    let task = runtime.spawn(async move {
        while handle.metrics().worker_poll_count(0) < 1_000 {
            yield_now().await;
        }
    });
    runtime.block_on(task).unwrap().unwrap();
}

#[test]
fn wait_without_work_in_between_is_a_no_op() {
    let runtime = runtime(1);
    let noops = |runtime: &Runtime| {
        let metrics = runtime.metrics();
        let noops = metrics.worker_noop_count(0);
        (metrics.worker_park_count(0), noops)
    };
    eventually(&runtime, "a wait", |now| now.worker_park_count(0) >= 1);
    let (parks, before) = noops(&runtime);
    assert_eq!(before, parks - 1, "the first wait is none");
    runtime.block_on(runtime.spawn(async {})).unwrap().unwrap();
    eventually(&runtime, "one more", |now| now.worker_park_count(0) > parks);
    let (parks, after) = noops(&runtime);
    assert_eq!(after, parks - 2, "nor is one after a poll");
    assert_eq!(runtime.metrics().worker_poll_count(0), 1);
}

#[test]
fn stolen_tasks_are_counted_by_the_thief() {
    let runtime = runtime(2);
    let task = runtime.spawn(async {
        let (tell, hear) = mpsc::channel();
        libruntime_core::spawn(async move { tell.send(()).unwrap() });
        // Takes the place in front, so that the other one is in the queue, for all to take.
        libruntime_core::spawn(async {});
        hear.recv().unwrap();
    });
    runtime.block_on(task).unwrap().unwrap();
    let metrics = at_rest(runtime);
    assert!(total(&metrics, Snapshot::worker_steal_count) >= 1);
    let operations = total(&metrics, Snapshot::worker_steal_operations);
    assert!((1..=total(&metrics, Snapshot::worker_steal_count)).contains(&operations));
}

#[test]
fn queues_show_what_waits_in_them() {
    let runtime = runtime(1);
    let (go_on, wait) = mpsc::channel::<()>();
    let (tell, hear) = mpsc::channel();
    let task = runtime.spawn(async move {
        for _ in 0..4 {
            libruntime_core::spawn(async {});
        }
        tell.send(()).unwrap();
        wait.recv().unwrap();
    });
    hear.recv().unwrap();
    for _ in 0..3 {
        runtime.spawn(async {});
    }
    let metrics = runtime.metrics();
    assert_eq!(metrics.global_queue_depth(), 3);
    assert_eq!(metrics.worker_local_queue_depth(0), 3, "and one in front");
    go_on.send(()).unwrap();
    runtime.block_on(task).unwrap().unwrap();
    eventually(&runtime, "empty queues", |now| {
        now.global_queue_depth() + now.worker_local_queue_depth(0) == 0
    });
}

#[test]
fn time_awake_grows_during_a_poll_and_rests_afterwards() {
    let runtime = runtime(1);
    let handle = runtime.handle().clone();
    let busy = move || handle.metrics().worker_total_busy_duration(0);
    let during = busy.clone();
    let task = runtime.spawn(async move {
        let before = during();
        while during() < before + Duration::from_millis(2) {}
    });
    runtime.block_on(task).unwrap().unwrap();
    drop(runtime);
    let after = busy();
    assert!(after >= Duration::from_millis(2));
    let moment = Instant::now();
    while moment.elapsed() < Duration::from_millis(2) {}
    assert_eq!(busy(), after, "a worker that has ended is not busy");
}

#[test]
fn blocking_pool_shows_its_threads_and_its_queue() {
    let runtime = Builder::new()
        .worker_threads(1)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    assert_eq!(runtime.metrics().num_blocking_threads(), 0);
    let (go_on, wait) = mpsc::channel::<()>();
    let (tell, hear) = mpsc::channel();
    let first = runtime.spawn_blocking(move || {
        tell.send(()).unwrap();
        wait.recv().unwrap();
    });
    hear.recv().unwrap();
    let second = runtime.spawn_blocking(|| {});
    let metrics = runtime.metrics();
    assert_eq!(metrics.num_blocking_threads(), 1);
    assert_eq!(metrics.num_idle_blocking_threads(), 0);
    assert_eq!(metrics.blocking_queue_depth(), 1);
    assert_eq!(metrics.num_alive_tasks(), 0, "jobs are no tasks");
    go_on.send(()).unwrap();
    runtime.block_on(first).unwrap().unwrap();
    runtime.block_on(second).unwrap().unwrap();
    eventually(&runtime, "an idle thread", |now| {
        now.num_idle_blocking_threads() == 1 && now.blocking_queue_depth() == 0
    });
}

#[test]
fn exporters_find_every_counter_by_name() {
    let runtime = runtime(1);
    let task = runtime.spawn(async { drop(libruntime_core::spawn(async {})) });
    runtime.block_on(task).unwrap().unwrap();
    let metrics = at_rest(runtime);
    let counters: Vec<_> = metrics.worker_counters(0).collect();
    assert!(counters.contains(&("worker_spawned_count", 1)));
    assert!(counters.contains(&("worker_poll_count", metrics.worker_poll_count(0))));
}

#[test]
#[should_panic(expected = "index out of bounds")]
fn worker_that_is_not_there_has_no_figures() {
    runtime(1).metrics().worker_park_count(1);
}

#[test]
fn the_reactors_calls_are_counted() {
    let runtime = runtime(2);
    let calls = || {
        let metrics = runtime.metrics();
        (
            metrics.io_driver_fd_registered_count(),
            metrics.io_driver_call_count(),
        )
    };
    let body = async {
        let (mut one, other) = UnixStream::pair().unwrap();
        assert_eq!(calls(), (0, 0), "nobody had to wait");
        assert!(poll_once(one.read(&mut [0])).await.is_none());
        assert_eq!(calls(), (1, 1));
        drop((one, other));
        assert_eq!(calls(), (1, 1), "closing makes no call");
        let (mut one, _other) = UnixStream::pair().unwrap();
        assert!(poll_once(one.read(&mut [0])).await.is_none());
        drop(one.into_std());
        assert_eq!(calls(), (2, 3), "what stays open is taken out");
    };
    runtime.block_on(body).unwrap();
}

#[test]
fn transitions_of_a_worker_add_up_to_where_it_stands() {
    use WorkerState::*;
    for workers in [1, 2] {
        let runtime = runtime(workers);
        for _ in 0..100 {
            let task = runtime.spawn(async { yield_now().await });
            runtime.block_on(task).unwrap().unwrap();
        }
        let metrics = at_rest(runtime);
        for worker in 0..workers {
            let sum = |counts: &dyn Fn(WorkerState, WorkerState) -> bool| -> u64 {
                let steps = metrics.worker_transitions(worker);
                steps.filter(|s| counts(s.0, s.1)).map(|s| s.2).sum()
            };
            for state in [Running, Searching, Parked, InReactor, Draining] {
                let entered = sum(&|_, to| to == state);
                let left = sum(&|from, _| from == state);
                assert_eq!(entered, left, "{state:?}: {metrics:?}");
            }
            assert_eq!(sum(&|from, _| from == Starting), 1);
            assert_eq!(sum(&|_, to| to == Terminated), 1);
            assert_eq!(metrics.worker_state(worker), Terminated);
            let waits = sum(&|_, to| matches!(to, Parked | InReactor));
            assert_eq!(waits, metrics.worker_park_count(worker));
            let drained = metrics.worker_transition_count(worker, Draining, Terminated);
            assert_eq!(drained, 1);
            assert_eq!(metrics.worker_transition_count(worker, Parked, Draining), 0);
        }
    }
}

#[test]
fn uptime_goes_on_between_two_snapshots() {
    let began = SystemTime::now();
    let runtime = runtime(1);
    let first = runtime.metrics();
    let patience = Instant::now() + Duration::from_secs(20);
    let mut second = runtime.metrics();
    while second.uptime() == first.uptime() {
        assert!(Instant::now() < patience);
        second = runtime.metrics();
    }
    assert!(second.uptime() > first.uptime());
    assert_eq!(first.started_at(), second.started_at());
    assert!(first.started_at() >= began);
    assert!(second.taken_at() >= first.started_at());
}

#[test]
fn histograms_that_are_off_are_not_exported() {
    let runtime = runtime(1);
    assert!(!runtime.metrics().to_prometheus().contains("poll_time"));
    assert!(!runtime.metrics().to_otlp_json(&[]).contains("histogram"));
}

#[test]
fn classes_of_one_name_are_exported_as_one() {
    let mut builder = Builder::new();
    builder.worker_threads(1);
    builder.add_blocking_class("twins", 2);
    builder.add_blocking_class("twins", 3);
    let page = builder.build().unwrap().metrics().to_prometheus();
    let lines = page
        .lines()
        .filter(|line| line.contains("limit{class=\"twins\"}"));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines, ["libruntime_blocking_limit{class=\"twins\"} 5"]);
}

#[test]
fn every_counter_of_a_worker_is_exported_with_its_figure() {
    let runtime = runtime(2);
    runtime
        .block_on(runtime.spawn(async { yield_now().await }))
        .unwrap()
        .unwrap();
    let metrics = at_rest(runtime);
    let page = metrics.to_prometheus();
    for worker in 0..2 {
        for (name, figure) in metrics.worker_counters(worker) {
            let name = name.trim_end_matches("_count");
            let line = format!("\nlibruntime_{name}_total{{worker=\"{worker}\"}} {figure}\n");
            assert!(page.contains(&line), "{line} is not in {page}");
        }
    }
}
