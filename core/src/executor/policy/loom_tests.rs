//! The lanes by themselves, and the executor with the orders in the place of its queues.

use super::ageing::Ageing;
use super::lanes::Lanes;
use crate::runtime::block_on::block_on_thread;
use crate::runtime::loom_tests::{
    CountDrop, runtime_with as runtime, wake_from_outside_is_not_lost,
};
use crate::runtime::{Policy, PriorityOptions};
use crate::shim::sync::{Arc, Mutex};
use crate::task::{self, Priority};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::future::poll_fn;
use std::task::{Poll, Waker};

#[test]
fn loom_policy_lanes_lose_nothing_and_show_what_is_there() {
    crate::shim::model(|| {
        let lanes = Arc::new(Lanes::new(2));
        let other = lanes.clone();
        let pushing = thread::spawn(move || {
            other.push(1, 4, None, 1);
            other.push(1, 0, None, 2);
            other
                .pick(1, &Ageing::new(u32::MAX))
                .map(|taken| taken.item)
        });
        lanes.push(0, 4, None, 4);
        let ageing = Ageing::new(u32::MAX);
        let mut taken: u32 = lanes.pick(0, &ageing).map_or(0, |taken| taken.item);
        taken += pushing.join().unwrap().unwrap_or(0);
        while !lanes.is_empty() {
            taken += lanes.pick(0, &ageing).unwrap().item;
        }
        assert_eq!(taken, 7);
    });
}

#[test]
fn loom_policy_item_pushed_before_the_pick_goes_before_lower_ones() {
    crate::shim::model(|| {
        let lanes = Arc::new(Lanes::new(2));
        lanes.push(0, 4, None, "background");
        let pushed = Arc::new(AtomicUsize::new(0));
        let (other, done) = (lanes.clone(), pushed.clone());
        let pushing = thread::spawn(move || {
            other.push(1, 0, None, "critical");
            done.store(1, Ordering::Release);
        });
        let before = pushed.load(Ordering::Acquire) == 1;
        let taken = lanes.pick(0, &Ageing::new(u32::MAX)).unwrap().item;
        assert!(!before || taken == "critical");
        pushing.join().unwrap();
    });
}

#[test]
fn loom_policy_wake_from_outside_is_not_lost() {
    for policy in [Policy::priority(), Policy::fair()] {
        crate::shim::model(move || wake_from_outside_is_not_lost(&runtime(policy.clone(), 1)));
    }
}

#[test]
fn loom_policy_nested_spawns_run_on_two_workers() {
    for policy in [
        Policy::Priority(PriorityOptions::new().ageing(2)),
        Policy::Lifo,
    ] {
        crate::shim::model(move || {
            let runtime = runtime(policy.clone(), 2);
            let task = runtime.spawn(async {
                let higher = task::Builder::new().priority(Priority::High);
                higher.spawn(async { 7 }).unwrap().await.unwrap()
            });
            assert_eq!(block_on_thread(task).unwrap(), 7);
        });
    }
}

#[test]
fn loom_policy_spawn_races_with_shutdown() {
    for policy in [Policy::priority(), Policy::fair()] {
        crate::shim::model(move || {
            let runtime = runtime(policy.clone(), 1);
            let handle = runtime.handle().clone();
            let drops = Arc::new(AtomicUsize::new(0));
            let guard = CountDrop(drops.clone());
            let spawning = thread::spawn(move || handle.spawn(async move { drop(guard) }));
            drop(runtime);
            let task = spawning.join().unwrap();
            let _ = block_on_thread(task);
            assert_eq!(drops.load(Ordering::SeqCst), 1);
        });
    }
}

#[test]
fn loom_policy_last_task_of_a_group_races_with_its_handle() {
    crate::shim::model(|| {
        let runtime = runtime(Policy::fair(), 1);
        let group = runtime.handle().group("short", 10).unwrap();
        let task = task::Builder::new()
            .group(&group)
            .spawn_on(async {}, runtime.handle());
        drop(group);
        block_on_thread(task).unwrap();
    });
}
