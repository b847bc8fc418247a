//! What becomes of a runtime when the system gives it no thread. A test of its own: the limit is the
//! process's, and the superuser has to become somebody else for it to hold.

// The tool starts a process when it has something to tell, and there may be none.
#![cfg(all(target_os = "linux", not(libruntime_tsan)))]

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures_lite::future::poll_once;
use libruntime_core::blocking::drop_in_background;
use libruntime_core::event_loop::EventLoop;
use libruntime_core::process::Command;
use libruntime_core::runtime::Builder;
use libruntime_core::time::sleep;
use libruntime_core::{fs, net, spawn, spawn_blocking, task};

const SOON: Duration = Duration::from_millis(30);

/// Whether threads can be had from now on.
fn allow_threads(allow: bool) {
    // SAFETY: zeroes are a valid limit.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: the limit is valid for the duration of both calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NPROC, &mut limit), 0);
        limit.rlim_cur = if allow { limit.rlim_max } else { 1 };
        assert_eq!(libc::setrlimit(libc::RLIMIT_NPROC, &limit), 0);
    }
}

/// The limit does not hold for the superuser; for one of a container it does, where this may fail.
fn be_nobody() {
    const NOBODY: libc::uid_t = 65_534;
    // SAFETY: plain calls. A process that can be traced is one whose leaks can be looked for.
    unsafe {
        if libc::geteuid() == 0 && libc::setuid(NOBODY) == 0 {
            assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1), 0);
        }
    }
}

#[test]
fn what_needs_a_thread_that_can_not_be_had_fails_and_the_rest_goes_on() {
    be_nobody();
    let build = || Builder::new().worker_threads(2).build();
    let runtime = build().unwrap();
    let event_loop = EventLoop::new().unwrap();
    let ending = build().unwrap();
    let (begin, begun) = mpsc::channel();
    let (tell, polled_there) = mpsc::channel();
    let handle = ending.handle().clone();
    let waiting = std::thread::spawn(move || {
        begun.recv().unwrap();
        let start = Instant::now();
        let mut wait = pin!(sleep(SOON));
        let waited = handle.block_on(poll_fn(|cx| {
            let poll = wait.as_mut().poll(cx);
            // Only the first is waited for.
            let _ = tell.send(());
            poll
        }));
        waited.unwrap();
        start.elapsed()
    });

    allow_threads(false);
    let thread = std::thread::Builder::new().spawn(|| ());
    assert!(thread.is_err(), "the limit holds");
    assert_eq!(build().unwrap_err().kind(), ErrorKind::WouldBlock);
    let child = event_loop.block_on(async { Command::new("true").status().await });
    assert!(child.unwrap().is_err());
    runtime
        .block_on(async {
            assert_eq!(spawn(async { 1 }).await.unwrap(), 1);
            assert!(spawn_blocking(|| ()).await.unwrap_err().is_cancelled());
            let error = fs::read("/dev/null").await.unwrap_err();
            assert!(error.to_string().contains("no thread"), "{error}");
            let error = net::lookup_host("localhost:1").await.err().unwrap();
            assert!(error.to_string().contains("no thread"), "{error}");
            let mut literal = net::lookup_host("127.0.0.1:1").await.unwrap();
            assert!(literal.next().is_some());
            assert!(Command::new("true").status().await.is_err());
            let in_place = spawn(async { task::block_in_place(|| 2) });
            assert_eq!(in_place.await.unwrap(), 2);
            drop_in_background(vec![1]);
        })
        .unwrap();

    // Nobody can be had to keep the timers of what has ended, but nobody waits for ever.
    let start = Instant::now();
    let mut kept = Box::pin(sleep(SOON));
    let polled = event_loop.block_on(async { poll_once(kept.as_mut()).await.is_none() });
    assert!(polled.unwrap());
    begin.send(()).unwrap();
    polled_there.recv().unwrap();
    drop((event_loop, ending));
    futures_lite::future::block_on(kept);
    assert!(start.elapsed() >= SOON);
    assert!(waiting.join().unwrap() >= SOON);

    allow_threads(true);
    let done = runtime.block_on(async {
        let job = spawn_blocking(|| 3).await.unwrap();
        (job, fs::read("/dev/null").await.unwrap().len())
    });
    assert_eq!(done.unwrap(), (3, 0));
}
