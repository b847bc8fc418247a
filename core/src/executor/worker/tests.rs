//! A worker that no thread runs, step by step.

use super::*;
use crate::blocking::{Pool, Settings};
use crate::executor::driver;
use crate::executor::handover::Starters;
use crate::executor::idle::Sleep;
use crate::executor::linger::Look;
use crate::executor::queue::{InjectQueue, RunQueue};
use crate::executor::shared::Workers;
use crate::executor::{Measured, Neighbours, Plan};
use crate::look;
use crate::task::memory::Pool as Memory;
use crate::task::new_task;
use crate::thread::{ParkHooks as Hooks, ThreadOptions};
use crate::tune::Tuner;

/// Bytes that are kept of tasks' memory.
const ROOM: usize = 1 << 20;

/// Two workers that no thread runs, the second asleep.
pub(super) fn awake_and_asleep() -> (SharedRef, Workers) {
    let (shared, workers) = awake();
    assert_eq!(shared.idle.sleep(1, false), Sleep::LookFirst);
    (shared, workers)
}

/// Two workers that no thread runs.
pub(super) fn awake() -> (SharedRef, Workers) {
    awake_on(&[0, 0])
}

/// Workers on those nodes of memory, which no thread runs.
pub(super) fn awake_on(nodes: &[usize]) -> (SharedRef, Workers) {
    awake_with(nodes, &Policy::Fifo, Measured::default())
}

pub(super) fn awake_with(
    nodes: &[usize],
    policy: &Policy,
    measured: Measured,
) -> (SharedRef, Workers) {
    let options = ThreadOptions::plain();
    let pool = Pool::new(options, Settings::default());
    let plan = Plan {
        policy,
        neighbours: Neighbours::new(nodes),
        measured,
        tuner: Tuner::new(false, None),
    };
    Shared::with_workers(
        nodes.len(),
        plan,
        pool,
        Memory::new(ROOM),
        Hooks::default(),
        Starters {
            watch: None,
            spare: Box::new(|_, _| Err(std::io::Error::other("no threads here"))),
            most_spares: 0,
        },
    )
    .unwrap()
}

pub(super) fn task(shared: &SharedRef) -> Notified {
    new_task(async {}, shared.clone(), None).0
}

#[test]
fn task_behind_the_lifo_slot_is_announced_after_an_event() {
    let (shared, workers) = awake_and_asleep();
    workers[0].push(task(&shared));
    workers[0].batch(|| workers[0].push(task(&shared)));
    assert_eq!(shared.idle.sleepers(), 1);
    workers[0].share();
    assert_eq!(shared.idle.sleepers(), 0);
    workers[0].cancel_queued();
}

#[test]
fn sleeper_is_woken_to_unlink_the_tasks_that_completed_elsewhere() {
    let (shared, workers) = awake();
    sleeper_is_woken_once_in(RELEASES, &shared, &workers);
}

#[test]
fn sleeper_is_woken_more_often_while_each_task_may_hold_a_slab() {
    let (shared, workers) = awake();
    let mut tasks = burst(&shared, &workers[0]);
    let few = one_of_each_slab(&mut tasks);
    end_on(&workers[1], tasks);
    for worker in [1, 0] {
        wait_for_nothing(&workers[worker]);
    }
    assert!(shared.memory.is_scattered());
    sleeper_is_woken_once_in(RELEASES_SCATTERED, &shared, &workers);
    end_on(&workers[0], few);
}

fn sleeper_is_woken_once_in(often: usize, shared: &SharedRef, workers: &Workers) {
    let run_all = |worker: &Worker| {
        let _current = Current::enter(worker);
        while let Some(task) = worker.next_task(1) {
            task.run();
        }
    };
    for round in 0..2 * often {
        let mut wait = true;
        let (tell, told) = std::sync::mpsc::channel::<std::task::Waker>();
        let waits = std::future::poll_fn(move |cx| {
            let _ = tell.send(cx.waker().clone());
            match std::mem::replace(&mut wait, false) {
                true => std::task::Poll::Pending,
                false => std::task::Poll::Ready(()),
            }
        });
        workers[0].push(new_task(waits, shared.clone(), None).0);
        run_all(&workers[0]);
        let waker = told.try_recv().expect("it was polled");
        if round == 0 {
            assert_eq!(shared.idle.sleep(0, false), Sleep::LookFirst);
        }
        {
            let _current = Current::enter(&raw const *workers[1]);
            waker.wake();
        }
        run_all(&workers[1]);
        let woken = workers[0].remote().parker.park(Some(Default::default()));
        assert_eq!(woken, (round + 1) % often == 0, "release {round}");
    }
    assert_eq!(workers[0].owned.borrow().len(), 2 * often);
    workers[0].reap();
    assert!(workers[0].owned.borrow().is_empty());
}

/// Tasks that need several times as much memory as may be kept.
fn burst(shared: &SharedRef, maker: &Worker) -> Vec<Notified> {
    let _current = Current::enter(maker);
    let tasks: Vec<_> = (0..40_000).map(|_| task(shared)).collect();
    assert!(shared.memory.held().0 > 4 * ROOM);
    tasks
}

/// Takes one of each slab's out.
fn one_of_each_slab(tasks: &mut Vec<Notified>) -> Vec<Notified> {
    let places = (0..tasks.len()).step_by(400).rev();
    places.map(|place| tasks.swap_remove(place)).collect()
}

fn end_on(worker: &Worker, tasks: impl IntoIterator<Item = Notified>) {
    let _current = Current::enter(worker);
    drop(tasks.into_iter().collect::<Vec<_>>());
}

/// Whether somebody has unparked the worker. If so it has waited when this returns.
fn waits_anew(worker: &Worker) -> bool {
    let unparked = worker.remote().parker.take();
    if unparked {
        wait_for_nothing(worker);
    }
    unparked
}

fn wait_for_nothing(worker: &Worker) {
    if worker.front.state().see().state() == WorkerState::Starting {
        worker.front.state().start();
    }
    worker.shared.unpark(worker.index);
    worker.park(false);
    worker.front.state().wake(false);
}

#[test]
fn first_to_wait_after_a_burst_has_the_others_give_back_their_part() {
    let (shared, workers) = awake_and_asleep();
    let mut tasks = burst(&shared, &workers[0]);
    let few = one_of_each_slab(&mut tasks);
    let peak = shared.memory.held().0;
    end_on(&workers[1], few);
    assert!(!waits_anew(&workers[1]));
    end_on(&workers[0], tasks);
    assert!(!waits_anew(&workers[1]));
    wait_for_nothing(&workers[0]);
    assert!(shared.memory.held().0 > peak / 2, "the few hold that much");
    assert!(!waits_anew(&workers[0]), "it has done its part");
    assert!(waits_anew(&workers[1]));
    assert!(shared.memory.held().0 <= ROOM);
    assert!(!waits_anew(&workers[0]) && !waits_anew(&workers[1]), "once");
}

#[test]
fn burst_that_ends_outside_has_one_sleeper_wait_anew() {
    for asleep in [0, 1] {
        let (shared, workers) = awake();
        let tasks = burst(&shared, &workers[0]);
        let _ = shared.idle.sleep(asleep, false);
        drop(tasks);
        assert!(!waits_anew(&workers[1 - asleep]));
        assert!(waits_anew(&workers[asleep]));
        assert!(waits_anew(&workers[1 - asleep]), "for its own part");
        assert!(shared.memory.held().0 <= ROOM);
    }
}

#[test]
fn worker_steals_from_its_own_node_first() {
    let (shared, workers) = awake_on(&[0, 1, 0, 1]);
    workers[0].front.state().start();
    for _ in 0..20 {
        // Two each: the first is in the slot, the second may be stolen.
        for victim in [1, 2, 3] {
            workers[victim].push(task(&shared));
            workers[victim].push(task(&shared));
        }
        for left in [1, 0] {
            assert!(workers[0].search().is_some());
            workers[0].end_search();
            assert!(workers[2].queue.pop().is_none(), "the near one was first");
            let far = workers[1].queue.len() + workers[3].queue.len();
            assert_eq!(far, 1 + left);
        }
        workers.iter().for_each(|worker| worker.cancel_queued());
    }
}

#[test]
fn timer_that_is_due_is_fired_between_two_polls_without_a_look_around() {
    struct Told(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Told {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (_shared, workers) = awake();
    let _driver = context::enter_driver(&workers[0].remote().driver, true);
    let due = Instant::now() + std::time::Duration::from_secs(60);
    let mut sleep = std::pin::pin!(crate::time::sleep_until(due));
    let told = std::sync::Arc::new(Told(false.into()));
    let waker = std::task::Waker::from(told.clone());
    let mut cx = std::task::Context::from_waker(&waker);
    assert!(sleep.as_mut().poll(&mut cx).is_pending());
    workers[0].fire_due(due - std::time::Duration::from_secs(1));
    assert!(!told.0.load(Ordering::Relaxed));
    workers[0].fire_due(due + std::time::Duration::from_millis(1));
    assert!(told.0.load(Ordering::Relaxed));
}

#[test]
fn look_is_put_off_by_waits_but_not_by_those_that_end_before_they_begin() {
    let (shared, workers) = awake();
    let worker = &workers[0];
    worker.front.state().start();
    worker.remote().parker.attach();
    let looks = |wake: &dyn Fn()| {
        let turn = |_: &u32| {
            let tick = worker.next_tick();
            wake();
            worker.wait();
            worker.pace.events_are_due(tick)
        };
        (0..3 * EVENT_LEAST).filter(turn).count()
    };
    assert_eq!(looks(&|| shared.unpark(0)), 3);
    assert_eq!(looks(&|| driver::unpark(shared.reactor_handle())), 0);
}

#[test]
fn batch_from_the_injector_is_announced() {
    let (shared, workers) = awake_and_asleep();
    for _ in 0..8 {
        shared.injector.push(task(&shared));
    }
    assert!(
        workers[0]
            .next_task(super::super::pace::INJECTOR_INTERVAL)
            .is_some()
    );
    assert_eq!(shared.idle.sleepers(), 0);
    workers[0].cancel_queued();
    shared.drain_injector();
}

/// A worker that lingers is a sleeper, and hears what a sleeper hears.
#[test]
fn worker_that_lingers_is_woken_by_a_task_and_by_an_event() {
    let (shared, workers) = awake_and_asleep();
    let worker = &workers[0];
    worker.front.state().start();
    worker.remote().parker.attach();
    let lingers = || worker.linger.lingers(None, Instant::now());
    let wait = || {
        while !lingers() {
            worker.linger.waited(Look::None, look::SOON);
        }
        worker.next_tick();
        worker.wait();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !shared.idle.is_asleep(0) {
                std::thread::yield_now();
            }
            shared.inject(task(&shared));
        });
        wait();
    });
    assert!(worker.claimed.get(), "it was asleep, and is to search");
    assert!(worker.take_injected().is_some());
    worker.end_search();

    // After two looks in vain, and two short waits, for which the next look makes up.
    worker.linger.waited(Look::InVain, look::SOON);
    worker.linger.waited(Look::InVain, look::SOON);
    driver::unpark(shared.reactor_handle());
    wait();
    assert!(!worker.claimed.get(), "by the event alone");
    worker.linger.waited(Look::InVain, look::SOON);
    worker.linger.waited(Look::None, look::SOON);
    assert!(lingers(), "the look found it");
}
