//! The stamp of a task says when it became ready, whichever way it takes to its poll.

use super::tests::{awake, awake_with};
use super::*;
use crate::executor::Measured;
use crate::executor::policy::Ageing;
use crate::executor::shared::Workers;
use crate::runtime::Handle;
use crate::task::yield_now;
use std::ops::RangeInclusive;
use std::sync::mpsc;
use std::task::{Poll, Waker};

const POLICIES: [fn() -> Policy; 4] = [
    || Policy::Fifo,
    || Policy::Lifo,
    Policy::priority,
    Policy::fair,
];

fn measured(policy: &Policy) -> (SharedRef, Workers) {
    let measured = Measured {
        poll_time: true,
        schedule_latency: true,
    };
    awake_with(&[0, 0], policy, measured)
}

/// The time that `f` took, by the runtime's clock, which goes on before and after.
fn during<R>(shared: &SharedRef, f: impl FnOnce() -> R) -> (R, RangeInclusive<u64>) {
    let tick = || {
        let before = shared.clock.now();
        std::iter::repeat_with(|| shared.clock.now())
            .find(|now| *now > before)
            .unwrap_or(before)
    };
    let began = tick();
    let result = f();
    (result, began..=tick())
}

/// Takes what `worker` would run next.
fn next(worker: &Worker) -> Notified {
    let task = match &worker.shared.ordered {
        None => worker.next_task(1).or_else(|| worker.take_injected()),
        Some(ordered) => {
            let pick = ordered.pick(worker.index(), &Ageing::new(u32::MAX));
            pick.map(|pick| pick.task)
        }
    };
    task.expect("something is to be run")
}

/// A future that tells its waker, and waits for ever.
fn tells(tell: mpsc::Sender<Waker>) -> impl Future<Output = ()> + Send {
    std::future::poll_fn(move |cx| {
        let _ = tell.send(cx.waker().clone());
        Poll::Pending
    })
}

fn clear(shared: &SharedRef, workers: &Workers) {
    for worker in workers {
        let _current = Current::enter(&raw const **worker);
        worker.cancel_all();
    }
    shared.drain_injector();
}

#[test]
fn a_task_is_stamped_when_it_is_spawned_woken_or_yields_under_each_policy() {
    for policy in POLICIES {
        let policy = policy();
        let (shared, workers) = measured(&policy);
        let worker = &*workers[0];
        let (tell, told) = mpsc::channel();
        {
            let _current = Current::enter(worker);
            let (_, spawned) = during(&shared, || worker.spawn(tells(tell.clone()), None));
            let task = next(worker);
            assert!(spawned.contains(&task.ready_at().unwrap()), "{policy:?}");
            task.run();

            let waker = told.try_recv().unwrap();
            let (_, woken) = during(&shared, || waker.wake_by_ref());
            let (_, again) = during(&shared, || waker.wake_by_ref());
            let task = next(worker);
            let ready_at = task.ready_at().unwrap();
            assert!(woken.contains(&ready_at), "{policy:?}");
            assert!(!again.contains(&ready_at), "it was ready already");
            task.run();

            worker.batch(|| {
                let (_, woken) = during(&shared, || waker.wake_by_ref());
                let task = next(worker);
                assert!(woken.contains(&task.ready_at().unwrap()), "{policy:?}");
                task.run();
            });

            drop(worker.spawn(yield_now(), None));
            let task = next(worker);
            let (_, polled) = during(&shared, || task.run());
            let task = next(worker);
            assert!(polled.contains(&task.ready_at().unwrap()), "{policy:?}");
            task.run();
        }
        clear(&shared, &workers);
    }
}

#[test]
fn a_task_is_stamped_outside_of_the_workers_under_each_policy() {
    for policy in POLICIES {
        let policy = policy();
        let (shared, workers) = measured(&policy);
        let (tell, told) = mpsc::channel();
        let (_, spawned) = during(&shared, || drop(shared.spawn(tells(tell), None)));
        let task = next(&workers[0]);
        assert!(spawned.contains(&task.ready_at().unwrap()), "{policy:?}");
        {
            let _current = Current::enter(&raw const *workers[0]);
            task.run();
        }
        let waker = told.try_recv().unwrap();
        let (_, woken) = during(&shared, || waker.wake_by_ref());
        let task = next(&workers[0]);
        assert!(woken.contains(&task.ready_at().unwrap()), "{policy:?}");
        drop(task);
        clear(&shared, &workers);
    }
}

#[test]
fn the_stamp_stays_while_a_task_is_moved_stolen_or_rescued() {
    let (shared, workers) = measured(&Policy::Fifo);
    let (own, thief) = (&*workers[0], &*workers[1]);
    {
        let _current = Current::enter(own);
        let (_, first) = during(&shared, || drop(own.spawn(async {}, None)));
        let (_, second) = during(&shared, || drop(own.spawn(async {}, None)));
        // The first was moved from the slot to the queue, from where it is stolen.
        thief.front.state().start();
        let task = thief.search().unwrap();
        assert!(first.contains(&task.ready_at().unwrap()));
        drop(task);
        // The watch takes the second from the slot.
        let task = own.front.take().unwrap();
        shared.inject(task);
        let task = own.take_injected().unwrap();
        assert!(second.contains(&task.ready_at().unwrap()));
        drop(task);
    }
    thief.end_search();
    clear(&shared, &workers);
}

#[test]
fn a_task_keeps_its_options_beside_the_stamp() {
    let (shared, workers) = measured(&Policy::Fifo);
    let builder = crate::task::Builder::new().name("named");
    drop(builder.spawn_on(async {}, &Handle::new(shared.clone())));
    let task = next(&workers[0]);
    assert_eq!(task.meta().unwrap().name.as_deref(), Some("named"));
    assert!(task.ready_at().is_some());
    drop(task);
    clear(&shared, &workers);
}

#[test]
fn nothing_is_stamped_and_no_record_is_made_unless_asked_for() {
    let (shared, workers) = awake();
    {
        let _current = Current::enter(&raw const *workers[0]);
        drop(workers[0].spawn(async {}, None));
        let task = next(&workers[0]);
        assert!(task.meta().is_none());
        drop(task);
    }
    drop(shared.spawn(async {}, None));
    assert!(next(&workers[0]).meta().is_none());
    clear(&shared, &workers);
}
