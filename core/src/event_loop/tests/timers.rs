//! Callback timers.

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
    let panics = panics_of(&el);
    el.run().expect("run");
    assert!(last.get() > start);
    assert_eq!(panics.get(), 0);
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
    let panics = panics_of(&el);
    el.run().expect("run");
    assert_eq!(panics.get(), 0);
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
fn a_timer_set_by_the_last_callback_of_a_turn_is_waited_for() {
    let el = Rc::new(new_loop());
    let (inner, log) = (Rc::downgrade(&el), Log::default());
    let (later, set) = (log.clone(), Cell::new(false));
    el.set_hooks(Hooks {
        after_turn: Some(Box::new(move || {
            if !set.replace(true) {
                let el = inner.upgrade().expect("the loop");
                el.add_timer_after(Duration::from_millis(1), None, later.say("timer"))
                    .detach();
            }
        })),
        ..Hooks::default()
    });
    el.turn(NOW).expect("turn");
    assert!(el.alive());
    el.run().expect("run");
    assert_eq!(log.take(), ["timer"]);
}

#[test]
fn an_endless_timeout_neither_overflows_nor_fires() {
    let el = new_loop();
    let panics = panics_of(&el);
    let timer = el.add_timer_after(Duration::MAX, Some(Duration::MAX), || panic!("fired"));
    el.turn(NOW).expect("turn");
    assert!(timer.is_active());
    let _nanos = el.add_timer_after(Duration::from_nanos(u64::MAX), None, || panic!("fired"));
    assert_eq!(el.turn(NOW).expect("turn"), Turn::Idle);
    assert_eq!(panics.get(), 0);
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
