//! What the scheduling policies are for, and what they cost. Each workload starts a runtime of its own with its policy.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_lite::AsyncReadExt;
use libruntime_core::net::unix::UnixStream;
use libruntime_core::runtime::{Builder, Policy, Runtime};
use libruntime_core::task::{self, JoinHandle, Priority, yield_now};
use libruntime_core::time::sleep;

use super::wake::Sleeper;
use crate::measure::{Settings, repeat, report, report_percentiles};

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

/// Who wakes the critical task.
#[derive(Clone, Copy)]
pub(super) enum By {
    /// A task in the background, in the midst of its poll.
    Queue,
    /// A thread that is no worker.
    Thread,
    /// Its own timer, of 0.5 ms.
    Timer,
    /// A socket that a thread writes to.
    Socket,
}

/// Tasks in the background that wake the critical one, if it is such a task that does.
const WAKING: usize = 16;

/// 512 tasks in the background saturate the workers, 20 us a poll. How late is a critical task that is woken again
/// and again? Also how long a poll in the background was on average, as two of them share a core now and then.
pub(super) fn critical(by: By, policy: Policy, settings: &Settings) {
    let runtime = start(policy, settings);
    let ended = Arc::new(AtomicBool::new(false));
    let polls = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let sleeper = Sleeper::new();
    let waking = Arc::new(Mutex::new(Instant::now()));
    for number in 0..BACKGROUND {
        let (ended, polls) = (Arc::clone(&ended), Arc::clone(&polls));
        let (sleeper, waking) = (Arc::clone(&sleeper), Arc::clone(&waking));
        let wakes = matches!(by, By::Queue) && number % (BACKGROUND / WAKING) == 0;
        let work = async move {
            while !ended.load(Ordering::Relaxed) {
                if wakes {
                    let mut last = waking.lock().expect("nothing panics under this lock");
                    if last.elapsed() >= PAUSE {
                        sleeper.wake_once();
                        *last = Instant::now();
                    }
                }
                let took = spin().as_nanos() as u64;
                polls.0.fetch_add(took, Ordering::Relaxed);
                polls.1.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        };
        let builder = task::Builder::new().priority(Priority::Background);
        drop(builder.spawn_on(work, runtime.handle()));
    }
    let critical = task::Builder::new().priority(Priority::Critical);
    let mut late = match by {
        By::Queue | By::Thread => {
            let task = critical.spawn_on(Arc::clone(&sleeper).sleep(), runtime.handle());
            if matches!(by, By::Thread) {
                sleeper.keep_waking(settings);
            } else {
                std::thread::sleep(settings.window());
                sleeper.end();
            }
            join(&runtime, task);
            sleeper.late()
        }
        By::Timer => {
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
            let task = critical.spawn_on(timed, runtime.handle());
            std::thread::sleep(settings.window());
            ended.store(true, Ordering::Relaxed);
            join(&runtime, task)
        }
        By::Socket => {
            let (near, mut far) =
                std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
            near.set_nonblocking(true).expect("it can be set");
            let base = Instant::now();
            let reads = async move {
                let mut socket = UnixStream::from_std(near).expect("it can be registered");
                let (mut late, mut sent) = (Vec::new(), [0; 8]);
                while socket.read_exact(&mut sent).await.is_ok() {
                    let sent = Duration::from_nanos(u64::from_ne_bytes(sent));
                    late.push(base.elapsed().saturating_sub(sent));
                }
                late
            };
            let task = critical.spawn_on(reads, runtime.handle());
            while base.elapsed() < settings.window() {
                std::thread::sleep(PAUSE);
                let now = base.elapsed().as_nanos() as u64;
                far.write_all(&now.to_ne_bytes()).expect("it has room");
            }
            drop(far);
            join(&runtime, task)
        }
    };
    ended.store(true, Ordering::Relaxed);
    report_percentiles(&mut late);
    let (time, count) = (
        polls.0.load(Ordering::Relaxed),
        polls.1.load(Ordering::Relaxed),
    );
    report("poll", time as f64 / count as f64 / 1e3, "us");
}

fn join<T>(runtime: &Runtime, task: JoinHandle<T>) -> T {
    let joined = runtime
        .block_on(task)
        .expect("the main thread is no worker");
    joined.expect("the task ends")
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
