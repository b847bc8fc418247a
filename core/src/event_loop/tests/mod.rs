//! The loop's promises, by section.

mod embedding;
mod panics;
mod running;
mod timers;
mod waking;
mod watches;

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

/// Counts the panics of a loop's callbacks, for tests whose callbacks assert something.
fn panics_of(el: &EventLoop) -> Rc<Cell<u32>> {
    let panics = Rc::new(Cell::new(0));
    let count = panics.clone();
    el.set_on_panic(move |_| count.set(count.get() + 1));
    panics
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
