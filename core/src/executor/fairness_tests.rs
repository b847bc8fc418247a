//! How long other work waits while tasks wake themselves for ever, in polls: what the README says.

use super::pace::{EVENT_INTERVAL, INJECTOR_INTERVAL};
use super::worker::LIFO_STREAK;
use crate::net::TcpListener;
use crate::runtime::{Builder, Runtime};
use crate::sync::Notify;
use crate::task::yield_now;
use std::future::poll_fn;
use std::net::{Ipv4Addr, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// Tasks of a storm.
const STORM: usize = 5;

/// A worker with tasks that wake themselves, and count the polls.
struct Storm {
    runtime: Runtime,
    polls: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    /// What one of them does in its next poll.
    during: Sender<Box<dyn FnOnce() + Send>>,
}

impl Storm {
    fn new() -> Storm {
        let runtime = Builder::new().worker_threads(1).build().unwrap();
        let polls = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicBool::new(false));
        let (during, does) = channel::<Box<dyn FnOnce() + Send>>();
        let mut does = Some(does);
        for _ in 0..STORM {
            let (polls, ended, does) = (polls.clone(), ended.clone(), does.take());
            drop(runtime.spawn(async move {
                while !ended.load(Ordering::Relaxed) {
                    polls.fetch_add(1, Ordering::Relaxed);
                    if let Some(job) = does.as_ref().and_then(|does| does.try_recv().ok()) {
                        job();
                    }
                    yield_now().await;
                }
            }));
        }
        Storm {
            runtime,
            polls,
            ended,
            during,
        }
    }

    /// Has `ready` run inside a poll, which makes `waiter` ready, and counts the polls until that runs.
    fn polls_until<F>(&self, waiter: F, ready: impl FnOnce() + Send + 'static) -> usize
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let polls = self.polls.clone();
        let waits = Arc::new(AtomicBool::new(false));
        let told = waits.clone();
        let after = self.runtime.spawn(async move {
            let mut waiter = pin!(waiter);
            poll_fn(|cx| {
                let polled = waiter.as_mut().poll(cx);
                told.store(true, Ordering::Release);
                polled
            })
            .await;
            polls.load(Ordering::Relaxed)
        });
        while !waits.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        // If nothing held it up it ran before.
        let (polls, before) = (self.polls.clone(), Arc::new(AtomicUsize::new(usize::MAX)));
        let noted = before.clone();
        let job = move || {
            ready();
            noted.store(polls.load(Ordering::Relaxed), Ordering::Relaxed);
        };
        self.during.send(Box::new(job)).unwrap();
        let after = self.runtime.block_on(after).unwrap().unwrap();
        after.saturating_sub(before.load(Ordering::Relaxed))
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_injected_task_runs_within_the_injectors_interval() {
    let storm = Storm::new();
    for _ in 0..20 {
        let (tell, told) = futures_channel::oneshot::channel::<()>();
        // From a thread that is no worker, so that the wake-up is injected.
        let ready = || {
            let waker = std::thread::spawn(move || _ = tell.send(()));
            waker.join().unwrap();
        };
        let polls = storm.polls_until(async move { _ = told.await }, ready);
        assert!(polls <= INJECTOR_INTERVAL as usize, "{polls}");
    }
}

#[test]
fn a_timer_that_is_due_fires_within_the_event_interval() {
    let storm = Storm::new();
    for _ in 0..5 {
        let due = crate::time::sleep(Duration::from_millis(20));
        // In the poll, on purpose: the timer is to come due while its worker is kept from looking.
        let ready = || std::thread::sleep(Duration::from_millis(25));
        let polls = storm.polls_until(due, ready);
        assert!(polls <= EVENT_INTERVAL as usize + STORM + 1, "{polls}");
    }
}

#[test]
fn readiness_is_served_within_the_event_interval() {
    let storm = Storm::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listener = storm.runtime.block_on(listener).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let listener = Arc::new(listener);
    for _ in 0..20 {
        let accepting = listener.clone();
        let waiter = async move { drop(accepting.accept().await.unwrap()) };
        let polls = storm.polls_until(waiter, move || drop(TcpStream::connect(address).unwrap()));
        assert!(polls <= EVENT_INTERVAL as usize + STORM + 1, "{polls}");
    }
}

#[test]
fn a_queued_task_has_its_turn_while_two_wake_each_other() {
    let runtime = Builder::new().worker_threads(1).build().unwrap();
    let polls = Arc::new(AtomicUsize::new(0));
    let sides = [Arc::new(Notify::new()), Arc::new(Notify::new())];
    for side in 0..2 {
        let (polls, own, other) = (polls.clone(), sides[side].clone(), sides[1 - side].clone());
        drop(runtime.spawn(async move {
            loop {
                own.notified().await;
                polls.fetch_add(1, Ordering::Relaxed);
                other.notify_one();
            }
        }));
    }
    let third = runtime.spawn(async move {
        // The two wait by then: their first polls are turns of the queue.
        yield_now().await;
        sides[0].notify_one();
        let (mut seen, mut most) = (0, 0);
        for _ in 0..1000 {
            yield_now().await;
            let now = polls.load(Ordering::Relaxed);
            most = most.max(now - seen);
            seen = now;
        }
        (seen, most)
    });
    let (all, most) = runtime.block_on(third).unwrap().unwrap();
    assert!(all >= 1000, "they did wake each other: {all}");
    // One of the two is in the queue itself, before the third, if polls have just been long.
    assert!(most <= LIFO_STREAK as usize + 1, "{most}");
}
