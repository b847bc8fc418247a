//! Spawning from threads that are no workers: from several at once, and while the workers are busy. After tokio's
//! benches `remote_spawn` and `spawn_many_remote_busy1` and `_busy2`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Countdown;
use crate::candidate::Candidate;
use crate::measure::{Settings, repeat};

const TASKS: usize = 12_800;
const TASKS_WHILE_BUSY: usize = 1_000;
const STALL: Duration = Duration::from_micros(10);

/// That many threads share the spawning of 12,800 empty tasks, until the last has ended.
pub(super) fn spawn<C: Candidate, const THREADS: usize>(runtime: &C, settings: &Settings) {
    repeat(settings, TASKS, || {
        let (countdown, ended) = Countdown::new(TASKS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..TASKS / THREADS {
                        let countdown = Arc::clone(&countdown);
                        C::detach(runtime.spawn_outside(async move { countdown.done() }));
                    }
                });
            }
        });
        runtime.block_on(ended).expect("all tasks end");
    });
}

/// Twice as many tasks as workers stall for 10 us and yield, for ever; meanwhile a thread spawns 1,000 tasks and joins
/// them all.
pub(super) fn busy_yielding<C: Candidate>(runtime: &C, settings: &Settings) {
    let busy = Arc::new(AtomicBool::new(true));
    for _ in 0..2 * settings.workers {
        let busy = Arc::clone(&busy);
        C::detach(runtime.spawn_outside(async move {
            while busy.load(Ordering::Relaxed) {
                C::yield_now().await;
                stall();
            }
        }));
    }
    repeat(settings, TASKS_WHILE_BUSY, || spawn_and_join(runtime));
    busy.store(false, Ordering::Relaxed);
}

/// As many tasks as workers stall for 10 us and spawn their successor, for ever; meanwhile likewise.
pub(super) fn busy_spawning<C: Candidate>(runtime: &C, settings: &Settings) {
    fn successor<C: Candidate>(busy: Arc<AtomicBool>) {
        C::detach(C::spawn(async move {
            if busy.load(Ordering::Relaxed) {
                stall();
                successor::<C>(busy);
            }
        }));
    }
    let busy = Arc::new(AtomicBool::new(true));
    for _ in 0..settings.workers {
        let busy = Arc::clone(&busy);
        C::detach(runtime.spawn_outside(async move { successor::<C>(busy) }));
    }
    repeat(settings, TASKS_WHILE_BUSY, || spawn_and_join(runtime));
    busy.store(false, Ordering::Relaxed);
}

fn spawn_and_join<C: Candidate>(runtime: &C) {
    let handles: Vec<_> = (0..TASKS_WHILE_BUSY)
        .map(|_| runtime.spawn_outside(async {}))
        .collect();
    runtime.block_on(async {
        for handle in handles {
            C::join(handle).await;
        }
    });
}

fn stall() {
    let start = Instant::now();
    while start.elapsed() < STALL {
        std::thread::yield_now();
    }
}
