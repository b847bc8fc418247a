//! The loop's handle type as the Python and Node packages use it.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runtime::Error;
use runtime::event_loop::{Interest, Loop, LoopOptions, Turn};

fn new() -> Arc<Loop> {
    Loop::new(&LoopOptions::default()).unwrap()
}

/// Counts how often it was dropped, and on which thread last.
#[derive(Clone, Default)]
struct Dropped(Arc<(AtomicUsize, Mutex<Option<std::thread::ThreadId>>)>);

struct Token(Dropped);

impl Dropped {
    fn token(&self) -> Token {
        Token(self.clone())
    }

    fn count(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let (count, thread) = &*self.0.0;
        count.fetch_add(1, Ordering::SeqCst);
        *thread.lock().unwrap() = Some(std::thread::current().id());
    }
}

#[test]
fn a_watch_is_told_of_data_until_it_is_read() {
    let (mut near, far) = UnixStream::pair().unwrap();
    let this = new();
    let told = Arc::new(AtomicUsize::new(0));
    let seen = told.clone();
    let watch = this
        .watch(far.as_raw_fd(), Interest::READ, move |ready| {
            assert!(ready.is_readable());
            seen.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
    assert_eq!(this.turn(0), Ok(Turn::Idle));
    near.write_all(b"x").unwrap();
    this.turn(u64::MAX).unwrap();
    this.turn(u64::MAX).unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 2);
    watch.set_interest(Interest::NONE).unwrap();
    this.turn(0).unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 2);
}

#[test]
fn a_timer_fires_and_repeats_until_stopped() {
    let this = new();
    let fired = Arc::new(AtomicUsize::new(0));
    let seen = fired.clone();
    let handle = this.clone();
    let timer = this
        .timer(move || {
            if seen.fetch_add(1, Ordering::SeqCst) == 2 {
                handle.stop().unwrap();
            }
        })
        .unwrap();
    timer
        .start(Duration::ZERO, Some(Duration::from_micros(100)))
        .unwrap();
    assert_eq!(this.run(), Ok(true));
    assert_eq!(fired.load(Ordering::SeqCst), 3);
    assert_eq!(timer.stop(), Ok(true));
    assert_eq!(this.run(), Ok(false));
}

#[test]
fn other_threads_may_post_and_wake_but_not_use_the_loop() {
    let this = new();
    let (_near, far) = UnixStream::pair().unwrap();
    let far_fd = far.as_raw_fd();
    let done = Arc::new(AtomicUsize::new(0));
    let seen = done.clone();
    let other = this.clone();
    std::thread::spawn(move || {
        assert_eq!(other.alive(), Err(Error::Perm));
        assert_eq!(
            other.watch(far_fd, Interest::READ, |_| ()).unwrap_err(),
            Error::Perm
        );
        assert_eq!(other.timer(|| ()).unwrap_err(), Error::Perm);
        other
            .post(move || {
                let _ = seen.fetch_add(1, Ordering::SeqCst);
            })
            .unwrap();
        other.wake().unwrap();
    })
    .join()
    .unwrap();
    this.turn(0).unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

#[test]
fn turning_makes_a_thread_the_owner() {
    let this = new();
    let other = this.clone();
    std::thread::spawn(move || {
        other.turn(0).unwrap();
        assert_eq!(other.alive(), Ok(false));
    })
    .join()
    .unwrap();
    assert_eq!(this.alive(), Err(Error::Perm));
    this.turn(0).unwrap();
    assert_eq!(this.alive(), Ok(false));
}

#[test]
fn a_turn_inside_a_turn_is_busy() {
    let this = new();
    let inner = this.clone();
    let result = Arc::new(Mutex::new(None));
    let seen = result.clone();
    this.post(move || {
        *seen.lock().unwrap() = Some((inner.turn(0), inner.run(), inner.close()));
    })
    .unwrap();
    this.turn(0).unwrap();
    let wanted = (Err(Error::Busy), Err(Error::Busy), Err(Error::Busy));
    assert_eq!(*result.lock().unwrap(), Some(wanted));
}

#[test]
fn a_thread_that_turns_keeps_others_out() {
    let this = new();
    let (sender, receiver) = std::sync::mpsc::channel();
    let other = this.clone();
    this.post(move || {
        let result = std::thread::spawn(move || (other.turn(0), other.alive())).join();
        sender.send(result.unwrap()).unwrap();
    })
    .unwrap();
    this.turn(0).unwrap();
    assert_eq!(
        receiver.recv().unwrap(),
        (Err(Error::Perm), Err(Error::Perm))
    );
}

#[test]
fn a_watch_dropped_elsewhere_is_stopped_on_the_loops_thread() {
    let this = new();
    let (_near, far) = UnixStream::pair().unwrap();
    let dropped = Dropped::default();
    let token = dropped.token();
    let watch = this
        .watch(far.as_raw_fd(), Interest::READ, move |_| {
            let _ = &token;
        })
        .unwrap();
    std::thread::spawn(move || drop(watch)).join().unwrap();
    assert_eq!(dropped.count(), 0);
    this.turn(0).unwrap();
    assert_eq!(dropped.count(), 1);
    assert_eq!(
        *dropped.0.1.lock().unwrap(),
        Some(std::thread::current().id())
    );
    assert_eq!(this.alive(), Ok(false));
}

#[test]
fn closing_drops_what_is_left_and_handles_outlive_it() {
    let this = new();
    let (_near, far) = UnixStream::pair().unwrap();
    let dropped = Dropped::default();
    let (a, b, c) = (dropped.token(), dropped.token(), dropped.token());
    let watch = this
        .watch(far.as_raw_fd(), Interest::READ, move |_| {
            let _ = &a;
        })
        .unwrap();
    let timer = this
        .timer(move || {
            let _ = &b;
        })
        .unwrap();
    timer.start(Duration::from_secs(1000), None).unwrap();
    this.post(move || {
        let _ = &c;
    })
    .unwrap();
    this.close().unwrap();
    assert_eq!(this.close(), Err(Error::Shutdown));
    assert_eq!(dropped.count(), 3);
    assert_eq!(watch.stop(), Err(Error::Shutdown));
    assert_eq!(timer.stop(), Err(Error::Shutdown));
    assert_eq!(this.post(|| ()), Err(Error::Shutdown));
    std::thread::scope(|scope| {
        scope.spawn(move || drop(watch));
        scope.spawn(move || drop(timer));
    });
}

#[test]
fn the_last_handle_closes_the_loop() {
    let this = new();
    let dropped = Dropped::default();
    let token = dropped.token();
    let timer = this
        .timer(move || {
            let _ = &token;
        })
        .unwrap();
    let turning = this.clone();
    let last_but_one = this.clone();
    turning.post(move || drop(last_but_one)).unwrap();
    drop(this);
    turning.turn(0).unwrap();
    assert_eq!(turning.alive(), Ok(false));
    drop(turning);
    assert_eq!(timer.stop(), Err(Error::Shutdown));
    drop(timer);
    assert_eq!(dropped.count(), 1);
}

#[test]
fn a_panic_of_a_callback_is_contained() {
    let this = new();
    this.post(|| panic!("contained")).unwrap();
    let after = Arc::new(AtomicUsize::new(0));
    let seen = after.clone();
    this.post(move || {
        let _ = seen.fetch_add(1, Ordering::SeqCst);
    })
    .unwrap();
    this.turn(0).unwrap();
    assert_eq!(after.load(Ordering::SeqCst), 1);
}
