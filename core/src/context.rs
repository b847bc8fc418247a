//! What the running code stands in: the runtime it was started from, the reactor and timers it may
//! register with, and whether it may block.

use crate::executor::{self, SharedRef};
use crate::shim::thread_local;
use crate::task::{JoinHandle, Record};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::marker::PhantomData;
use std::ptr;

/// What the leaf futures polled on a thread register with.
#[cfg(not(loom))]
pub(crate) struct Driver {
    pub(crate) reactor: crate::reactor::Handle,
    pub(crate) timers: crate::time::OwnedTimers,
}

#[cfg(loom)]
pub(crate) use crate::executor::ModelDriver as Driver;

thread_local! {
    static DRIVER: Cell<*const Driver> = const { Cell::new(ptr::null()) };
    /// Whether this thread is the one that `DRIVER` wakes.
    static WAITER: Cell<bool> = const { Cell::new(false) };
    static ENTERED: RefCell<Option<SharedRef>> = const { RefCell::new(None) };
    /// Whether what is in `ENTERED` goes before this thread's own worker and `DRIVER`, having been
    /// entered by hand.
    static BY_HAND: Cell<bool> = const { Cell::new(false) };
    static BLOCKING: Cell<bool> = const { Cell::new(false) };
}

/// Makes `driver` the one that futures polled on this thread register with, until the guard goes.
/// `waiter` says that this thread looks at it before it next waits, and need not be woken for what
/// it registers itself. No other thread says so until the guard goes: the waiter uses its timers
/// without a lock.
pub(crate) fn enter_driver(driver: &Driver, waiter: bool) -> DriverGuard<'_> {
    DriverGuard {
        before: DRIVER.with(|current| current.replace(driver)),
        waited: WAITER.with(|current| current.replace(waiter)),
        by_hand: BY_HAND.with(|by_hand| by_hand.replace(false)),
        driver: PhantomData,
    }
}

pub(crate) struct DriverGuard<'a> {
    before: *const Driver,
    waited: bool,
    by_hand: bool,
    driver: PhantomData<&'a Driver>,
}

impl Drop for DriverGuard<'_> {
    fn drop(&mut self) {
        DRIVER.with(|current| current.set(self.before));
        WAITER.with(|current| current.set(self.waited));
        BY_HAND.with(|by_hand| by_hand.set(self.by_hand));
    }
}

/// This thread is not the one that `driver` wakes any more, though it goes on to register with it.
/// `None`: it was not, or is inside of another driver.
pub(crate) fn stop_waiting(driver: &Driver) -> Option<Stopped> {
    let here = DRIVER.with(Cell::get);
    (ptr::eq(here, driver) && WAITER.with(|waiter| waiter.replace(false))).then_some(Stopped(()))
}

#[must_use = "the driver has no thread"]
pub(crate) struct Stopped(());

impl Stopped {
    /// It is, as before: no other thread has said so meanwhile.
    pub(crate) fn again(self) {
        WAITER.with(|waiter| waiter.set(true));
    }
}

/// Calls `f` with the driver of this thread; `None` outside of any runtime and event loop.
pub(crate) fn with_driver<R>(f: impl FnOnce(&Driver) -> R) -> Option<R> {
    if let Some(runtime) = entered_by_hand() {
        return Some(f(runtime.foreign_driver()));
    }
    let driver = DRIVER.try_with(Cell::get).unwrap_or(ptr::null());
    if !driver.is_null() {
        // SAFETY: a guard that borrows the driver is alive further down this thread's stack.
        return Some(f(unsafe { &*driver }));
    }
    let runtime = entered()?;
    Some(f(runtime.foreign_driver()))
}

/// Calls `f` with the timers of [`with_driver`], and whether this thread is the one that they wake.
#[cfg(not(loom))]
#[inline]
pub(crate) fn with_timers<R>(f: impl FnOnce(&crate::time::TimerQueue, bool) -> R) -> Option<R> {
    let driver = DRIVER.try_with(Cell::get).unwrap_or(ptr::null());
    if !driver.is_null() && !BY_HAND.with(Cell::get) {
        // SAFETY: a guard that borrows the driver is alive further down this thread's stack.
        return Some(f(unsafe { &(*driver).timers }, WAITER.with(Cell::get)));
    }
    with_driver(|driver| f(&driver.timers, is_waiter_of(&driver.timers)))
}

/// Whether this thread is the one that `timers` wake, so that it looks at them before it next waits.
#[cfg(not(loom))]
pub(crate) fn is_waiter_of(timers: &crate::time::TimerQueue) -> bool {
    let driver = DRIVER.try_with(Cell::get).unwrap_or(ptr::null());
    if driver.is_null() || !WAITER.with(Cell::get) {
        return false;
    }
    // SAFETY: a guard that borrows the driver is alive further down this thread's stack.
    ptr::eq(unsafe { &*(*driver).timers }, timers)
}

/// Makes `runtime` the one that `spawn` and its like use on this thread, until the guard goes.
pub(crate) fn enter(runtime: &SharedRef) -> Entered {
    Entered {
        before: ENTERED.with(|entered| entered.replace(Some(runtime.clone()))),
    }
}

pub(crate) struct Entered {
    before: Option<SharedRef>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Dropped outside of the borrow: it may be the last reference to a runtime.
        let _left = ENTERED.with(|entered| entered.replace(self.before.take()));
    }
}

/// As [`enter`], at the wish of the user, which goes before what the thread is inside of.
pub(crate) fn enter_by_hand(runtime: &SharedRef) -> EnteredByHand {
    EnteredByHand {
        _entered: enter(runtime),
        before: BY_HAND.with(|by_hand| by_hand.replace(true)),
    }
}

pub(crate) struct EnteredByHand {
    _entered: Entered,
    before: bool,
}

impl Drop for EnteredByHand {
    fn drop(&mut self) {
        BY_HAND.with(|by_hand| by_hand.set(self.before));
    }
}

#[inline]
fn entered_by_hand() -> Option<SharedRef> {
    if BY_HAND.try_with(Cell::get).unwrap_or(false) {
        entered()
    } else {
        None
    }
}

fn entered() -> Option<SharedRef> {
    ENTERED
        .try_with(|entered| entered.borrow().clone())
        .ok()
        .flatten()
}

/// The runtime that this thread works for, or has entered.
pub(crate) fn current() -> Option<SharedRef> {
    entered_by_hand()
        .or_else(|| executor::with_worker(|worker| worker.map(|worker| worker.shared.clone())))
        .or_else(entered)
}

/// Starts a task on [`current`]; on a worker without counting a reference to it.
#[inline]
pub(crate) fn spawn<F>(future: F, meta: Record) -> Option<JoinHandle<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if let Some(runtime) = entered_by_hand() {
        return Some(runtime.spawn(future, meta));
    }
    executor::with_worker(|worker| match worker {
        Some(worker) => Some(worker.spawn(future, meta)),
        None => entered().map(|runtime| runtime.spawn_outside(future, meta)),
    })
}

/// Begins to block this thread on a future. `None` where that would stop a worker, or another wait
/// of the same kind further down this thread's stack.
pub(crate) fn enter_blocking() -> Option<Blocking> {
    if executor::is_worker() || BLOCKING.with(|blocking| blocking.replace(true)) {
        return None;
    }
    Some(Blocking(()))
}

pub(crate) struct Blocking(());

impl Drop for Blocking {
    fn drop(&mut self) {
        BLOCKING.with(|blocking| blocking.set(false));
    }
}
