//! The loop's promises, by section.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{EventLoop, Hooks, LoopTimer, Turn, Watch};
use crate::reactor::{Interest, Ready};

const NOW: Option<Duration> = Some(Duration::ZERO);

fn new_loop() -> EventLoop {
    EventLoop::new().expect("a loop")
}

fn pair() -> (UnixStream, UnixStream) {
    let (a, b) = UnixStream::pair().expect("a socket pair");
    a.set_nonblocking(true).expect("non-blocking");
    b.set_nonblocking(true).expect("non-blocking");
    (a, b)
}

/// A log that callbacks write and the test reads.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<&'static str>>>);

impl Log {
    fn say(&self, what: &'static str) -> impl Fn() + use<> {
        let log = self.clone();
        move || log.0.borrow_mut().push(what)
    }

    fn take(&self) -> Vec<&'static str> {
        self.0.take()
    }
}

/// Whether the loop's descriptor is readable when a timer is due.
const TIMER_DESCRIPTOR: bool = cfg!(all(target_os = "linux", not(libruntime_portable)));

/// Sleeps as a host does: on the descriptor, and where there is no timer behind it, on the timeout.
/// Whether there was something to do within ten seconds.
fn host_sleeps(el: &EventLoop, fd: i32) -> bool {
    match el.next_timeout() {
        Some(next) if !TIMER_DESCRIPTOR => {
            poll(
                fd,
                i32::try_from(next.as_millis()).expect("a short one") + 1,
            );
            true
        }
        _ => poll(fd, 10_000),
    }
}

/// Whether `fd` is readable at this moment, or within `milliseconds`, as a host would see it.
fn poll(fd: i32, milliseconds: i32) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&mut poll, 1, milliseconds) == 1 }
}

mod running {
    use super::*;

    #[test]
    fn run_returns_when_nothing_is_alive() {
        let el = new_loop();
        assert!(!el.alive());
        el.run().expect("run");
        assert!(!el.run_once().expect("run_once"));
    }

    #[test]
    fn stop_before_run_is_honoured_and_used_up() {
        let el = new_loop();
        let log = Log::default();
        let _timer = el.add_timer_after(Duration::ZERO, None, log.say("timer"));
        el.stop();
        el.run().expect("run");
        assert!(log.take().is_empty());
        el.run().expect("run");
        assert_eq!(log.take(), ["timer"]);
    }

    #[test]
    fn stop_from_a_callback_ends_run_after_the_turn() {
        let el = Rc::new(new_loop());
        let inner = el.clone();
        let rounds = Rc::new(Cell::new(0));
        let count = rounds.clone();
        let _timer = el.add_timer_after(Duration::ZERO, Some(Duration::ZERO), move || {
            count.set(count.get() + 1);
            if count.get() == 3 {
                inner.stop();
            }
        });
        el.run().expect("run");
        assert_eq!(rounds.get(), 3);
        assert!(el.alive());
    }

    #[test]
    fn stop_from_another_thread_ends_a_sleeping_run() {
        let el = new_loop();
        let handle = el.handle();
        let _keep = handle.keep_alive();
        let thread = thread::spawn(move || handle.stop());
        el.run().expect("run");
        thread.join().expect("joined");
    }

    #[test]
    fn a_turn_inside_a_turn_is_refused() {
        let el = Rc::new(new_loop());
        let inner = el.clone();
        let seen = Rc::new(Cell::new(false));
        let flag = seen.clone();
        let _timer = el.add_timer_after(Duration::ZERO, None, move || {
            let error = inner.turn(NOW).expect_err("re-entered");
            assert_eq!(error.kind(), ErrorKind::ResourceBusy);
            assert_eq!(
                inner.run().expect_err("re-entered").kind(),
                ErrorKind::ResourceBusy
            );
            flag.set(true);
        });
        // The loop itself keeps going.
        let _keep = el.handle().keep_alive();
        el.turn(NOW).expect("turn");
        assert!(seen.get());
        assert_eq!(el.turn(NOW).expect("turn"), Turn::Idle);
    }

    #[test]
    fn keep_alive_holds_run_until_it_is_dropped() {
        let el = new_loop();
        let keep = el.handle().keep_alive();
        assert!(el.alive());
        let thread = thread::spawn(move || drop(keep));
        el.run().expect("run");
        assert!(!el.alive());
        thread.join().expect("joined");
    }

    #[test]
    fn hooks_surround_only_a_wait_that_may_block() {
        let el = new_loop();
        let log = Log::default();
        el.set_hooks(Hooks {
            before_wait: Some(Box::new(log.say("before"))),
            after_wait: Some(Box::new(log.say("after"))),
            after_turn: Some(Box::new(log.say("turned"))),
        });
        let _timer = el.add_timer_after(Duration::from_millis(1), None, log.say("timer"));
        el.turn(NOW).expect("turn");
        assert_eq!(log.take(), ["turned"]);
        el.run().expect("run");
        let said = log.take();
        assert_eq!(said[..2], ["before", "after"]);
        assert_eq!(said[said.len() - 2..], ["timer", "turned"]);
    }

    #[test]
    fn a_turn_goes_messages_then_timers_then_descriptors_then_the_hook() {
        let el = new_loop();
        let log = Log::default();
        let (a, mut b) = pair();
        b.write_all(b"x").expect("write");
        let say = log.say("descriptor");
        let _watch = el
            .watch(a.as_raw_fd(), Interest::READ, move |_| say())
            .expect("watch");
        let _timer = el.add_timer_after(Duration::ZERO, None, log.say("timer"));
        let posted = SendLog(Arc::default());
        let message = posted.clone();
        el.handle()
            .post(move || message.0.lock().expect("lock").push("message"))
            .expect("post");
        let hook = log.say("hook");
        let at_message = posted.clone();
        let check = log.clone();
        let _early = el.add_timer_after(Duration::ZERO, None, move || {
            assert_eq!(*at_message.0.lock().expect("lock"), ["message"]);
            assert_eq!(*check.0.borrow(), ["timer"]);
        });
        el.set_hooks(Hooks {
            after_turn: Some(Box::new(hook)),
            ..Hooks::default()
        });
        el.turn(NOW).expect("turn");
        assert_eq!(log.take(), ["timer", "descriptor", "hook"]);
    }

    #[derive(Clone)]
    struct SendLog(Arc<std::sync::Mutex<Vec<&'static str>>>);
}

mod waking {
    use super::*;

    #[test]
    fn a_wake_ends_a_wait() {
        let el = new_loop();
        let handle = el.handle();
        let thread = thread::spawn(move || handle.wake());
        el.turn(None).expect("turn");
        thread.join().expect("joined");
    }

    #[test]
    fn posted_calls_run_in_order_and_what_they_post_runs_in_the_next_turn() {
        let el = new_loop();
        let handle = el.handle();
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        for i in 0..10 {
            let (order, again) = (order.clone(), handle.clone());
            let post = move || {
                order.lock().expect("lock").push(i);
                let order = order.clone();
                again
                    .post(move || order.lock().expect("lock").push(i + 100))
                    .expect("post");
            };
            handle.post(post).expect("post");
        }
        assert_eq!(el.turn(NOW).expect("turn"), Turn::More);
        assert_eq!(*order.lock().expect("lock"), (0..10).collect::<Vec<_>>());
        assert_eq!(el.turn(None).expect("turn"), Turn::Idle);
        assert_eq!(
            order.lock().expect("lock")[10..],
            (100..110).collect::<Vec<_>>()
        );
    }

    #[test]
    fn posts_from_many_threads_all_arrive() {
        const THREADS: usize = 8;
        const POSTS: usize = if cfg!(miri) { 10 } else { 2000 };
        let el = new_loop();
        let arrived = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (handle, arrived) = (el.handle(), arrived.clone());
                thread::spawn(move || {
                    for _ in 0..POSTS {
                        let arrived = arrived.clone();
                        let post = move || {
                            arrived.fetch_add(1, Ordering::Relaxed);
                        };
                        handle.post(post).expect("post");
                    }
                })
            })
            .collect();
        while arrived.load(Ordering::Relaxed) < THREADS * POSTS {
            el.turn(None).expect("turn");
        }
        for thread in threads {
            thread.join().expect("joined");
        }
    }

    #[test]
    fn the_state_before_the_last_wake_is_seen() {
        let el = new_loop();
        let state = Arc::new(AtomicUsize::new(0));
        let (handle, writer) = (el.handle(), state.clone());
        let thread = thread::spawn(move || {
            for i in 1..=1000 {
                writer.store(i, Ordering::Relaxed);
                handle.wake();
            }
        });
        while state.load(Ordering::Relaxed) < 1000 {
            el.turn(None).expect("turn");
        }
        thread.join().expect("joined");
    }

    #[test]
    fn notify_is_called_once_until_the_next_turn() {
        let el = new_loop();
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = calls.clone();
        el.set_notify(Some(Box::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        })));
        let handle = el.handle();
        for _ in 0..5 {
            handle.wake();
            handle.post(|| ()).expect("post");
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        el.turn(NOW).expect("turn");
        let _timer = el.add_timer_after(Duration::from_secs(60), None, || ());
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        el.turn(NOW).expect("turn");
        el.set_notify(None);
        handle.wake();
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        assert_eq!(Arc::strong_count(&calls), 1);
    }

    #[test]
    fn handles_outlive_the_loop_and_do_nothing() {
        let el = new_loop();
        let handle = el.handle();
        let dropped = Arc::new(());
        let held = dropped.clone();
        handle.post(move || drop(held)).expect("post");
        drop(el);
        assert_eq!(Arc::strong_count(&dropped), 1);
        handle.wake();
        handle.stop();
        assert!(handle.is_closed());
        assert!(handle.post(|| ()).is_err());
    }

    #[test]
    fn wakes_race_the_end_of_the_loop() {
        for _ in 0..if cfg!(miri) { 2 } else { 200 } {
            let el = new_loop();
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let handle = el.handle();
                    thread::spawn(move || {
                        while handle.post(|| ()).is_ok() {
                            handle.wake();
                        }
                    })
                })
                .collect();
            el.turn(None).expect("turn");
            drop(el);
            for thread in threads {
                thread.join().expect("joined");
            }
        }
    }
}

mod timers {
    use super::*;

    #[test]
    fn equal_deadlines_fire_in_the_order_they_were_set() {
        let el = new_loop();
        let order = Rc::new(RefCell::new(Vec::new()));
        let deadline = Instant::now() + Duration::from_millis(2);
        for i in 0..100 {
            let order = order.clone();
            el.add_timer(deadline, None, move || order.borrow_mut().push(i))
                .detach();
        }
        el.run().expect("run");
        assert_eq!(*order.borrow(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn timers_fire_in_the_order_of_their_deadlines_and_never_early() {
        let el = new_loop();
        let mut rng = fastrand::Rng::with_seed(1);
        let start = Instant::now();
        let last = Rc::new(Cell::new(start));
        for _ in 0..500 {
            let deadline = start + Duration::from_micros(rng.u64(0..20_000));
            let last = last.clone();
            el.add_timer(deadline, None, move || {
                assert!(Instant::now() >= deadline);
                // To the tick.
                assert!(deadline + Duration::from_nanos(8192) > last.get());
                last.set(deadline);
            })
            .detach();
        }
        el.set_on_panic(|payload| std::panic::resume_unwind(payload));
        el.run().expect("run");
        assert!(last.get() > start);
    }

    #[test]
    fn no_delay_means_the_next_turn_and_not_this_one() {
        let el = Rc::new(new_loop());
        let log = Log::default();
        let (inner, later) = (el.clone(), log.clone());
        let first = log.say("first");
        let _timer = el.add_timer_after(Duration::ZERO, None, move || {
            first();
            inner
                .add_timer_after(Duration::ZERO, None, later.say("second"))
                .detach();
        });
        assert_eq!(el.turn(NOW).expect("turn"), Turn::More);
        assert_eq!(log.take(), ["first"]);
        assert_eq!(el.turn(NOW).expect("turn"), Turn::Idle);
        assert_eq!(log.take(), ["second"]);
    }

    #[test]
    fn a_timer_set_by_a_posted_call_waits_for_the_next_turn() {
        let el = new_loop();
        let log = Log::default();
        thread_local!(static EL: RefCell<Option<Rc<EventLoop>>> = const { RefCell::new(None) });
        thread_local!(static LOG: RefCell<Option<Log>> = const { RefCell::new(None) });
        let el = Rc::new(el);
        EL.set(Some(el.clone()));
        LOG.set(Some(log.clone()));
        el.handle()
            .post(|| {
                let el = EL.take().expect("set");
                let log = LOG.take().expect("set");
                el.add_timer_after(Duration::ZERO, None, log.say("timer"))
                    .detach();
            })
            .expect("post");
        el.turn(NOW).expect("turn");
        assert!(log.take().is_empty());
        el.turn(NOW).expect("turn");
        assert_eq!(log.take(), ["timer"]);
    }

    #[test]
    fn a_timer_stopped_by_another_in_the_same_turn_does_not_fire() {
        let el = new_loop();
        let log = Log::default();
        let victim: Rc<RefCell<Option<LoopTimer>>> = Rc::default();
        let target = victim.clone();
        let _killer = el.add_timer_after(Duration::ZERO, None, move || {
            assert!(target.borrow().as_ref().is_some_and(LoopTimer::stop));
        });
        *victim.borrow_mut() = Some(el.add_timer_after(Duration::ZERO, None, log.say("victim")));
        el.run().expect("run");
        assert!(log.take().is_empty());
        assert!(!el.alive());
    }

    #[test]
    fn a_timer_can_restart_and_drop_itself_in_its_callback() {
        let el = new_loop();
        let slot: Rc<RefCell<Option<LoopTimer>>> = Rc::default();
        let (own, fired) = (slot.clone(), Rc::new(Cell::new(0)));
        let count = fired.clone();
        let timer = el.add_timer_after(Duration::ZERO, None, move || {
            count.set(count.get() + 1);
            if count.get() < 3 {
                own.borrow()
                    .as_ref()
                    .expect("there")
                    .restart(Instant::now(), None);
            } else {
                drop(own.take());
            }
        });
        *slot.borrow_mut() = Some(timer);
        el.run().expect("run");
        assert_eq!(fired.get(), 3);
        assert_eq!(Rc::strong_count(&fired), 1, "the callback was freed");
    }

    #[test]
    fn a_repeating_timer_that_is_late_fires_once() {
        let el = new_loop();
        let fired = Rc::new(Cell::new(0));
        let count = fired.clone();
        let past = Instant::now()
            .checked_sub(Duration::from_secs(1))
            .expect("a second ago");
        let _timer = el.add_timer(past, Some(Duration::from_millis(100)), move || {
            count.set(count.get() + 1)
        });
        el.turn(NOW).expect("turn");
        assert_eq!(fired.get(), 1);
        assert!(
            el.next_timeout()
                .is_some_and(|next| next <= Duration::from_millis(100))
        );
    }

    #[test]
    fn an_endless_timeout_neither_overflows_nor_fires() {
        let el = new_loop();
        let timer = el.add_timer_after(Duration::MAX, Some(Duration::MAX), || panic!("fired"));
        el.turn(NOW).expect("turn");
        assert!(timer.is_active());
        let _nanos = el.add_timer_after(Duration::from_nanos(u64::MAX), None, || panic!("fired"));
        assert_eq!(el.turn(NOW).expect("turn"), Turn::Idle);
    }

    #[test]
    fn an_unreferenced_timer_does_not_keep_run_going() {
        let el = new_loop();
        let log = Log::default();
        let timer = el.add_timer_after(Duration::from_millis(1), None, log.say("timer"));
        timer.set_referenced(false);
        assert!(!el.alive());
        el.run().expect("run");
        assert!(log.take().is_empty());
        timer.set_referenced(true);
        el.run().expect("run");
        assert_eq!(log.take(), ["timer"]);
        assert!(!el.alive());
    }

    #[test]
    fn a_million_timers_stop_in_any_order() {
        let n = if cfg!(miri) { 50 } else { 100_000 };
        let el = new_loop();
        let mut rng = fastrand::Rng::with_seed(7);
        let mut timers: Vec<LoopTimer> = (0..n)
            .map(|_| {
                let delay = Duration::from_micros(rng.u64(1_000_000..100_000_000_000));
                el.add_timer_after(delay, None, || panic!("fired"))
            })
            .collect();
        rng.shuffle(&mut timers);
        drop(timers);
        assert!(!el.alive());
        assert_eq!(el.next_timeout(), None);
    }

    #[test]
    fn a_timer_that_owns_itself_is_freed_with_the_loop() {
        let el = new_loop();
        let freed = Rc::new(());
        let (held, slot) = (freed.clone(), Rc::new(RefCell::new(None)));
        let own = slot.clone();
        let timer = el.add_timer_after(Duration::from_secs(60), None, move || {
            let _ = (&held, &own);
        });
        *slot.borrow_mut() = Some(timer);
        drop(slot);
        drop(el);
        assert_eq!(Rc::strong_count(&freed), 1);
    }
}

mod watches {
    use super::*;

    fn count_of(el: &EventLoop, fd: i32, interest: Interest) -> (Watch, Rc<Cell<u32>>) {
        let count = Rc::new(Cell::new(0));
        let counter = count.clone();
        let watch = el.watch(fd, interest, move |_| counter.set(counter.get() + 1));
        (watch.expect("watch"), count)
    }

    #[test]
    fn a_watch_reports_until_it_is_drained() {
        let el = new_loop();
        let (mut a, mut b) = pair();
        let (_watch, count) = count_of(&el, a.as_raw_fd(), Interest::READ);
        el.turn(NOW).expect("turn");
        assert_eq!(count.get(), 0);
        b.write_all(b"xy").expect("write");
        for expected in 1..=3 {
            el.turn(None).expect("turn");
            assert_eq!(count.get(), expected);
        }
        assert_eq!(a.read(&mut [0; 8]).expect("read"), 2);
        el.turn(NOW).expect("turn");
        assert_eq!(count.get(), 3);
    }

    #[test]
    fn one_watch_reports_both_directions_and_can_change_its_mind() {
        let el = new_loop();
        let (a, mut b) = pair();
        let seen = Rc::new(Cell::new(Ready::NONE));
        let last = seen.clone();
        let both = Interest::READ | Interest::WRITE;
        let watch = el
            .watch(a.as_raw_fd(), both, move |ready| last.set(ready))
            .expect("watch");
        el.turn(NOW).expect("turn");
        assert_eq!(seen.take(), Ready::WRITABLE);
        b.write_all(b"x").expect("write");
        el.turn(NOW).expect("turn");
        assert_eq!(seen.take(), Ready::READABLE | Ready::WRITABLE);
        watch.set_interest(Interest::READ).expect("modify");
        el.turn(NOW).expect("turn");
        assert_eq!(seen.take(), Ready::READABLE);
        watch.set_interest(Interest::NONE).expect("pause");
        drop(b);
        el.turn(NOW).expect("turn");
        assert_eq!(seen.take(), Ready::NONE);
        watch.set_interest(Interest::WRITE).expect("resume");
        el.turn(NOW).expect("turn");
        assert!(seen.get().is_writable() && seen.get().is_failure());
    }

    #[test]
    fn hang_up_is_reported_as_such() {
        let el = new_loop();
        let (a, b) = pair();
        let seen = Rc::new(Cell::new(Ready::NONE));
        let last = seen.clone();
        let _watch = el
            .watch(a.as_raw_fd(), Interest::READ, move |ready| last.set(ready))
            .expect("watch");
        drop(b);
        el.turn(None).expect("turn");
        assert!(
            seen.get()
                .contains(Ready::HANGUP | Ready::READ_CLOSED | Ready::READABLE)
        );
    }

    #[test]
    fn a_watch_stopped_in_the_same_turn_is_not_called() {
        let el = new_loop();
        let streams: Vec<_> = (0..4).map(|_| pair()).collect();
        let watches: Rc<RefCell<Vec<Watch>>> = Rc::default();
        let calls = Rc::new(Cell::new(0));
        for (a, b) in &streams {
            let (all, calls) = (watches.clone(), calls.clone());
            let watch = el.watch(a.as_raw_fd(), Interest::READ, move |_| {
                calls.set(calls.get() + 1);
                // All of them, the running one included.
                all.take();
            });
            watches.borrow_mut().push(watch.expect("watch"));
            (&*b).write_all(b"x").expect("write");
        }
        el.turn(None).expect("turn");
        el.turn(NOW).expect("turn");
        assert_eq!(calls.get(), 1);
        assert_eq!(Rc::strong_count(&calls), 1, "the callbacks were freed");
        assert!(!el.alive());
    }

    #[test]
    fn a_slot_reused_in_the_same_turn_gets_no_report_of_its_predecessor() {
        let el = Rc::new(new_loop());
        let (a, b) = pair();
        let (c, _d) = pair();
        let (e, f) = pair();
        let quiet = Rc::new(Cell::new(0));
        let second: Rc<RefCell<Option<Watch>>> = Rc::default();
        let replace = |second: Rc<RefCell<Option<Watch>>>| {
            let (el, quiet, fd) = (el.clone(), quiet.clone(), c.as_raw_fd());
            move |_| {
                if second.take().is_some() {
                    let quiet = quiet.clone();
                    let watch = el.watch(fd, Interest::READ, move |_| quiet.set(quiet.get() + 1));
                    watch.expect("watch").detach();
                }
            }
        };
        let _first = el.watch(a.as_raw_fd(), Interest::READ, replace(second.clone()));
        let third = el
            .watch(e.as_raw_fd(), Interest::READ, |_| ())
            .expect("watch");
        *second.borrow_mut() = Some(third);
        (&b).write_all(b"x").expect("write");
        (&f).write_all(b"x").expect("write");
        el.turn(None).expect("turn");
        assert!(second.borrow().is_none());
        assert_eq!(quiet.get(), 0);
    }

    #[test]
    fn a_descriptor_is_watched_once() {
        let el = new_loop();
        let (a, _b) = pair();
        let (watch, _) = count_of(&el, a.as_raw_fd(), Interest::READ);
        let twice = el.watch(a.as_raw_fd(), Interest::WRITE, |_| ());
        assert_eq!(twice.expect_err("twice").kind(), ErrorKind::AlreadyExists);
        watch.set_interest(Interest::NONE).expect("pause");
        let twice = el.watch(a.as_raw_fd(), Interest::NONE, |_| ());
        assert_eq!(twice.expect_err("twice").kind(), ErrorKind::AlreadyExists);
        watch.stop();
        watch.stop();
        let again = el.watch(a.as_raw_fd(), Interest::NONE, |_| ());
        drop(again.expect("watch"));
        assert!(!el.alive());
    }

    #[test]
    fn what_can_not_be_watched_is_an_error_even_if_paused() {
        let el = new_loop();
        let file = std::fs::File::open("/proc/self/exe").expect("a file");
        for interest in [Interest::READ, Interest::NONE] {
            let error = el
                .watch(file.as_raw_fd(), interest, |_| ())
                .expect_err("a file");
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
            let error = el.watch(-1, interest, |_| ()).expect_err("no descriptor");
            assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        }
        assert!(!el.alive());
    }

    #[test]
    fn a_nested_loop_can_be_watched() {
        let (outer, inner) = (new_loop(), new_loop());
        let (_watch, count) = count_of(
            &outer,
            inner.backend_fd().expect("embedding"),
            Interest::READ,
        );
        outer.turn(NOW).expect("turn");
        assert_eq!(count.get(), 0);
        inner.handle().wake();
        outer.turn(None).expect("turn");
        assert_eq!(count.get(), 1);
        inner.turn(NOW).expect("turn");
        outer.turn(NOW).expect("turn");
        assert_eq!(count.get(), 1);
    }

    #[test]
    fn an_unreferenced_watch_does_not_keep_run_going() {
        let el = new_loop();
        let (a, _b) = pair();
        let (watch, _) = count_of(&el, a.as_raw_fd(), Interest::READ);
        assert!(el.alive());
        watch.set_referenced(false);
        el.run().expect("run");
        watch.set_referenced(true);
        assert!(el.alive());
        watch.set_referenced(false);
        drop(watch);
        assert!(!el.alive());
    }

    #[test]
    fn a_descriptor_closed_under_its_watch_is_silent_and_its_number_can_be_watched_again() {
        let el = new_loop();
        let (a, b) = pair();
        let fd = a.as_raw_fd();
        let (old, old_count) = count_of(&el, fd, Interest::READ);
        drop(a);
        drop(b);
        el.turn(NOW).expect("turn");
        assert_eq!(old_count.get(), 0);
        // Another test may get the number in between: then this one has shown nothing.
        let (c, mut d) = pair();
        // SAFETY: both are descriptors; `fd` is closed or somebody else's test's, which `F_GETFD`
        // tells.
        let free = unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1;
        if fd == c.as_raw_fd() || free {
            let target = if free {
                // SAFETY: `fd` is free.
                unsafe { libc::dup2(c.as_raw_fd(), fd) }
            } else {
                fd
            };
            let (_new, count) = count_of(&el, target, Interest::READ);
            d.write_all(b"x").expect("write");
            old.stop();
            el.turn(NOW).expect("turn");
            assert_eq!((old_count.get(), count.get()), (0, 1));
            if free {
                // SAFETY: made above.
                unsafe { libc::close(target) };
            }
        } else {
            old.stop();
        }
    }
}

mod panics {
    use super::*;

    #[test]
    fn callbacks_that_panic_are_contained_and_reported() {
        let el = new_loop();
        let reports = Rc::new(RefCell::new(Vec::new()));
        let log = reports.clone();
        el.set_on_panic(move |payload| {
            log.borrow_mut()
                .push(*payload.downcast_ref::<&str>().expect("a message"));
        });
        let (a, mut b) = pair();
        b.write_all(b"x").expect("write");
        el.handle().post(|| panic!("posted")).expect("post");
        let _timer = el.add_timer_after(Duration::ZERO, None, || panic!("timer"));
        let watch = el
            .watch(a.as_raw_fd(), Interest::READ, |_| panic!("watch"))
            .expect("watch");
        el.set_hooks(Hooks {
            after_turn: Some(Box::new(|| panic!("hook"))),
            ..Hooks::default()
        });
        el.turn(NOW).expect("turn");
        assert_eq!(reports.take(), ["posted", "timer", "watch", "hook"]);
        drop(watch);
        el.turn(NOW).expect("turn");
        assert_eq!(reports.take(), ["hook"]);
    }

    #[test]
    fn a_destructor_that_panics_is_contained_too() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        let el = new_loop();
        let bomb = Bomb;
        let timer = el.add_timer_after(Duration::ZERO, None, move || {
            let _ = &bomb;
        });
        timer.detach();
        let (a, _b) = pair();
        let bomb = Bomb;
        let watch = el.watch(a.as_raw_fd(), Interest::READ, move |_| {
            let _ = &bomb;
        });
        watch.expect("watch").stop();
        el.run().expect("run");
        let bomb = Bomb;
        el.handle().post(move || drop(bomb)).expect("post");
        drop(el);
    }
}

mod embedding {
    use super::*;

    #[test]
    fn the_descriptor_is_readable_for_a_timer_and_only_then() {
        let el = new_loop();
        let fd = el.backend_fd().expect("embedding");
        assert_eq!(fd, el.backend_fd().expect("embedding"));
        while el.turn(NOW).expect("turn") == Turn::More {}
        assert!(!poll(fd, 0));
        let log = Log::default();
        let _late = el.add_timer_after(Duration::from_secs(3600), None, log.say("late"));
        let _timer = el.add_timer_after(Duration::from_millis(5), None, log.say("timer"));
        while log.0.borrow().is_empty() {
            assert!(host_sleeps(&el, fd));
            el.turn(NOW).expect("turn");
        }
        assert_eq!(log.take(), ["timer"]);
        assert!(!poll(fd, 0));
    }

    #[test]
    fn a_timer_set_before_embedding_is_seen_too() {
        let el = new_loop();
        let log = Log::default();
        let _timer = el.add_timer_after(Duration::from_millis(1), None, log.say("timer"));
        let fd = el.backend_fd().expect("embedding");
        while log.0.borrow().is_empty() {
            assert!(host_sleeps(&el, fd));
            el.turn(NOW).expect("turn");
        }
    }

    #[test]
    fn a_repeating_timer_goes_on_making_it_readable() {
        let el = new_loop();
        let fd = el.backend_fd().expect("embedding");
        let fired = Rc::new(Cell::new(0));
        let count = fired.clone();
        let period = Duration::from_millis(1);
        let _timer = el.add_timer_after(period, Some(period), move || count.set(count.get() + 1));
        while fired.get() < 5 {
            assert!(host_sleeps(&el, fd));
            el.turn(NOW).expect("turn");
        }
    }

    #[test]
    fn the_descriptor_is_readable_for_wakes_posts_and_sockets() {
        let el = new_loop();
        let fd = el.backend_fd().expect("embedding");
        let handle = el.handle();
        handle.wake();
        assert!(poll(fd, 0));
        el.turn(NOW).expect("turn");
        assert!(!poll(fd, 0));
        let thread = thread::spawn(move || handle.post(|| ()).expect("post"));
        assert!(poll(fd, 10_000));
        thread.join().expect("joined");
        el.turn(NOW).expect("turn");
        assert!(!poll(fd, 0));
        let (a, mut b) = pair();
        let _watch = el
            .watch(a.as_raw_fd(), Interest::READ, |_| ())
            .expect("watch");
        b.write_all(b"x").expect("write");
        assert!(poll(fd, 0));
        el.turn(NOW).expect("turn");
        assert!(poll(fd, 0), "level-triggered");
    }

    #[test]
    fn work_left_over_keeps_it_readable() {
        let el = new_loop();
        let fd = el.backend_fd().expect("embedding");
        let handle = el.handle();
        let again = handle.clone();
        handle
            .post(move || again.post(|| ()).expect("post"))
            .expect("post");
        assert_eq!(el.turn(NOW).expect("turn"), Turn::More);
        assert!(poll(fd, 0));
        assert_eq!(el.next_timeout(), NOW);
        assert_eq!(el.turn(NOW).expect("turn"), Turn::Idle);
        assert!(!poll(fd, 0));
        let _timer = el.add_timer_after(Duration::ZERO, None, || ());
        assert!(host_sleeps(&el, fd));
    }

    #[test]
    fn a_ghost_of_a_duplicated_descriptor_does_not_make_it_spin() {
        let el = new_loop();
        let fd = el.backend_fd().expect("embedding");
        let (living, mut peer) = pair();
        let heard = Rc::new(Cell::new(0));
        let count = heard.clone();
        let watch = el.watch(living.as_raw_fd(), Interest::READ, move |_| {
            count.set(count.get() + 1);
        });
        let _watch = watch.expect("watch");
        let replaced = Rc::new(Cell::new(0));
        let counter = replaced.clone();
        el.set_on_backend_replaced(move || counter.set(counter.get() + 1));
        let (a, mut b) = pair();
        let ghost = a.try_clone().expect("dup");
        let watch = el
            .watch(a.as_raw_fd(), Interest::READ, |_| panic!("stopped"))
            .expect("watch");
        drop(a);
        drop(watch);
        b.write_all(b"x").expect("write");
        el.turn(NOW).expect("turn");
        assert!(!poll(fd, 0), "the ghost is gone");
        assert_eq!(
            replaced.get() == 1,
            TIMER_DESCRIPTOR,
            "a host with an epoll set of its own is told"
        );
        peer.write_all(b"x").expect("write");
        assert!(poll(fd, 0), "and the living are heard");
        el.turn(NOW).expect("turn");
        assert_eq!(heard.get(), 1);
        let handle = el.handle();
        (&living).read_exact(&mut [0]).expect("read");
        handle.wake();
        assert!(poll(fd, 0), "wakes too");
        el.turn(NOW).expect("turn");
        let _timer = el.add_timer_after(Duration::from_millis(1), None, || ());
        assert!(host_sleeps(&el, fd), "and timers");
        drop(ghost);
    }
}
