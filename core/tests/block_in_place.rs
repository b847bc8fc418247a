//! `task::block_in_place`: what blocks in a task holds up that task alone.

use libruntime_core::event_loop::EventLoop;
use libruntime_core::runtime::{Builder, Handle, Lifecycle, Policy, PriorityOptions, Runtime};
use libruntime_core::task::{block_in_place, yield_now};
use libruntime_core::time::sleep;
use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

fn runtime(workers: usize) -> Runtime {
    Builder::new().worker_threads(workers).build().unwrap()
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A task that blocks until the returned sender speaks, and says when it does.
fn blocked(runtime: &Runtime) -> (mpsc::Sender<()>, libruntime_core::task::JoinHandle<u32>) {
    let (release, released) = mpsc::channel();
    let (blocks, is_blocked) = mpsc::channel();
    let task = runtime.spawn(async move {
        block_in_place(|| {
            blocks.send(()).unwrap();
            released.recv().unwrap();
        });
        yield_now().await;
        7
    });
    is_blocked.recv().unwrap();
    (release, task)
}

#[test]
fn the_only_worker_goes_on_with_tasks_timers_and_io() {
    use libruntime_core::net::{TcpListener, TcpStream};
    for policy in [
        Policy::Fifo,
        Policy::Lifo,
        Policy::Priority(PriorityOptions::default()),
    ] {
        let runtime = Builder::new()
            .worker_threads(1)
            .policy(policy)
            .build()
            .unwrap();
        for _ in 0..3 {
            let (release, task) = blocked(&runtime);
            let other = runtime.spawn(async {
                sleep(Duration::from_millis(1)).await;
                let here = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
                let listener = TcpListener::bind(here).await.unwrap();
                let address = listener.local_addr().unwrap();
                let connecting = libruntime_core::spawn(TcpStream::connect(address));
                listener.accept().await.unwrap();
                connecting.await.unwrap().unwrap();
            });
            runtime.block_on(other).unwrap().unwrap();
            release.send(()).unwrap();
            assert_eq!(runtime.block_on(task).unwrap().unwrap(), 7);
        }
    }
}

#[test]
fn the_rest_of_the_poll_spawns_wakes_and_sleeps() {
    let runtime = runtime(1);
    let task = runtime.spawn(async {
        let (tell, told) = mpsc::channel();
        block_in_place(|| {
            drop(libruntime_core::spawn(async move { tell.send(1).unwrap() }));
            assert_eq!(told.recv(), Ok(1));
        });
        let timer = sleep(Duration::from_millis(1));
        let other = libruntime_core::spawn(async { 2 });
        assert!(Handle::try_current().is_ok());
        timer.await;
        other.await.unwrap()
    });
    assert_eq!(runtime.block_on(task).unwrap().unwrap(), 2);
}

#[test]
fn a_future_may_be_blocked_on_inside() {
    let runtime = runtime(1);
    let task = runtime.spawn(async {
        let refused = Handle::current().block_on(async {});
        assert!(refused.is_err(), "a worker must not block");
        let other = libruntime_core::spawn(async {
            sleep(Duration::from_millis(1)).await;
            3
        });
        let other = block_in_place(|| Handle::current().block_on(other).unwrap());
        other.unwrap()
    });
    assert_eq!(runtime.block_on(task).unwrap().unwrap(), 3);
}

#[test]
fn a_call_inside_another_one_runs_in_place() {
    let runtime = runtime(1);
    let task = runtime.spawn(async {
        block_in_place(|| {
            let outer = thread::current().id();
            let inner = Handle::current()
                .block_on(async { block_in_place(|| block_in_place(|| thread::current().id())) });
            assert_eq!(inner.unwrap(), outer);
        });
        block_in_place(|| 4)
    });
    assert_eq!(runtime.block_on(task).unwrap().unwrap(), 4);
}

#[test]
fn a_call_outside_of_a_runtimes_tasks_runs_in_place() {
    let here = thread::current().id();
    assert_eq!(block_in_place(|| thread::current().id()), here);
    let runtime = runtime(1);
    let inside = runtime.block_on(async { block_in_place(|| thread::current().id()) });
    assert_eq!(inside.unwrap(), here);
    let job = runtime.spawn_blocking(|| {
        let here = thread::current().id();
        assert_eq!(block_in_place(|| thread::current().id()), here);
    });
    runtime.block_on(job).unwrap().unwrap();
    let own_loop = EventLoop::new().unwrap();
    let inside = own_loop.block_on(async { block_in_place(|| thread::current().id()) });
    assert_eq!(inside.unwrap(), here);
}

#[test]
fn a_panic_is_the_tasks_and_the_worker_goes_on() {
    let runtime = runtime(1);
    let task = runtime.spawn(async { block_in_place(|| panic!("as asked for")) });
    let error = runtime.block_on(task).unwrap().unwrap_err();
    assert!(error.is_panic());
    let after = runtime.spawn(async { block_in_place(|| 5) });
    assert_eq!(runtime.block_on(after).unwrap().unwrap(), 5);
}

#[test]
fn an_aborted_task_is_dropped_when_the_call_has_ended() {
    let runtime = runtime(1);
    let (release, task) = blocked(&runtime);
    task.abort();
    runtime.block_on(runtime.spawn(async {})).unwrap().unwrap();
    assert!(!task.is_finished());
    release.send(()).unwrap();
    let error = runtime.block_on(task).unwrap().unwrap_err();
    assert!(error.is_cancelled());
}

#[test]
fn a_shutdown_waits_for_the_call_and_reports_it() {
    let runtime = runtime(1);
    let (release, task) = blocked(&runtime);
    let drops = Arc::new(AtomicUsize::new(0));
    let guard = CountDrop(drops.clone());
    let waits = runtime.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    let report = runtime.shutdown(Some(Duration::from_millis(1)));
    assert!(report.workers_left >= 1);
    assert_eq!(runtime.lifecycle(), Lifecycle::ShuttingDown);
    release.send(()).unwrap();
    let report = runtime.shutdown(None);
    assert!(report.is_complete());
    assert_eq!(report.tasks_dropped, 2);
    assert_eq!(runtime.lifecycle(), Lifecycle::Terminated);
    assert!(waits.is_finished() && task.is_finished());
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn a_call_that_begins_after_the_shutdown_has_is_waited_for() {
    let runtime = runtime(1);
    let (release, released) = mpsc::channel::<()>();
    let (blocks, is_blocked) = mpsc::channel();
    let called = Arc::new(AtomicBool::new(false));
    let calls = called.clone();
    drop(runtime.spawn(async move {
        blocks.send(()).unwrap();
        released.recv().unwrap();
        block_in_place(|| calls.store(true, Ordering::SeqCst));
    }));
    is_blocked.recv().unwrap();
    assert_eq!(
        runtime
            .shutdown(Some(Duration::from_millis(1)))
            .workers_left,
        1
    );
    release.send(()).unwrap();
    assert!(runtime.shutdown(None).is_complete());
    assert!(called.load(Ordering::SeqCst));
}

#[test]
fn the_runtime_may_be_dropped_inside() {
    let place = Arc::new(Mutex::new(None));
    let own = place.clone();
    let runtime = runtime(1);
    let (begin, begun) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let task = runtime.spawn(async move {
        begun.recv().unwrap();
        block_in_place(|| {
            let runtime: Option<Runtime> = own.lock().unwrap().take();
            drop(runtime);
            tell.send(()).unwrap();
        });
    });
    *place.lock().unwrap() = Some(runtime);
    begin.send(()).unwrap();
    told.recv().unwrap();
    drop(task);
}

#[test]
fn a_drop_that_is_cancelled_on_a_worker_may_call_it() {
    struct Blocks(mpsc::Sender<()>);
    impl Drop for Blocks {
        fn drop(&mut self) {
            block_in_place(|| self.0.send(()).unwrap());
        }
    }
    let runtime = runtime(1);
    let (tell, told) = mpsc::channel();
    let (first, second) = (Blocks(tell.clone()), Blocks(tell));
    let aborted = runtime.spawn(async move {
        let _guard = first;
        pending::<()>().await;
    });
    runtime.block_on(async { yield_now().await }).unwrap();
    aborted.abort();
    assert!(runtime.block_on(aborted).unwrap().is_err());
    told.recv().unwrap();
    drop(runtime.spawn(async move {
        let _guard = second;
        pending::<()>().await;
    }));
    drop(runtime);
    told.recv().unwrap();
}

#[test]
fn park_hooks_may_call_it_in_place() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counts = calls.clone();
    let hook = move || {
        assert_eq!(block_in_place(|| 1), 1);
        let inside = block_in_place(|| Handle::current().block_on(async {}));
        assert!(inside.is_err(), "still a worker");
        counts.fetch_add(1, Ordering::SeqCst);
    };
    let runtime = Builder::new()
        .worker_threads(1)
        .on_thread_park(hook.clone())
        .on_thread_unpark(hook)
        .build()
        .unwrap();
    let task = runtime.spawn(sleep(Duration::from_millis(1)));
    runtime.block_on(task).unwrap().unwrap();
    drop(runtime);
    // Before and after the wait for the timer.
    assert!(calls.load(Ordering::SeqCst) >= 2);
}

#[test]
fn a_waker_that_the_timers_call_may_call_it_in_place() {
    struct Calls(mpsc::Sender<bool>);
    impl std::task::Wake for Calls {
        fn wake(self: Arc<Self>) {
            let refused = block_in_place(|| Handle::current().block_on(async {}).is_err());
            self.0.send(refused).unwrap();
        }
    }
    let runtime = runtime(1);
    let (tell, told) = mpsc::channel();
    let task = runtime.spawn(async move {
        let waker = std::task::Waker::from(Arc::new(Calls(tell)));
        let mut timer = Box::pin(sleep(Duration::from_millis(1)));
        let polled = timer
            .as_mut()
            .poll(&mut std::task::Context::from_waker(&waker));
        assert!(polled.is_pending());
        sleep(Duration::from_millis(5)).await;
    });
    runtime.block_on(task).unwrap().unwrap();
    assert!(
        told.recv().unwrap(),
        "it was called on the worker, and in place"
    );
}

#[test]
fn a_loops_turn_inside_a_task_keeps_its_thread() {
    let runtime = runtime(1);
    let task = runtime.spawn(async {
        let own_loop = EventLoop::new().unwrap();
        let refused = own_loop.block_on(async {
            let here = thread::current().id();
            block_in_place(|| assert_eq!(thread::current().id(), here));
            sleep(Duration::from_millis(1)).await;
        });
        drop(refused);
        block_in_place(|| 8)
    });
    assert_eq!(runtime.block_on(task).unwrap().unwrap(), 8);
}

#[test]
fn without_another_thread_it_runs_in_place() {
    let threads = Arc::new(AtomicUsize::new(0));
    let runtime = Builder::new()
        .worker_threads(1)
        // The second thread can not be started: its name is not one.
        .thread_name_fn(move || match threads.fetch_add(1, Ordering::SeqCst) {
            0 => "worker".to_owned(),
            _ => "zero\0byte".to_owned(),
        })
        .build()
        .unwrap();
    let task = runtime.spawn(async {
        let here = thread::current().id();
        let inside = block_in_place(|| {
            assert!(Handle::current().block_on(async {}).is_err());
            thread::current().id()
        });
        assert_eq!(inside, here);
        sleep(Duration::from_millis(1)).await;
        yield_now().await;
        6
    });
    assert_eq!(runtime.block_on(task).unwrap().unwrap(), 6);
    assert!(runtime.shutdown(None).is_complete());
}

#[test]
fn threads_that_lost_their_worker_are_used_again() {
    let started = Arc::new(AtomicUsize::new(0));
    let counts = started.clone();
    let runtime = Builder::new()
        .worker_threads(1)
        .on_thread_start(move || {
            counts.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    for _ in 0..500 {
        let task = runtime.spawn(async { block_in_place(|| ()) });
        runtime.block_on(task).unwrap().unwrap();
    }
    // One that has not come back to wait yet is made up for by another one, which ends then.
    assert!(started.load(Ordering::SeqCst) < 500);
}

#[test]
fn many_tasks_block_at_once_and_all_end() {
    for policy in [Policy::Fifo, Policy::Priority(PriorityOptions::default())] {
        let runtime = Builder::new()
            .worker_threads(2)
            .policy(policy)
            .build()
            .unwrap();
        let meet = Arc::new(std::sync::Barrier::new(16));
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let meet = meet.clone();
                runtime.spawn(async move {
                    for _ in 0..8 {
                        block_in_place(|| meet.wait());
                        yield_now().await;
                        sleep(Duration::from_micros(100)).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            runtime.block_on(task).unwrap().unwrap();
        }
        assert!(runtime.shutdown(None).is_complete());
    }
}
