//! A tuner on runtimes that run, by figures that the tests make up.

use super::decide::Figures;
use super::{Decision, Reason, Setting};
use crate::runtime::{Builder, FairOptions, Policy, Runtime};
use crate::task::yield_now;
use crate::time::sleep;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

const WORKERS: usize = 4;

fn runtime() -> Runtime {
    Builder::new().worker_threads(WORKERS).build().unwrap()
}

/// A runtime whose tuner is on, or none where the system does not tell what it needs.
fn tuned() -> Option<Runtime> {
    let built = Builder::new().worker_threads(WORKERS).tuner(true).build();
    match built {
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => None,
        built => Some(built.unwrap()),
    }
}

/// Workers that wait for one processor longer than they run.
fn contended(runtime: &Runtime) -> Figures {
    let second = Duration::from_secs(1);
    Figures {
        active: runtime.handle().tuning().active_workers,
        workers: WORKERS,
        processors: 1,
        passed: second,
        ran: second,
        delayed: 3 * second,
        awake: 4 * second,
        queued: 100,
    }
}

/// Workers that are awake and do not run, while tasks wait.
fn held_up(runtime: &Runtime) -> Figures {
    let figures = contended(runtime);
    let active = u32::try_from(figures.active).unwrap();
    Figures {
        ran: figures.passed / 10,
        delayed: Duration::ZERO,
        awake: figures.passed * active,
        ..figures
    }
}

fn feed(runtime: &Runtime, figures: &Figures) {
    let shared = runtime.handle().shared();
    shared.tuner.feed(shared, figures);
}

/// Feeds figures until so many workers take part. The watch may look at the true ones in between.
fn feed_until(runtime: &Runtime, active: usize, figures: fn(&Runtime) -> Figures) {
    while runtime.handle().tuning().active_workers != active {
        feed(runtime, &figures(runtime));
    }
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        thread::yield_now();
    }
}

fn set_active_workers(runtime: &Runtime, workers: usize) {
    let shared = runtime.handle().shared();
    shared.wake_all(shared.set_active_workers(workers));
}

fn wait_until_all_but_one_are_aside(runtime: &Runtime) {
    let shared = runtime.handle().shared();
    wait_until(|| (1..WORKERS).all(|worker| shared.is_aside(worker)));
}

fn changes(decisions: &[Decision]) -> Vec<(usize, usize)> {
    decisions.iter().map(|d| (d.from, d.to)).collect()
}

#[test]
fn figures_that_agree_change_how_many_take_part_and_the_reason_is_told() {
    let runtime = runtime();
    let decisions = || runtime.handle().tuning().decisions;
    feed(&runtime, &contended(&runtime));
    assert_eq!(decisions(), [], "one look is not enough");
    feed(&runtime, &contended(&runtime));
    let [decision] = &decisions()[..] else {
        panic!("{:?}", decisions())
    };
    assert_eq!(decision.what, Setting::ActiveWorkers);
    assert_eq!((decision.from, decision.to), (WORKERS, 1));
    assert!(matches!(
        decision.reason,
        Reason::Contended { processors: 1, .. }
    ));
    feed_until(&runtime, 2, held_up);
    let decisions = decisions();
    assert_eq!(changes(&decisions), [(WORKERS, 1), (1, 2)]);
    assert!(matches!(
        decisions[1].reason,
        Reason::HeldUp { queued: 100, .. }
    ));
    assert!(decisions[0].at <= decisions[1].at);
}

#[test]
fn last_decisions_are_kept_and_older_ones_are_not() {
    let runtime = runtime();
    for _ in 0..40 {
        feed_until(&runtime, 1, contended);
        feed_until(&runtime, 2, held_up);
    }
    let decisions = runtime.handle().tuning().decisions;
    assert_eq!(decisions.len(), 64);
    assert_eq!(changes(&decisions[62..]), [(2, 1), (1, 2)]);
}

#[test]
fn turning_it_off_lets_all_workers_in() {
    let Some(runtime) = tuned() else { return };
    let handle = runtime.handle();
    assert!(handle.tuning().on);
    feed_until(&runtime, 1, contended);
    handle.set_tuner(false).unwrap();
    let tuning = handle.tuning();
    assert!(!tuning.on);
    assert_eq!((tuning.active_workers, tuning.workers), (WORKERS, WORKERS));
    let last = tuning.decisions.last().unwrap();
    assert_eq!((last.from, last.to), (1, WORKERS));
    assert_eq!(last.reason, Reason::TurnedOff);
    handle.set_tuner(false).unwrap();
    assert_eq!(handle.tuning().decisions, tuning.decisions);
    handle.set_tuner(true).unwrap();
    assert!(handle.tuning().on);
}

#[test]
fn worker_beyond_takes_no_part() {
    let runtime = runtime();
    let run = Arc::new(AtomicBool::new(true));
    let yields = Arc::new(AtomicUsize::new(0));
    let threads = Arc::new(Mutex::new(HashSet::new()));
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (run, yields, threads) = (run.clone(), yields.clone(), threads.clone());
            runtime.spawn(async move {
                while run.load(Ordering::Relaxed) {
                    threads.lock().unwrap().insert(thread::current().id());
                    yields.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                }
            })
        })
        .collect();
    set_active_workers(&runtime, 1);
    wait_until_all_but_one_are_aside(&runtime);
    threads.lock().unwrap().clear();
    let seen = yields.load(Ordering::Relaxed);
    wait_until(|| yields.load(Ordering::Relaxed) > seen + 10_000);
    assert_eq!(threads.lock().unwrap().len(), 1);
    for worker in 1..WORKERS {
        assert_eq!(runtime.metrics().worker_local_queue_depth(worker), 0);
    }
    set_active_workers(&runtime, WORKERS);
    wait_until(|| threads.lock().unwrap().len() == WORKERS);
    run.store(false, Ordering::Relaxed);
    runtime
        .block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
        })
        .unwrap();
}

/// Sets a flag when it is dropped, also by a panic.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Changes how many take part again and again while `work` runs.
fn flip_during(runtime: &Runtime, work: impl FnOnce()) {
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(7);
            while !end.load(Ordering::Relaxed) {
                set_active_workers(runtime, random.usize(1..=WORKERS));
                thread::yield_now();
            }
        });
        // The scope waits for the thread, which must end if `work` fails as well.
        let _end = SetAtEnd(&end);
        work();
    });
}

async fn tree(depth: u32, ended: Arc<AtomicUsize>) {
    if depth > 0 {
        let children = [(); 2].map(|()| crate::spawn(tree_boxed(depth - 1, ended.clone())));
        yield_now().await;
        for child in children {
            child.await.unwrap();
        }
    }
    sleep(Duration::from_micros(fastrand::u64(0..2_000))).await;
    ended.fetch_add(1, Ordering::Relaxed);
}

fn tree_boxed(
    depth: u32,
    ended: Arc<AtomicUsize>,
) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(tree(depth, ended))
}

#[test]
fn nothing_is_lost_while_the_number_changes() {
    let policies = [
        Policy::Fifo,
        Policy::Lifo,
        Policy::priority(),
        Policy::Fair(FairOptions::default()),
    ];
    for policy in policies {
        let runtime = Builder::new()
            .worker_threads(WORKERS)
            .policy(policy.clone())
            .poll_time_histogram(true)
            .build()
            .unwrap();
        let ended = Arc::new(AtomicUsize::new(0));
        flip_during(&runtime, || {
            let roots: Vec<_> = (0..8)
                .map(|_| runtime.spawn(tree_boxed(6, ended.clone())))
                .collect();
            for root in roots {
                runtime.block_on(root).unwrap().unwrap();
            }
        });
        let nodes = 8 * ((1 << 7) - 1);
        assert_eq!(ended.load(Ordering::Relaxed), nodes, "{policy:?}");
        let metrics = runtime.metrics();
        assert_eq!(metrics.spawned_tasks_count(), nodes as u64);
        let handle = runtime.handle().clone();
        runtime.shutdown(None);
        let metrics = handle.metrics();
        for worker in 0..WORKERS {
            let measured = metrics.worker_poll_time_histogram(worker).unwrap();
            let counted = metrics.worker_poll_count(worker);
            assert_eq!(counted, measured.count(), "worker {worker}, {policy:?}");
        }
    }
}

#[test]
fn readiness_is_served_whoever_is_sent_aside() {
    let runtime = runtime();
    let listener = runtime
        .block_on(crate::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap()
        .unwrap();
    let address = listener.local_addr().unwrap();
    let echo = runtime.spawn(async move {
        use futures_lite::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut byte = [0];
        while stream.read(&mut byte).await.unwrap() > 0 {
            stream.write_all(&byte).await.unwrap();
        }
    });
    let mut client = std::net::TcpStream::connect(address).unwrap();
    flip_during(&runtime, || {
        for round in 0..500_u32 {
            let sent = [round as u8];
            client.write_all(&sent).unwrap();
            let mut back = [0];
            client.read_exact(&mut back).unwrap();
            assert_eq!(back, sent);
        }
    });
    drop(client);
    runtime.block_on(echo).unwrap().unwrap();
}

#[test]
fn poll_that_blocks_lets_all_workers_in() {
    let Some(runtime) = tuned() else { return };
    feed_until(&runtime, 1, contended);
    wait_until_all_but_one_are_aside(&runtime);
    let blocks = runtime.spawn(async {
        let (tell, told) = mpsc::channel();
        drop(crate::spawn(async move { tell.send(()).unwrap() }));
        told.recv().unwrap();
    });
    runtime.block_on(blocks).unwrap().unwrap();
    let tuning = runtime.handle().tuning();
    assert_eq!(tuning.active_workers, WORKERS);
    let last = tuning.decisions.last().unwrap();
    assert_eq!(last.reason, Reason::Stalled);
}

#[test]
fn runtime_ends_while_workers_are_aside() {
    let runtime = runtime();
    set_active_workers(&runtime, 1);
    let waits = runtime.spawn(std::future::pending::<()>());
    runtime.shutdown(None);
    assert!(
        futures_lite::future::block_on(waits)
            .unwrap_err()
            .is_cancelled()
    );
}
