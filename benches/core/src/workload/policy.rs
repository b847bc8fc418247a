//! What the scheduling policies are for, and what they cost. Each workload starts a runtime of its own with its policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libruntime_core::runtime::{Builder, Policy, Runtime};
use libruntime_core::task::{self, Priority, yield_now};
use libruntime_core::time::sleep;

use super::wake::Sleeper;
use crate::measure::{Settings, nanos, percentile, repeat, report};

/// Tasks that are always ready, and how long each of their polls takes.
const BACKGROUND: usize = 512;
const POLL: Duration = Duration::from_micros(20);
const PAUSE: Duration = Duration::from_micros(500);

const TASKS: usize = 200;
const YIELDS: usize = 500;

fn start(policy: Policy, settings: &Settings) -> Runtime {
    Builder::new()
        .worker_threads(settings.workers)
        .policy(policy)
        .build()
        .expect("the runtime starts")
}

fn spin() -> Duration {
    let began = Instant::now();
    loop {
        let took = began.elapsed();
        if took >= POLL {
            return took;
        }
        std::hint::spin_loop();
    }
}

/// 512 tasks in the background saturate the workers, 20 us a poll. How late is a critical task that a thread wakes, and
/// one that sleeps for 0.5 ms again and again?
pub(super) fn critical(policy: Policy, settings: &Settings) {
    let runtime = start(policy, settings);
    let ended = Arc::new(AtomicBool::new(false));
    for _ in 0..BACKGROUND {
        let ended = Arc::clone(&ended);
        let work = async move {
            while !ended.load(Ordering::Relaxed) {
                spin();
                yield_now().await;
            }
        };
        let builder = task::Builder::new().priority(Priority::Background);
        drop(builder.spawn_on(work, runtime.handle()));
    }
    let critical = task::Builder::new().priority(Priority::Critical);
    let sleeper = Sleeper::new();
    let woken = critical
        .clone()
        .spawn_on(Arc::clone(&sleeper).sleep(), runtime.handle());
    let over = Arc::clone(&ended);
    let timed = async move {
        let mut late = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let due = Instant::now() + PAUSE;
            sleep(PAUSE).await;
            late.push(due.elapsed());
        }
        late
    };
    let timed = critical.spawn_on(timed, runtime.handle());
    sleeper.keep_waking(settings);
    ended.store(true, Ordering::Relaxed);
    let joined = runtime.block_on(async { (woken.await, timed.await) });
    let (woken, timed) = joined.expect("the main thread is no worker");
    woken.expect("the task ends");
    sleeper.report();
    let mut late = timed.expect("the task ends");
    report("timer_p50", nanos(percentile(&mut late, 0.5)) / 1e3, "us");
    report("timer_p99", nanos(percentile(&mut late, 0.99)) / 1e3, "us");
}

/// Three groups of weights 1, 2 and 4 saturate the workers: the largest deviation of a group's measured time from its
/// share, in percent of the share.
pub(super) fn share(policy: Policy, settings: &Settings) {
    let runtime = start(policy, settings);
    let ended = Arc::new(AtomicBool::new(false));
    let groups = [1, 2, 4].map(|weight| {
        let group = runtime
            .handle()
            .group("share", weight)
            .expect("the weight is in range");
        let time = Arc::new(AtomicU64::new(0));
        for _ in 0..8 {
            let (ended, time) = (Arc::clone(&ended), Arc::clone(&time));
            let work = async move {
                while !ended.load(Ordering::Relaxed) {
                    time.fetch_add(spin().as_nanos() as u64, Ordering::Relaxed);
                    yield_now().await;
                }
            };
            let builder = task::Builder::new().group(&group);
            drop(builder.spawn_on(work, runtime.handle()));
        }
        (f64::from(weight) / 7.0, time)
    });
    std::thread::sleep(settings.window());
    let times = groups.map(|(share, time)| (share, time.load(Ordering::Relaxed) as f64));
    ended.store(true, Ordering::Relaxed);
    let sum: f64 = times.iter().map(|(_, time)| time).sum();
    let errors = times.map(|(share, time)| (time / sum / share - 1.0).abs());
    report("error", 100.0 * errors.into_iter().fold(0.0, f64::max), "%");
}

/// 200 tasks yield 500 times each: the time of one yield.
pub(super) fn yields(policy: Policy, settings: &Settings) {
    let runtime = start(policy, settings);
    repeat(settings, TASKS * YIELDS, || {
        let all = runtime.spawn(async {
            let tasks: Vec<_> = (0..TASKS)
                .map(|_| {
                    libruntime_core::spawn(async {
                        for _ in 0..YIELDS {
                            yield_now().await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("the task ends");
            }
        });
        let joined = runtime.block_on(all).expect("the main thread is no worker");
        joined.expect("the task ends");
    });
}

/// A task spawns a task and awaits it, 1,000 times: the time of one.
pub(super) fn joins(policy: Policy, settings: &Settings) {
    const JOINS: usize = 1_000;
    let runtime = start(policy, settings);
    repeat(settings, JOINS, || {
        let all = runtime.spawn(async {
            for _ in 0..JOINS {
                libruntime_core::spawn(async {})
                    .await
                    .expect("the task ends");
            }
        });
        let joined = runtime.block_on(all).expect("the main thread is no worker");
        joined.expect("the task ends");
    });
}
