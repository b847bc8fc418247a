//! What waits for a worker whose poll does not end. Each test would hang without the watch: what
//! blocks a worker goes on only once what waits for it has run.

use futures_lite::future::yield_now;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use libruntime_core::metrics::WorkerState;
use libruntime_core::net::{TcpListener, TcpStream};
use libruntime_core::runtime::{Builder, Runtime};
use libruntime_core::time::sleep;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn runtime(workers: usize) -> Runtime {
    Builder::new().worker_threads(workers).build().unwrap()
}

fn blocks_until_told(told: mpsc::Receiver<()>) {
    told.recv().expect("somebody tells");
}

#[test]
fn a_task_woken_last_by_one_that_then_blocks_runs_meanwhile() {
    for workers in [2, 4] {
        let runtime = runtime(workers);
        // More than once: the runtime is eager after the first time.
        for _ in 0..3 {
            let blocked = runtime.spawn(async {
                let (tell, told) = mpsc::channel();
                let woken = libruntime_core::spawn(async move { tell.send(()).unwrap() });
                blocks_until_told(told);
                woken.await.unwrap();
            });
            runtime.block_on(blocked).unwrap().unwrap();
        }
        let metrics = runtime.metrics();
        let stalls: u64 = (0..workers).map(|n| metrics.worker_stall_count(n)).sum();
        assert!(stalls > 0, "{metrics:?}");
    }
}

#[test]
fn tasks_woken_one_after_the_other_while_their_worker_blocks_all_run() {
    let runtime = runtime(2);
    let blocked = runtime.spawn(async {
        for _ in 0..20 {
            let (tell, told) = mpsc::channel();
            drop(libruntime_core::spawn(async move {
                yield_now().await;
                tell.send(()).unwrap();
            }));
            blocks_until_told(told);
        }
    });
    runtime.block_on(blocked).unwrap().unwrap();
}

#[test]
fn a_timer_fires_while_its_worker_blocks_until_then() {
    for workers in [2, 4] {
        let runtime = runtime(workers);
        let blocked = runtime.spawn(async {
            let (tell, told) = mpsc::channel();
            let sleeper = libruntime_core::spawn(async move {
                sleep(Duration::from_millis(5)).await;
                tell.send(()).unwrap();
            });
            // Its timer is in this worker's wheel once it has been polled here.
            yield_now().await;
            blocks_until_told(told);
            sleeper.await.unwrap();
        });
        runtime.block_on(blocked).unwrap().unwrap();
    }
}

/// Sends a byte to whoever listens there, and waits for the answer.
fn ask(address: SocketAddr) {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"?").unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
}

async fn answer(mut stream: TcpStream) {
    let mut byte = [0];
    stream.read_exact(&mut byte).await.unwrap();
    stream.write_all(&byte).await.unwrap();
}

#[test]
fn readiness_is_served_while_the_worker_that_waited_for_it_blocks() {
    for workers in [2, 4] {
        let runtime = runtime(workers);
        let blocked = runtime.spawn(async {
            let listener = TcpListener::bind(HERE).await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = libruntime_core::spawn(async move {
                for _ in 0..2 {
                    answer(listener.accept().await.unwrap().0).await;
                }
            });
            let first = thread::spawn(move || ask(address));
            while !first.is_finished() {
                // The reactor is this worker's every now and then.
                sleep(Duration::from_millis(1)).await;
            }
            // This poll holds the worker that left the reactor last.
            ask(address);
            server.await.unwrap();
        });
        runtime.block_on(blocked).unwrap().unwrap();
    }
}

/// Blocks that many workers at once, and lets them go when the receiver hears of it.
fn block(runtime: &Runtime, workers: usize) -> Vec<mpsc::Sender<()>> {
    let all = Arc::new(Barrier::new(workers + 1));
    let (releases, waits): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel::<()>()).unzip();
    for wait in waits {
        let all = all.clone();
        drop(runtime.spawn(async move {
            all.wait();
            let _ = wait.recv();
        }));
    }
    all.wait();
    releases
}

#[test]
fn one_worker_does_it_all_while_the_others_block() {
    let runtime = runtime(4);
    let listener = runtime.block_on(TcpListener::bind(HERE)).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let server = runtime.spawn(async move {
        loop {
            answer(listener.accept().await.unwrap().0).await;
        }
    });
    // So that every worker has some in its wheel.
    let timers: Vec<_> = (0..32)
        .map(|n| runtime.spawn(sleep(Duration::from_millis(n))))
        .collect();
    let releases = block(&runtime, 3);
    ask(address);
    for timer in timers {
        runtime.block_on(timer).unwrap().unwrap();
    }
    let ran = Arc::new(Mutex::new(HashSet::<ThreadId>::new()));
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let ran = ran.clone();
            runtime.spawn(async move {
                yield_now().await;
                ran.lock().unwrap().insert(thread::current().id());
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap().unwrap();
    }
    assert_eq!(ran.lock().unwrap().len(), 1);
    drop(releases);
    server.abort();
}

#[test]
fn what_waits_outside_is_served_while_all_workers_block() {
    let runtime = runtime(2);
    let listener = runtime.block_on(TcpListener::bind(HERE)).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let releases = block(&runtime, 2);
    let asking = thread::spawn(move || ask(address));
    // Neither future is a task: the thread that blocks on them polls them itself.
    runtime
        .block_on(async {
            sleep(Duration::from_millis(2)).await;
            answer(listener.accept().await.unwrap().0).await;
        })
        .unwrap();
    asking.join().unwrap();
    drop(releases);
}

#[test]
fn a_shutdown_ends_while_polls_are_overdue() {
    let runtime = runtime(2);
    let releases = block(&runtime, 2);
    let told = Arc::new(AtomicBool::new(false));
    let tell = told.clone();
    // Waits behind both.
    drop(runtime.spawn(async move { tell.store(true, Ordering::Relaxed) }));
    let report = runtime.shutdown(Some(Duration::from_millis(30)));
    assert_eq!(report.workers_left, 2);
    drop(releases);
    assert!(runtime.shutdown(None).is_complete());
    assert!(!told.load(Ordering::Relaxed));
}

/// The threads that a runtime starts, for a runtime whose workers have run something.
fn threads_of(builder: &mut Builder) -> usize {
    let started = Arc::new(AtomicUsize::new(0));
    let count = started.clone();
    let runtime = builder
        .on_thread_start(move || _ = count.fetch_add(1, Ordering::SeqCst))
        .build()
        .unwrap();
    for _ in 0..10 {
        let task = runtime.spawn(async { yield_now().await });
        runtime.block_on(task).unwrap().unwrap();
    }
    drop(runtime);
    started.load(Ordering::SeqCst)
}

#[test]
fn no_watch_is_started_where_none_is_wanted() {
    assert_eq!(threads_of(Builder::new().worker_threads(2)), 3);
    assert_eq!(
        threads_of(Builder::new().worker_threads(2).stall_watch(false)),
        2
    );
    // There would be nobody to pass anything on to.
    assert_eq!(threads_of(Builder::new().worker_threads(1)), 1);
}

#[test]
fn a_runtime_that_runs_nothing_starts_no_watch() {
    let started = Arc::new(AtomicUsize::new(0));
    let count = started.clone();
    let runtime = Builder::new()
        .worker_threads(2)
        .on_thread_start(move || _ = count.fetch_add(1, Ordering::SeqCst))
        .build()
        .unwrap();
    drop(runtime);
    assert_eq!(started.load(Ordering::SeqCst), 2);
}

#[test]
fn hooks_run_around_each_wait_and_may_spawn_and_panic() {
    let waits = Arc::new(AtomicUsize::new(0));
    let ran = Arc::new(AtomicUsize::new(0));
    let (parked, unparked, spawned) = (waits.clone(), waits.clone(), ran.clone());
    let runtime = Builder::new()
        .worker_threads(1)
        .on_thread_park(move || {
            if parked.fetch_add(1, Ordering::SeqCst) == 0 {
                let ran = spawned.clone();
                drop(libruntime_core::spawn(async move {
                    ran.fetch_add(1, Ordering::SeqCst);
                }));
            }
            panic!("on purpose");
        })
        .on_thread_unpark(move || _ = unparked.fetch_sub(1, Ordering::SeqCst))
        .build()
        .unwrap();
    while ran.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    runtime.block_on(runtime.spawn(async {})).unwrap().unwrap();
    drop(runtime);
    assert_eq!(waits.load(Ordering::SeqCst), 0, "as many after as before");
}

#[test]
fn a_workers_state_and_what_it_did_are_seen_from_outside() {
    let runtime = runtime(1);
    let task = runtime.spawn(async {
        let state = libruntime_core::runtime::Handle::current().metrics();
        assert_eq!(state.worker_state(0), WorkerState::Running);
        libruntime_core::spawn(async {}).await.unwrap();
    });
    runtime.block_on(task).unwrap().unwrap();
    while runtime.metrics().worker_state(0) != WorkerState::InReactor {
        thread::yield_now();
    }
    let handle = runtime.handle().clone();
    drop(runtime);
    let metrics = handle.metrics();
    assert_eq!(metrics.worker_state(0), WorkerState::Terminated);
    assert!(metrics.worker_search_count(0) > 0);
    assert!(metrics.worker_injector_take_count(0) > 0);
    assert!(metrics.worker_lifo_poll_count(0) > 0);
    assert!(
        metrics.worker_unpark_count(0) > 0,
        "the shutdown's at least"
    );
    assert_eq!(metrics.worker_stall_count(0), 0);
    assert_eq!(metrics.stall_hand_over_count(), 0);
}
