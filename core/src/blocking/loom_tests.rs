//! The pool at its limits and at its end, without a runtime around it. `runtime/loom_tests.rs` has the
//! two together.

use super::pool::Queued;
use super::{Class, ClassSettings, Pool, Settings};
use crate::runtime::block_on::block_on_thread;
use crate::shim::model;
use crate::task::{InOnePoll, JoinHandle, new_task};
use crate::thread::ThreadOptions;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc as LoomArc, Condvar, Mutex};
use loom::thread;
use std::sync::Arc;
use std::time::Duration;

/// Time does not pass in a model, so a keep-alive either never ends or has ended at once.
const FOR_EVER: Duration = Duration::from_secs(10);
const OVER: Duration = Duration::ZERO;

fn pool_of(max_threads: usize, keep_alive: Duration, limits: &[usize]) -> Arc<Pool> {
    let options = ThreadOptions::plain();
    let classes = limits.iter();
    let settings = Settings {
        max_threads,
        min_threads: 0,
        keep_alive,
        classes: classes
            .map(|&limit| ClassSettings::new("", Some(limit)))
            .collect(),
    };
    Pool::new(options, settings)
}

fn pool(max_threads: usize, keep_alive: Duration) -> Arc<Pool> {
    pool_of(max_threads, keep_alive, &[max_threads])
}

fn submit<R: Send + 'static>(
    pool: &Arc<Pool>,
    class: Class,
    mandatory: bool,
    work: impl FnOnce() -> R + Send + 'static,
) -> JoinHandle<R> {
    let (job, handle) = new_task(async move { work() }, InOnePoll, None);
    let _ = pool.submit(class, Queued { job, mandatory });
    handle
}

fn spawn<R: Send + 'static>(
    pool: &Arc<Pool>,
    work: impl FnOnce() -> R + Send + 'static,
) -> JoinHandle<R> {
    submit(pool, Class::GENERAL, false, work)
}

fn end(pool: &Pool) {
    pool.close();
    assert_eq!(pool.wait(None), 0);
}

/// What a job waits for.
#[derive(Clone)]
struct Gate(LoomArc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn new() -> Gate {
        Gate(LoomArc::new((Mutex::new(false), Condvar::new())))
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let mut open = self.0.0.lock().unwrap();
        while !*open {
            open = self.0.1.wait(open).unwrap();
        }
    }
}

#[test]
fn loom_blocking_shutdown_waits_for_a_job_that_runs() {
    model(|| {
        let pool = pool(2, FOR_EVER);
        let done = LoomArc::new(AtomicUsize::new(0));
        let jobs = [(); 2].map(|()| {
            let done = done.clone();
            spawn(&pool, move || done.fetch_add(1, Ordering::SeqCst))
        });
        end(&pool);
        let ran = jobs
            .into_iter()
            .filter_map(|job| block_on_thread(job).ok())
            .count();
        assert_eq!(ran, done.load(Ordering::SeqCst));
    });
}

#[test]
fn loom_blocking_jobs_at_the_thread_cap_all_run() {
    model(|| {
        let pool = pool(1, FOR_EVER);
        let (first, second) = (pool.clone(), pool.clone());
        let other = thread::spawn(move || block_on_thread(spawn(&first, || 1)).unwrap());
        assert_eq!(block_on_thread(spawn(&second, || 2)).unwrap(), 2);
        assert_eq!(other.join().unwrap(), 1);
        assert_eq!(block_on_thread(spawn(&pool, || 3)).unwrap(), 3);
        end(&pool);
    });
}

#[test]
fn loom_blocking_job_behind_one_that_waits_for_it_runs() {
    model(|| {
        let pool = pool(2, FOR_EVER);
        let gate = Gate::new();
        let (wait, open) = (gate.clone(), gate);
        let first = spawn(&pool, move || wait.wait());
        let second = spawn(&pool, move || open.open());
        block_on_thread(first).unwrap();
        block_on_thread(second).unwrap();
        end(&pool);
    });
}

#[test]
fn loom_blocking_idle_threads_are_called_one_by_the_other() {
    model(|| {
        let pool = pool(2, FOR_EVER);
        for _ in 0..2 {
            let gate = Gate::new();
            let (wait, open) = (gate.clone(), gate);
            let first = spawn(&pool, move || wait.wait());
            drop(spawn(&pool, move || open.open()));
            block_on_thread(first).unwrap();
        }
        end(&pool);
    });
}

#[test]
fn loom_blocking_call_at_the_end_of_a_keep_alive_is_answered() {
    model(|| {
        let pool = pool(1, OVER);
        assert_eq!(block_on_thread(spawn(&pool, || 1)).unwrap(), 1);
        // The thread is about to idle, idle, at the end of its keep-alive, or gone.
        assert_eq!(block_on_thread(spawn(&pool, || 2)).unwrap(), 2);
        end(&pool);
    });
}

#[test]
fn loom_blocking_class_at_its_limit_leaves_the_pool_to_another() {
    model(|| {
        let pool = pool_of(1, FOR_EVER, &[1, 1]);
        let gate = Gate::new();
        let (wait, open) = (gate.clone(), gate);
        let slow = spawn(&pool, move || wait.wait());
        let other = submit(&pool, Class::FILES, false, move || open.open());
        block_on_thread(other).unwrap();
        block_on_thread(slow).unwrap();
        end(&pool);
    });
}

#[test]
fn loom_blocking_job_that_waits_for_its_class_runs_when_another_ends() {
    model(|| {
        let pool = pool_of(2, FOR_EVER, &[1, 1]);
        let first = spawn(&pool, || 1);
        let second = spawn(&pool, || 2);
        let third = submit(&pool, Class::FILES, false, || 3);
        assert_eq!(block_on_thread(second).unwrap(), 2);
        assert_eq!(block_on_thread(first).unwrap(), 1);
        assert_eq!(block_on_thread(third).unwrap(), 3);
        end(&pool);
    });
}

#[test]
fn loom_blocking_mandatory_job_runs_whenever_it_was_accepted() {
    model(|| {
        let pool = pool(1, FOR_EVER);
        let ran = LoomArc::new(AtomicUsize::new(0));
        let (mark, submitting) = (ran.clone(), pool.clone());
        let submitter = thread::spawn(move || {
            drop(spawn(&submitting, || ()));
            let (job, handle) = new_task(
                async move {
                    mark.fetch_add(1, Ordering::SeqCst);
                },
                InOnePoll,
                None,
            );
            let accepted = submitting.submit(
                Class::GENERAL,
                Queued {
                    job,
                    mandatory: true,
                },
            );
            (accepted.is_ok(), handle)
        });
        pool.close();
        let (accepted, handle) = submitter.join().unwrap();
        assert_eq!(pool.wait(None), 0);
        assert_eq!(ran.load(Ordering::SeqCst), usize::from(accepted));
        assert_eq!(block_on_thread(handle).is_ok(), accepted);
    });
}

#[test]
fn loom_blocking_job_racing_shutdown_resolves() {
    model(|| {
        let pool = pool(1, FOR_EVER);
        assert_eq!(block_on_thread(spawn(&pool, || 1)).unwrap(), 1);
        let submitting = pool.clone();
        let submitter = thread::spawn(move || spawn(&submitting, || 2));
        end(&pool);
        match block_on_thread(submitter.join().unwrap()) {
            Ok(value) => assert_eq!(value, 2),
            Err(error) => assert!(error.is_cancelled()),
        }
    });
}

#[test]
fn loom_blocking_counts_are_right_after_a_job_and_after_the_end() {
    model(|| {
        let pool = pool(2, FOR_EVER);
        block_on_thread(spawn(&pool, || ())).unwrap();
        drop(spawn(&pool, || ()));
        end(&pool);
        let metrics = pool.metrics();
        assert_eq!((metrics.threads, metrics.idle), (0, 0));
        let class = &metrics.classes[0];
        assert_eq!((class.queued, class.running), (0, 0));
        assert!((1..=2).contains(&class.done));
    });
}
