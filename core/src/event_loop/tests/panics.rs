//! Callbacks and destructors that panic.

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
