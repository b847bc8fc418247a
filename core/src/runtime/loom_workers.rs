//! Tasks that spawn, wake, join and end each other across the workers of a runtime.

use super::block_on::block_on_thread;
use super::loom_tests::runtime;
use crate::shim::model;
use crate::shim::sync::{Arc, Mutex};
use crate::task::yield_now;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

/// Something that one side waits for and the other opens.
#[derive(Clone)]
struct Gate(Arc<Mutex<(bool, Option<Waker>)>>);

impl Gate {
    fn new() -> Gate {
        Gate(Arc::new(Mutex::new((false, None))))
    }

    fn open(&self) {
        let waker = {
            let mut gate = self.0.lock();
            gate.0 = true;
            gate.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut gate = self.0.lock();
        if gate.0 {
            return Poll::Ready(());
        }
        gate.1 = Some(cx.waker().clone());
        Poll::Pending
    }

    async fn wait(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Counts the polls of a future.
struct Counted<F>(F, Arc<AtomicUsize>);

impl<F: Future + Unpin> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.0).poll(cx)
    }
}

#[test]
fn loom_runtime_tasks_that_spawn_tasks_all_run() {
    model(|| {
        let runtime = runtime(2);
        let runs = Arc::new(AtomicUsize::new(0));
        let count = runs.clone();
        let outer = runtime.spawn(async move {
            let inner = [(); 2].map(|()| {
                let count = count.clone();
                crate::spawn(async move {
                    count.fetch_add(1, Ordering::SeqCst);
                })
            });
            for task in inner {
                task.await.unwrap();
            }
        });
        block_on_thread(outer).unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn loom_runtime_task_that_is_spawned_while_a_worker_is_sent_aside_runs() {
    model(|| {
        let runtime = runtime(2);
        let shared = runtime.handle().shared();
        shared.wake_all(shared.set_active_workers(1));
        block_on_thread(runtime.spawn(async {})).unwrap();
    });
}

#[test]
fn loom_runtime_wakes_from_tasks_and_threads_are_not_lost() {
    model(|| {
        let runtime = runtime(2);
        let (first, second) = (Gate::new(), Gate::new());
        let (waits, opens) = (first.clone(), second.clone());
        let relay = runtime.spawn(async move {
            waits.wait().await;
            opens.open();
        });
        let last = runtime.spawn(async move { second.wait().await });
        drop(relay);
        first.open();
        block_on_thread(last).unwrap();
    });
}

#[test]
fn loom_runtime_block_on_ends_while_others_yield() {
    model(|| {
        let runtime = runtime(1);
        drop(runtime.spawn(async {
            for _ in 0..2 {
                yield_now().await;
            }
        }));
        let gate = Gate::new();
        let opens = gate.clone();
        drop(runtime.spawn(async move { opens.open() }));
        block_on_thread(pin!(gate.wait()));
    });
}

#[test]
fn loom_runtime_handle_is_polled_and_dropped_before_the_end() {
    model(|| {
        let runtime = runtime(1);
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = CountDrop(drops.clone());
        let mut task = runtime.spawn(async move { guard });
        let polled = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
        drop(task);
        drop(polled);
        drop(runtime);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn loom_runtime_shutdown_drops_tasks_at_a_gate() {
    model(|| {
        let runtime = runtime(2);
        let (gate, drops) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..2 {
            let (gate, guard) = (gate.clone(), CountDrop(drops.clone()));
            drop(runtime.spawn(async move {
                let _guard = guard;
                gate.wait().await;
            }));
        }
        drop(runtime);
        assert_eq!(drops.load(Ordering::SeqCst), 2);
        gate.open();
    });
}

#[test]
fn loom_runtime_join_resolves_at_shutdown() {
    model(|| {
        let runtime = runtime(1);
        let task = runtime.spawn(yield_now());
        let joining = thread::spawn(move || block_on_thread(task));
        drop(runtime);
        match joining.join().unwrap() {
            Ok(()) => {}
            Err(error) => assert!(error.is_cancelled()),
        }
    });
}

#[test]
fn loom_runtime_task_is_polled_once_for_each_wake_at_most() {
    model(|| {
        let runtime = runtime(1);
        let (gate, polls) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
        let waits = gate.clone();
        let task = runtime.spawn(Counted(
            Box::pin(async move { waits.wait().await }),
            polls.clone(),
        ));
        gate.open();
        block_on_thread(task).unwrap();
        let polls = polls.load(Ordering::SeqCst);
        assert!(polls <= 2, "{polls} polls for one wake");
    });
}

#[test]
fn loom_block_on_polls_once_for_each_wake_at_most() {
    model(|| {
        let gates = [Gate::new(), Gate::new()];
        let opening = gates.clone().map(|gate| thread::spawn(move || gate.open()));
        // On a thread of its own: loom's join may not be disturbed by a wake that comes late.
        let blocking = thread::spawn(move || {
            let mut polls = 0;
            block_on_thread(poll_fn(|cx| {
                polls += 1;
                let [first, second] = &gates;
                match (first.poll(cx), second.poll(cx)) {
                    (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(()),
                    _ => Poll::Pending,
                }
            }));
            polls
        });
        for thread in opening {
            thread.join().unwrap();
        }
        let polls = blocking.join().unwrap();
        assert!(polls <= 3, "{polls} polls for two wakes");
    });
}

#[test]
fn loom_runtime_abort_races_with_two_workers() {
    model(|| {
        let runtime = runtime(2);
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = CountDrop(drops.clone());
        let task = runtime.spawn(async move {
            let _guard = guard;
            yield_now().await;
        });
        task.abort();
        match block_on_thread(task) {
            Ok(()) => {}
            Err(error) => assert!(error.is_cancelled()),
        }
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}
