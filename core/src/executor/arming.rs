//! Whether the watch is awake, and who wakes it: what [`watch`](super::watch) says of looking.
//!
//! The watch is *armed* while it looks at the workers from time to time, and *disarmed* while it
//! sleeps until somebody needs it. It disarms itself when all workers sleep; a worker that has got
//! something to run arms it, and unparks it if it was disarmed.
//!
//! **The race to prevent**: a worker sees that the watch is armed while the watch sees that all sleep,
//! and disarms. Then the worker's poll would be looked at by nobody.
//!
//! | worker | watch |
//! |---|---|
//! | 1. leave the sleepers, in the word of [`Idle`] | 1. `armed = false` |
//! | 2. load `armed`; if it is not set, swap it in and, if this was the first, unpark the watch | 2. load the word; if not all sleep, `armed = true`, and look on |
//!
//! All four are `SeqCst`, so one of the two sees what the other did: if the worker's load comes before
//! the watch's store, the watch's load comes after the worker's step 1. (loom takes such loads and stores
//! for acquiring and releasing ones, so that each model here fails without [`model_fence`].)
//!
//! A watch that sets `armed` again overwrites nothing, for it alone clears the flag. Whoever set it
//! meanwhile has unparked the watch, which costs it a look.

use super::idle::Idle;
use crate::shim::sync::atomic::{AtomicBool, Ordering, fence};
use crate::shim::thread::{self, Thread};
use crossbeam_utils::CachePadded;
use std::sync::OnceLock;

pub(super) struct Arming {
    /// Set also if there is no watch: nobody has to wake it.
    armed: CachePadded<AtomicBool>,
    /// The watch's, from its beginning on.
    thread: OnceLock<Thread>,
}

impl Arming {
    pub(super) fn new(armed: bool) -> Arming {
        Arming {
            armed: CachePadded::new(AtomicBool::new(armed)),
            thread: OnceLock::new(),
        }
    }

    #[inline]
    pub(super) fn is_armed(&self) -> bool {
        model_fence();
        self.armed.load(Ordering::SeqCst)
    }

    /// Whether it is the caller who has to start or unpark the watch.
    #[must_use]
    pub(super) fn arm(&self) -> bool {
        !self.armed.swap(true, Ordering::SeqCst)
    }

    /// Ends the watch's rest, or the next one. For whoever has changed something before.
    pub(super) fn unpark(&self) {
        fence(Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Names the calling thread as the watch's. Whoever unparks it and finds it nameless has done so
    /// before this, and the watch looks at everything after it.
    pub(super) fn attach(&self) {
        let _ = self.thread.set(thread::current());
        fence(Ordering::SeqCst);
    }

    /// The watch found all asleep: whether it may [rest](Self::rest) until it is armed.
    #[must_use]
    pub(super) fn disarm(&self, idle: &Idle) -> bool {
        self.armed.store(false, Ordering::SeqCst);
        model_fence();
        if idle.all_asleep() {
            return true;
        }
        self.armed.store(true, Ordering::SeqCst);
        false
    }

    /// Waits until somebody arms the watch, or `ended`.
    pub(super) fn rest(&self, ended: impl Fn() -> bool) {
        while !self.is_armed() && !ended() {
            thread::park();
        }
    }
}

/// What a `SeqCst` access is worth without it, where it is not loom's.
#[inline(always)]
fn model_fence() {
    if cfg!(loom) {
        fence(Ordering::SeqCst);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::super::idle::Sleep;
    use super::*;
    use loom::sync::Arc;

    struct Bench {
        idle: Idle,
        arming: Arming,
        closed: AtomicBool,
    }

    /// Workers that sleep, and a watch that is armed, as after its last look.
    fn bench(workers: usize) -> Arc<Bench> {
        let idle = Idle::new(workers);
        for worker in 0..workers {
            assert_eq!(idle.sleep(worker, false), Sleep::LookFirst);
        }
        Arc::new(Bench {
            idle,
            arming: Arming::new(true),
            closed: AtomicBool::new(false),
        })
    }

    /// A worker wakes, and polls something that does not end.
    fn begin_to_run(bench: &Bench, worker: usize) {
        let _claimed = bench.idle.wake(worker);
        if !bench.arming.is_armed() && bench.arming.arm() {
            bench.arming.unpark();
        }
    }

    /// The watch looks until it sees somebody awake. A model in which it rests for ever fails.
    fn look_until_somebody_runs(bench: &Bench) {
        bench.arming.attach();
        loop {
            if bench.arming.disarm(&bench.idle) {
                bench.arming.rest(|| bench.closed.load(Ordering::SeqCst));
            }
            assert!(bench.arming.is_armed());
            if !bench.idle.all_asleep() {
                return;
            }
        }
    }

    #[test]
    fn loom_watch_that_disarms_sees_the_worker_that_wakes() {
        crate::shim::model(|| {
            let bench = bench(1);
            let worker = {
                let bench = bench.clone();
                loom::thread::spawn(move || begin_to_run(&bench, 0))
            };
            look_until_somebody_runs(&bench);
            worker.join().unwrap();
        });
    }

    /// Two arm it, one of them while the other goes back to sleep: the watch sees the one that stays.
    #[test]
    fn loom_watch_that_disarms_sees_the_one_of_two_that_stays_awake() {
        crate::shim::model(|| {
            let bench = bench(2);
            let brief = {
                let bench = bench.clone();
                loom::thread::spawn(move || {
                    begin_to_run(&bench, 0);
                    let _ = bench.idle.sleep(0, false);
                })
            };
            let long = {
                let bench = bench.clone();
                loom::thread::spawn(move || begin_to_run(&bench, 1))
            };
            bench.arming.attach();
            // The last look that a watch takes sees the worker that runs, however it got there.
            while bench.idle.is_asleep(1) {
                if bench.arming.disarm(&bench.idle) {
                    bench.arming.rest(|| false);
                } else {
                    loom::thread::yield_now();
                }
            }
            brief.join().unwrap();
            long.join().unwrap();
        });
    }

    #[test]
    fn loom_watch_that_rests_hears_of_the_end() {
        crate::shim::model(|| {
            let bench = bench(1);
            let closer = {
                let bench = bench.clone();
                loom::thread::spawn(move || {
                    bench.closed.store(true, Ordering::SeqCst);
                    bench.arming.unpark();
                })
            };
            bench.arming.attach();
            if bench.arming.disarm(&bench.idle) {
                bench.arming.rest(|| bench.closed.load(Ordering::SeqCst));
            }
            closer.join().unwrap();
        });
    }
}
