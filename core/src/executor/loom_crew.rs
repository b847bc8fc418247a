//! Workers that are sent aside and let in again, without tasks: a queue, the word, parkers, and the crew.

use super::crew::Crew;
use super::driver::ReactorHandle;
use super::loom_tests::Bench;
use crate::shim::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use std::ops::Deref;
use std::sync::Arc;

/// Two workers, of which the second may be sent aside.
struct Aside {
    bench: Bench,
    crew: Crew,
    /// What the second worker has in its own queue, where nobody else looks.
    held: AtomicUsize,
}

impl Deref for Aside {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        &self.bench
    }
}

impl Aside {
    fn new(held: usize) -> Arc<Aside> {
        Arc::new(Aside {
            bench: Bench::new(2),
            crew: Crew::new(2),
            held: AtomicUsize::new(held),
        })
    }

    fn set(&self, active: usize) {
        for worker in self.crew.set(active) {
            self.parkers[worker].unpark(&ReactorHandle);
        }
    }

    fn stay_aside(&self, index: usize) {
        if index == 1 && self.held.swap(0, Ordering::Relaxed) > 0 {
            self.publish();
        }
        self.idle.step_aside(index);
        if let Some(sleeper) = self.idle.claim_if_all_sleep() {
            self.parkers[sleeper].unpark(&ReactorHandle);
        }
        self.parkers[index].park(None);
        self.idle.come_back(index);
    }

    /// A worker that leaves once `total` pieces of work are done.
    fn worker(&self, index: usize, total: usize) {
        self.parkers[index].attach();
        let mut searching = false;
        while self.done.load(Ordering::SeqCst) < total {
            if self.crew.is_beyond(index) {
                if std::mem::take(&mut searching) {
                    self.end_search(index);
                }
                self.stay_aside(index);
                continue;
            }
            if index == 1 && self.held.swap(0, Ordering::Relaxed) > 0 {
                self.finish(total);
                continue;
            }
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

    fn workers(self: &Arc<Aside>, total: usize) -> [thread::JoinHandle<()>; 2] {
        [0, 1].map(|index| {
            let own = self.clone();
            thread::spawn(move || own.worker(index, total))
        })
    }
}

/// The claim may have gone to the one that is sent aside. Work that is lost leaves both asleep.
#[test]
fn loom_crew_work_that_is_published_while_it_shrinks_is_done() {
    crate::shim::model(|| {
        let bench = Aside::new(0);
        let workers = bench.workers(1);
        let other = bench.clone();
        let publisher = thread::spawn(move || other.publish());
        bench.set(1);
        publisher.join().unwrap();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn loom_crew_worker_that_is_sent_aside_leaves_its_tasks_to_the_others() {
    crate::shim::model(|| {
        let bench = Aside::new(1);
        let workers = bench.workers(1);
        bench.set(1);
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn loom_crew_work_that_is_published_while_it_shrinks_and_grows_is_done() {
    crate::shim::model(|| {
        let bench = Aside::new(0);
        let workers = bench.workers(1);
        bench.set(1);
        bench.publish();
        bench.set(2);
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn loom_crew_worker_that_is_let_in_comes_back() {
    crate::shim::model(|| {
        let bench = Aside::new(0);
        bench.set(1);
        let own = bench.clone();
        let worker = thread::spawn(move || {
            own.parkers[1].attach();
            while own.crew.is_beyond(1) {
                own.stay_aside(1);
            }
        });
        bench.set(2);
        worker.join().unwrap();
        assert!(!bench.idle.is_asleep(1));
    });
}

/// The one that is sent aside waited in the reactor, and the other finds it taken.
#[test]
fn loom_crew_reactor_of_one_that_is_sent_aside_is_taken_by_another() {
    crate::shim::model(|| {
        let bench = Aside::new(0);
        let reactor = Arc::new((Mutex::new(()), AtomicBool::new(false)));
        let held = reactor.0.try_lock();
        assert!(held.is_some());
        let (own, free) = (bench.clone(), reactor.clone());
        let other = thread::spawn(move || {
            own.parkers[0].attach();
            let mut searching = false;
            loop {
                let _no_work = own.idle.sleep(0, searching);
                if free.0.try_lock().is_some() {
                    free.1.store(true, Ordering::Relaxed);
                    return;
                }
                own.parkers[0].park(None);
                searching = own.idle.wake(0);
            }
        });
        let _no_work = bench.idle.sleep(1, false);
        drop(held);
        assert!(!bench.idle.wake(1), "nobody claims anybody here");
        bench.idle.step_aside(1);
        if let Some(sleeper) = bench.idle.claim_if_all_sleep() {
            bench.parkers[sleeper].unpark(&ReactorHandle);
        }
        other.join().unwrap();
        assert!(reactor.1.load(Ordering::Relaxed));
    });
}
