//! What several test programs share.
#![allow(dead_code, reason = "each program uses a part of it")]

use home::Spawner;
use libruntime_core::task::yield_now;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) mod home;

pub(crate) struct CountDrop(pub(crate) Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Asks until `true`, which other threads see to.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < patience, "{what}");
        thread::yield_now();
    }
}

/// Ends a place by `end` while two threads keep spawning there; every task is dropped once.
pub(crate) fn end_amid_spawns(spawner: &Spawner, end: impl FnOnce()) {
    let stop = Arc::new(AtomicBool::new(false));
    let begin = Arc::new(Barrier::new(3));
    let drops = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (spawner, stop) = (spawner.clone(), stop.clone());
            let (begin, drops) = (begin.clone(), drops.clone());
            thread::spawn(move || {
                let mut spawned = 0;
                begin.wait();
                while !stop.load(Ordering::Relaxed) {
                    let guard = CountDrop(drops.clone());
                    let inner = spawner.spawn(yield_now());
                    drop(spawner.spawn(async move {
                        let _guard = guard;
                        let _ = inner.await;
                        yield_now().await;
                    }));
                    spawned += 1;
                }
                spawned
            })
        })
        .collect();
    begin.wait();
    end();
    stop.store(true, Ordering::Relaxed);
    let spawned: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(drops.load(Ordering::SeqCst), spawned);
}
