//! How long polls take, and how long ready tasks wait for theirs, as a runtime tells it.

use libruntime_core::metrics::{Histogram, Snapshot};
use libruntime_core::runtime::{Builder, Policy, Runtime};
use libruntime_core::task::{block_in_place, yield_now};
use std::future::pending;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a poll in these tests lasts at least that is to be found in the histograms.
const LONG: Duration = Duration::from_millis(3);

fn measured(workers: usize, policy: Policy) -> Runtime {
    Builder::new()
        .worker_threads(workers)
        .policy(policy)
        .poll_time_histogram(true)
        .schedule_latency_histogram(true)
        .build()
        .unwrap()
}

/// Ends the runtime, after which its figures are exact.
fn at_rest(runtime: Runtime) -> Snapshot {
    let handle = runtime.handle().clone();
    drop(runtime);
    handle.metrics()
}

fn spin() {
    let began = Instant::now();
    while began.elapsed() < LONG {}
}

fn policies() -> [Policy; 4] {
    [
        Policy::Fifo,
        Policy::Lifo,
        Policy::priority(),
        Policy::fair(),
    ]
}

#[test]
fn histograms_are_off_unless_asked_for_and_each_for_itself() {
    for (polls, waits) in [(false, false), (true, false), (false, true)] {
        let runtime = Builder::new()
            .worker_threads(2)
            .poll_time_histogram(polls)
            .schedule_latency_histogram(waits)
            .build()
            .unwrap();
        runtime.block_on(runtime.spawn(async {})).unwrap().unwrap();
        let metrics = at_rest(runtime);
        let count = |histogram: Option<Histogram>| histogram.map(|histogram| histogram.count());
        assert_eq!(count(metrics.poll_time_histogram()), polls.then_some(1));
        assert_eq!(
            count(metrics.schedule_latency_histogram()),
            waits.then_some(1)
        );
        assert_eq!(metrics.worker_poll_time_histogram(1).is_some(), polls);
        assert_eq!(
            metrics.worker_schedule_latency_histogram(1).is_some(),
            waits
        );
    }
}

#[test]
fn each_poll_is_in_both_histograms_of_the_worker_that_did_it() {
    for policy in policies() {
        for workers in [1, 2] {
            let runtime = measured(workers, policy.clone());
            let task = runtime.spawn(async {
                let tasks: Vec<_> = (0..50)
                    .map(|n| {
                        libruntime_core::spawn(async move {
                            for _ in 0..n {
                                yield_now().await;
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
            });
            drop(runtime.spawn(pending::<()>()));
            runtime.block_on(task).unwrap().unwrap();
            let metrics = at_rest(runtime);
            let mut polls = 0;
            for worker in 0..workers {
                let count = |histogram: Option<&Histogram>| histogram.unwrap().count();
                let here = metrics.worker_poll_count(worker);
                assert_eq!(count(metrics.worker_poll_time_histogram(worker)), here);
                assert_eq!(
                    count(metrics.worker_schedule_latency_histogram(worker)),
                    here
                );
                polls += here;
            }
            assert!(polls >= 50 * 51 / 2, "{policy:?}: {polls}");
            let all = metrics.poll_time_histogram().unwrap();
            assert_eq!(all.count(), polls, "{policy:?}");
            let busy = |worker| metrics.worker_total_busy_duration(worker);
            assert!(all.sum() <= (0..workers).map(busy).sum(), "{policy:?}");
        }
    }
}

#[test]
fn a_long_poll_is_found_in_the_histogram() {
    for policy in policies() {
        let runtime = measured(1, policy);
        runtime
            .block_on(runtime.spawn(async { spin() }))
            .unwrap()
            .unwrap();
        let polls = at_rest(runtime).poll_time_histogram().unwrap();
        assert_eq!(polls.count(), 1);
        assert!(polls.max() >= LONG);
        assert_eq!(polls.quantile(0.5), Some(polls.max()));
    }
}

/// What waits behind a long poll is found to have waited at least for that, however it became ready.
#[test]
fn the_wait_behind_a_long_poll_is_found_in_the_histogram() {
    let spawned = async || {
        let task = libruntime_core::spawn(async {});
        spin();
        task.await.unwrap();
    };
    let spawned_outside = async || {
        let handle = libruntime_core::runtime::Handle::current();
        let thread = std::thread::spawn(move || handle.spawn(async {}));
        let task = thread.join().unwrap();
        spin();
        task.await.unwrap();
    };
    let woken = async || {
        let (tell, hear) = futures_channel::oneshot::channel();
        let task = libruntime_core::spawn(hear);
        while !is_waiting().await {}
        tell.send(()).unwrap();
        spin();
        task.await.unwrap().unwrap();
    };
    let yields = async || {
        let task = libruntime_core::spawn(async {
            yield_now().await;
        });
        yield_now().await;
        spin();
        task.await.unwrap();
    };
    fn check(policy: &Policy, how: &str, runtime: Runtime) {
        let metrics = at_rest(runtime);
        let waits = metrics.schedule_latency_histogram().unwrap();
        assert!(waits.max() >= LONG, "{how} under {policy:?}: {waits:?}");
    }
    for policy in policies() {
        let runtime = measured(1, policy.clone());
        runtime.block_on(runtime.spawn(spawned())).unwrap().unwrap();
        check(&policy, "spawned", runtime);
        let runtime = measured(1, policy.clone());
        let task = runtime.spawn(spawned_outside());
        runtime.block_on(task).unwrap().unwrap();
        check(&policy, "spawned outside", runtime);
        let runtime = measured(1, policy.clone());
        runtime.block_on(runtime.spawn(woken())).unwrap().unwrap();
        check(&policy, "woken", runtime);
        let runtime = measured(1, policy.clone());
        runtime.block_on(runtime.spawn(yields())).unwrap().unwrap();
        check(&policy, "yielded", runtime);
    }
}

/// Lets the others run; whether they have by now.
async fn is_waiting() -> bool {
    for _ in 0..4 {
        yield_now().await;
    }
    true
}

#[test]
fn a_poll_that_hands_its_worker_over_is_not_the_workers() {
    let runtime = measured(2, Policy::Fifo);
    let task = runtime.spawn(async {
        let (tell, hear) = mpsc::channel();
        let other = libruntime_core::spawn(async move { tell.send(()).unwrap() });
        block_in_place(|| hear.recv().unwrap());
        other.await.unwrap();
    });
    runtime.block_on(task).unwrap().unwrap();
    let metrics = at_rest(runtime);
    let waits = metrics.schedule_latency_histogram().unwrap();
    let polls = metrics.poll_time_histogram().unwrap();
    assert_eq!(polls.count() + 1, waits.count());
}

#[test]
fn histograms_are_seen_while_a_worker_is_at_work() {
    let runtime = measured(1, Policy::Fifo);
    let handle = runtime.handle().clone();
    let task = runtime.spawn(async move {
        for seen in 0..100 {
            let metrics = handle.metrics();
            let count = |histogram: Option<Histogram>| histogram.unwrap().count();
            assert_eq!(count(metrics.poll_time_histogram()), seen);
            assert_eq!(count(metrics.schedule_latency_histogram()), seen + 1);
            yield_now().await;
        }
    });
    runtime.block_on(task).unwrap().unwrap();
}
