//! What the scheduling policies promise, told by the order of polls and by counts.

use libruntime_core::runtime::{
    Builder, FairOptions, Group, Handle, Policy, PriorityOptions, Runtime,
};
use libruntime_core::task::{self, JoinHandle, Priority, yield_now};
use libruntime_core::{spawn, time};
use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

const CLASSES: [Priority; 5] = [
    Priority::Critical,
    Priority::High,
    Priority::Normal,
    Priority::Low,
    Priority::Background,
];

fn policies() -> [Policy; 4] {
    [
        Policy::Fifo,
        Policy::Lifo,
        Policy::priority(),
        Policy::fair(),
    ]
}

fn runtime(policy: Policy, workers: usize) -> Runtime {
    Builder::new()
        .worker_threads(workers)
        .policy(policy)
        .build()
        .unwrap()
}

/// Holds every worker in a poll until it is opened.
struct Gate(Vec<mpsc::Sender<()>>);

impl Gate {
    fn close(runtime: &Runtime, workers: usize) -> Gate {
        let (entered, inside) = mpsc::channel();
        let holds = (0..workers).map(|_| {
            let (open, opened) = mpsc::channel::<()>();
            let entered = entered.clone();
            // Not joined: it ends with the gate.
            drop(runtime.spawn(async move {
                entered.send(()).unwrap();
                let _ = opened.recv();
            }));
            open
        });
        let holds: Vec<_> = holds.collect();
        for _ in 0..workers {
            inside.recv().unwrap();
        }
        Gate(holds)
    }

    fn open(self) {
        drop(self.0);
    }
}

/// The labels of tasks, in the order in which they ran.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, label: impl ToString) {
        self.0.lock().unwrap().push(label.to_string());
    }

    fn entry(&self, label: impl ToString) -> impl Future<Output = ()> + Send + 'static {
        let (log, label) = (self.clone(), label.to_string());
        async move { log.add(label) }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn join<T>(runtime: &Runtime, tasks: impl IntoIterator<Item = JoinHandle<T>>) {
    for task in tasks {
        runtime.block_on(task).unwrap().unwrap();
    }
}

fn at(priority: Priority) -> task::Builder {
    task::Builder::new().priority(priority)
}

#[test]
fn higher_classes_run_first() {
    let runtime = runtime(Policy::priority(), 1);
    let log = Log::default();
    let gate = Gate::close(&runtime, 1);
    let tasks: Vec<_> = (0..3)
        .flat_map(|round| CLASSES.iter().rev().map(move |class| (round, *class)))
        .map(|(round, class)| {
            let entry = log.entry(format!("{class:?} {round}"));
            at(class).spawn_on(entry, runtime.handle())
        })
        .collect();
    gate.open();
    join(&runtime, tasks);
    let expected: Vec<_> = CLASSES
        .iter()
        .flat_map(|class| (0..3).map(move |round| format!("{class:?} {round}")))
        .collect();
    assert_eq!(log.take(), expected);
}

#[test]
fn tasks_of_a_set_have_their_class_and_deadline() {
    let runtime = runtime(Policy::priority(), 1);
    let log = Log::default();
    let soon = Instant::now() + Duration::from_secs(1);
    let late = soon + Duration::from_secs(1);
    let mut set = task::JoinSet::new();
    let gate = Gate::close(&runtime, 1);
    let entry = |label| log.entry(label);
    set.spawn_on(entry("plain"), runtime.handle());
    set.build_task()
        .name("late")
        .priority(Priority::High)
        .deadline(late)
        .spawn_on(entry("high, late"), runtime.handle());
    set.build_task()
        .deadline(soon)
        .priority(Priority::High)
        .spawn_on(entry("high, soon"), runtime.handle());
    set.build_task()
        .name("replaced")
        .options(at(Priority::Critical))
        .spawn_on(entry("critical"), runtime.handle());
    gate.open();
    runtime.block_on(set.join_all()).unwrap().unwrap();
    assert_eq!(
        log.take(),
        ["critical", "high, soon", "high, late", "plain"]
    );
}

#[test]
fn earliest_deadline_of_a_class_runs_first() {
    let runtime = runtime(Policy::priority(), 1);
    let log = Log::default();
    let now = Instant::now();
    let gate = Gate::close(&runtime, 1);
    let add = |label: &str, class, after: Option<u64>| {
        let mut builder = at(class);
        if let Some(after) = after {
            builder = builder.deadline(now + Duration::from_secs(after));
        }
        builder.spawn_on(log.entry(label), runtime.handle())
    };
    let tasks = [
        add("no deadline", Priority::Normal, None),
        add("late", Priority::Normal, Some(30)),
        add("early", Priority::Normal, Some(10)),
        add("lower class", Priority::Low, Some(1)),
        add("middle", Priority::Normal, Some(20)),
        add("middle too", Priority::Normal, Some(20)),
        add("higher class", Priority::High, None),
    ];
    gate.open();
    join(&runtime, tasks);
    assert_eq!(
        log.take(),
        [
            "higher class",
            "early",
            "middle",
            "middle too",
            "late",
            "no deadline",
            "lower class"
        ]
    );
}

#[test]
fn task_spawned_or_woken_last_does_not_overtake_its_betters() {
    let runtime = runtime(Policy::priority(), 1);
    let log = Log::default();
    let inner = log.clone();
    let tasks = runtime.block_on(runtime.spawn(async move {
        // Everything below is ready before any of it runs: one worker, and this poll holds it.
        let (wake, woken) = futures_channel();
        let waiting = inner.clone();
        let sleeper = spawn(async move {
            woken.await;
            waiting.add("woken normal");
        });
        yield_now().await;
        let spawned = [
            at(Priority::Critical).spawn(inner.entry("critical")),
            at(Priority::High).spawn(inner.entry("high")),
            at(Priority::Background).spawn(inner.entry("background")),
        ];
        wake();
        let mut tasks = vec![sleeper];
        tasks.extend(spawned.map(Result::unwrap));
        tasks
    }));
    join(&runtime, tasks.unwrap().unwrap());
    assert_eq!(
        log.take(),
        ["critical", "high", "woken normal", "background"]
    );
}

/// A wake-up to send, and a future that waits for it.
fn futures_channel() -> (impl FnOnce(), impl Future<Output = ()>) {
    let state = Arc::new(Mutex::new((false, None::<std::task::Waker>)));
    let other = state.clone();
    let wake = move || {
        let mut state = state.lock().unwrap();
        state.0 = true;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    };
    let woken = poll_fn(move |cx| {
        let mut state = other.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    });
    (wake, woken)
}

#[test]
fn yielding_task_keeps_its_class() {
    let runtime = runtime(Policy::priority(), 1);
    let log = Log::default();
    let gate = Gate::close(&runtime, 1);
    let tasks: Vec<_> = [Priority::Normal, Priority::High, Priority::High]
        .into_iter()
        .enumerate()
        .map(|(n, class)| {
            let log = log.clone();
            let rounds = async move {
                for _ in 0..3 {
                    log.add(n);
                    yield_now().await;
                }
            };
            at(class).spawn_on(rounds, runtime.handle())
        })
        .collect();
    gate.open();
    join(&runtime, tasks);
    // The two of the higher class alternate.
    assert_eq!(log.take().concat(), "121212000");
}

#[test]
fn lower_class_waits_while_any_worker_has_a_higher_one() {
    const WORKERS: usize = 4;
    const EACH: usize = 200;
    let runtime = runtime(
        Policy::Priority(PriorityOptions::new().ageing(u32::MAX)),
        WORKERS,
    );
    let critical_left = Arc::new(AtomicUsize::new(EACH));
    let overtaken = Arc::new(AtomicUsize::new(0));
    let gate = Gate::close(&runtime, WORKERS);
    let mut tasks = Vec::new();
    for _ in 0..EACH {
        let (left, overtaken) = (critical_left.clone(), overtaken.clone());
        let background = async move {
            // Each of the other workers may have taken one that has not counted itself yet.
            if left.load(Ordering::SeqCst) >= WORKERS {
                overtaken.fetch_add(1, Ordering::SeqCst);
            }
        };
        tasks.push(at(Priority::Background).spawn_on(background, runtime.handle()));
    }
    for _ in 0..EACH {
        let left = critical_left.clone();
        let critical = async move {
            left.fetch_sub(1, Ordering::SeqCst);
        };
        tasks.push(at(Priority::Critical).spawn_on(critical, runtime.handle()));
    }
    gate.open();
    join(&runtime, tasks);
    assert_eq!(overtaken.load(Ordering::SeqCst), 0);
}

#[test]
fn starvation_ends_within_the_stated_number_of_picks() {
    const AGEING: usize = 4;
    for class in CLASSES {
        for older in [0, 3] {
            let options = PriorityOptions::new().ageing(AGEING as u32);
            let runtime = runtime(Policy::Priority(options), 1);
            let gate = Gate::close(&runtime, 1);
            let (picks, over) = (
                Arc::new(AtomicUsize::new(0)),
                Arc::new(AtomicBool::new(false)),
            );
            // Tasks with a deadline long past go before all others of their class, for ever.
            let past = Instant::now();
            for storm in CLASSES {
                let (picks, over) = (picks.clone(), over.clone());
                let storm = at(storm).deadline(past).spawn_on(
                    async move {
                        while !over.load(Ordering::SeqCst) {
                            picks.fetch_add(1, Ordering::SeqCst);
                            yield_now().await;
                        }
                    },
                    runtime.handle(),
                );
                drop(storm);
            }
            for _ in 0..older {
                let picks = picks.clone();
                let one = async move {
                    picks.fetch_add(1, Ordering::SeqCst);
                };
                drop(at(class).spawn_on(one, runtime.handle()));
            }
            let count = picks.clone();
            let waiting = at(class).spawn_on(
                async move {
                    over.store(true, Ordering::SeqCst);
                    count.load(Ordering::SeqCst)
                },
                runtime.handle(),
            );
            gate.open();
            let waited = runtime.block_on(waiting).unwrap().unwrap();
            // Two queues: the worker's, and that of the deadlines.
            let bound = AGEING * CLASSES.len() * 2 * (older + 1);
            assert!(waited < bound, "{class:?}: {waited} picks, not {bound}");
            assert!(waited > older, "{class:?}: nothing was in its way");
        }
    }
}

#[test]
fn last_in_is_first_out() {
    // First in, first out has the slot for the task woken last, and the queue behind it.
    for (policy, expected) in [(Policy::Fifo, "eabcd"), (Policy::Lifo, "edcba")] {
        let runtime = runtime(policy, 1);
        let log = Log::default();
        let inner = log.clone();
        let tasks = runtime.block_on(runtime.spawn(async move {
            ["a", "b", "c", "d", "e"].map(|label| spawn(inner.entry(label)))
        }));
        join(&runtime, tasks.unwrap().unwrap());
        assert_eq!(log.take().concat(), expected);
    }
}

#[test]
fn yielding_task_goes_behind_the_others_also_last_in_first_out() {
    let runtime = runtime(Policy::Lifo, 1);
    let log = Log::default();
    let inner = log.clone();
    let tasks = runtime.block_on(runtime.spawn(async move {
        [0, 1, 2].map(|n| {
            let log = inner.clone();
            spawn(async move {
                for _ in 0..3 {
                    log.add(n);
                    yield_now().await;
                }
            })
        })
    }));
    join(&runtime, tasks.unwrap().unwrap());
    assert_eq!(log.take().concat(), "210210210");
}

#[test]
fn first_in_has_its_turn_under_a_storm_of_newer_tasks() {
    let runtime = runtime(Policy::Lifo, 1);
    let polls = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));

    fn link(polls: Arc<AtomicUsize>, over: Arc<AtomicBool>) {
        if !over.load(Ordering::SeqCst) {
            polls.fetch_add(1, Ordering::SeqCst);
            drop(spawn(async move { link(polls, over) }));
        }
    }

    let (count, done) = (polls.clone(), over.clone());
    let waited = runtime.spawn(async move {
        let waiting = spawn(async move {
            done.store(true, Ordering::SeqCst);
            count.load(Ordering::SeqCst)
        });
        // Three chains: the slot is never empty, nor what lies above the first task in the queue.
        for _ in 0..3 {
            let (polls, over) = (polls.clone(), over.clone());
            drop(spawn(async move { link(polls, over) }));
        }
        waiting.await.unwrap()
    });
    let waited = runtime.block_on(waited).unwrap().unwrap();
    // 64 polls until it is the oldest to be moved, 32 until its turn in the injector.
    assert!(waited <= 64 + 32, "{waited} polls");
    assert!(waited > 20, "nothing was in its way: {waited}");
}

/// Keeps a group busy: tasks that are always ready, until `over`.
fn saturate(handle: &Handle, group: &Group, over: &Arc<AtomicBool>) {
    for _ in 0..4 {
        let over = over.clone();
        drop(task::Builder::new().group(group).spawn_on(
            async move {
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    while began.elapsed() < Duration::from_micros(20) {
                        std::hint::spin_loop();
                    }
                    yield_now().await;
                }
            },
            handle,
        ));
    }
}

#[test]
fn groups_share_time_by_weight() {
    for workers in [1, 2] {
        let runtime = runtime(Policy::fair(), workers);
        let over = Arc::new(AtomicBool::new(false));
        let weights = [1, 2, 4];
        let groups = weights.map(|weight| {
            let group = runtime.handle().group("share", weight * 100).unwrap();
            saturate(runtime.handle(), &group, &over);
            group
        });
        // Shares come closer the longer they are measured, however busy the machine is.
        let errors = runtime.block_on(async {
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                time::sleep(Duration::from_millis(50)).await;
                let times = groups
                    .each_ref()
                    .map(|group| group.busy_time().as_secs_f64());
                let sum: f64 = times.iter().sum();
                let errors =
                    [0, 1, 2].map(|n| times[n] / sum / (f64::from(weights[n]) / 7.0) - 1.0);
                let polls: u64 = groups.iter().map(Group::poll_count).sum();
                let close = errors.iter().all(|error| error.abs() < 0.05);
                if polls > 1_000 && close || Instant::now() > deadline {
                    return errors;
                }
            }
        });
        over.store(true, Ordering::Relaxed);
        assert!(errors.unwrap().iter().all(|error| error.abs() < 0.05));
    }
}

#[test]
fn tasks_without_a_group_are_a_group() {
    let options = FairOptions::new().default_weight(Group::MAX_WEIGHT);
    let runtime = runtime(Policy::Fair(options), 1);
    let light = runtime.handle().group("light", 1).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    saturate(runtime.handle(), &light, &over);
    // Each of these polls weighs next to nothing beside one of the others.
    let beside = light.clone();
    let many = runtime.spawn(async move {
        let before = beside.poll_count();
        for _ in 0..1_000 {
            yield_now().await;
        }
        beside.poll_count() - before
    });
    let polls = runtime.block_on(many).unwrap().unwrap();
    assert!(polls < 100, "{polls} polls");
    over.store(true, Ordering::Relaxed);
}

#[test]
fn group_lives_as_long_as_its_tasks() {
    let runtime = runtime(Policy::fair(), 1);
    let gate = Gate::close(&runtime, 1);
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let group = runtime.handle().group(format!("{n}"), 1 + n).unwrap();
            let rounds = async move {
                for _ in 0..10 {
                    yield_now().await;
                }
            };
            task::Builder::new()
                .group(&group)
                .spawn_on(rounds, runtime.handle())
        })
        .collect();
    gate.open();
    join(&runtime, tasks);
}

#[test]
fn group_of_another_runtime_counts_for_nothing() {
    let (here, there) = (runtime(Policy::fair(), 1), runtime(Policy::fair(), 1));
    let group = there.handle().group("elsewhere", 10).unwrap();
    let task = task::Builder::new()
        .group(&group)
        .spawn_on(async {}, here.handle());
    here.block_on(task).unwrap().unwrap();
    assert_eq!(group.poll_count(), 0);
    drop(there);
    assert_eq!(group.busy_time(), Duration::ZERO);
}

#[test]
fn group_counts_its_polls() {
    let runtime = runtime(Policy::fair(), 1);
    let group = runtime.handle().group("counted", 7).unwrap();
    assert_eq!((group.name(), group.weight()), ("counted", 7));
    let task = task::Builder::new().group(&group).spawn_on(
        async {
            for _ in 0..9 {
                yield_now().await;
            }
        },
        runtime.handle(),
    );
    runtime.block_on(task).unwrap().unwrap();
    // The poll that ended the task is charged once it has returned; this one comes after it.
    runtime.block_on(runtime.spawn(async {})).unwrap().unwrap();
    assert_eq!(group.poll_count(), 10);
    assert!(group.busy_time() > Duration::ZERO);
}

#[test]
fn settings_of_other_policies_have_no_effect() {
    for policy in policies() {
        let runtime = runtime(policy, 1);
        let group = runtime.handle().group("any", 100).unwrap();
        let task = task::Builder::new()
            .priority(Priority::Critical)
            .deadline(Instant::now())
            .group(&group)
            .spawn_on(async { 7 }, runtime.handle());
        assert_eq!(runtime.block_on(task).unwrap().unwrap(), 7);
        let job = at(Priority::Background).spawn_blocking_on(|| 8, runtime.handle());
        assert_eq!(runtime.block_on(job).unwrap().unwrap(), 8);
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let refused = |policy| {
        let error = Builder::new().worker_threads(1).policy(policy).build();
        error.unwrap_err().kind() == std::io::ErrorKind::InvalidInput
    };
    for ageing in [0, 1] {
        assert!(refused(Policy::Priority(
            PriorityOptions::new().ageing(ageing)
        )));
    }
    for weight in [0, Group::MAX_WEIGHT + 1] {
        assert!(refused(Policy::Fair(
            FairOptions::new().default_weight(weight)
        )));
        for policy in policies() {
            let error = runtime(policy, 1).handle().group("g", weight).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&weight.to_string()));
        }
    }
}

#[test]
fn tasks_timers_jobs_and_wakes_work_under_every_policy() {
    for policy in policies() {
        for workers in [1, 2, 4] {
            let runtime = runtime(policy.clone(), workers);
            let done = Arc::new(AtomicUsize::new(0));
            let tasks: Vec<_> = (0..200)
                .map(|n| {
                    let done = done.clone();
                    let class = CLASSES[n % CLASSES.len()];
                    let work = async move {
                        time::sleep(Duration::from_micros(n as u64 * 10)).await;
                        let job = libruntime_core::spawn_blocking(move || n);
                        assert_eq!(job.await.unwrap(), n);
                        let nested = at(class).spawn(async { yield_now().await }).unwrap();
                        nested.await.unwrap();
                        done.fetch_add(1, Ordering::SeqCst);
                    };
                    at(class).spawn_on(work, runtime.handle())
                })
                .collect();
            join(&runtime, tasks);
            assert_eq!(done.load(Ordering::SeqCst), 200);
        }
    }
}

#[test]
fn panic_and_abort_leave_the_queues_in_order() {
    for policy in policies() {
        let runtime = runtime(policy, 1);
        let gate = Gate::close(&runtime, 1);
        let panicking = at(Priority::High).spawn_on(
            async { std::panic::panic_any("expected") },
            runtime.handle(),
        );
        let aborted = at(Priority::Low).spawn_on(pending::<()>(), runtime.handle());
        let last = at(Priority::Background).spawn_on(async { 1 }, runtime.handle());
        aborted.abort();
        gate.open();
        assert!(runtime.block_on(panicking).unwrap().unwrap_err().is_panic());
        assert!(
            runtime
                .block_on(aborted)
                .unwrap()
                .unwrap_err()
                .is_cancelled()
        );
        assert_eq!(runtime.block_on(last).unwrap().unwrap(), 1);
    }
}

/// Counts its drop, and starts a task and wakes one then.
struct Spawner(Arc<AtomicUsize>, Option<Box<dyn FnOnce() + Send>>);

impl Drop for Spawner {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        if let Some(wake) = self.1.take() {
            wake();
            let again = Spawner(self.0.clone(), None);
            drop(Handle::try_current().map(|handle| handle.spawn(async move { drop(again) })));
        }
    }
}

#[test]
fn shutdown_drops_what_is_queued_once_under_every_policy() {
    for policy in policies() {
        for workers in [1, 3] {
            let runtime = runtime(policy.clone(), workers);
            let drops = Arc::new(AtomicUsize::new(0));
            let waiting = Arc::new(AtomicUsize::new(0));
            let mut tasks = Vec::new();
            let group = runtime.handle().group("queued", 10).unwrap();
            let mut wakes = Vec::new();
            for _ in 0..10 {
                let (wake, woken) = futures_channel();
                wakes.push(wake);
                let (guard, waiting) = (Spawner(drops.clone(), None), waiting.clone());
                tasks.push(runtime.spawn(async move {
                    let _guard = guard;
                    waiting.fetch_add(1, Ordering::SeqCst);
                    woken.await;
                    pending::<()>().await;
                }));
            }
            while waiting.load(Ordering::SeqCst) < 10 {
                std::thread::yield_now();
            }
            let gate = Gate::close(&runtime, workers);
            for (n, wake) in wakes.into_iter().enumerate() {
                let guard = Spawner(drops.clone(), Some(Box::new(wake)));
                let mut builder = at(CLASSES[n % 5]);
                if n % 2 == 0 {
                    builder = builder.deadline(Instant::now());
                } else {
                    builder = builder.group(&group);
                }
                let task = async move {
                    let _guard = guard;
                    pending::<()>().await;
                };
                tasks.push(builder.spawn_on(task, runtime.handle()));
            }
            let handle = runtime.handle().clone();
            let closing = std::thread::spawn(move || drop(runtime));
            while !handle.is_closed() {
                std::thread::yield_now();
            }
            gate.open();
            closing.join().unwrap();
            assert!(tasks.iter().all(JoinHandle::is_finished));
            // Those that waited, those that were queued, and what the latter spawned.
            assert_eq!(drops.load(Ordering::SeqCst), 30);
        }
    }
}

#[test]
fn queued_tasks_are_seen_in_the_metrics() {
    for policy in policies() {
        let runtime = runtime(policy, 1);
        let gate = Gate::close(&runtime, 1);
        let tasks: Vec<_> = (0..7).map(|_| runtime.spawn(async {})).collect();
        let metrics = runtime.handle().metrics();
        let queued = metrics.global_queue_depth() + metrics.worker_local_queue_depth(0);
        assert_eq!(queued, 7);
        gate.open();
        join(&runtime, tasks);
    }
}
