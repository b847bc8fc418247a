//! Timers on a runtime of one, two and four workers, and on an event loop with a runtime attached.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use libruntime_core::event_loop::EventLoop;
use libruntime_core::time::{
    MissedTickBehavior, Sleep, interval, interval_at, sleep, sleep_until, timeout, timeout_at,
};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

#[macro_use]
mod on_runtimes;
use on_runtimes::runtime;

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

on_runtimes! {
    async fn sleeps_are_never_early() {
        let mut rng = fastrand::Rng::with_seed(3);
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let duration = Duration::from_micros(rng.u64(0..5_000));
                libruntime_core::spawn(async move {
                    let start = Instant::now();
                    sleep(duration).await;
                    assert!(start.elapsed() >= duration);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("slept");
        }
    }

    async fn a_deadline_that_has_passed_is_ready_at_once() {
        let past = Instant::now() - MS;
        let mut late = pin!(sleep_until(past));
        assert!(late.is_elapsed());
        assert!(poll_once(late.as_mut()).is_ready());
    }

    async fn a_sleep_that_is_dropped_wakes_nobody() {
        for _ in 0..100 {
            let mut short = Box::pin(sleep(Duration::from_micros(100)));
            // Pending as a rule; on a slow machine its time may have come.
            let _ = poll_once(short.as_mut());
            drop(short);
        }
        sleep(MS).await;
    }

    async fn a_sleep_can_be_dropped_by_another_thread() {
        for _ in 0..200 {
            let mut short = Box::pin(sleep(Duration::from_micros(50)));
            poll_fn(|cx| Poll::Ready(short.as_mut().poll(cx).is_ready())).await;
            let elsewhere = libruntime_core::spawn(async move { drop(short) });
            elsewhere.await.expect("dropped");
        }
    }

    async fn reset_moves_a_sleep_both_ways() {
        let mut moved = pin!(sleep(HOUR));
        assert!(poll_once(moved.as_mut()).is_pending());
        let soon = Instant::now() + MS;
        moved.as_mut().reset(soon);
        moved.as_mut().await;
        assert!(Instant::now() >= soon);
        moved.as_mut().reset(Instant::now() + HOUR);
        assert!(!moved.is_elapsed());
        assert!(poll_once(moved.as_mut()).is_pending());
        moved.as_mut().reset(Instant::now());
        moved.as_mut().await;
    }

    async fn a_reset_by_another_thread_wakes_the_task_that_waits() {
        let shared = Arc::new(std::sync::Mutex::new(Box::pin(sleep(HOUR))));
        let waiting = shared.clone();
        let polled = Arc::new(AtomicUsize::new(0));
        let polls = polled.clone();
        let task = libruntime_core::spawn(poll_fn(move |cx| {
            let poll = waiting.lock().expect("lock").as_mut().poll(cx);
            polls.fetch_add(1, Ordering::Release);
            poll
        }));
        while polled.load(Ordering::Acquire) == 0 {
            libruntime_core::task::yield_now().await;
        }
        let resetting = shared.clone();
        let reset = std::thread::spawn(move || {
            resetting.lock().expect("lock").as_mut().reset(Instant::now() + MS);
        });
        task.await.expect("woken");
        reset.join().expect("joined");
    }

    async fn the_last_waker_is_the_one_that_is_woken() {
        let mut wait = Box::pin(sleep(5 * MS));
        assert!(poll_once(wait.as_mut()).is_pending());
        wait.await;
    }

    async fn a_timeout_lets_a_future_through_that_is_in_time() {
        assert_eq!(timeout(HOUR, async { 5 }).await, Ok(5));
        assert_eq!(timeout(Duration::ZERO, async { 6 }).await, Ok(6));
        assert_eq!(timeout(HOUR, sleep(MS)).await, Ok(()));
    }

    async fn a_timeout_ends_one_that_is_not() {
        let start = Instant::now();
        let error = timeout(MS, std::future::pending::<()>()).await.expect_err("too late");
        assert!(start.elapsed() >= MS);
        assert_eq!(error.to_string(), "deadline has elapsed");
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::TimedOut);
        assert!(timeout_at(start, std::future::pending::<()>()).await.is_err());
    }

    async fn an_endless_timeout_does_not_overflow() {
        assert_eq!(timeout(Duration::MAX, sleep(MS)).await, Ok(()));
        let mut endless = pin!(sleep(Duration::MAX));
        assert!(poll_once(endless.as_mut()).is_pending());
    }

    async fn an_interval_ticks_at_once_and_then_in_rhythm() {
        let start = Instant::now();
        let mut ticks = interval_at(start, 2 * MS);
        for i in 0..5 {
            let due = ticks.tick().await;
            assert!(due >= start + i * 2 * MS);
            assert!(Instant::now() >= due);
        }
    }

    async fn missed_ticks_are_made_up_for_or_skipped() {
        let start = Instant::now() - 100 * MS;
        let mut burst = interval_at(start, 40 * MS);
        for i in 0..3 {
            assert_eq!(burst.tick().await, start + i * 40 * MS);
        }
        let mut skip = interval_at(start, 40 * MS);
        skip.set_missed_tick_behavior(MissedTickBehavior::Skip);
        assert_eq!(skip.tick().await, start);
        let next = skip.tick().await;
        assert!(next >= start + 120 * MS);
        assert_eq!((next - start).as_nanos() % (40 * MS).as_nanos(), 0);
        let mut delay = interval_at(start, 40 * MS);
        delay.set_missed_tick_behavior(MissedTickBehavior::Delay);
        delay.tick().await;
        assert!(delay.tick().await >= start + 140 * MS);
    }

    async fn an_interval_can_start_anew() {
        let mut ticks = interval(HOUR);
        ticks.tick().await;
        ticks.reset_immediately();
        ticks.tick().await;
        ticks.reset_after(MS);
        ticks.tick().await;
        ticks.reset();
        assert!(timeout(MS, ticks.tick()).await.is_err());
    }

    async fn ticks_that_are_always_due_give_way_to_other_tasks() {
        let stop = Arc::new(AtomicUsize::new(0));
        let stopped = stop.clone();
        let storm = libruntime_core::spawn(async move {
            let mut ticks = interval(Duration::from_nanos(1));
            while stopped.load(Ordering::Relaxed) == 0 {
                ticks.tick().await;
            }
        });
        let past = Instant::now();
        let also_stopped = stop.clone();
        let sleeps = libruntime_core::spawn(async move {
            while also_stopped.load(Ordering::Relaxed) == 0 {
                sleep_until(past).await;
            }
        });
        libruntime_core::spawn(async move { stop.store(1, Ordering::Relaxed) });
        storm.await.expect("stopped");
        sleeps.await.expect("stopped");
    }

    async fn a_timeout_ends_a_future_that_is_never_done_for_want_of_budget() {
        let busy = async {
            loop {
                sleep_until(Instant::now()).await;
            }
        };
        assert!(timeout(MS, busy).await.is_err());
    }

    async fn many_timers_set_and_cancelled_leave_the_rest_alone() {
        let fired = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..50)
            .map(|i| {
                let fired = fired.clone();
                libruntime_core::spawn(async move {
                    for j in 0..50u64 {
                        let delay = Duration::from_micros((i * 37 + j * 101) % 900);
                        let result = timeout(delay, std::future::pending::<()>()).await;
                        assert!(result.is_err());
                        let _ = timeout(HOUR, libruntime_core::task::yield_now()).await;
                        fired.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("done");
        }
        assert_eq!(fired.load(Ordering::Relaxed), 2500);
    }
}

#[test]
fn a_thread_that_blocks_wakes_the_sleeping_worker_that_keeps_its_timers() {
    for workers in [1, 2, 4] {
        let runtime = runtime(workers);
        runtime
            .block_on(async {
                for _ in 0..20 {
                    let start = Instant::now();
                    sleep(MS).await;
                    assert!(start.elapsed() >= MS);
                }
            })
            .expect("entered");
    }
}

#[test]
fn a_sleep_may_outlive_its_runtime() {
    let runtime = runtime(1);
    let mut kept: Pin<Box<Sleep>> = Box::pin(sleep(HOUR));
    let polled = runtime.block_on(async { poll_once(kept.as_mut()).is_pending() });
    assert!(polled.expect("entered"));
    drop(runtime);
    drop(kept);
}

#[test]
fn a_sleep_that_waits_while_its_runtime_ends_is_over_in_time() {
    for workers in [1, 2, 4] {
        let runtime = runtime(workers);
        let handle = runtime.handle().clone();
        let (polled, was_polled) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            let start = Instant::now();
            let mut wait = pin!(sleep(20 * MS));
            let waited = handle.block_on(poll_fn(|cx| {
                let poll = wait.as_mut().poll(cx);
                // The runtime may be slower than the sleep, and gone already at a later poll.
                let _ = polled.send(());
                poll
            }));
            waited.expect("this thread may block");
            start.elapsed()
        });
        was_polled.recv().expect("polled");
        drop(runtime);
        assert!(waiting.join().expect("joined") >= 20 * MS);
    }
}

#[test]
fn a_sleep_that_begins_after_the_end_of_its_runtime_is_over_in_time() {
    let runtime = runtime(2);
    let handle = runtime.handle().clone();
    drop(runtime);
    for _ in 0..3 {
        let start = Instant::now();
        handle.block_on(sleep(MS)).expect("blocked");
        assert!(start.elapsed() >= MS);
    }
    let late = handle.block_on(timeout(MS, std::future::pending::<()>()));
    assert!(late.expect("blocked").is_err());
    let mut ticks = interval(MS);
    let ticked = handle.block_on(async {
        for _ in 0..3 {
            ticks.tick().await;
        }
    });
    ticked.expect("blocked");
    // Nor does it matter whose executor polls it.
    let _entered = handle.enter();
    let start = Instant::now();
    futures_lite::future::block_on(sleep(MS));
    assert!(start.elapsed() >= MS);
}

#[test]
fn a_sleep_may_outlive_its_loop_and_is_over_in_time() {
    let el = EventLoop::new().expect("a loop");
    let start = Instant::now();
    let mut kept = Box::pin(sleep(5 * MS));
    let polled = el.block_on(async { poll_once(kept.as_mut()).is_pending() });
    assert!(polled.expect("blocked"));
    drop(el);
    futures_lite::future::block_on(kept);
    assert!(start.elapsed() >= 5 * MS);
}

#[test]
fn timers_left_behind_leave_no_thread() {
    fn threads() -> usize {
        std::fs::read_dir("/proc/self/task")
            .expect("listed")
            .count()
    }
    // Other tests run in this process at the same time, so the count is taken in one of its own.
    if std::env::var_os("LIBRUNTIME_COUNT").is_none() {
        let status = std::process::Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "timers_left_behind_leave_no_thread"])
            .env("LIBRUNTIME_COUNT", "1")
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.expect("run").success());
        return;
    }
    let before = threads();
    let mut kept = Box::pin(sleep(HOUR));
    let runtime = runtime(1);
    let polled = runtime.block_on(async { poll_once(kept.as_mut()).is_pending() });
    assert!(polled.expect("blocked"));
    drop(runtime);
    assert_eq!(threads(), before + 1, "one serves what is left");
    drop(kept);
    while threads() > before {
        std::thread::yield_now();
    }
}

#[test]
fn a_deadline_is_kept_to_the_nanosecond_wherever_the_sleep_is() {
    let before = Instant::now();
    let runtime = runtime(1);
    let deadline = Instant::now() + Duration::from_nanos(1_234_567);
    let mut wait = pin!(sleep_until(deadline));
    assert_eq!(wait.deadline(), deadline);
    runtime
        .block_on(async {
            // On a slow machine it has passed already.
            let _ = poll_once(wait.as_mut());
            assert_eq!(wait.deadline(), deadline);
            wait.as_mut().await;
            assert_eq!(wait.deadline(), deadline);
            assert!(wait.is_elapsed());
            // Before the clock of the runtime's timers began, which they can not express.
            wait.as_mut().reset(Instant::now() + HOUR);
            assert!(poll_once(wait.as_mut()).is_pending());
            let past = before - MS;
            wait.as_mut().reset(past);
            assert_eq!(wait.deadline(), past);
            assert!(poll_once(wait.as_mut()).is_ready());
        })
        .expect("blocked");
}

#[test]
fn a_task_that_waits_is_woken_when_its_sleep_is_set_to_the_past() {
    let before = Instant::now() - MS;
    let runtime = runtime(2);
    for past in [before, Instant::now()] {
        let shared = Arc::new(std::sync::Mutex::new(Box::pin(sleep(HOUR))));
        let waiting = shared.clone();
        let (polled, was_polled) = std::sync::mpsc::channel();
        let task = runtime.spawn(poll_fn(move |cx| {
            let poll = waiting.lock().expect("lock").as_mut().poll(cx);
            let _ = polled.send(());
            poll
        }));
        was_polled.recv().expect("polled");
        shared.lock().expect("lock").as_mut().reset(past);
        runtime.block_on(task).expect("blocked").expect("woken");
    }
}

#[test]
fn a_sleep_goes_anywhere() {
    fn anywhere<T: Send + Sync>() {}
    anywhere::<Sleep>();
    anywhere::<libruntime_core::time::Interval>();
    anywhere::<libruntime_core::time::Timeout<Sleep>>();
}

#[test]
#[should_panic(expected = "belongs to no runtime and no event loop")]
fn a_sleep_outside_of_any_runtime_says_so() {
    let mut lost = pin!(sleep(HOUR));
    let _ = poll_once(lost.as_mut());
}
