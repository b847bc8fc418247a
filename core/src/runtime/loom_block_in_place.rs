//! Workers that polls hand over to other threads: tokio's models, and what is this runtime's own.

use super::block_on::block_on_thread;
use super::loom_tests::{CountDrop, runtime};
use crate::shim::model;
use crate::shim::sync::Arc;
use crate::task::{JoinError, block_in_place, yield_now};
use loom::sync::atomic::{AtomicUsize, Ordering};

fn done_or_cancelled(result: Result<(), JoinError>) {
    if let Err(error) = result {
        assert!(error.is_cancelled());
    }
}

/// Blocks in place, and then waits if `pending`.
async fn block(pending: bool) {
    block_in_place(|| ());
    if pending {
        yield_now().await;
    }
}

/// A worker with a task in its queue changes hands while the runtime shuts down.
#[test]
fn loom_block_in_place_racy_shutdown() {
    model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let runtime = runtime(1);
        let guards = [(); 2].map(|()| CountDrop(drops.clone()));
        let [first, second] = guards;
        drop(runtime.spawn(async move {
            let _guard = first;
            block_in_place(|| ());
        }));
        drop(runtime.spawn(async move { drop(second) }));
        drop(runtime);
        assert_eq!(drops.load(Ordering::SeqCst), 2);
    });
}

fn only_blocking(pending: bool) {
    model(move || {
        let drops = Arc::new(AtomicUsize::new(0));
        let runtime = runtime(1);
        let guard = CountDrop(drops.clone());
        let task = runtime.spawn(async move {
            let _guard = guard;
            block(pending).await;
        });
        block_on_thread(task).unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        drop(runtime);
    });
}

#[test]
fn loom_block_in_place_only_blocking_without_pending() {
    only_blocking(false);
}

#[test]
fn loom_block_in_place_only_blocking_with_pending() {
    only_blocking(true);
}

fn blocking_and_regular(pending: bool) {
    model(move || {
        let runtime = runtime(1);
        let blocking = runtime.spawn(block(pending));
        let regular = runtime.spawn(async move {
            if pending {
                yield_now().await;
            }
        });
        block_on_thread(regular).unwrap();
        block_on_thread(blocking).unwrap();
    });
}

#[test]
fn loom_block_in_place_blocking_and_regular() {
    blocking_and_regular(false);
}

#[test]
fn loom_block_in_place_blocking_and_regular_with_pending() {
    blocking_and_regular(true);
}

/// What blocks goes on only when the task behind it has run, on the one worker there is.
#[test]
fn loom_block_in_place_lets_the_only_worker_go_on() {
    model(|| {
        let runtime = runtime(1);
        let task = runtime.spawn(async {
            let other = crate::spawn(async { 7 });
            block_in_place(|| block_on_thread(other)).unwrap()
        });
        assert_eq!(block_on_thread(task).unwrap(), 7);
    });
}

/// The task waits after its worker has gone, while the runtime ends.
#[test]
fn loom_block_in_place_pending_after_a_shutdown_is_dropped_once() {
    model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let runtime = runtime(1);
        let guard = CountDrop(drops.clone());
        let task = runtime.spawn(async move {
            let _guard = guard;
            block(true).await;
        });
        drop(runtime);
        assert!(task.is_finished());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        done_or_cancelled(block_on_thread(task));
    });
}
