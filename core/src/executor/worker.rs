//! A worker: one thread that runs tasks, looks for more, and sleeps.

mod end;
mod find;
mod look;
mod own;
mod place;
mod wait;

use super::counters::{Busy, Counters};
use super::front::OwnFront;
use super::handover::Seat;
use super::linger::Linger;
use super::ordered::Course;
use super::pace::{EVENT_INTERVAL, EVENT_LEAST, Pace};
use super::parker::Parker;
use super::queue::Local;
use super::relief::Relief;
use super::shared::{Remote, Shared, SharedRef};
use super::state::WorkerState;
use super::sys;
use super::timing::Timing;
use crate::context;
use crate::runtime::Policy;
use crate::shim::thread_local;
use crate::shim::time;
use crate::task::memory::Magazines;
use crate::task::{Notified, OwnedTasks, coop};
use std::cell::{Cell, RefCell};
use std::ptr;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Polls in a row from the LIFO slot: two tasks that wake each other must not starve the queue.
pub(super) const LIFO_STREAK: u32 = 3;
/// A turn of the reactor or the timers is under way: wake-ups are announced once, after it.
const BATCHING: u8 = 1;
/// A poll was overdue lately, somewhere: wake-ups are announced one by one. See [`super::watch`].
const EAGER: u8 = 2;
/// The policy has an order of its own: nothing goes to this worker's queue and slot.
const ORDERED: u8 = 4;
/// The policy is last in, first out. The slot is for that too; only what yields goes elsewhere.
const NEWEST_FIRST: u8 = 8;
/// Polls are long: a woken task goes behind the others, where another worker may take it. See [`Pace`].
const LONG_POLLS: u8 = 16;
/// Tasks are stamped when they become ready. See [`super::timing`].
const STAMPED: u8 = 32;
/// References to the common ground that a worker takes from the count, or gives back, at once.
pub(super) const BANK: usize = 64;
/// Tasks of others' lists that a thread completes before it has sleepers unlink theirs.
pub(super) const RELEASES: usize = 256;
/// The same while each of them may hold a [slab](crate::task::memory).
pub(super) const RELEASES_SCATTERED: usize = 32;

thread_local! {
    /// The worker whose loop runs on this thread.
    static CURRENT: Cell<*const Worker> = const { Cell::new(ptr::null()) };
}

/// Calls `f` with the worker whose loop runs on this thread, if one does.
#[inline(always)]
pub(crate) fn with_current<R>(f: impl FnOnce(Option<&Worker>) -> R) -> R {
    // SAFETY: not kept beyond this call.
    f(unsafe { current() })
}

/// As [`with_current`], where the compiler would not inline `f`.
///
/// # Safety
/// The reference is good as long as the loop runs: it may be kept as long as the caller's call lasts.
#[inline(always)]
pub(super) unsafe fn current<'a>() -> Option<&'a Worker> {
    let current = CURRENT.try_with(Cell::get).unwrap_or(ptr::null());
    // SAFETY: the pointer is set for the length of the worker's loop, on this thread.
    unsafe { current.as_ref() }
}

/// Whether a worker's loop runs on this thread.
pub(crate) fn is_worker() -> bool {
    with_current(|worker| worker.is_some())
}

/// Whether the worker whose loop runs on this thread parks in `parker`.
#[cfg(not(loom))]
pub(super) fn parks_here(parker: &Parker) -> bool {
    with_current(|worker| worker.is_some_and(|worker| ptr::eq(&*worker.remote().parker, parker)))
}

/// The state of one worker, used by its thread alone until it leaves it to the drainer.
pub(crate) struct Worker {
    pub(crate) shared: SharedRef,
    index: usize,
    queue: Local,
    /// What others see: how far it is, and the task woken last, which runs next because its data is
    /// still in this core's cache.
    front: OwnFront,
    lifo_streak: Cell<u32>,
    pace: Pace,
    linger: Linger,
    relief: Relief,
    /// When the turn at hand began, if the reserve was in doubt then.
    turn_began: Cell<Option<Instant>>,
    /// Tasks that had ended here when the worker last looked around, and polls.
    ended_before: Cell<(u64, u64)>,
    owned: RefCell<OwnedTasks>,
    /// Tasks of other workers' lists that completed here.
    released: Cell<usize>,
    /// References to `shared` that belong to nobody yet.
    bank: Cell<usize>,
    /// The turns that `counters.polls` knows of: each was a poll, or a wait.
    counted_turns: Cell<u32>,
    searching: Cell<bool>,
    /// The search was asked for, and may take anything.
    claimed: Cell<bool>,
    /// Why a woken task does not go to the LIFO slot: no bit set is the plain path, which pays for
    /// one look at all reasons together.
    detour: Cell<u8>,
    /// See [`Worker::takes_back`]: the runtime's address, or zero.
    takes_back: usize,
    pub(super) course: Course,
    /// When the next wait for timers may end, after many of them.
    timers_rest: Cell<Option<Instant>>,
    /// Memory for tasks.
    magazines: Magazines,
    pub(super) counters: Counters,
    busy: Busy,
    /// What `counters.polls` was when the worker last waited.
    polls_at_park: Cell<u64>,
    seed: Cell<u64>,
}

impl Worker {
    pub(super) fn new(
        shared: SharedRef,
        index: usize,
        queue: Local,
        front: OwnFront,
        policy: &Policy,
    ) -> Worker {
        let stamped = if shared.stamps { STAMPED } else { 0 };
        let detour = stamped
            | match policy {
                Policy::Fifo => 0,
                Policy::Lifo => NEWEST_FIRST,
                Policy::Priority(_) | Policy::Fair(_) => ORDERED,
            };
        Worker {
            busy: Busy::new(shared.clock),
            magazines: Magazines::new(&shared.memory),
            takes_back: match policy {
                Policy::Fifo if !shared.stamps => shared.address(),
                _ => 0,
            },
            shared,
            index,
            queue,
            front,
            lifo_streak: Cell::new(0),
            pace: Pace::new(match policy {
                // The sooner it measures, the sooner it knows what to keep and where to put what is woken.
                Policy::Fifo => EVENT_LEAST,
                _ => EVENT_INTERVAL,
            }),
            linger: Linger::new(),
            relief: Relief::new(index),
            turn_began: Cell::new(None),
            ended_before: Cell::new((0, 0)),
            owned: RefCell::new(OwnedTasks::new(index as u32)),
            released: Cell::new(0),
            bank: Cell::new(0),
            counted_turns: Cell::new(0),
            searching: Cell::new(false),
            claimed: Cell::new(false),
            detour: Cell::new(detour),
            course: Course::new(policy),
            timers_rest: Cell::new(None),
            counters: Counters::default(),
            polls_at_park: Cell::new(u64::MAX),
            // Any odd number will do; different ones send thieves to different victims first.
            seed: Cell::new((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        }
    }

    /// The whole life of a worker's thread.
    pub(crate) fn run(self: Box<Self>) {
        let shared = self.shared.clone();
        // What a poll is inside of that has lost its worker.
        let _entered = context::enter(&shared);
        let mut next = Some(self);
        while let Some(worker) = next {
            next = if worker.work(&shared) {
                None
            } else {
                shared.spares.wait()
            };
        }
    }

    /// Runs tasks until the runtime is closed. `false`: a poll has handed the worker over, and it lives
    /// elsewhere: see [`super::handover`].
    fn work(self: Box<Self>, shared: &Shared) -> bool {
        let remote = &shared.remotes[self.index];
        remote.parker.attach();
        remote.thread.store(sys::thread_id(), Ordering::Relaxed);
        if self.front.state().see().state() == WorkerState::Starting {
            self.front.state().start();
            self.busy.wake(time::now(), &remote.counters);
        }
        let driver = context::enter_driver(&remote.driver, true);
        let worker = Box::into_raw(self);
        let current = Current::enter(worker);
        let seat = Seat::new(worker);
        {
            let _shown = seat.show();
            // SAFETY: the seat is kept, or the loop has ended.
            let kept = unsafe {
                match (&shared.ordered, &remote.timing) {
                    (None, None) => Worker::take_turns(&seat, worker, shared),
                    (None, Some(timing)) => {
                        Worker::take_turns_measured(&seat, worker, shared, timing)
                    }
                    (Some(ordered), timing) => {
                        let timing = timing.as_deref();
                        Worker::take_turns_ordered(&seat, worker, shared, ordered, timing)
                    }
                }
            };
            if !kept {
                return false;
            }
        }
        // SAFETY: it came from a box above, and has been this thread's ever since.
        let worker = unsafe { Box::from_raw(worker) };
        worker.front.state().drain();
        worker.cancel_all();
        drop(current);
        drop(driver);
        end::leave(worker);
        true
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn remote(&self) -> &Remote {
        &self.shared.remotes[self.index]
    }

    /// Runs tasks until the runtime is closed, or until the seat is lost: `false`.
    ///
    /// # Safety
    /// This thread has the worker, and the seat is the worker's.
    unsafe fn take_turns(seat: &Seat, worker: *const Worker, shared: &Shared) -> bool {
        while !shared.is_closed() {
            // SAFETY: the seat is kept. The reference does not outlast the first call.
            let kept = unsafe {
                match (*worker).begin_turn() {
                    Some(task) => seat.run(task),
                    None => true,
                }
            };
            if !kept {
                return false;
            }
        }
        true
    }

    /// As [`Worker::take_turns`], with looks at the clock around each poll. A poll that hands the
    /// worker over is not measured: whoever runs it has no part in it any more.
    ///
    /// # Safety
    /// As there.
    #[cold]
    unsafe fn take_turns_measured(
        seat: &Seat,
        worker: *const Worker,
        shared: &Shared,
        timing: &Timing,
    ) -> bool {
        while !shared.is_closed() {
            // SAFETY: the seat is kept. The reference does not outlast the call.
            let Some(task) = (unsafe { (*worker).begin_turn() }) else {
                continue;
            };
            let began = shared.clock.now();
            timing.begin_poll(began, task.ready_at());
            // SAFETY: the seat is kept.
            if !unsafe { seat.run(task) } {
                return false;
            }
            timing.end_poll(began, || shared.clock.now());
        }
        true
    }

    /// Finds a task to run, or sleeps until there may be one, or until the worker may take part again.
    #[inline(always)]
    fn begin_turn(&self) -> Option<Notified> {
        let tick = self.next_tick();
        if self.pace.events_are_due(tick) {
            self.look_around();
            if self.shared.crew.is_beyond(self.index) {
                self.stay_aside();
                return None;
            }
        }
        if self.front.reserve().get() > 0 {
            self.doubt_reserve();
        }
        let task = match self.next_task(tick) {
            None => self.search(),
            task => task,
        };
        match &task {
            Some(_) => {
                self.end_search();
                coop::refill();
            }
            None => self.sleep(),
        }
        task
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.magazines.empty(&self.shared.memory);
        let banked = self.bank.take();
        if banked > 0 {
            // SAFETY: the bank's references; the field `shared` is another.
            unsafe { SharedRef::remove_refs(&self.shared, banked) };
        }
    }
}

/// Whether `worker` is the one whose loop runs on this thread.
pub(super) fn is_current(worker: *const Worker) -> bool {
    CURRENT.with(Cell::get) == worker
}

/// This thread is no worker's from here on. What it was is to be put back by [`come_back`], if it is.
pub(super) fn leave_current() -> *const Worker {
    CURRENT.with(|current| current.replace(ptr::null()))
}

pub(super) fn come_back(worker: *const Worker) {
    CURRENT.with(|current| current.set(worker));
}

/// Marks the calling thread as a worker's.
struct Current(*const Worker);

impl Current {
    fn enter(worker: *const Worker) -> Current {
        Current(CURRENT.with(|current| current.replace(worker)))
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        CURRENT.with(|current| current.set(self.0));
    }
}

#[cfg(all(test, not(loom)))]
mod costs;
#[cfg(all(test, not(loom)))]
mod relief_tests;
#[cfg(all(test, not(loom)))]
mod reserve_tests;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(all(test, not(loom)))]
mod timing_tests;
