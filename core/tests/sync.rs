//! Channels and locks on a runtime of one, two and four workers, and on an event loop; between those,
//! and with threads.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use libruntime_core::event_loop::EventLoop;
use libruntime_core::runtime::{Builder, Runtime};
use libruntime_core::sync::{
    Barrier, Mutex, Notify, OnceCell, RwLock, Semaphore, TryAcquireError, broadcast, mpsc, oneshot,
    watch,
};
use libruntime_core::task::{coop, yield_now};
use libruntime_core::time::timeout;
use libruntime_core::{spawn, spawn_blocking};

const MS: Duration = Duration::from_millis(1);

fn runtime(workers: usize) -> Runtime {
    Builder::new().worker_threads(workers).build().unwrap()
}

/// Makes each function a test on one, two and four workers, and on an event loop.
macro_rules! on_runtimes {
    ($($(#[$attr:meta])* async fn $name:ident() $body:block)*) => {
        $(mod $name {
            use super::*;
            $(#[$attr])*
            async fn body() $body
            fn run(workers: usize) {
                let runtime = runtime(workers);
                let task = runtime.spawn(body());
                runtime.block_on(task).unwrap().unwrap();
            }
            #[test] fn on_one_worker() { run(1) }
            #[test] fn on_two_workers() { run(2) }
            #[test] fn on_four_workers() { run(4) }
            #[test] fn on_an_event_loop() {
                let runtime = runtime(1);
                let el = EventLoop::new().unwrap();
                el.set_runtime(Some(runtime.handle().clone()));
                el.block_on(body()).unwrap();
            }
        })*
    };
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

on_runtimes! {
    async fn a_full_channel_makes_senders_wait_and_keeps_their_order() {
        let (sender, mut receiver) = mpsc::channel(2);
        let tasks: Vec<_> = (0..4)
            .map(|task| {
                let sender = sender.clone();
                spawn(async move {
                    for number in 0..100 {
                        sender.send((task, number)).await.unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        let mut next = [0; 4];
        while let Some((task, number)) = receiver.recv().await {
            assert_eq!(number, next[task]);
            next[task] += 1;
        }
        assert_eq!(next, [100; 4]);
        for task in tasks {
            task.await.unwrap();
        }
    }

    async fn a_channel_that_closes_gives_what_was_sent_and_sends_no_more() {
        let (sender, mut receiver) = mpsc::channel(4);
        let weak = sender.downgrade();
        sender.send(1).await.unwrap();
        sender.reserve().await.unwrap().send(2);
        drop(sender);
        assert!(weak.upgrade().is_none());
        let mut buffer = Vec::new();
        assert_eq!(receiver.recv_many(&mut buffer, 10).await, 2);
        assert_eq!(buffer, [1, 2]);
        assert_eq!(receiver.recv().await, None);

        let (sender, receiver) = mpsc::unbounded_channel();
        drop(receiver);
        assert_eq!(sender.send("back").unwrap_err().0, "back");
        let (sender, receiver) = mpsc::channel(1);
        let waiting = spawn({
            let sender = sender.clone();
            async move {
                sender.send(1).await.unwrap();
                sender.send(2).await.unwrap_err().0
            }
        });
        while sender.capacity() > 0 {
            yield_now().await;
        }
        drop(receiver);
        assert_eq!(waiting.await.unwrap(), 2);
    }

    async fn what_is_dropped_while_it_waits_has_taken_nothing() {
        let (sender, mut receiver) = mpsc::channel(1);
        assert!(poll_once(pin!(receiver.recv())).is_pending());
        sender.send(1).await.unwrap();
        assert!(poll_once(pin!(sender.send(2))).is_pending());
        assert!(poll_once(pin!(sender.reserve())).is_pending());
        assert_eq!(receiver.recv().await, Some(1));
        assert_eq!(sender.capacity(), 1);

        let lock = Arc::new(Mutex::new(()));
        let held = lock.clone().lock_owned().await;
        assert!(poll_once(pin!(lock.lock())).is_pending());
        drop(held);
        drop(lock.try_lock().unwrap());

        let permits = Arc::new(Semaphore::new(2));
        let taken = permits.clone().acquire_owned().await.unwrap();
        assert!(poll_once(pin!(permits.acquire_many(2))).is_pending());
        drop(taken);
        assert_eq!(permits.available_permits(), 2);

        let (values, mut seen) = watch::channel(0);
        assert!(poll_once(pin!(seen.changed())).is_pending());
        values.send(1).unwrap();
        seen.changed().await.unwrap();
        assert_eq!(*seen.borrow(), 1);

        let (values, mut all) = broadcast::channel(4);
        assert!(poll_once(pin!(all.recv())).is_pending());
        values.send(1).unwrap();
        assert_eq!(all.recv().await, Ok(1));
    }

    async fn who_waits_first_is_served_first() {
        let lock = Arc::new(Mutex::new(Vec::new()));
        let permits = Arc::new(Semaphore::new(0));
        let mut held = lock.lock().await;
        let (mut lockers, mut takers) = (Vec::new(), Vec::new());
        for place in 0..8 {
            let lock = lock.clone();
            let mut locking = Box::pin(async move { lock.lock().await.push(place) });
            assert!(poll_once(locking.as_mut()).is_pending());
            lockers.push(locking);
            let permits = permits.clone();
            let mut taking = Box::pin(async move { permits.acquire().await.unwrap().forget() });
            assert!(poll_once(taking.as_mut()).is_pending());
            takers.push(taking);
        }
        held.push(99);
        drop(held);
        // The last ones are asked first, and have to wait for the others.
        for locking in lockers.iter_mut().rev().take(7) {
            assert!(poll_once(locking.as_mut()).is_pending());
        }
        for locking in lockers {
            locking.await;
        }
        assert_eq!(*lock.lock().await, [99, 0, 1, 2, 3, 4, 5, 6, 7]);
        permits.add_permits(3);
        for (place, taking) in takers.iter_mut().enumerate().rev() {
            assert_eq!(poll_once(taking.as_mut()).is_ready(), place < 3);
        }
    }

    async fn a_writer_keeps_later_readers_out() {
        let lock = Arc::new(RwLock::new(0));
        let first = lock.clone().read_owned().await;
        let second = lock.read().await;
        let mut writing = pin!(lock.write());
        assert!(poll_once(writing.as_mut()).is_pending());
        let mut reading = pin!(lock.read());
        assert!(poll_once(reading.as_mut()).is_pending());
        drop((first, second));
        *writing.await += 1;
        assert_eq!(*reading.await, 1);
        assert!(lock.clone().try_write_owned().is_ok());
    }

    async fn a_contended_lock_loses_nothing() {
        let lock = Arc::new(Mutex::new(0));
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let lock = lock.clone();
                spawn(async move {
                    for _ in 0..50 {
                        let mut value = lock.lock().await;
                        let before = *value;
                        yield_now().await;
                        *value = before + 1;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*lock.lock().await, 1000);
    }

    async fn a_receiver_that_is_too_slow_is_told_what_it_lost() {
        let (sender, mut receiver) = broadcast::channel(2);
        let mut late = sender.subscribe();
        for number in 0..4 {
            sender.send(number).unwrap();
        }
        assert_eq!(receiver.recv().await, Err(broadcast::error::RecvError::Lagged(2)));
        assert_eq!(receiver.recv().await, Ok(2));
        drop(sender);
        assert_eq!(receiver.recv().await, Ok(3));
        assert_eq!(receiver.recv().await, Err(broadcast::error::RecvError::Closed));
        assert!(late.recv().await.is_err());
    }

    async fn the_last_value_is_seen_by_all() {
        let (sender, receiver) = watch::channel(0);
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let mut receiver = receiver.clone();
                spawn(async move { *receiver.wait_for(|value| *value >= 50).await.unwrap() })
            })
            .collect();
        for value in 1..=50 {
            sender.send(value).unwrap();
            yield_now().await;
        }
        for task in tasks {
            assert_eq!(task.await.unwrap(), 50);
        }
        let mut left = sender.subscribe();
        drop(sender);
        assert!(left.changed().await.is_err());
    }

    async fn the_rest_of_the_family_works() {
        let (sender, receiver) = oneshot::channel();
        spawn(async move { sender.send(5).unwrap() });
        assert_eq!(receiver.await, Ok(5));

        let (notify, barrier) = (Arc::new(Notify::new()), Arc::new(Barrier::new(2)));
        let (notified, met) = (notify.clone(), barrier.clone());
        let task = spawn(async move {
            notified.notified().await;
            met.wait().await.is_leader()
        });
        notify.notify_one();
        let leader = barrier.wait().await.is_leader();
        assert!(task.await.unwrap() != leader);

        let cell = OnceCell::new();
        assert_eq!(*cell.get_or_init(|| async { 7 }).await, 7);
        assert_eq!(*cell.get_or_init(|| async { 8 }).await, 7);

        let permits = Arc::new(Semaphore::new(1));
        let one = permits.clone().try_acquire_owned().unwrap();
        let none = permits.clone().try_acquire_owned();
        assert_eq!(none.unwrap_err(), TryAcquireError::NoPermits);
        permits.close();
        drop(one);
        assert!(permits.acquire().await.is_err());
    }

    async fn a_time_limit_takes_back_a_place_in_the_line() {
        let lock = Mutex::new(());
        let held = lock.lock().await;
        assert!(timeout(MS, lock.lock()).await.is_err());
        drop(held);
        assert!(timeout(1000 * MS, lock.lock()).await.is_ok());
    }

    async fn threads_may_block_on_either_end() {
        let (sender, mut receiver) = mpsc::channel(1);
        let sending = spawn_blocking(move || {
            for number in 0..50 {
                sender.blocking_send(number).unwrap();
            }
        });
        let (back, mut given_back) = mpsc::channel(1);
        let receiving = thread::spawn(move || {
            let mut sum = 0;
            while let Some(number) = given_back.blocking_recv() {
                sum += number;
            }
            sum
        });
        while let Some(number) = receiver.recv().await {
            back.send(number).await.unwrap();
        }
        drop(back);
        sending.await.unwrap();
        assert_eq!(spawn_blocking(|| receiving.join().unwrap()).await.unwrap(), 1225);

        let lock = Arc::new(Mutex::new(1));
        let held = lock.lock().await;
        let also = lock.clone();
        let blocked = spawn_blocking(move || {
            *also.clone().blocking_lock_owned() += 1;
            *also.blocking_lock() += 1;
        });
        drop(held);
        blocked.await.unwrap();
        assert_eq!(*lock.lock().await, 3);
    }
}

/// Runs `step`, which is always ready, until another task of the same thread has run: which it only
/// does if `step` gives way.
async fn gives_way<F: Future<Output = ()>>(mut step: impl FnMut() -> F) {
    let other_ran = Arc::new(AtomicBool::new(false));
    let ran = other_ran.clone();
    let other = spawn(async move { ran.store(true, Ordering::Relaxed) });
    let mut steps = 0;
    while !other_ran.load(Ordering::Relaxed) {
        step().await;
        steps += 1;
        assert!(steps <= 2 * usize::from(coop::BUDGET), "nobody else runs");
    }
    other.await.unwrap();
}

/// Each operation that can be ready time and again, on one worker.
macro_rules! give_way {
    ($(fn $name:ident() $step:block)*) => {
        $(#[test]
        fn $name() {
            let runtime = runtime(1);
            let task = runtime.spawn(async {
                let step = $step;
                gives_way(step).await;
            });
            runtime.block_on(task).unwrap().unwrap();
        })*
    };
}

give_way! {
    fn a_channel_that_is_never_empty_gives_way() {
        let (sender, receiver) = mpsc::channel(8);
        let receiver = Arc::new(std::sync::Mutex::new(receiver));
        move || {
            let _ = sender.try_send(1);
            let receiver = receiver.clone();
            async move {
                assert_eq!(poll_fn(|cx| receiver.lock().unwrap().poll_recv(cx)).await, Some(1));
            }
        }
    }
    fn a_channel_that_is_never_full_gives_way() {
        let (sender, receiver) = mpsc::channel(8);
        let receiver = Arc::new(std::sync::Mutex::new(receiver));
        move || {
            let (sender, receiver) = (sender.clone(), receiver.clone());
            async move {
                sender.send(1).await.unwrap();
                assert_eq!(receiver.lock().unwrap().try_recv(), Ok(1));
            }
        }
    }
    fn a_lock_that_is_always_free_gives_way() {
        let lock = Arc::new(Mutex::new(()));
        move || { let lock = lock.clone(); async move { drop(lock.lock().await) } }
    }
    fn a_lock_that_is_always_free_gives_way_to_be_owned() {
        let lock = Arc::new(Mutex::new(()));
        move || { let lock = lock.clone(); async move { drop(lock.lock_owned().await) } }
    }
    fn a_lock_that_nobody_writes_gives_way() {
        let lock = Arc::new(RwLock::new(()));
        move || { let lock = lock.clone(); async move { drop(lock.read().await) } }
    }
    fn a_lock_that_nobody_reads_gives_way() {
        let lock = Arc::new(RwLock::new(()));
        move || { let lock = lock.clone(); async move { drop(lock.write().await) } }
    }
    fn a_semaphore_that_has_permits_gives_way() {
        let permits = Arc::new(Semaphore::new(1));
        move || { let permits = permits.clone(); async move { drop(permits.acquire().await) } }
    }
    fn a_value_that_always_changes_gives_way() {
        let (sender, receiver) = watch::channel(0);
        move || {
            let mut receiver = receiver.clone();
            sender.send_modify(|value| *value += 1);
            async move { receiver.changed().await.unwrap() }
        }
    }
    fn a_broadcast_that_never_ends_gives_way() {
        let (sender, receiver) = broadcast::channel(4);
        let kept = receiver;
        move || {
            let mut receiver = kept.resubscribe();
            sender.send(1).unwrap();
            async move { assert_eq!(receiver.recv().await, Ok(1)) }
        }
    }
}

#[test]
fn an_unbounded_channel_that_is_never_empty_gives_way() {
    let runtime = runtime(1);
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let task = runtime.spawn(async move {
        let other_ran = Arc::new(AtomicBool::new(false));
        let ran = other_ran.clone();
        drop(spawn(async move { ran.store(true, Ordering::Relaxed) }));
        let mut buffer = Vec::new();
        while !other_ran.load(Ordering::Relaxed) {
            sender.send(()).unwrap();
            receiver.recv().await.unwrap();
            sender.send(()).unwrap();
            assert_eq!(receiver.recv_many(&mut buffer, 4).await, 1);
        }
    });
    runtime.block_on(task).unwrap().unwrap();
}

#[test]
fn runtimes_loops_and_threads_meet_in_one_channel() {
    let (first, second) = (runtime(2), runtime(1));
    let (sender, mut receiver) = mpsc::channel(2);
    let received = Arc::new(AtomicUsize::new(0));
    let counted = received.clone();
    let receiving = second.spawn(async move {
        while receiver.recv().await.is_some() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let send = |sender: mpsc::Sender<()>| async move {
        for _ in 0..100 {
            sender.send(()).await.unwrap();
        }
    };
    let by_task = first.spawn(send(sender.clone()));
    let by_loop = thread::spawn({
        let sender = sender.clone();
        move || EventLoop::new().unwrap().block_on(send(sender)).unwrap()
    });
    let by_thread = thread::spawn({
        let sender = sender.clone();
        move || {
            for _ in 0..100 {
                sender.blocking_send(()).unwrap();
            }
        }
    });
    futures_lite::future::block_on(send(sender));
    by_loop.join().unwrap();
    by_thread.join().unwrap();
    first.block_on(by_task).unwrap().unwrap();
    second.block_on(receiving).unwrap().unwrap();
    assert_eq!(received.load(Ordering::Relaxed), 400);
}

#[test]
fn a_runtime_that_ends_closes_the_ends_that_its_tasks_hold() {
    let runtime = runtime(2);
    let (sender, mut receiver) = mpsc::channel::<()>(1);
    let (held, is_held) = oneshot::channel();
    drop(runtime.spawn(async move {
        let _sender = sender;
        held.send(()).unwrap();
        std::future::pending::<()>().await;
    }));
    is_held.blocking_recv().unwrap();
    drop(runtime);
    assert_eq!(receiver.blocking_recv(), None);
}

#[test]
fn tokios_own_types_are_at_hand() {
    let (sender, receiver) = mpsc::channel::<u8>(1);
    let (sender, receiver) = (sender.into_inner(), receiver.into_inner());
    let mut receiver = mpsc::Receiver::from(receiver);
    sender.try_send(1).unwrap();
    assert_eq!(receiver.blocking_recv(), Some(1));
    assert_eq!(Semaphore::const_new(3).into_inner().available_permits(), 3);
}
