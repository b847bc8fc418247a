//! What a runtime promises, on one, two and four workers.

use libruntime_core::runtime::{Builder, Handle, Lifecycle, Runtime};
use libruntime_core::task::{JoinHandle, yield_now};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

fn runtime(workers: usize) -> Runtime {
    Builder::new().worker_threads(workers).build().unwrap()
}

/// Runs each test on several numbers of workers.
macro_rules! on_workers {
    ($($(#[$attr:meta])* fn $name:ident($runtime:ident: Runtime) $body:block)*) => {
        $(mod $name {
            use super::*;
            fn run($runtime: Runtime) $body
            $(#[$attr])* #[test] fn one_worker() { run(runtime(1)) }
            $(#[$attr])* #[test] fn two_workers() { run(runtime(2)) }
            $(#[$attr])* #[test] fn four_workers() { run(runtime(4)) }
        })*
    };
}

mod common;
use common::home::Spawner;
use common::{CountDrop, end_amid_spawns};

on_workers! {
    fn shutdown_drops_every_task_once(runtime: Runtime) {
        let drops = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<JoinHandle<()>> = (0..500)
            .map(|i| {
                let guard = CountDrop(drops.clone());
                runtime.spawn(async move {
                    let _guard = guard;
                    loop {
                        if i % 2 == 0 {
                            pending::<()>().await;
                        }
                        yield_now().await;
                    }
                })
            })
            .collect();
        let report = runtime.shutdown(None);
        assert!(report.is_complete());
        assert_eq!(report.tasks_dropped, 500);
        assert_eq!(drops.load(Ordering::SeqCst), 500);
        assert!(tasks.iter().all(JoinHandle::is_finished));
        assert_eq!(runtime.lifecycle(), Lifecycle::Terminated);
    }

    fn spawn_after_shutdown_is_cancelled(runtime: Runtime) {
        let handle = runtime.handle().clone();
        drop(runtime);
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = CountDrop(drops.clone());
        let task = handle.spawn(async move { drop(guard) });
        assert!(task.is_finished());
        let job = handle.spawn_blocking(|| ());
        assert!(job.is_finished());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    fn drop_of_a_task_at_shutdown_may_wake_and_spawn(runtime: Runtime) {
        struct SpawnOnDrop(Arc<AtomicUsize>);
        impl Drop for SpawnOnDrop {
            fn drop(&mut self) {
                let guard = CountDrop(self.0.clone());
                drop(libruntime_core::spawn(async move { drop(guard) }));
            }
        }
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = SpawnOnDrop(drops.clone());
        let (started, has_started) = mpsc::channel();
        let waited_for = runtime.spawn(async move {
            let _guard = guard;
            started.send(()).unwrap();
            pending::<()>().await;
        });
        drop(runtime.spawn(waited_for));
        has_started.recv().unwrap();
        drop(runtime);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    fn shutdown_in_the_middle_of_foreign_wakes_and_spawns(runtime: Runtime) {
        let spawner = Spawner::Runtime(runtime.handle().clone());
        end_amid_spawns(&spawner, || {
            let report = runtime.shutdown(None);
            assert!(report.is_complete());
        });
    }

    fn blocking_jobs_run_beside_the_workers(runtime: Runtime) {
        let total = runtime.block_on(async {
            let jobs: Vec<_> =
                (0..100).map(|i| libruntime_core::spawn_blocking(move || i)).collect();
            let mut total = 0;
            for job in jobs {
                total += job.await.unwrap();
            }
            total
        });
        assert_eq!(total.unwrap(), 4950);
    }

    fn nested_block_on_is_an_error(runtime: Runtime) {
        let handle = runtime.handle().clone();
        let inside = handle.clone();
        let on_worker = runtime.spawn(async move { inside.block_on(async {}).is_err() });
        assert!(runtime.block_on(on_worker).unwrap().unwrap());
        assert!(runtime.block_on(async { handle.block_on(async {}).is_err() }).unwrap());
        assert!(runtime.block_on(async {}).is_ok(), "and the thread may block again afterwards");
    }

    fn blocking_job_may_block_on_a_future(runtime: Runtime) {
        let handle = runtime.handle().clone();
        let job = runtime.spawn_blocking(move || {
            handle.block_on(async { libruntime_core::spawn(async { 3 }).await.unwrap() }).unwrap()
        });
        assert_eq!(runtime.block_on(job).unwrap().unwrap(), 3);
    }

    fn runtime_dropped_inside_its_own_task_does_not_wait_for_itself(runtime: Runtime) {
        let handle = runtime.handle().clone();
        let (done, is_done) = mpsc::channel();
        drop(handle.spawn(async move {
            drop(runtime);
            done.send(()).unwrap();
        }));
        is_done.recv().unwrap();
    }
}

#[test]
fn there_is_no_runtime_outside_of_one() {
    assert!(Handle::try_current().is_err());
    let runtime = runtime(1);
    {
        let _guard = runtime.enter();
        assert!(Handle::try_current().is_ok());
        let task = libruntime_core::spawn(async { 1 });
        assert_eq!(runtime.block_on(task).unwrap().unwrap(), 1);
    }
    assert!(Handle::try_current().is_err());
}

#[test]
fn runtime_entered_on_a_worker_of_another_is_the_one_in_use() {
    let named = |name: &str| {
        Builder::new()
            .worker_threads(1)
            .thread_name(name)
            .build()
            .unwrap()
    };
    let (first, second) = (named("first"), named("second"));
    let handle = second.handle().clone();
    let here = || thread::current().name().map(str::to_owned);
    let task = first.spawn(async move {
        let (inside, job, sleep) = poll_fn(|cx| {
            let _guard = handle.enter();
            let mut sleep = Box::pin(libruntime_core::time::sleep(Duration::from_millis(100)));
            assert!(sleep.as_mut().poll(cx).is_pending());
            Poll::Ready((
                libruntime_core::spawn(async move { here() }),
                libruntime_core::spawn_blocking(here),
                sleep,
            ))
        })
        .await;
        let outside = libruntime_core::spawn(async move { here() });
        sleep.await;
        (
            inside.await.unwrap(),
            job.await.unwrap(),
            outside.await.unwrap(),
        )
    });
    let names = first.block_on(task).unwrap().unwrap();
    let (first, second) = (Some("first".to_owned()), Some("second".to_owned()));
    assert_eq!(names, (second.clone(), second, first));
}

#[test]
fn panic_whose_payload_panics_when_dropped_is_contained() {
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            panic!("in the drop of a payload");
        }
    }
    struct PanicsInDrop;
    impl Future for PanicsInDrop {
        type Output = i32;
        fn poll(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<i32> {
            Poll::Ready(5)
        }
    }
    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            std::panic::panic_any(Payload);
        }
    }
    let runtime = Builder::new()
        .worker_threads(1)
        .on_thread_start(|| std::panic::panic_any(Payload))
        .build()
        .unwrap();
    let task = runtime.spawn(PanicsInDrop);
    assert_eq!(runtime.block_on(task).unwrap().unwrap(), 5);
    drop(runtime.spawn(async { std::panic::panic_any(Payload) }));
    let task = runtime.spawn(async { 1 });
    assert_eq!(runtime.block_on(task).unwrap().unwrap(), 1);
    assert!(runtime.shutdown(None).is_complete());
}

#[test]
fn two_runtimes_share_nothing() {
    let (first, second) = (runtime(1), runtime(1));
    let handle = second.handle().clone();
    let value = first.spawn(async move { handle.spawn(async { 9 }).await.unwrap() });
    assert_eq!(first.block_on(value).unwrap().unwrap(), 9);
    drop(first);
    let task = second.spawn(async { 2 });
    assert_eq!(second.block_on(task).unwrap().unwrap(), 2);
}

#[test]
fn task_behind_a_blocked_worker_is_taken_by_another() {
    let runtime = runtime(2);
    let (release, blocked) = mpsc::channel::<()>();
    let task = runtime.spawn(async move {
        // Two tasks: the second one displaces the first from the slot that peers can not reach.
        let first = libruntime_core::spawn(async move { release.send(()).unwrap() });
        let second = libruntime_core::spawn(async {});
        blocked.recv().unwrap();
        first.await.unwrap();
        second.await.unwrap();
    });
    runtime.block_on(task).unwrap().unwrap();
}

#[test]
fn shutdown_reports_what_it_could_not_end() {
    let runtime = runtime(1);
    let (release_worker, worker) = mpsc::channel::<()>();
    let (release_job, job) = mpsc::channel::<()>();
    let (started, has_started) = mpsc::channel();
    let also_started = started.clone();
    drop(runtime.spawn(async move {
        started.send(()).unwrap();
        worker.recv().unwrap();
    }));
    drop(runtime.spawn_blocking(move || {
        also_started.send(()).unwrap();
        job.recv().unwrap();
    }));
    has_started.recv().unwrap();
    has_started.recv().unwrap();
    let report = runtime.shutdown(Some(Duration::from_millis(1)));
    assert_eq!((report.workers_left, report.blocking_left), (1, 1));
    assert_eq!(runtime.lifecycle(), Lifecycle::ShuttingDown);
    release_worker.send(()).unwrap();
    release_job.send(()).unwrap();
    assert!(runtime.shutdown(None).is_complete());
    assert_eq!(runtime.lifecycle(), Lifecycle::Terminated);
}

#[test]
fn blocking_job_that_has_not_begun_is_cancelled_at_shutdown() {
    let runtime = Builder::new()
        .worker_threads(1)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (release, held) = mpsc::channel::<()>();
    let (started, has_started) = mpsc::channel();
    let running = runtime.spawn_blocking(move || {
        started.send(()).unwrap();
        held.recv().unwrap();
        1
    });
    has_started.recv().unwrap();
    let queued = runtime.spawn_blocking(|| 2);
    let aborted = runtime.spawn_blocking(|| 3);
    aborted.abort();
    running.abort();
    runtime.shutdown(Some(Duration::ZERO));
    assert!(queued.is_finished() && aborted.is_finished() && !running.is_finished());
    release.send(()).unwrap();
    assert!(runtime.shutdown(None).is_complete());
    assert!(running.is_finished());
}

#[test]
fn idle_blocking_threads_leave_and_others_take_their_place() {
    let started = Arc::new(AtomicUsize::new(0));
    let (stopped, has_stopped) = mpsc::channel();
    let count = started.clone();
    let stopped = Mutex::new(stopped);
    let runtime = Builder::new()
        .worker_threads(1)
        .thread_keep_alive(Duration::from_millis(1))
        .on_thread_start(move || {
            count.fetch_add(1, Ordering::SeqCst);
        })
        .on_thread_stop(move || stopped.lock().unwrap().send(()).unwrap())
        .build()
        .unwrap();
    // The worker has started when it has run something.
    runtime.block_on(runtime.spawn(async {})).unwrap().unwrap();
    for i in 0..3 {
        let job = runtime.spawn_blocking(move || i);
        assert_eq!(runtime.block_on(job).unwrap().unwrap(), i);
        has_stopped.recv().unwrap();
    }
    assert_eq!(
        started.load(Ordering::SeqCst),
        4,
        "one worker, and three threads one by one"
    );
}

#[test]
fn threads_have_their_names_and_block_signals() {
    let runtime = Builder::new()
        .worker_threads(1)
        .thread_name("named")
        .build()
        .unwrap();
    let look = || {
        let mut mask = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the set is written by the call, then read.
        let (term, segv) = unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), mask.as_mut_ptr());
            (
                libc::sigismember(mask.as_ptr(), libc::SIGTERM),
                libc::sigismember(mask.as_ptr(), libc::SIGSEGV),
            )
        };
        (thread::current().name().map(str::to_owned), term, segv)
    };
    let expected = (Some("named".to_owned()), 1, 0);
    let worker = runtime.spawn(async move { look() });
    assert_eq!(runtime.block_on(worker).unwrap().unwrap(), expected);
    let job = runtime.spawn_blocking(look);
    assert_eq!(runtime.block_on(job).unwrap().unwrap(), expected);
    assert_eq!(look().1, 0, "the host's own mask is as it was");
}

#[test]
fn all_threads_have_the_name_and_the_stack_that_were_set() {
    const STACK: usize = 5 << 20;
    fn stack_size() -> usize {
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
        let mut size = 0;
        // SAFETY: the first call initialises the attributes, the last one frees them.
        unsafe {
            let got = libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr());
            assert_eq!(got, 0);
            libc::pthread_attr_getstacksize(attributes.as_ptr(), &raw mut size);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
        }
        size
    }
    let (told, seen) = mpsc::channel();
    let told = Mutex::new(told);
    let runtime = Builder::new()
        .worker_threads(2)
        .thread_name("like the others")
        .thread_stack_size(STACK)
        .on_thread_start(move || {
            let name = thread::current().name().map(str::to_owned);
            let _ = told.lock().unwrap().send((name, stack_size()));
        })
        .build()
        .unwrap();
    let job = runtime.spawn(async { libruntime_core::spawn_blocking(|| ()).await });
    runtime.block_on(job).unwrap().unwrap().unwrap();
    // Two workers, one for the job, and the watch.
    for _ in 0..4 {
        let (name, size) = seen.recv().unwrap();
        assert_eq!(name.as_deref(), Some("like the others"));
        assert!((STACK..STACK + (64 << 10)).contains(&size), "{size}");
    }
}

#[test]
fn panicking_hooks_are_contained() {
    let runtime = Builder::new()
        .worker_threads(2)
        .on_thread_start(|| panic!("at the start"))
        .on_thread_stop(|| panic!("at the end"))
        .build()
        .unwrap();
    let task = runtime.spawn(async { 4 });
    assert_eq!(runtime.block_on(task).unwrap().unwrap(), 4);
    assert!(runtime.shutdown(None).is_complete());
}

#[test]
fn endless_durations_are_no_limit() {
    let runtime = Builder::new()
        .worker_threads(1)
        .max_blocking_threads(1)
        .thread_keep_alive(Duration::MAX)
        .build()
        .unwrap();
    for i in 0..2 {
        let job = runtime.spawn_blocking(move || i);
        assert_eq!(runtime.block_on(job).unwrap().unwrap(), i);
    }
    assert!(runtime.shutdown_timeout(Duration::MAX).is_complete());
}

#[test]
fn thread_that_can_not_be_named_is_an_error() {
    let error = Builder::new()
        .worker_threads(2)
        .thread_name("a\0b")
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    let named = AtomicUsize::new(0);
    let runtime = Builder::new()
        .worker_threads(1)
        .thread_name_fn(move || match named.fetch_add(1, Ordering::SeqCst) {
            0 => "worker".to_owned(),
            _ => panic!("no more names"),
        })
        .build()
        .unwrap();
    let job = runtime.spawn_blocking(|| ());
    assert!(runtime.block_on(job).unwrap().unwrap_err().is_cancelled());
    assert!(runtime.shutdown(None).is_complete());
}

#[test]
fn runtime_may_end_in_the_last_hook_of_its_own_thread() {
    for on_pool in [false, true] {
        let slot = Arc::new(Mutex::new(None::<Runtime>));
        let (own, (ended, has_ended)) = (slot.clone(), mpsc::channel());
        let ended = Mutex::new(ended);
        let runtime = Builder::new()
            .worker_threads(1)
            .on_thread_stop(move || {
                if (thread::current().name() == Some("pool")) == on_pool {
                    drop(own.lock().unwrap().take());
                    ended.lock().unwrap().send(()).unwrap();
                }
            })
            .thread_name_fn({
                let named = AtomicUsize::new(0);
                move || ["worker", "pool"][named.fetch_add(1, Ordering::SeqCst)].to_owned()
            })
            .build()
            .unwrap();
        let job = runtime.spawn_blocking(|| ());
        runtime.block_on(job).unwrap().unwrap();
        let handle = runtime.handle().clone();
        *slot.lock().unwrap() = Some(runtime);
        // On a thread of its own a shutdown waits for nothing.
        let also = slot.clone();
        drop(handle.spawn(async move {
            also.lock().unwrap().as_ref().unwrap().shutdown(None);
        }));
        has_ended.recv().unwrap();
    }
}

#[test]
fn hook_that_does_not_end_is_not_waited_for_beyond_the_timeout() {
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let runtime = Builder::new()
        .worker_threads(1)
        .on_thread_stop(move || held.lock().unwrap().recv().unwrap())
        .build()
        .unwrap();
    let job = runtime.spawn_blocking(|| ());
    runtime.block_on(job).unwrap().unwrap();
    let report = runtime.shutdown(Some(Duration::from_millis(1)));
    assert_eq!((report.workers_left, report.blocking_left), (1, 1));
    release.send(()).unwrap();
    release.send(()).unwrap();
    assert!(runtime.shutdown(None).is_complete());
}

#[test]
fn shutdown_counts_jobs_and_not_threads_on_their_way_out() {
    let (release, held) = mpsc::channel::<()>();
    let (stopping, is_stopping) = mpsc::channel();
    let hook = Mutex::new((stopping, held));
    let runtime = Builder::new()
        .worker_threads(1)
        .on_thread_stop(move || {
            let (stopping, held) = &*hook.lock().unwrap();
            stopping.send(()).unwrap();
            held.recv().unwrap();
        })
        .build()
        .unwrap();
    let (release_job, job) = mpsc::channel::<()>();
    let (started, has_started) = mpsc::channel();
    drop(runtime.spawn_blocking(move || {
        started.send(()).unwrap();
        job.recv().unwrap();
    }));
    has_started.recv().unwrap();
    let short = runtime.spawn_blocking(|| ());
    runtime.block_on(short).unwrap().unwrap();
    common::until("the short job is counted", || {
        runtime.metrics().blocking_classes()[0].done == 1
    });
    runtime.shutdown(Some(Duration::ZERO));
    // The worker or the thread of the short job, one after the other.
    let left = [(); 2].map(|()| {
        is_stopping.recv().unwrap();
        let report = runtime.shutdown(Some(Duration::ZERO));
        release.send(()).unwrap();
        report.blocking_left
    });
    release_job.send(()).unwrap();
    release.send(()).unwrap();
    assert!(runtime.shutdown(None).is_complete());
    assert_eq!(left, [1, 1]);
}

#[test]
fn settings_out_of_range_are_refused() {
    let error = Builder::new()
        .worker_threads(Builder::MAX_WORKERS + 1)
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    let error = Builder::new().max_blocking_threads(0).build().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    let error = Builder::new()
        .worker_threads(2)
        .thread_stack_size(usize::MAX)
        .build();
    assert!(error.is_err(), "no thread can have such a stack");
}

#[test]
fn runtime_leaves_no_thread_and_no_descriptor() {
    fn count(what: &str) -> usize {
        std::fs::read_dir(format!("/proc/self/{what}"))
            .unwrap()
            .count()
    }
    // Other tests run in this process at the same time, so the count is taken in one of its own.
    if std::env::var_os("LIBRUNTIME_COUNT").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "runtime_leaves_no_thread_and_no_descriptor"])
            .env("LIBRUNTIME_COUNT", "1")
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let before = (count("task"), count("fd"));
    for _ in 0..20 {
        let runtime = runtime(4);
        let job = runtime.spawn_blocking(|| ());
        runtime.block_on(job).unwrap().unwrap();
    }
    assert_eq!((count("task"), count("fd")), before);
}
