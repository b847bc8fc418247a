//! What a task can rely on wherever it lives: in an event loop, on one, two and four workers.

mod common;

use common::home::{Home, Spawner, everywhere};
use common::{CountDrop, end_amid_spawns};
use libruntime_core::task::{JoinHandle, yield_now};
use libruntime_core::time::{interval, sleep, timeout};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

everywhere! {
    fn spawned_tasks_run_and_join(home: Home) {
        let spawner = home.spawner();
        let sum = home.block_on(async {
            let tasks: Vec<_> = (0..1000_u64).map(|i| spawner.spawn(async move { i })).collect();
            let mut sum = 0;
            for task in tasks {
                sum += task.await.unwrap();
            }
            sum
        });
        assert_eq!(sum, 499_500);
    }

    fn tasks_spawned_by_tasks_run(home: Home) {
        fn tree(spawner: Spawner, depth: u32) -> Pin<Box<dyn Future<Output = u64> + Send>> {
            Box::pin(async move {
                if depth == 0 {
                    return 1;
                }
                let left = spawner.spawn(tree(spawner.clone(), depth - 1));
                let right = spawner.spawn(tree(spawner.clone(), depth - 1));
                left.await.unwrap() + right.await.unwrap()
            })
        }
        let leaves = home.spawn(tree(home.spawner(), 12));
        assert_eq!(home.block_on(leaves).unwrap(), 4096);
    }

    fn yielding_tasks_take_turns(home: Home) {
        let tasks: Vec<_> = (0..50)
            .map(|_| home.spawn(async {
                for _ in 0..100 {
                    yield_now().await;
                }
            }))
            .collect();
        for task in tasks {
            home.block_on(task).unwrap();
        }
    }

    fn yielding_task_lets_another_run_before_it_goes_on(home: Home) {
        let spawner = home.spawner();
        let task = home.spawn(async move {
            let done = Arc::new(AtomicBool::new(false));
            let set = done.clone();
            let other = spawner.spawn(async move { set.store(true, Ordering::SeqCst) });
            while !done.load(Ordering::SeqCst) {
                yield_now().await;
            }
            other.await.unwrap();
        });
        home.block_on(task).unwrap();
    }

    fn task_woken_by_a_thread_runs(home: Home) {
        let slot = Arc::new(Mutex::new(None::<Waker>));
        let ready = Arc::new(AtomicBool::new(false));
        let (polled, was_polled) = mpsc::channel();
        let (stored, seen) = (slot.clone(), ready.clone());
        let task = home.spawn(poll_fn(move |cx| {
            if seen.load(Ordering::SeqCst) {
                return Poll::Ready(());
            }
            *stored.lock().unwrap() = Some(cx.waker().clone());
            polled.send(()).unwrap();
            Poll::Pending
        }));
        was_polled.recv().unwrap();
        ready.store(true, Ordering::SeqCst);
        slot.lock().unwrap().take().unwrap().wake();
        home.block_on(task).unwrap();
    }

    fn nothing_is_polled_that_was_not_woken(home: Home) {
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = polls.clone();
        let waiting = home.spawn(poll_fn(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Poll::<()>::Pending
        }));
        for _ in 0..100 {
            home.block_on(home.spawn(yield_now())).unwrap();
        }
        waiting.abort();
        assert!(home.block_on(waiting).unwrap_err().is_cancelled());
        assert_eq!(polls.load(Ordering::SeqCst), 1);
    }

    fn two_tasks_wake_each_other(home: Home) {
        let (there, mut hears) = futures_channel::mpsc::unbounded::<u32>();
        let (back, mut answers) = futures_channel::mpsc::unbounded::<u32>();
        drop(home.spawn(async move {
            while let Some(number) = next(&mut hears).await {
                // The other one has gone when it has had enough.
                let _ = back.unbounded_send(number + 1);
            }
        }));
        let task = home.spawn(async move {
            let mut number = 0;
            while number < 1000 {
                there.unbounded_send(number).unwrap();
                number = next(&mut answers).await.unwrap();
            }
            number
        });
        assert_eq!(home.block_on(task).unwrap(), 1000);
    }

    fn panicking_task_harms_nobody(home: Home) {
        let bad = home.spawn(async { panic!("on purpose") });
        let error = home.block_on(bad).unwrap_err();
        assert_eq!(error.panic_message().as_deref(), Some("on purpose"));
        let good = home.spawn(async { 1 });
        assert_eq!(home.block_on(good).unwrap(), 1);
    }

    fn aborted_task_is_dropped(home: Home) {
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = CountDrop(drops.clone());
        let task = home.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        task.abort();
        assert!(home.block_on(task).unwrap_err().is_cancelled());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    fn detached_task_goes_on(home: Home) {
        let (sender, receiver) = mpsc::channel();
        drop(home.spawn(async move { sender.send(5).unwrap() }));
        assert_eq!(receiver.recv(), Ok(5));
    }

    fn sleeps_end_in_the_order_of_their_times(home: Home) {
        let (sender, receiver) = mpsc::channel();
        for millis in [30_u64, 10, 20] {
            let sender = sender.clone();
            drop(home.spawn(async move {
                let begin = Instant::now();
                sleep(Duration::from_millis(millis)).await;
                assert!(begin.elapsed() >= Duration::from_millis(millis), "early");
                sender.send(millis).unwrap();
            }));
        }
        drop(sender);
        let mut ended: Vec<_> = receiver.iter().collect();
        ended.sort_unstable();
        assert_eq!(ended, [10, 20, 30]);
    }

    fn timeout_ends_a_wait_and_drops_it(home: Home) {
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = CountDrop(drops.clone());
        let task = home.spawn(async move {
            let late = timeout(Duration::from_millis(1), async move {
                let _guard = guard;
                pending::<()>().await;
            });
            let timed_out = late.await.is_err();
            let in_time = timeout(Duration::from_secs(100), yield_now()).await.is_ok();
            (timed_out, in_time)
        });
        assert_eq!(home.block_on(task).unwrap(), (true, true));
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    fn interval_ticks(home: Home) {
        let task = home.spawn(async {
            let begin = Instant::now();
            let mut ticks = interval(Duration::from_millis(1));
            for _ in 0..5 {
                ticks.tick().await;
            }
            begin.elapsed()
        });
        assert!(home.block_on(task).unwrap() >= Duration::from_millis(4));
    }

    fn end_of_the_place_drops_every_task_once(home: Home) {
        let drops = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<JoinHandle<()>> = (0..500)
            .map(|i| {
                let guard = CountDrop(drops.clone());
                home.spawn(async move {
                    let _guard = guard;
                    loop {
                        match i % 3 {
                            0 => pending::<()>().await,
                            1 => sleep(Duration::from_secs(1000)).await,
                            _ => yield_now().await,
                        }
                    }
                })
            })
            .collect();
        drop(home);
        assert_eq!(drops.load(Ordering::SeqCst), 500);
        assert!(tasks.iter().all(JoinHandle::is_finished));
    }

    fn spawn_after_the_end_of_the_place_is_cancelled(home: Home) {
        let spawner = home.spawner();
        drop(home);
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = CountDrop(drops.clone());
        let task = spawner.spawn(async move { drop(guard) });
        assert!(task.is_finished());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    fn drop_of_a_task_at_the_end_may_wake_and_spawn(home: Home) {
        struct SpawnOnDrop(Spawner, Arc<AtomicUsize>);
        impl Drop for SpawnOnDrop {
            fn drop(&mut self) {
                let guard = CountDrop(self.1.clone());
                drop(self.0.spawn(async move { drop(guard) }));
            }
        }
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = SpawnOnDrop(home.spawner(), drops.clone());
        let (started, has_started) = mpsc::channel();
        let waited_for = home.spawn(async move {
            let _guard = guard;
            started.send(()).unwrap();
            pending::<()>().await;
        });
        drop(home.spawn(waited_for));
        has_started.recv().unwrap();
        drop(home);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    fn end_of_the_place_in_the_middle_of_foreign_wakes_and_spawns(home: Home) {
        end_amid_spawns(&home.spawner(), || drop(home));
    }
}

async fn next(receiver: &mut futures_channel::mpsc::UnboundedReceiver<u32>) -> Option<u32> {
    poll_fn(|cx| futures_lite::Stream::poll_next(Pin::new(&mut *receiver), cx)).await
}
