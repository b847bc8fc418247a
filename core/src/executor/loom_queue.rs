//! Owner and thieves of run queues: whatever they do to each other, each task is found by one.
//!
//! The queue here is the ring that stands for crossbeam's in all models. What is checked is how the
//! executor uses it, with batches that are out of everybody's sight on their way.

use super::queue::{InjectQueue, Injector, Local, RunQueue, Stolen, Thief};
use crate::shim::model;
use crate::task::{InOnePoll, Notified, new_task};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// A task that counts its run.
fn task(runs: &Arc<AtomicUsize>) -> Notified {
    let runs = runs.clone();
    let (task, handle) = new_task(
        async move {
            runs.fetch_add(1, Ordering::SeqCst);
        },
        InOnePoll,
        None,
    );
    drop(handle);
    task
}

/// Runs what a thief finds, and what it took home.
fn steal_and_run(thief: &impl Thief<Local>, home: &Local) {
    if let Stolen::Task(task) = thief.steal_half(home) {
        task.run();
    }
    while let Some(task) = home.pop() {
        task.run();
    }
}

#[test]
fn loom_queue_pop_and_two_thieves_find_each_task_once() {
    model(|| {
        let runs = Arc::new(AtomicUsize::new(0));
        let queue = Local::new(false);
        for _ in 0..4 {
            queue.push(task(&runs));
        }
        let thieves: Vec<_> = (0..2)
            .map(|_| {
                let thief = queue.thief();
                thread::spawn(move || steal_and_run(&thief, &Local::new(false)))
            })
            .collect();
        while let Some(popped) = queue.pop() {
            popped.run();
        }
        for thief in thieves {
            thief.join().unwrap();
        }
        assert!(queue.pop().is_none());
        assert_eq!(runs.load(Ordering::SeqCst), 4);
    });
}

#[test]
fn loom_queue_that_is_stolen_into_is_stolen_from() {
    model(|| {
        let runs = Arc::new(AtomicUsize::new(0));
        let first = Local::new(false);
        for _ in 0..4 {
            first.push(task(&runs));
        }
        let second = Local::new(false);
        let (from_first, from_second) = (first.thief(), second.thief());
        let middle = thread::spawn(move || steal_and_run(&from_first, &second));
        let last = thread::spawn(move || steal_and_run(&from_second, &Local::new(false)));
        while let Some(task) = first.pop() {
            task.run();
        }
        middle.join().unwrap();
        last.join().unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 4);
    });
}

#[test]
fn loom_queue_injector_gives_each_task_to_one_worker() {
    model(|| {
        let runs = Arc::new(AtomicUsize::new(0));
        let injector = Arc::new(Injector::new());
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let injector = injector.clone();
                thread::spawn(move || {
                    let home = Local::new(false);
                    if let Stolen::Task(task) = injector.take_batch(&home) {
                        task.run();
                    }
                    while let Some(task) = home.pop() {
                        task.run();
                    }
                })
            })
            .collect();
        for _ in 0..3 {
            injector.push(task(&runs));
        }
        for worker in workers {
            worker.join().unwrap();
        }
        while let Some(task) = injector.pop() {
            task.run();
        }
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    });
}
