//! The sleep protocol by itself: a queue, the word, and parkers, without tasks.

use super::driver::ReactorHandle;
use super::idle::{Idle, Sleep};
use super::parker::Parker;
use crate::shim::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use std::sync::Arc;

/// Work is a count; taking one off is a steal. The last few may be the reserve of whoever published it,
/// which nobody else takes.
pub(super) struct Bench {
    pub(super) idle: Idle,
    work: AtomicUsize,
    reserve: usize,
    pub(super) parkers: Vec<Parker>,
    pub(super) done: AtomicUsize,
}

impl Bench {
    pub(super) fn new(workers: usize) -> Bench {
        Bench::with_reserve(workers, 0)
    }

    fn with_reserve(workers: usize, reserve: usize) -> Bench {
        Bench {
            reserve,
            idle: Idle::new(workers),
            work: AtomicUsize::new(0),
            parkers: (0..workers).map(|_| Parker::new()).collect(),
            done: AtomicUsize::new(0),
        }
    }

    pub(super) fn publish(&self) {
        if self.work.fetch_add(1, Ordering::Release) >= self.reserve {
            self.notify();
        }
    }

    fn notify(&self) {
        if let Some(worker) = self.idle.claim_sleeper(0) {
            self.parkers[worker].unpark(&ReactorHandle);
        }
    }

    fn has_work(&self) -> bool {
        self.work.load(Ordering::Acquire) > self.reserve
    }

    pub(super) fn take(&self) -> bool {
        self.work
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |work| {
                (work > self.reserve).then(|| work - 1)
            })
            .is_ok()
    }

    /// A worker that leaves once `total` pieces of work are done.
    fn worker(&self, index: usize, total: usize) {
        self.parkers[index].attach();
        let mut searching = false;
        while self.done.load(Ordering::SeqCst) < total {
            if !searching {
                searching = self.idle.try_search(index);
            }
            if searching && self.take() {
                searching = false;
                self.end_search(index);
                self.finish(total);
                continue;
            }
            self.sleep(index, &mut searching);
        }
    }

    /// Starts [`worker`](Self::worker) on a thread of its own.
    fn start(self: &Arc<Bench>, index: usize, total: usize) -> thread::JoinHandle<()> {
        let own = self.clone();
        thread::spawn(move || own.worker(index, total))
    }

    pub(super) fn end_search(&self, index: usize) {
        if self.idle.end_search(index) && self.has_work() {
            self.notify();
        }
    }

    /// A piece of work is done. After the last one everybody is to hear of it.
    pub(super) fn finish(&self, total: usize) {
        if self.done.fetch_add(1, Ordering::SeqCst) + 1 == total {
            for parker in &self.parkers {
                parker.unpark(&ReactorHandle);
            }
        }
    }

    /// Sleeps, or is to go on searching.
    pub(super) fn sleep(&self, index: usize, searching: &mut bool) {
        if self.idle.sleep(index, std::mem::take(searching)) == Sleep::LookFirst && self.has_work()
        {
            self.idle.sleep_to_search(index);
            *searching = true;
            return;
        }
        self.parkers[index].park(None);
        *searching = self.idle.wake(index);
    }
}

#[test]
fn loom_sleep_one_worker_misses_no_work() {
    crate::shim::model(|| {
        let bench = Arc::new(Bench::new(1));
        let worker = bench.start(0, 2);
        bench.publish();
        bench.publish();
        worker.join().unwrap();
    });
}

#[test]
fn loom_sleep_two_workers_miss_no_work() {
    crate::shim::model(|| {
        let bench = Arc::new(Bench::new(2));
        let workers = [0, 1].map(|index| bench.start(index, 1));
        bench.publish();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// What is within the reserve is not announced, and what comes on top of it is heard.
#[test]
fn loom_sleep_reserve_hides_no_other_work() {
    crate::shim::model(|| {
        let bench = Arc::new(Bench::with_reserve(2, 1));
        let workers = [0, 1].map(|index| bench.start(index, 1));
        bench.publish();
        bench.publish();
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(bench.work.load(Ordering::Relaxed), 1);
    });
}

/// A busy worker takes over what waits elsewhere: meanwhile it is in no queue.
#[test]
fn loom_sleep_work_on_its_way_to_a_busy_worker_is_heard_of() {
    crate::shim::model(|| {
        let bench = Arc::new(Bench::new(2));
        let sleeper = bench.start(1, 1);
        bench.publish();
        if bench.take() {
            bench.publish();
        }
        bench.worker(0, 1);
        sleeper.join().unwrap();
    });
}

#[test]
fn loom_sleep_two_publishers_are_both_heard() {
    crate::shim::model(|| {
        let bench = Arc::new(Bench::new(1));
        let worker = bench.start(0, 2);
        let other = bench.clone();
        let publisher = thread::spawn(move || other.publish());
        bench.publish();
        publisher.join().unwrap();
        worker.join().unwrap();
    });
}

/// A thread writes and unparks, while this one waits by `wait`, told what that has written so far.
fn unparked_by_another(wait: impl Fn(&Parker, &AtomicUsize)) {
    let parker = Arc::new(Parker::new());
    let seen = Arc::new(AtomicUsize::new(0));
    let (own, write) = (parker.clone(), seen.clone());
    parker.attach();
    let waker = thread::spawn(move || {
        write.store(1, Ordering::Relaxed);
        own.unpark(&ReactorHandle);
    });
    wait(&parker, &seen);
    while seen.load(Ordering::Relaxed) == 0 {
        parker.park(None);
    }
    waker.join().unwrap();
}

#[test]
fn loom_parker_keeps_an_unpark_that_comes_first() {
    crate::shim::model(|| unparked_by_another(|_, _| {}));
}

/// A worker that lingers looks for an unpark before it sleeps.
#[test]
fn loom_parker_keeps_an_unpark_for_who_looks_and_then_sleeps() {
    crate::shim::model(|| {
        unparked_by_another(|parker, seen| {
            if parker.take() || parker.park(None) {
                let seen = seen.load(Ordering::Relaxed);
                assert_eq!(seen, 1, "what came before the unpark");
            }
        });
    });
}

/// Who holds the reactor, of workers that go to sleep while the watch serves it.
struct Manning {
    idle: Idle,
    reactor: Mutex<()>,
    parkers: Vec<Parker>,
    manned: AtomicBool,
}

impl Manning {
    fn new(workers: usize) -> Arc<Manning> {
        Arc::new(Manning {
            idle: Idle::new(workers),
            reactor: Mutex::new(()),
            parkers: (0..workers).map(|_| Parker::new()).collect(),
            manned: AtomicBool::new(false),
        })
    }

    /// A worker without work, as it waits, until it or another one holds the reactor while it sleeps.
    fn go_to_sleep(&self, worker: usize) {
        self.parkers[worker].attach();
        let mut searching = false;
        while !self.manned.load(Ordering::SeqCst) {
            let _no_work = self.idle.sleep(worker, std::mem::take(&mut searching));
            if self.reactor.try_lock().is_some() {
                // For good: that it is free again when this returns is of no account.
                self.manned.store(true, Ordering::SeqCst);
                for parker in &self.parkers {
                    parker.unpark(&ReactorHandle);
                }
                return;
            }
            self.parkers[worker].park(None);
            searching = self.idle.wake(worker);
        }
    }

    /// The watch serves what is ready, while it has not begun to sleep.
    fn serve(&self) {
        let Some(held) = self.reactor.try_lock() else {
            return;
        };
        drop(held);
        if let Some(sleeper) = self.idle.claim_if_all_sleep() {
            self.parkers[sleeper].unpark(&ReactorHandle);
        }
    }
}

/// A reactor that nobody holds while all sleep leaves them asleep for ever, and the model without an
/// end.
#[test]
fn loom_reactor_that_the_watch_served_is_taken_by_the_last_worker_that_sleeps() {
    crate::shim::model(|| {
        let manning = Manning::new(1);
        let own = manning.clone();
        let worker = thread::spawn(move || own.go_to_sleep(0));
        manning.serve();
        worker.join().unwrap();
    });
}

#[test]
fn loom_reactor_that_the_watch_served_is_taken_by_one_of_two_that_go_to_sleep() {
    crate::shim::model(|| {
        let manning = Manning::new(2);
        let workers = [0, 1].map(|worker| {
            let own = manning.clone();
            thread::spawn(move || own.go_to_sleep(worker))
        });
        manning.serve();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}
