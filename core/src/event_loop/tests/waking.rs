//! Wakes, posts and notifications from other threads.

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
    // The threads post as much as they can until they are told: where all is slow that is much.
    let rounds = if cfg!(miri) {
        2
    } else if cfg!(any(libruntime_plain_alloc, libruntime_tsan)) {
        20
    } else {
        200
    };
    for _ in 0..rounds {
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
