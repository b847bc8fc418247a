//! What a worker takes over from a peer that stands still.

use super::tests::{awake, task};
use super::*;
use crate::executor::queue::RunQueue;
use crate::executor::shared::Workers;
use std::time::Duration;

const LONG_AGO: Duration = Duration::from_millis(1);

/// Two workers at work, the second with four tasks. The first looked at it [`LONG_AGO`].
fn standing() -> (SharedRef, Workers, Instant) {
    let (shared, workers) = awake();
    for worker in workers.iter() {
        worker.front.state().start();
    }
    for _ in 0..4 {
        workers[1].publish(task(&shared));
    }
    let start = time::now().checked_sub(LONG_AGO).unwrap();
    workers[0].relieve(start);
    (shared, workers, start)
}

fn queued(workers: &Workers) -> [usize; 2] {
    [0, 1].map(|worker| workers[worker].queue.len())
}

#[test]
fn all_that_waits_behind_a_peer_that_stands_is_taken_over_reserve_or_not() {
    let (_shared, workers, start) = standing();
    workers[1].front.reserve().set(8);
    workers[0].relieve(start);
    assert_eq!(queued(&workers), [0, 4], "that was no time");
    workers[0].relieve(start + LONG_AGO);
    assert_eq!(queued(&workers), [4, 0]);
    assert_eq!(workers[0].counters.stolen.get(), 4);
    workers.iter().for_each(|worker| worker.cancel_queued());
}

#[test]
fn peer_that_moves_keeps_its_tasks() {
    let (_shared, workers, start) = standing();
    workers[1].next_tick();
    workers[0].relieve(start + LONG_AGO);
    assert_eq!(queued(&workers), [0, 4]);
    workers.iter().for_each(|worker| worker.cancel_queued());
}

#[test]
fn nothing_is_taken_that_would_wait_longer_here() {
    let (shared, workers, start) = standing();
    // Polls of a millisecond, and one of them to come.
    workers[0].pace.begin(start, 0);
    for polls in 1..20 {
        let now = start + polls as u32 * LONG_AGO;
        workers[0].pace.look(now, polls, false);
    }
    workers[0].publish(task(&shared));
    workers[0].relieve(start + LONG_AGO / 2);
    assert_eq!(queued(&workers), [1, 4]);
    workers[0].relieve(start + 2 * LONG_AGO);
    assert_eq!(queued(&workers), [3, 2], "and two are enough for a while");
    workers.iter().for_each(|worker| worker.cancel_queued());
}

#[test]
fn busy_worker_relieves_its_peer_when_it_looks_around() {
    let (_shared, workers, _) = standing();
    let _current = Current::enter(&*workers[0]);
    workers[0].next_tick();
    workers[0].look_around();
    assert_eq!(queued(&workers), [4, 0]);
    workers.iter().for_each(|worker| worker.cancel_queued());
}
