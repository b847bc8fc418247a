//! Signals, one for each test, for they are the process's.

use std::future::{Future, pending};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use futures_lite::future;
use libruntime_core::event_loop::EventLoop;
use libruntime_core::runtime::{Builder, Runtime};
use libruntime_core::signal::unix::{Signal, SignalKind, signal};

fn runtime() -> Runtime {
    Builder::new().worker_threads(2).build().unwrap()
}

/// Delivers a signal to this thread, before it returns.
fn raise(kind: SignalKind) {
    // SAFETY: the tests listen to what they raise.
    assert_eq!(unsafe { libc::raise(kind.as_raw_value()) }, 0);
}

fn poll_once(signal: &mut Signal) -> Poll<io::Result<()>> {
    signal.poll_recv(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn signals_are_told_to_every_listener_in_every_home() {
    let kind = SignalKind::user_defined1();
    let (one, two, el) = (runtime(), runtime(), EventLoop::new().unwrap());
    let wait = |mut listener: Signal| async move {
        listener.recv().await.unwrap();
        listener
    };
    let listen = || signal(kind).unwrap();
    for _ in 0..20 {
        let tasks = [
            one.spawn(wait(listen())),
            one.spawn(wait(listen())),
            two.spawn(wait(listen())),
        ];
        let local = el.spawn_local(wait(listen()));
        raise(kind);
        el.block_on(local).unwrap().unwrap();
        for task in tasks {
            one.block_on(task).unwrap().unwrap();
        }
    }
}

#[test]
fn signal_that_came_before_the_wait_is_told_once_and_those_between_are_one() {
    let kind = SignalKind::user_defined2();
    let runtime = runtime();
    let mut listener = signal(kind).unwrap();
    for _ in 0..200 {
        raise(kind);
    }
    runtime
        .block_on(async {
            listener.recv().await.unwrap();
            assert!(poll_once(&mut listener).is_pending());
            // A wait that is given up loses nothing.
            assert!(future::poll_once(listener.recv()).await.is_none());
            raise(kind);
            listener.recv().await.unwrap();
        })
        .unwrap();
}

#[test]
fn former_handler_is_still_called() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn former(_: libc::c_int) {
        CALLS.fetch_add(1, Ordering::SeqCst);
    }
    let kind = SignalKind::hangup();
    let former: extern "C" fn(libc::c_int) = former;
    // SAFETY: a handler that may interrupt anything.
    unsafe { libc::signal(libc::SIGHUP, former as usize) };
    let runtime = runtime();
    let mut listener = signal(kind).unwrap();
    // SAFETY: this thread's errno.
    unsafe { *libc::__errno_location() = 77 };
    raise(kind);
    // SAFETY: as above.
    assert_eq!(unsafe { *libc::__errno_location() }, 77);
    runtime.block_on(listener.recv()).unwrap().unwrap();
    assert_eq!(CALLS.load(Ordering::SeqCst), 1);
    drop(listener);
    raise(kind);
    assert_eq!(CALLS.load(Ordering::SeqCst), 2, "it is back");
}

#[test]
fn ctrl_c_is_told_and_then_given_back() {
    let runtime = runtime();
    // What a shell leaves may be either of the two that are no handlers.
    // SAFETY: no handler.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    let mut wait = Box::pin(libruntime_core::signal::ctrl_c());
    runtime
        .block_on(async {
            assert!(future::poll_once(&mut wait).await.is_none());
            raise(SignalKind::interrupt());
            wait.await.unwrap();
        })
        .unwrap();
    // SAFETY: no handler.
    let now = unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    assert_eq!(now, libc::SIG_IGN);
}

#[test]
fn listeners_come_and_go_while_signals_arrive() {
    let kind = SignalKind::io();
    let _keep = signal(kind).unwrap();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..500 {
                    raise(kind);
                }
            })
        })
        .collect();
    for _ in 0..500 {
        let mut listener = signal(kind).unwrap();
        raise(kind);
        assert!(poll_once(&mut listener).is_ready());
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn wait_ends_with_an_error_when_its_runtime_does() {
    let (first, second) = (runtime(), runtime());
    let mut listener = signal(SignalKind::quit()).unwrap();
    {
        let _first = first.enter();
        assert!(poll_once(&mut listener).is_pending());
    }
    let wait = second.spawn(async move { listener.recv().await });
    drop(first);
    assert!(second.block_on(wait).unwrap().unwrap().is_err());
}

#[test]
fn wait_outside_of_any_home_is_an_error() {
    let mut listener = signal(SignalKind::pipe()).unwrap();
    assert!(matches!(poll_once(&mut listener), Poll::Ready(Err(_))));
}

#[test]
fn shutdown_drops_a_task_that_waits() {
    let runtime = runtime();
    let task = runtime.spawn(async {
        let mut listener = signal(SignalKind::terminate()).unwrap();
        let waiting = listener.recv();
        future::or(async { waiting.await.unwrap() }, pending()).await;
    });
    drop(runtime);
    let mut task = std::pin::pin!(task);
    let polled = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Err(error)) if error.is_cancelled()));
}
