//! Turns, runs, stops and hooks.

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
    assert!(seen.get(), "the callback came to its end");
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
    let _timer = el.add_timer_after(Duration::from_millis(100), None, log.say("timer"));
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
    let panics = panics_of(&el);
    el.turn(NOW).expect("turn");
    assert_eq!(log.take(), ["timer", "descriptor", "hook"]);
    assert_eq!(panics.get(), 0);
}

#[derive(Clone)]
struct SendLog(Arc<std::sync::Mutex<Vec<&'static str>>>);
