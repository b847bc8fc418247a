//! What idle things weigh, and what is given back after a burst. The measure is resident memory, so what an allocator
//! adds is part of it.

use std::future::{Future, poll_fn};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;

use crate::candidate::Candidate;
use crate::measure::{Settings, cpu_time, nanos, report, resident};

/// A place for each of many tasks to wait in, made beforehand so that it does not weigh.
pub(super) struct Gate {
    places: Vec<AtomicWaker>,
    arrived: AtomicUsize,
    ended: AtomicUsize,
    open: AtomicBool,
    /// Whoever waits for the last to arrive or to end.
    root: AtomicWaker,
}

impl Gate {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            places: (0..places).map(|_| AtomicWaker::new()).collect(),
            arrived: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            open: AtomicBool::new(false),
            root: AtomicWaker::new(),
        })
    }

    /// Waits at a place until the gate opens.
    async fn wait(self: Arc<Self>, place: usize) {
        let mut arrived = false;
        poll_fn(|context| {
            self.places[place].register(context.waker());
            if !arrived {
                arrived = true;
                self.count(&self.arrived);
            }
            if self.open.load(Ordering::SeqCst) {
                // A waker that stayed here would keep its task's memory.
                drop(self.places[place].take());
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        self.count(&self.ended);
    }

    fn count(&self, counter: &AtomicUsize) {
        if counter.fetch_add(1, Ordering::SeqCst) + 1 == self.places.len() {
            self.root.wake();
        }
    }

    fn reached(&self, counter: &AtomicUsize, context: &Context<'_>) -> Poll<()> {
        self.root.register(context.waker());
        if counter.load(Ordering::SeqCst) == self.places.len() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Spawns a task for each place, from inside a task, and returns when all of them wait.
    pub(super) async fn fill<C: Candidate>(self: &Arc<Self>) {
        for place in 0..self.places.len() {
            C::detach(C::spawn(Arc::clone(self).wait(place)));
        }
        poll_fn(|context| self.reached(&self.arrived, context)).await;
    }

    /// Wakes every task and returns when all of them have ended.
    pub(super) async fn release(self: &Arc<Self>) {
        self.open.store(true, Ordering::SeqCst);
        for place in &self.places {
            place.wake();
        }
        poll_fn(|context| self.reached(&self.ended, context)).await;
    }
}

/// A million tasks that wait: time to create one, bytes of one.
pub(super) fn idle_tasks<C: Candidate>(runtime: &C, settings: &Settings) {
    let tasks = if settings.quick { 20_000 } else { 1_000_000 };
    let gate = Gate::new(tasks);
    let (before, cpu, start) = (resident(), cpu_time(), Instant::now());
    runtime.run_inside(async move { gate.fill::<C>().await });
    let time = start.elapsed();
    report("bytes", (resident() - before) / tasks as f64, "bytes");
    report("time", nanos(time) / tasks as f64, "ns");
    report("cpu", nanos(cpu_time() - cpu) / tasks as f64, "ns");
}

/// A million timers armed in one task, far apart: bytes of one.
pub(super) fn idle_timers<C: Candidate>(runtime: &C, settings: &Settings) {
    let timers = if settings.quick { 20_000 } else { 1_000_000 };
    report("bytes", armed::<C>(runtime, timers).bytes, "bytes");
}

/// What it took to arm and to drop many timers.
pub(super) struct Armed {
    pub(super) arm: Duration,
    pub(super) cancel: Duration,
    pub(super) bytes: f64,
}

/// Arms timers from one task, their deadlines spread over an hour, and drops them.
pub(super) fn armed<C: Candidate>(runtime: &C, timers: usize) -> Armed {
    runtime.run_inside(async move {
        let before = resident();
        let start = Instant::now();
        let mut held = Vec::with_capacity(timers);
        for number in 0..timers {
            let after = Duration::from_secs(60)
                + Duration::from_secs(3600).mul_f64(number as f64 / timers as f64);
            let mut sleep = Box::pin(C::sleep(after));
            poll_fn(|context| {
                assert!(
                    sleep.as_mut().poll(context).is_pending(),
                    "a minute has not passed"
                );
                Poll::Ready(())
            })
            .await;
            held.push(sleep);
        }
        let arm = start.elapsed();
        let bytes = (resident() - before) / timers as f64;
        let start = Instant::now();
        drop(held);
        Armed {
            arm,
            cancel: start.elapsed(),
            bytes,
        }
    })
}

/// 300,000 tasks wait at once and end. Memory above what was there before: at the peak, and 200 ms after the end.
pub(super) fn burst<C: Candidate>(runtime: &C, settings: &Settings) {
    let tasks = if settings.quick { 20_000 } else { 300_000 };
    let gate = Gate::new(tasks);
    // Whatever a runtime sets up at its first task is no part of the burst.
    runtime.run_inside(async {});
    let before = resident();
    let peak = runtime.run_inside(async move {
        gate.fill::<C>().await;
        let peak = resident();
        gate.release().await;
        std::mem::forget(gate);
        peak
    });
    std::thread::sleep(Duration::from_millis(200));
    let kept = (resident() - before).max(0.0);
    report("kept", kept / tasks as f64, "bytes");
    report("peak", (peak - before) / tasks as f64, "bytes");
}
