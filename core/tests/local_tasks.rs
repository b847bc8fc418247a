//! Tasks of an event loop, and a loop beside a runtime.

use libruntime_core::event_loop::{BlockOnError, EventLoop, Turn};
use libruntime_core::runtime::{Builder, Handle};
use libruntime_core::task::{JoinHandle, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

const NOW: Option<Duration> = Some(Duration::ZERO);

fn new_loop() -> EventLoop {
    EventLoop::new().unwrap()
}

/// Remembers the thread that it is dropped on.
struct DropThread(Rc<Cell<Option<ThreadId>>>);

impl Drop for DropThread {
    fn drop(&mut self) {
        assert!(self.0.get().is_none(), "dropped twice");
        self.0.set(Some(thread::current().id()));
    }
}

fn now_or_never<T>(handle: JoinHandle<T>) -> Option<Result<T, libruntime_core::task::JoinError>> {
    match pin!(handle).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[test]
fn local_future_that_is_not_send_runs_and_joins() {
    let el = new_loop();
    let shared = Rc::new(RefCell::new(Vec::new()));
    for i in 0..3 {
        let shared = shared.clone();
        drop(el.spawn_local(async move {
            shared.borrow_mut().push(i);
            yield_now().await;
            shared.borrow_mut().push(10 + i);
        }));
    }
    let last = el.spawn_local(async { Rc::new(7) });
    assert!(el.alive());
    el.run().unwrap();
    assert_eq!(*shared.borrow(), [0, 1, 2, 10, 11, 12]);
    assert_eq!(*now_or_never(last).unwrap().unwrap(), 7);
    assert!(!el.alive());
}

#[test]
fn block_on_returns_the_output() {
    let el = new_loop();
    let value = Rc::new(5);
    let task = el.spawn_local({
        let value = value.clone();
        async move { *value + 1 }
    });
    assert_eq!(
        el.block_on(async { task.await.unwrap() + *value }).unwrap(),
        11
    );
}

#[test]
fn block_on_inside_a_turn_or_another_is_refused() {
    let el = Rc::new(new_loop());
    let inner = el.clone();
    let task = el.spawn_local(async move { inner.block_on(async {}) });
    let result = el.block_on(task).unwrap().unwrap();
    assert!(matches!(result, Err(BlockOnError::Nested)));
    let other = new_loop();
    let nested = el.block_on(async { other.block_on(async {}) }).unwrap();
    assert!(matches!(nested, Err(BlockOnError::Nested)));
    assert!(el.block_on(async {}).is_ok());
}

#[test]
fn block_on_ends_when_the_loop_is_stopped() {
    let el = new_loop();
    let handle = el.handle();
    let stopper = thread::spawn(move || handle.stop());
    assert!(matches!(
        el.block_on(pending::<()>()),
        Err(BlockOnError::Stopped)
    ));
    stopper.join().unwrap();
}

#[test]
fn wake_from_another_thread_reaches_a_waiting_loop() {
    let el = new_loop();
    let (send, receive) = mpsc::channel::<Waker>();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let waker_thread = thread::spawn(move || {
        for waker in receive {
            counted.fetch_add(1, Ordering::SeqCst);
            waker.wake();
        }
    });
    let task = el.spawn_local(poll_fn(move |cx| {
        let seen = count.load(Ordering::SeqCst);
        if seen == 100 {
            return Poll::Ready(seen);
        }
        send.send(cx.waker().clone()).unwrap();
        Poll::Pending
    }));
    assert_eq!(el.block_on(task).unwrap().unwrap(), 100);
    waker_thread.join().unwrap();
}

#[test]
fn foreign_thread_spawns_send_tasks() {
    let el = new_loop();
    let handle = el.handle();
    let own = thread::current().id();
    let alive = handle.keep_alive();
    let spawner = thread::spawn(move || {
        let task = handle.spawn(async { thread::current().id() });
        drop(alive);
        task
    });
    el.run().unwrap();
    let task = spawner.join().unwrap();
    el.run().unwrap();
    assert_eq!(now_or_never(task).unwrap().unwrap(), own);
}

#[test]
fn spawn_on_a_loop_that_is_gone_is_cancelled() {
    let el = new_loop();
    let handle = el.handle();
    drop(el);
    let task = handle.spawn(async {});
    assert!(now_or_never(task).unwrap().unwrap_err().is_cancelled());
}

#[test]
fn dropped_loop_drops_waiting_and_queued_tasks_on_its_thread() {
    let el = new_loop();
    let waiting = Rc::new(Cell::new(None));
    let queued = Rc::new(Cell::new(None));
    let (a, b) = (DropThread(waiting.clone()), DropThread(queued.clone()));
    let first = el.spawn_local(async move {
        let _guard = a;
        pending::<()>().await;
    });
    assert_eq!(el.turn(NOW).unwrap(), Turn::Idle);
    let second = el.spawn_local(async move { drop(b) });
    drop(el);
    let own = Some(thread::current().id());
    assert_eq!((waiting.get(), queued.get()), (own, own));
    assert!(now_or_never(first).unwrap().unwrap_err().is_cancelled());
    assert!(now_or_never(second).unwrap().unwrap_err().is_cancelled());
}

#[test]
fn dropped_loop_waits_for_wakes_that_are_on_their_way() {
    for _ in 0..200 {
        let el = new_loop();
        let dropped = Rc::new(Cell::new(None));
        let guard = DropThread(dropped.clone());
        let (send, receive) = mpsc::channel::<Waker>();
        drop(el.spawn_local(poll_fn(move |cx| {
            let _guard = &guard;
            send.send(cx.waker().clone()).unwrap();
            Poll::<()>::Pending
        })));
        el.turn(NOW).unwrap();
        let waker = receive.recv().unwrap();
        let waking = thread::spawn(move || waker.wake());
        drop(el);
        assert_eq!(dropped.get(), Some(thread::current().id()));
        waking.join().unwrap();
    }
}

#[test]
fn drop_of_a_task_may_wake_another_at_the_end() {
    let el = new_loop();
    let first = el.spawn_local(pending::<()>());
    let second = el.spawn_local(async move { drop(first.await) });
    el.turn(NOW).unwrap();
    drop(el);
    assert!(second.is_finished());
}

#[test]
fn tasks_do_not_starve_the_rest_of_a_turn() {
    let el = new_loop();
    let stop = Rc::new(Cell::new(false));
    let seen = stop.clone();
    let storm = el.spawn_local(async move {
        while !seen.get() {
            yield_now().await;
        }
    });
    let timer = el.add_timer_after(Duration::from_millis(1), None, move || stop.set(true));
    el.run().unwrap();
    assert!(storm.is_finished());
    drop(timer);
}

#[test]
fn run_until_stalled_does_all_that_needs_no_wait() {
    let el = new_loop();
    let (open, gate) = futures_channel::oneshot::channel::<()>();
    let steps = Rc::new(RefCell::new(Vec::new()));
    let log = steps.clone();
    let task = el.spawn_local(async move {
        for i in 0..1000 {
            log.borrow_mut().push(i);
            yield_now().await;
        }
        gate.await.unwrap();
        log.borrow_mut().push(1000);
        // Not due within this test.
        libruntime_core::time::sleep(Duration::from_secs(3600)).await;
    });
    assert!(el.run_until_stalled().unwrap(), "the task waits");
    assert_eq!(steps.borrow().len(), 1000);
    assert!(el.run_until_stalled().unwrap());
    assert_eq!(steps.borrow().len(), 1000, "nothing has happened since");
    open.send(()).unwrap();
    assert!(el.run_until_stalled().unwrap());
    assert_eq!(steps.borrow().len(), 1001);
    task.abort();
    assert!(!el.run_until_stalled().unwrap(), "nothing is left");
    assert!(now_or_never(task).unwrap().unwrap_err().is_cancelled());
}

#[test]
fn run_until_stalled_delivers_what_was_posted_and_ends_at_a_stop() {
    let el = new_loop();
    let handle = el.handle();
    let posted = Arc::new(AtomicUsize::new(0));
    let seen = posted.clone();
    thread::spawn(move || {
        handle
            .post(move || {
                seen.fetch_add(1, Ordering::SeqCst);
            })
            .unwrap();
    })
    .join()
    .unwrap();
    assert!(!el.run_until_stalled().unwrap());
    assert_eq!(posted.load(Ordering::SeqCst), 1);
    let handle = el.handle();
    drop(el.spawn_local(async move {
        for i in 0.. {
            if i == 10_000 {
                handle.stop();
            }
            yield_now().await;
        }
    }));
    assert!(el.run_until_stalled().unwrap(), "the storm is alive");
    let el = Rc::new(el);
    let inner = el.clone();
    let nested = el.spawn_local(async move { inner.run_until_stalled().unwrap_err().kind() });
    let kind = el.block_on(nested).unwrap().unwrap();
    assert_eq!(kind, std::io::ErrorKind::ResourceBusy);
}

#[test]
fn spawn_local_is_there_in_tasks_callbacks_and_what_a_loop_blocks_on() {
    let el = new_loop();
    let not_send = Rc::new(Cell::new(0));
    let add = |not_send: &Rc<Cell<i32>>| {
        let not_send = not_send.clone();
        move || {
            let not_send = not_send.clone();
            let task = libruntime_core::task::spawn_local(async move {
                not_send.set(not_send.get() + 1);
            });
            drop(task);
        }
    };
    let (in_task, in_callback, in_root) = (add(&not_send), add(&not_send), add(&not_send));
    drop(el.spawn_local(async move { in_task() }));
    let timer = el.add_timer_after(Duration::ZERO, None, in_callback);
    el.block_on(async { in_root() }).unwrap();
    el.run().unwrap();
    assert_eq!(not_send.get(), 3);
    drop(timer);
}

#[test]
fn panicking_task_leaves_the_loop_usable() {
    let el = new_loop();
    let bad = el.spawn_local(async { panic!("on purpose") });
    el.run().unwrap();
    assert!(now_or_never(bad).unwrap().unwrap_err().is_panic());
    let good = el.spawn_local(async { 1 });
    el.run().unwrap();
    assert_eq!(now_or_never(good).unwrap().unwrap(), 1);
}

#[test]
fn spawn_between_turns_makes_an_embedded_loop_readable() {
    let el = new_loop();
    let fd = el.backend_fd().unwrap();
    let readable = || {
        let mut poll = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    };
    while el.turn(NOW).unwrap() == Turn::More {}
    assert!(!readable());
    let task = el.spawn_local(async {});
    assert!(readable());
    assert_eq!(el.next_timeout(), NOW);
    el.turn(None).unwrap();
    assert!(task.is_finished());
}

#[test]
fn loop_with_a_runtime_awaits_its_work() {
    let runtime = Builder::new().worker_threads(2).build().unwrap();
    let el = new_loop();
    el.set_runtime(Some(runtime.handle().clone()));
    let own = thread::current().id();
    let (on_worker, on_pool, here) = el
        .block_on(async move {
            assert!(Handle::try_current().is_ok());
            let task = libruntime_core::spawn(async { thread::current().id() });
            let job = libruntime_core::spawn_blocking(|| thread::current().id());
            (
                task.await.unwrap(),
                job.await.unwrap(),
                thread::current().id(),
            )
        })
        .unwrap();
    assert!(on_worker != own && on_pool != own && here == own);
    assert!(Handle::try_current().is_err());
    el.set_runtime(None);
    el.block_on(async { assert!(Handle::try_current().is_err()) })
        .unwrap();
}

#[test]
fn task_of_a_runtime_awaits_a_task_of_a_loop() {
    let runtime = Builder::new().worker_threads(1).build().unwrap();
    let el = new_loop();
    let handle = el.handle();
    let stop = el.handle();
    drop(runtime.spawn(async move {
        let there = handle
            .spawn(async { thread::current().id() })
            .await
            .unwrap();
        assert_ne!(there, thread::current().id());
        stop.stop();
    }));
    let _alive = el.handle().keep_alive();
    el.run().unwrap();
}
