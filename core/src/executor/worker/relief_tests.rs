//! What a worker takes over from a peer that stands still.

use super::tests::{awake, awake_on, awake_with, task};
use super::*;
use crate::executor::Measured;
use crate::executor::queue::RunQueue;
use crate::executor::relief::MOST;
use crate::executor::shared::Workers;
use crate::task::new_task;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LONG_AGO: Duration = Duration::from_millis(1);

/// The workers run, the second has four tasks, and the first looked at it [`LONG_AGO`].
fn standing((shared, workers): (SharedRef, Workers)) -> (SharedRef, Workers, Instant) {
    for worker in workers.iter() {
        worker.front.state().start();
    }
    for _ in 0..4 {
        workers[1].queue.push(task(&shared));
    }
    let start = time::now().checked_sub(LONG_AGO).unwrap();
    workers[0].relieve(start);
    (shared, workers, start)
}

fn queued(workers: &Workers) -> [usize; 2] {
    [0, 1].map(|worker| workers[worker].queue.len())
}

fn end(shared: &SharedRef, workers: &Workers) {
    workers.iter().for_each(|worker| worker.cancel_queued());
    shared.drain_injector();
}

#[test]
fn all_that_waits_behind_a_peer_that_stands_is_taken_over_reserve_or_not() {
    let (shared, workers, start) = standing(awake());
    workers[1].front.reserve().set(8);
    workers[0].relieve(start);
    assert_eq!(queued(&workers), [0, 4], "that was no time");
    workers[0].relieve(start + LONG_AGO);
    assert_eq!(queued(&workers), [4, 0]);
    assert_eq!(workers[0].counters.stolen.get(), 4);
    assert_eq!(workers[0].counters.steals.get(), 0, "it did not search");
    end(&shared, &workers);
}

#[test]
fn what_is_taken_over_keeps_its_order_behind_what_is_there() {
    let (shared, workers, start) = standing(awake());
    workers[1].cancel_queued();
    let ran = Arc::new(Mutex::new(Vec::new()));
    let numbered = |number: u32| {
        let ran = ran.clone();
        new_task(
            async move { ran.lock().unwrap().push(number) },
            shared.clone(),
            None,
        )
        .0
    };
    workers[0].queue.push(numbered(0));
    (1..=5).for_each(|number| workers[1].queue.push(numbered(number)));
    workers[0].relieve(start + LONG_AGO);
    let _current = Current::enter(&*workers[0]);
    while let Some(task) = workers[0].queue.pop() {
        task.run();
    }
    assert_eq!(*ran.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn peer_that_moves_keeps_its_tasks() {
    let (shared, workers, start) = standing(awake());
    workers[1].next_tick();
    workers[0].relieve(start + LONG_AGO);
    assert_eq!(queued(&workers), [0, 4]);
    end(&shared, &workers);
}

#[test]
fn nothing_is_taken_that_would_wait_longer_here() {
    let (shared, workers, start) = standing(awake());
    // Polls of a millisecond, and one of them to come.
    workers[0].pace.begin(start, 0);
    for polls in 1..20 {
        let now = start + polls as u32 * LONG_AGO;
        workers[0].pace.look(now, polls, false);
    }
    workers[0].queue.push(task(&shared));
    workers[0].relieve(start + LONG_AGO / 2);
    assert_eq!(queued(&workers), [1, 4]);
    workers[0].relieve(start + 2 * LONG_AGO);
    assert_eq!(queued(&workers), [3, 2], "what is there now is enough");
    end(&shared, &workers);
}

#[test]
fn a_look_takes_so_many_at_most() {
    let (shared, workers, start) = standing(awake());
    for _ in 0..MOST {
        workers[1].queue.push(task(&shared));
    }
    workers[0].relieve(start + LONG_AGO);
    assert_eq!(queued(&workers), [MOST as usize, 4]);
    end(&shared, &workers);
}

#[test]
fn other_policies_take_nothing_over() {
    for policy in [Policy::Lifo, Policy::Priority(Default::default())] {
        let (shared, workers, start) = standing(awake_with(&[0, 0], &policy, Measured::default()));
        workers[0].relieve(start + LONG_AGO);
        assert_eq!(queued(&workers), [0, 4]);
        end(&shared, &workers);
    }
}

#[test]
fn worker_of_another_node_is_left_alone() {
    let (shared, workers, start) = standing(awake_on(&[0, 1, 0]));
    workers[2].queue.push(task(&shared));
    workers[0].relieve(start + LONG_AGO);
    assert_eq!(queued(&workers), [1, 4], "that was worker 2's");
    assert_eq!(workers[2].queue.len(), 0);
    end(&shared, &workers);
}

#[test]
fn busy_worker_relieves_its_peer_when_it_looks_around() {
    let (shared, workers, _) = standing(awake());
    let _current = Current::enter(&*workers[0]);
    workers[0].next_tick();
    workers[0].look_around();
    assert_eq!(queued(&workers), [4, 0]);
    end(&shared, &workers);
}
