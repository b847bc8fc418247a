//! The list of ended tasks by itself, and a set on a runtime.

use super::JoinSet;
use super::ready::Ready;
use crate::runtime::Builder;
use crate::runtime::block_on::block_on_thread;
use crate::shim::model;
use loom::thread;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

fn runtime() -> crate::runtime::Runtime {
    Builder::new()
        .worker_threads(1)
        .max_blocking_threads(1)
        .build()
        .unwrap()
}

#[test]
fn loom_join_set_list_loses_no_completion() {
    model(|| {
        let ready = Ready::new();
        let ending: Vec<_> = (0..2)
            .map(|_| ready.add_place())
            .map(|place: Waker| thread::spawn(move || place.wake()))
            .collect();
        let mut seen = [0; 2];
        for _ in 0..2 {
            seen[block_on_thread(poll_fn(|cx| ready.poll_take(cx)))] += 1;
        }
        assert_eq!(seen, [1, 1]);
        for thread in ending {
            thread.join().unwrap();
        }
    });
}

#[test]
fn loom_join_set() {
    model(|| {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        let mut set = JoinSet::new();
        for i in 0..2 {
            set.spawn_on(async move { i }, &handle);
        }
        let mut seen = [0; 2];
        while let Some(output) = block_on_thread(set.join_next()) {
            seen[output.unwrap()] += 1;
        }
        assert_eq!(seen, [1, 1]);
        // A set that is dropped with a task in it leaves nothing behind.
        set.spawn_on(pending(), &handle);
        drop(set);
    });
}

#[test]
fn loom_join_set_abort_all_during_completion() {
    static COMPLETED: AtomicBool = AtomicBool::new(false);
    static CANCELLED: AtomicBool = AtomicBool::new(false);
    model(|| {
        let runtime = runtime();
        let mut set = JoinSet::new();
        set.spawn_on(async {}, runtime.handle());
        set.abort_all();
        match block_on_thread(set.join_next()) {
            Some(Ok(())) => COMPLETED.store(true, Ordering::SeqCst),
            Some(Err(error)) if error.is_cancelled() => CANCELLED.store(true, Ordering::SeqCst),
            other => panic!("an aborted task ended with {other:?}"),
        }
        assert!(block_on_thread(set.join_next()).is_none());
    });
    assert!(
        COMPLETED.load(Ordering::SeqCst),
        "no schedule let it complete"
    );
    assert!(CANCELLED.load(Ordering::SeqCst), "no schedule cancelled it");
}

#[test]
fn loom_join_set_insert_races_with_completion() {
    model(|| {
        let runtime = runtime();
        let task = runtime.spawn(async { 7 });
        let mut set = JoinSet::new();
        set.insert(task);
        assert_eq!(block_on_thread(set.join_next()).unwrap().unwrap(), 7);
    });
}

#[test]
fn loom_join_set_place_is_used_again() {
    model(|| {
        let runtime = runtime();
        let mut set = JoinSet::new();
        for i in 0..2 {
            set.spawn_on(async move { i }, runtime.handle());
            // Taken as soon as it is done: the wake of the place may still be under way.
            let output = loop {
                if let Some(place) = set.take_ended(0) {
                    break place;
                }
                thread::yield_now();
            };
            assert_eq!(output.unwrap().1, i);
        }
        assert!(block_on_thread(set.join_next()).is_none());
    });
}
