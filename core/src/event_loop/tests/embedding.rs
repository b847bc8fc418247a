//! A loop inside a host that sleeps on its descriptor.

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
    let panics = panics_of(&el);
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
    assert_eq!(panics.get(), 0, "nobody was called for it");
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
