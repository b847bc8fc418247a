//! What the pool for blocking jobs promises, beside what its models check.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use libruntime_core::blocking::{Class, drop_in_background};
use libruntime_core::runtime::{Builder, Runtime};
use libruntime_core::task::JoinHandle;

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.worker_threads(1);
    builder
}

/// What jobs wait for.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }
}

/// Jobs that tell when they begin, and wait for the gate.
fn occupy(runtime: &Runtime, class: Class, jobs: usize, gate: &Gate) -> Vec<JoinHandle<()>> {
    (0..jobs)
        .map(|_| {
            let gate = gate.clone();
            runtime.spawn_blocking_in(class, move || gate.wait())
        })
        .collect()
}

fn join<T>(runtime: &Runtime, job: JoinHandle<T>) -> T {
    runtime.block_on(job).unwrap().unwrap()
}

fn running(runtime: &Runtime, class: usize) -> (usize, usize) {
    let metrics = runtime.metrics();
    let class = &metrics.blocking_classes()[class];
    (class.running, class.queued)
}

/// A job is counted a moment after it has ended.
fn wait_for_done(runtime: &Runtime, expected: [u64; 4]) {
    let done = || {
        let metrics = runtime.metrics();
        let classes = metrics.blocking_classes().iter();
        classes.map(|class| class.done).collect::<Vec<_>>()
    };
    while done() != expected {
        thread::yield_now();
    }
}

#[test]
fn slow_names_leave_threads_for_files() {
    let runtime = builder().max_blocking_threads(4).build().unwrap();
    let gate = Gate::default();
    let slow = occupy(&runtime, Class::DNS, 100, &gate);
    for number in 0..50 {
        let file = runtime.spawn_blocking_in(Class::FILES, move || number);
        assert_eq!(join(&runtime, file), number);
    }
    assert_eq!(running(&runtime, 2), (1, 99));
    gate.open();
    for job in slow {
        join(&runtime, job);
    }
    wait_for_done(&runtime, [0, 50, 100, 0]);
    let metrics = runtime.metrics();
    let name = |class: usize| metrics.blocking_classes()[class].name.to_string();
    assert_eq!(
        [name(0), name(1), name(2), name(3)],
        ["general", "files", "dns", "processes"]
    );
}

#[test]
fn class_without_a_thread_gets_one_from_a_pool_that_is_full() {
    let runtime = builder().max_blocking_threads(2).build().unwrap();
    let gate = Gate::default();
    let general = occupy(&runtime, Class::GENERAL, 10, &gate);
    while running(&runtime, 0) != (2, 8) {
        thread::yield_now();
    }
    let file = runtime.spawn_blocking_in(Class::FILES, || 1);
    assert_eq!(join(&runtime, file), 1);
    assert_eq!(running(&runtime, 0), (2, 8));
    gate.open();
    for job in general {
        join(&runtime, job);
    }
}

#[test]
fn own_class_keeps_to_its_limit() {
    let mut builder = builder();
    let own = builder.add_blocking_class("own", 2);
    let runtime = builder.build().unwrap();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let jobs: Vec<_> = (0..200)
        .map(|_| {
            let (now, most) = (now.clone(), most.clone());
            runtime.spawn_blocking_in(own, move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
            })
        })
        .collect();
    for job in jobs {
        join(&runtime, job);
    }
    assert!(most.load(Ordering::SeqCst) <= 2);
    // A runtime that does not know the class runs its jobs all the same.
    let other = self::builder().build().unwrap();
    assert_eq!(join(&other, other.spawn_blocking_in(own, || 3)), 3);
    wait_for_done(&other, [1, 0, 0, 0]);
}

#[test]
fn as_many_jobs_run_at_once_as_there_may_be_threads() {
    let runtime = builder().max_blocking_threads(16).build().unwrap();
    for _ in 0..20 {
        let barrier = Arc::new(Barrier::new(16));
        let jobs: Vec<_> = (0..16)
            .map(|_| {
                let barrier = barrier.clone();
                runtime.spawn_blocking(move || {
                    barrier.wait();
                })
            })
            .collect();
        for job in jobs {
            join(&runtime, job);
        }
    }
    assert_eq!(runtime.metrics().num_blocking_threads(), 16);
}

#[test]
fn sequence_of_jobs_needs_one_thread() {
    let runtime = builder().build().unwrap();
    let mut threads: Vec<ThreadId> = Vec::new();
    for _ in 0..100 {
        let thread = join(&runtime, runtime.spawn_blocking(|| thread::current().id()));
        while runtime.metrics().num_idle_blocking_threads() != 1 {
            thread::yield_now();
        }
        threads.push(thread);
    }
    assert!(threads.iter().all(|&thread| thread == threads[0]));
}

#[test]
fn threads_leave_after_their_keep_alive_but_for_those_that_stay() {
    let runtime = builder()
        .thread_keep_alive(Duration::from_millis(1))
        .min_blocking_threads(2)
        .build()
        .unwrap();
    for _ in 0..5 {
        let gate = Gate::default();
        let jobs = occupy(&runtime, Class::GENERAL, 6, &gate);
        while running(&runtime, 0).0 < 6 {
            thread::yield_now();
        }
        gate.open();
        for job in jobs {
            join(&runtime, job);
        }
        while runtime.metrics().num_blocking_threads() > 2 {
            thread::yield_now();
        }
    }
    // A keep-alive has passed when a thread that need not stay has left.
    let other = builder()
        .thread_keep_alive(Duration::from_millis(1))
        .build()
        .unwrap();
    join(&other, other.spawn_blocking(|| ()));
    while other.metrics().num_blocking_threads() > 0 {
        thread::yield_now();
    }
    assert_eq!(runtime.metrics().num_blocking_threads(), 2);
    assert!(runtime.shutdown(None).is_complete());
}

#[test]
fn jobs_that_race_with_the_end_of_keep_alives_all_run() {
    let runtime = builder().thread_keep_alive(Duration::ZERO).build().unwrap();
    for number in 0..2000 {
        assert_eq!(
            join(&runtime, runtime.spawn_blocking(move || number)),
            number
        );
    }
}

/// Then the pool's thread may still look for a job, and not sleep.
#[test]
fn pool_may_end_right_after_a_sequence_of_jobs() {
    for _ in 0..50 {
        let runtime = builder().build().unwrap();
        for number in 0..10 {
            let job = runtime.spawn_blocking(move || number);
            assert_eq!(join(&runtime, job), number);
        }
        assert!(runtime.shutdown(None).is_complete());
    }
}

#[test]
fn panicking_job_leaves_its_thread_and_its_class_intact() {
    let runtime = builder().max_blocking_threads(1).build().unwrap();
    for _ in 0..3 {
        let bad = runtime.spawn_blocking_in(Class::FILES, || panic!("on purpose"));
        assert!(runtime.block_on(bad).unwrap().unwrap_err().is_panic());
    }
    assert_eq!(
        join(&runtime, runtime.spawn_blocking_in(Class::FILES, || 1)),
        1
    );
    wait_for_done(&runtime, [0, 4, 0, 0]);
}

#[test]
fn unfit_settings_are_refused() {
    let refused = |builder: &Builder, word: &str| {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(word), "{error}");
    };
    refused(builder().max_blocking_threads(0), "at least one");
    refused(
        builder().max_blocking_threads(1).min_blocking_threads(2),
        "to stay",
    );
    refused(builder().blocking_class_limit(Class::DNS, 0), "\"dns\"");
    let mut many = builder();
    for _ in 0..300 {
        many.add_blocking_class("one more", 1);
    }
    refused(&many, "classes");
}

#[test]
fn value_is_dropped_on_a_thread_for_that_or_right_here() {
    struct Tell(Sender<ThreadId>);
    impl Drop for Tell {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }
    let (sender, dropped): (_, Receiver<ThreadId>) = mpsc::channel();
    let here = thread::current().id();
    drop_in_background(Tell(sender.clone()));
    assert_eq!(dropped.try_recv(), Ok(here));
    let runtime = builder().build().unwrap();
    let entered = runtime.enter();
    drop_in_background(Tell(sender.clone()));
    assert_ne!(dropped.recv(), Ok(here));
    runtime.shutdown(None);
    drop_in_background(Tell(sender));
    assert_eq!(dropped.try_recv(), Ok(here));
    drop(entered);
}
