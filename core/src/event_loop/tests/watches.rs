//! Level-triggered watches.

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
    el.backend_fd().expect("embedding");
    let replaced = Rc::new(Cell::new(false));
    let flag = replaced.clone();
    el.set_on_backend_replaced(move || flag.set(true));
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
    assert!(
        !replaced.get(),
        "a report that had been fetched already is no ghost's"
    );
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
