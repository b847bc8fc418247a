//! What a worker with a reserve announces, and what others leave to it.

use super::tests::{awake, awake_and_asleep, task};
use super::*;
use crate::executor::reserve::BACKLOG;

const RESERVE: u32 = 3;

#[test]
fn woken_task_is_announced_when_the_queue_is_longer_than_the_reserve() {
    let (shared, workers) = awake_and_asleep();
    workers[0].front.reserve().set(RESERVE);
    // One more, for the slot.
    for _ in 0..=RESERVE {
        workers[0].push(task(&shared));
    }
    assert_eq!(shared.idle.sleepers(), 1);
    assert!(!shared.has_work_to_spare() && shared.has_work());
    workers[0].push(task(&shared));
    assert_eq!(shared.idle.sleepers(), 0);
    assert!(shared.has_work_to_spare());
    workers[0].cancel_queued();
}

#[test]
fn spawned_task_is_announced_in_spite_of_the_reserve() {
    let (shared, workers) = awake_and_asleep();
    workers[0].front.reserve().set(RESERVE);
    drop(workers[0].spawn(async {}, None));
    assert_eq!(shared.idle.sleepers(), 1);
    drop(workers[0].spawn(async {}, None));
    assert_eq!(shared.idle.sleepers(), 0);
    workers[0].cancel_queued();
}

#[test]
fn reserve_is_left_alone_unless_somebody_was_claimed() {
    let (shared, workers) = awake();
    workers[1].front.state().start();
    workers[0].front.reserve().set(RESERVE);
    for _ in 0..2 {
        workers[0].publish(task(&shared));
    }
    assert!(workers[1].search().is_none());
    workers[1].claimed.set(true);
    assert!(workers[1].search().is_some());
    workers[1].end_search();
    assert!(!workers[1].claimed.get());
    workers.iter().for_each(|worker| worker.cancel_queued());
}

#[test]
fn poll_that_outlasts_the_reserve_ends_it_if_somebody_sleeps() {
    for asleep in [false, true] {
        let (shared, workers) = if asleep { awake_and_asleep() } else { awake() };
        workers[0].front.reserve().set(RESERVE);
        workers[0].push_back(task(&shared));
        let long_ago = time::now().checked_sub(2 * BACKLOG);
        workers[0].turn_began.set(long_ago);
        workers[0].doubt_reserve();
        assert_eq!(workers[0].front.reserve().get() == 0, asleep);
        assert_eq!(shared.idle.sleepers(), 0);
        workers[0].cancel_queued();
    }
}

#[test]
fn eager_worker_has_no_reserve() {
    let (shared, workers) = awake();
    workers[0].front.reserve().set(RESERVE);
    shared.lookout.set_eager(true);
    workers[0].refresh_eager();
    assert_eq!(workers[0].front.reserve().get(), 0);
    workers[0].measure_reserve();
    assert_eq!(workers[0].front.reserve().get(), 0);
}
