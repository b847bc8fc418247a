//! How a worker goes on on another thread while a poll blocks this one: the protocol is in the README.

use super::watch;
use super::worker::{self, Worker};
use crate::context;
use crate::shim::sync::{Condvar, Mutex};
use crate::shim::thread_local;
use crate::task::{Notified, TaskPtr};
use std::cell::Cell;
use std::io;
use std::ptr;

thread_local! {
    /// Where the loop of this thread's worker stands.
    static SEAT: Cell<*const Seat> = const { Cell::new(ptr::null()) };
}

/// A thread's hold on a worker, from which a poll may take it away. On the stack of the worker's loop.
pub(super) struct Seat {
    worker: *mut Worker,
    /// What runs, with the worker untouched below it. `None`: nothing runs, or it is lost.
    task: Cell<Option<TaskPtr>>,
}

impl Seat {
    pub(super) fn new(worker: *mut Worker) -> Seat {
        Seat {
            worker,
            task: Cell::new(None),
        }
    }

    /// Lets the polls on this thread find the seat, until the guard goes.
    pub(super) fn show(&self) -> ShownSeat<'_> {
        ShownSeat {
            _seat: self,
            before: SEAT.with(|seat| seat.replace(self)),
        }
    }

    /// Runs a task. `false`: the worker is another thread's now, and not to be touched.
    ///
    /// # Safety
    /// The worker is this thread's, and the caller has no reference to it.
    #[inline(always)]
    pub(super) unsafe fn run(&self, task: Notified) -> bool {
        self.task.set(Some(task.as_ptr()));
        task.run();
        self.task.take().is_some()
    }
}

pub(super) struct ShownSeat<'a> {
    _seat: &'a Seat,
    before: *const Seat,
}

impl Drop for ShownSeat<'_> {
    fn drop(&mut self) {
        SEAT.with(|seat| seat.set(self.before));
    }
}

/// Gives the worker whose task is polled on this thread to another thread. `false`: there is none, or
/// it can not leave here, or no thread can be had.
pub(crate) fn hand_over() -> bool {
    let seat = SEAT.try_with(Cell::get).unwrap_or(ptr::null());
    // SAFETY: a guard that borrows the seat is alive further down this thread's stack.
    let Some(seat) = (unsafe { seat.as_ref() }) else {
        return false;
    };
    let Some(task) = seat.task.get() else {
        return false;
    };
    if !worker::is_current(seat.worker) {
        return false;
    }
    let (shared, index) = {
        // SAFETY: a task runs and the seat is kept, so the worker is this thread's; the reference
        // ends with this block.
        let worker = unsafe { &*seat.worker };
        (worker.shared.clone(), worker.index())
    };
    let Some(waits) = context::stop_waiting(&shared.remotes[index].driver) else {
        // Inside of another loop's turn, which counts on being this thread's.
        return false;
    };
    // SAFETY: as above, and this is the run of that task.
    unsafe { (*seat.worker).answer_for(task) };
    let current = worker::leave_current();
    seat.task.set(None);
    if shared.spares.give(index, Handed(seat.worker)).is_ok() {
        return true;
    }
    // Nobody has taken it: all is as it was, but for the task's place in the list.
    seat.task.set(Some(task));
    worker::come_back(current);
    waits.again();
    false
}

/// A worker on its way from one thread to another.
pub(super) struct Handed(*mut Worker);

// SAFETY: a worker is Send, and the pointer is the only one that is still used.
unsafe impl Send for Handed {}

const _: () = {
    const fn send<T: Send>() {}
    send::<Worker>();
};

impl Handed {
    fn take(self) -> Box<Worker> {
        // SAFETY: it came from a box, and whoever sent it will not use it any more.
        unsafe { Box::from_raw(self.0) }
    }
}

/// Starts a thread for the worker of an index, beside those that there are.
pub(crate) type Starter =
    Box<dyn Fn(usize, Box<dyn FnOnce() + Send>) -> io::Result<()> + Send + Sync>;

/// How threads are started beside those that the workers begin with.
pub(crate) struct Starters {
    /// `None`: there is no watch.
    pub(crate) watch: Option<watch::Starter>,
    pub(crate) spare: Starter,
    /// Spare threads that wait at most: none if a worker's thread is to be on a processor of its own.
    pub(crate) most_spares: usize,
}

/// Threads that have lost their worker and wait for another one.
pub(super) struct Spares {
    state: Mutex<State>,
    called: Condvar,
    start: Starter,
    /// How many wait at most: others end.
    most: usize,
}

struct State {
    waiting: usize,
    /// Never more than `waiting`.
    handed: Vec<Handed>,
    closed: bool,
}

impl Spares {
    pub(super) fn new(most: usize, start: Starter) -> Spares {
        Spares {
            state: Mutex::new(State {
                waiting: 0,
                handed: Vec::new(),
                closed: false,
            }),
            called: Condvar::new(),
            start,
            most,
        }
    }

    /// Has another thread run `worker`. An error means that nobody does.
    fn give(&self, index: usize, worker: Handed) -> io::Result<()> {
        {
            let mut state = self.state.lock();
            if state.waiting > state.handed.len() {
                state.handed.push(worker);
                drop(state);
                self.called.notify_one();
                return Ok(());
            }
        }
        (self.start)(index, Box::new(move || worker.take().run()))
    }

    /// Waits for a worker. `None`: this thread is to end.
    pub(super) fn wait(&self) -> Option<Box<Worker>> {
        let mut state = self.state.lock();
        if state.waiting == self.most {
            return None;
        }
        state.waiting += 1;
        let handed = loop {
            if let Some(handed) = state.handed.pop() {
                break Some(handed);
            }
            if state.closed {
                break None;
            }
            state = self.called.wait(state);
        };
        state.waiting -= 1;
        drop(state);
        handed.map(Handed::take)
    }

    /// The runtime is closed: those that wait end. Workers that polls still hand over get threads.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.called.notify_all();
    }
}
