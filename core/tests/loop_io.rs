//! What the tasks of an event loop wait for: its timers, its sockets, other threads.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use libruntime_core::event_loop::{EventLoop, Turn};
use libruntime_core::net::{TcpListener, TcpStream};
use libruntime_core::runtime::Builder;
use libruntime_core::task::yield_now;
use libruntime_core::time::{interval, sleep, timeout};

const NOW: Option<Duration> = Some(Duration::ZERO);
/// Whether the loop's descriptor is readable when a timer is due.
const TIMER_DESCRIPTOR: bool = cfg!(all(target_os = "linux", not(libruntime_portable)));
const MS: Duration = Duration::from_millis(1);

fn new_loop() -> EventLoop {
    EventLoop::new().expect("a loop")
}

/// Sleeps as a host does: on the descriptor, and where there is no timer behind it, on the timeout.
/// Whether there is something to do, at once or within ten seconds.
fn poll(el: &EventLoop, fd: i32, wait: bool) -> bool {
    let limit = el
        .next_timeout()
        .filter(|_| !TIMER_DESCRIPTOR)
        .map_or(10_000, |next| {
            i32::try_from(next.as_millis()).expect("a short one") + 1
        });
    let milliseconds = if wait { limit } else { 0 };
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&mut poll, 1, milliseconds) == 1 || milliseconds < 10_000 && wait }
}

#[test]
fn run_goes_on_until_every_task_is_done() {
    let el = new_loop();
    let done = Rc::new(Cell::new(0));
    for i in 0..10u32 {
        let done = done.clone();
        drop(el.spawn_local(async move {
            sleep(i * MS / 4).await;
            yield_now().await;
            done.set(done.get() + 1);
        }));
    }
    assert!(el.alive());
    el.run().expect("run");
    assert_eq!(done.get(), 10);
    assert!(!el.alive());
}

#[test]
fn a_task_that_always_yields_starves_neither_timers_nor_descriptors() {
    let el = new_loop();
    let stop = Rc::new(Cell::new(false));
    let seen = stop.clone();
    let busy = el.spawn_local(async move {
        while !seen.get() {
            yield_now().await;
        }
    });
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut writer, b"x").expect("written");
    let heard = Rc::new(Cell::new(false));
    let hearing = heard.clone();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&reader);
    let interest = libruntime_core::reactor::Interest::READ;
    let watch = el
        .watch(fd, interest, move |_| hearing.set(true))
        .expect("watched");
    assert_eq!(el.turn(NOW).expect("turn"), Turn::More);
    assert!(heard.get());
    drop(watch);
    let _timer = el.add_timer_after(MS, None, move || stop.set(true));
    el.block_on(busy).expect("blocked").expect("the task");
}

#[test]
fn wakes_from_other_threads_race_the_end_of_the_loop() {
    for _ in 0..200 {
        let el = new_loop();
        let woken = Arc::new(AtomicBool::new(false));
        let stopped = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = std::sync::mpsc::channel();
        let bound = Rc::new(());
        let (kept, state) = (bound.clone(), woken.clone());
        drop(el.spawn_local(poll_fn(move |cx| {
            let _ = &kept;
            state.store(true, Ordering::Relaxed);
            let _ = sender.send(cx.waker().clone());
            Poll::<()>::Pending
        })));
        let stop = stopped.clone();
        let waker = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for waker in receiver.try_iter() {
                    waker.wake_by_ref();
                    waker.wake();
                }
            }
        });
        while !woken.load(Ordering::Relaxed) {
            el.turn(None).expect("turn");
        }
        el.turn(Some(MS)).expect("turn");
        drop(el);
        assert_eq!(Rc::strong_count(&bound), 1);
        stopped.store(true, Ordering::Relaxed);
        waker.join().expect("joined");
    }
}

#[test]
fn a_host_sees_tasks_and_their_timers_on_the_descriptor() {
    let el = new_loop();
    let fd = el.backend_fd().expect("embedding");
    let done = Rc::new(Cell::new(false));
    let flag = done.clone();
    drop(el.spawn_local(async move {
        for _ in 0..1000 {
            yield_now().await;
        }
        let start = Instant::now();
        sleep(2 * MS).await;
        assert!(start.elapsed() >= 2 * MS);
        flag.set(true);
    }));
    let mut turns = 0;
    while !done.get() {
        assert!(poll(&el, fd, true));
        el.turn(NOW).expect("turn");
        turns += 1;
    }
    assert!(turns >= 4, "the work of one turn is bounded");
    while el.turn(NOW).expect("turn") == Turn::More {}
    assert!(!poll(&el, fd, false));
}

#[test]
fn a_sleep_set_by_another_thread_makes_the_descriptor_readable() {
    let el = new_loop();
    let fd = el.backend_fd().expect("embedding");
    let slept = Arc::new(AtomicBool::new(false));
    let flag = slept.clone();
    let long = Arc::new(std::sync::Mutex::new(Box::pin(sleep(Duration::from_secs(
        3600,
    )))));
    let waiting = long.clone();
    drop(el.spawn_local(async move {
        poll_fn(|cx| std::future::Future::poll(waiting.lock().expect("lock").as_mut(), cx)).await;
        flag.store(true, Ordering::Release);
    }));
    while el.turn(NOW).expect("turn") == Turn::More {}
    assert!(!poll(&el, fd, false));
    let resetting = thread::spawn(move || {
        long.lock()
            .expect("lock")
            .as_mut()
            .reset(Instant::now() + MS);
    });
    while !slept.load(Ordering::Acquire) {
        assert!(poll(&el, fd, true));
        el.turn(NOW).expect("turn");
    }
    resetting.join().expect("joined");
}

#[test]
fn an_attached_runtime_does_the_work_that_is_not_for_the_loop() {
    let runtime = Builder::new().worker_threads(1).build().expect("a runtime");
    let el = new_loop();
    el.set_runtime(Some(runtime.handle().clone()));
    let here = thread::current().id();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = seen.clone();
    el.block_on(async move {
        let elsewhere = libruntime_core::spawn(async { thread::current().id() });
        let value = elsewhere.await.expect("the task");
        log.borrow_mut().push(value);
        let job = libruntime_core::spawn_blocking(|| thread::current().id());
        let value = job.await.expect("the job");
        log.borrow_mut().push(value);
        log.borrow_mut().push(thread::current().id());
    })
    .expect("blocked");
    assert_eq!(seen.borrow().iter().filter(|&&id| id == here).count(), 1);
    el.set_runtime(None);
    let alone = el.block_on(async { libruntime_core::runtime::Handle::try_current().is_err() });
    assert!(alone.expect("blocked"));
}

#[test]
fn a_server_and_its_clients_share_a_loop() {
    let el = new_loop();
    let total = el.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let server = libruntime_core::event_loop::spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("accepted");
                drop(libruntime_core::event_loop::spawn_local(async move {
                    let mut buffer = [0; 64];
                    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                        stream.write_all(&buffer[..n]).await.expect("written");
                    }
                }));
            }
        });
        let total = Rc::new(Cell::new(0));
        let clients: Vec<_> = (0..50)
            .map(|_| {
                let total = total.clone();
                libruntime_core::event_loop::spawn_local(async move {
                    let mut stream = TcpStream::connect(address).await.expect("connected");
                    for round in 0..20u8 {
                        stream.write_all(&[round; 32]).await.expect("written");
                        let mut back = [0; 32];
                        stream.read_exact(&mut back).await.expect("read");
                        assert_eq!(back, [round; 32]);
                        total.set(total.get() + 1);
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.expect("a client");
        }
        server.abort();
        assert!(server.await.expect_err("aborted").is_cancelled());
        total.get()
    });
    assert_eq!(total.expect("blocked"), 1000);
}

#[test]
fn a_post_that_comes_while_the_loop_polls_what_it_blocks_on_is_delivered() {
    let el = new_loop();
    let handle = el.handle();
    let (sender, receiver) = std::sync::mpsc::channel();
    // Posted before the first poll, and during it: neither poll may swallow the wake.
    for when in 0..2 {
        let (handle, sender) = (handle.clone(), sender.clone());
        let post = move || {
            handle
                .post(move || sender.send(when).expect("heard"))
                .expect("posted")
        };
        if when == 0 {
            post();
            el.block_on(async {}).expect("blocked");
        } else {
            el.block_on(async { post() }).expect("blocked");
        }
        el.turn(None).expect("turn");
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [when]);
    }
    // And if that is what the future waits for.
    let (done, waiting) = (Rc::new(Cell::new(false)), handle.clone());
    let arrived = Arc::new(AtomicBool::new(false));
    let (flag, seen) = (arrived.clone(), done.clone());
    let mut posted = false;
    el.block_on(poll_fn(move |cx| {
        if !posted {
            posted = true;
            let (flag, waker) = (flag.clone(), cx.waker().clone());
            let post = move || {
                flag.store(true, Ordering::Relaxed);
                waker.wake();
            };
            waiting.post(post).expect("posted");
        }
        if !arrived.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        seen.set(true);
        Poll::Ready(())
    }))
    .expect("blocked");
    assert!(done.get());
}

#[test]
fn intervals_and_timeouts_work_on_a_loop() {
    let el = new_loop();
    el.block_on(async {
        let mut ticks = interval(MS);
        for _ in 0..3 {
            ticks.tick().await;
        }
        assert!(timeout(MS, pending::<()>()).await.is_err());
    })
    .expect("blocked");
}
