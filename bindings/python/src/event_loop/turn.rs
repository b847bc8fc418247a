//! `run_forever`'s native half: one turn after another.
//!
//! A turn asks the driver for events (the only place where the GIL is released, and only if there
//! is nothing else to do), moves due timers to the ready ring, runs what was ready at that point,
//! and sends what transports have gathered. While callbacks keep the loop busy the driver is asked
//! only every [`POLL_EVERY`] ns, which bounds how long a descriptor can wait for its callback
//! beyond the batch that is running.

use std::ffi::c_void;
use std::time::Duration;

use pyo3::ffi;

use super::{LoopObject, LoopState, object, schedule};
use crate::clock;
use crate::driver;
use crate::globals::names;
use crate::handle;
use crate::py::{self, Obj, PyRes, Raised, Ref};
use crate::transport::TransportState;
use crate::typespec::TypeBuilder;

/// Nanoseconds between two looks at the descriptors while callbacks are ready. A poll without
/// events costs about a microsecond here, so it may take some percent of a busy loop's time.
const POLL_EVERY: u64 = 50_000;

/// With more than so many timers pending, waits for timers end at least [`TIMER_GAP`] ns apart: a
/// wait and the GIL's way out and back cost more than most timers do. Fewer are served to the
/// microsecond. asyncio rounds every wait up to a millisecond.
const MANY_TIMERS: usize = 16;
const TIMER_GAP: u64 = 500_000;

/// Longest wait in seconds; asyncio's limit. The loop simply looks at its timers and waits on.
const LONGEST_WAIT: f64 = 24.0 * 3600.0;

/// Adds this file's methods to the loop's type.
pub(super) fn methods(builder: TypeBuilder) -> TypeBuilder {
    builder
        .noargs(c"_run", run)
        .attribute(c"_turns", get_turns, None)
}

/// How often the loop has looked for events: an idle loop does not.
unsafe extern "C" fn get_turns(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| Ref::int(object(slf).state.turn.get() as usize))
}

/// Runs turns until `stop()`, or until a `SystemExit` or `KeyboardInterrupt` comes through.
unsafe extern "C" fn run(slf: Obj, _: Obj) -> Obj {
    py::nothing(|| {
        let event_loop = object(slf);
        let state = &event_loop.state;
        if state.running.replace(true) {
            return py::raise(py::runtime_error(), c"This event loop is already running");
        }
        let _running = Running(state);
        state.polled_at.set(0);
        loop {
            turn(event_loop)?;
            if state.stopping.get() {
                return Ok(());
            }
        }
    })
}

/// Ends a run however it is left.
struct Running<'a>(&'a LoopState);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.set(false);
        self.0.stopping.set(false);
    }
}

fn turn(event_loop: &LoopObject) -> PyRes<()> {
    let state = &event_loop.state;
    let mut now = clock::now_ns();
    let until_timer = until_timer(event_loop, now)?;
    let busy = !state.ready.is_empty()
        || state.stopping.get()
        || until_timer.is_some_and(|until| until.is_zero());
    if !busy || now.saturating_sub(state.polled_at.get()) >= POLL_EVERY {
        let timeout = if busy {
            Some(Duration::ZERO)
        } else {
            until_timer
        };
        poll(state, timeout)?;
        now = clock::now_ns();
        state.polled_at.set(now);
    }
    if state.timers.len() > 0 {
        let time = time_at(event_loop, now)?;
        while let Some(timer) = state.timers.pop_due(time) {
            state.ready.push(timer);
            state.timers_served_at.set(now);
        }
    }
    // After a fatal exception, what was gathered goes out with the next run.
    run_ready(state)?;
    send_unsent(state)
}

/// The loop's time, `now` being the clock's.
fn time_at(event_loop: &LoopObject, now: u64) -> PyRes<f64> {
    if event_loop.state.time_replaced.get() {
        schedule::now(event_loop)
    } else {
        Ok(clock::seconds(now))
    }
}

/// Runs what is ready now; what becomes ready meanwhile waits for the next turn.
fn run_ready(state: &LoopState) -> PyRes<()> {
    for _ in 0..state.ready.len() {
        let Some(entry) = state.ready.pop() else {
            break;
        };
        if state.debug.get() {
            debug_run(&entry)?;
        } else {
            handle::run(entry.as_ptr())?;
        }
    }
    Ok(())
}

/// Runs one handle through Python's half, which times it.
#[cold]
fn debug_run(entry: &Ref) -> PyRes<()> {
    if handle::is_cancelled(entry.as_ptr()) {
        return Ok(());
    }
    let Some(event_loop) = handle::loop_of(entry.as_ptr()) else {
        return Ok(());
    };
    // SAFETY: live objects.
    unsafe { py::call_method(names()._debug_run, [event_loop.as_ptr(), entry.as_ptr()])? };
    Ok(())
}

/// How long to wait for timers: not at all if one is due, `None` if none is set.
fn until_timer(event_loop: &LoopObject, now: u64) -> PyRes<Option<Duration>> {
    let state = &event_loop.state;
    let Some(deadline) = state.timers.next_deadline() else {
        return Ok(None);
    };
    let seconds = (deadline - time_at(event_loop, now)?).clamp(0.0, LONGEST_WAIT);
    let mut wait = (seconds * 1e9).ceil() as u64;
    if wait > 0 && state.timers.len() > MANY_TIMERS {
        let served = now.saturating_sub(state.timers_served_at.get());
        wait = wait.max(TIMER_GAP.saturating_sub(served));
    }
    Ok(Some(Duration::from_nanos(wait)))
}

/// Asks the driver for events, and waits for them for up to `timeout`.
fn poll(state: &LoopState, timeout: Option<Duration>) -> PyRes<()> {
    state.turn.set(state.turn.get().wrapping_add(1));
    if let Some(driver) = &*state.driver.borrow()
        && let Err(error) = driver.turn(timeout)
    {
        return driver::raise(error);
    }
    if let Some(exception) = state.fatal.replace(None) {
        return py::raise_again(exception);
    }
    // SAFETY: attached; runs the Python handlers of signals that came during the wait.
    if unsafe { ffi::PyErr_CheckSignals() } < 0 {
        return Err(Raised);
    }
    Ok(())
}

/// Sends what transports gathered: each with one vectored write.
fn send_unsent(state: &LoopState) -> PyRes<()> {
    if state.unsent.borrow().is_empty() {
        return Ok(());
    }
    let mut transports = state.unsent.take();
    for transport in transports.drain(..) {
        TransportState::of(transport.as_ptr()).send_gathered(transport.as_ptr());
    }
    let mut unsent = state.unsent.borrow_mut();
    if unsent.is_empty() {
        *unsent = transports;
    }
    drop(unsent);
    match state.fatal.replace(None) {
        Some(exception) => py::raise_again(exception),
        None => Ok(()),
    }
}

/// Called by the driver just before it may block: from here on, pushes wake the loop.
pub(super) fn before_wait(state: &LoopState) {
    state.asleep.set(true);
    if !state.ready.is_empty() || state.stopping.get() {
        state.wake();
    }
    // SAFETY: this thread is attached; `after_wait` attaches it again.
    state.saved_thread.set(unsafe { ffi::PyEval_SaveThread() });
}

/// Called by the driver as soon as it no longer blocks, before any callback.
pub(super) fn after_wait(state: &LoopState) {
    let thread = state.saved_thread.replace(std::ptr::null_mut());
    if !thread.is_null() {
        // SAFETY: saved by `before_wait` on this thread.
        unsafe { ffi::PyEval_RestoreThread(thread) };
        state.asleep.set(false);
    }
}
