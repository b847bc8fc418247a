//! What a task costs from its spawn to its end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::channel::oneshot;

use super::Countdown;
use crate::candidate::Candidate;
use crate::measure::{Settings, repeat};

const TASKS: usize = 10_000;
const DEPTH: usize = 1_000;

/// Detached empty tasks, spawned by a thread that is no worker, until the last has ended.
pub(super) fn outside<C: Candidate>(runtime: &C, settings: &Settings) {
    repeat(settings, TASKS, || {
        let (countdown, ended) = Countdown::new(TASKS);
        for _ in 0..TASKS {
            let countdown = Arc::clone(&countdown);
            C::detach(runtime.spawn_outside(async move { countdown.done() }));
        }
        runtime.block_on(ended).expect("all tasks end");
    });
}

/// Detached empty tasks, spawned by one task, until the last has ended.
pub(super) fn inside<C: Candidate>(runtime: &C, settings: &Settings) {
    repeat(settings, TASKS, || {
        runtime.run_inside(async {
            let (countdown, ended) = Countdown::new(TASKS);
            for _ in 0..TASKS {
                let countdown = Arc::clone(&countdown);
                C::detach(C::spawn(async move { countdown.done() }));
            }
            ended.await.expect("all tasks end");
        });
    });
}

/// A task spawns empty tasks and then joins them all.
pub(super) fn join_all<C: Candidate>(runtime: &C, settings: &Settings) {
    repeat(settings, TASKS, || {
        runtime.run_inside(async {
            let mut handles = Vec::with_capacity(TASKS);
            for _ in 0..TASKS {
                handles.push(C::spawn(async {}));
            }
            for handle in handles {
                C::join(handle).await;
            }
        });
    });
}

/// As [`join_all`], but each task works for `--size` steps, one after the other: what a task costs beside its work shows
/// as the work grows.
pub(super) fn working<C: Candidate>(runtime: &C, settings: &Settings) {
    /// Steps of a batch, for batches of one length; and the least and the most tasks of one.
    const STEPS: usize = 10_000_000;
    const BATCH: (usize, usize) = (100, TASKS);
    let size = settings.size;
    let tasks = (STEPS / size.max(1)).clamp(BATCH.0, BATCH.1);
    repeat(settings, tasks, || {
        runtime.run_inside(async move {
            let mut handles = Vec::with_capacity(tasks);
            for number in 0..tasks {
                handles.push(C::spawn(async move { steps(size, number as u64) }));
            }
            for handle in handles {
                C::join(handle).await;
            }
        });
    });
}

/// Work that depends on itself, so that the processor does not overlap the steps: those of an xorshift generator.
fn steps(size: usize, seed: u64) -> u64 {
    let mut state = std::hint::black_box(seed | 1);
    for _ in 0..size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    state
}

/// A task spawns a task and waits for its result, one after the other.
pub(super) fn join<C: Candidate>(runtime: &C, settings: &Settings) {
    repeat(settings, TASKS, || {
        runtime.run_inside(async {
            for number in 0..TASKS {
                assert_eq!(C::join(C::spawn(async move { number })).await, number);
            }
        });
    });
}

/// Each task spawns the next and ends; the time is that of one link.
pub(super) fn chain<C: Candidate>(runtime: &C, settings: &Settings) {
    fn link<C: Candidate>(
        left: usize,
        ended: oneshot::Sender<()>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if left == 0 {
                ended.send(()).expect("the root waits");
            } else {
                C::detach(C::spawn(link::<C>(left - 1, ended)));
            }
        })
    }
    repeat(settings, DEPTH, || {
        let (sender, ended) = oneshot::channel();
        C::detach(runtime.spawn_outside(link::<C>(DEPTH, sender)));
        runtime.block_on(ended).expect("the chain ends");
    });
}
