//! Event loops: one owner thread, driven from inside or from a host's own loop.

mod hooks;
mod inner;
mod loop_handle;

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use inner::{Access, LoopInner, drop_part};
pub use libruntime_core::event_loop::Turn;
pub use libruntime_core::reactor::{Interest, Ready};

pub(crate) use loop_handle::DropHome;
pub use loop_handle::{Hooks, Loop, LoopOptions};

pub use crate::timer::Timer;
pub use crate::watch::Watch;

use crate::callback::{UserData, rt_drop_fn};
use crate::ffi::{Options, boundary, boundary_void, options, out};
use crate::handle::{Handle, tag};
use crate::runtime::rt_runtime;
use crate::status::{Error, RT_OK, RT_PENDING, status};
use crate::thread;

/// An event loop: timers, watches, streams and tasks of one thread, which runs all of their
/// callbacks inside its own turns.
///
/// A turn does, in this order: what other threads sent (`rt_loop_post`, wakes); timers that are
/// due; descriptors that are ready; tasks that were woken; the after-turn hook. Each part is
/// bounded, so that none starves another; `RT_PENDING` says that something is left.
///
/// The loop belongs to the thread that turns it; between turns, to the one that turned it last or
/// made it. "@threads loop" means that thread: others get `RT_EPERM`. Another thread becomes the
/// owner by turning it.
///
/// A host that has a loop of its own sleeps on `rt_loop_backend_fd` (level-triggered), or is told by
/// `rt_loop_set_notify`, and then calls `rt_loop_turn(loop, 0)`.
pub struct rt_loop {
    _opaque: [u8; 0],
}

// SAFETY: the tag is this type's alone.
unsafe impl Handle for rt_loop {
    type Value = Arc<Loop>;
    const TAG: u64 = tag(b"rtloop  ");
}

/// As a time limit or a timeout in nanoseconds: none.
pub const RT_FOREVER: u64 = u64::MAX;

/// Options of a loop. Set up by `RT_LOOP_OPTIONS_INIT`.
#[repr(C)]
pub struct rt_loop_options {
    /// `sizeof(rt_loop_options)`.
    pub size: usize,
    /// Where the blocking jobs and name lookups of the loop go; NULL for nowhere. The loop keeps a
    /// reference.
    pub runtime: *mut rt_runtime,
}

// SAFETY: `repr(C)`, begins with its size, and zeros are valid everywhere.
unsafe impl Options for rt_loop_options {}

/// Makes a loop that belongs to this thread. `options` may be NULL.
/// Errors: `RT_EINVAL`, `RT_E2BIG`, `RT_ESHUTDOWN`, `RT_EMFILE` and what else the system says.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_new(
    options: *const rt_loop_options,
    loop_: *mut *mut rt_loop,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a struct as the header declares it.
        let given = unsafe { self::options(options)? };
        let mut options = LoopOptions::default();
        if !given.runtime.is_null() {
            // SAFETY: the caller passes a runtime, or what is refused.
            options.runtime = Some(unsafe { rt_runtime::get(given.runtime)?.clone() });
        }
        // SAFETY: the caller passes a place for the result, or NULL.
        let loop_ = unsafe { out(loop_)? };
        loop_.write(rt_loop::new(Loop::new(&options)?));
        Ok(RT_OK)
    })
}

/// Another handle for the same loop.
/// Errors: `RT_EINVAL`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_clone(loop_: *mut rt_loop, clone: *mut *mut rt_loop) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a loop, and a place for the result, or what is refused.
        let (this, clone) = unsafe { (rt_loop::get(loop_)?, out(clone)?) };
        clone.write(rt_loop::new(this.clone()));
        Ok(RT_OK)
    })
}

/// Gives the handle back. With the last one the loop is closed: operations that are pending call
/// back with `RT_ECANCELED`, user data is dropped, both inside this call, or at the end of the turn
/// or call that is inside the loop just then. Other handles (watches, timers, streams, tasks of the
/// loop) remain to be freed; what is done with them returns `RT_ESHUTDOWN`.
///
/// @threads any @consumes loop
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_free(loop_: *mut rt_loop) {
    boundary_void(|| {
        // SAFETY: the caller passes a loop that it owns, or what is refused.
        drop(unsafe { rt_loop::take(loop_) });
    });
}

/// Turns the loop until `rt_loop_stop`, or until nothing is alive: no watch, timer, task or pending
/// operation but those that were taken out by `rt_..._set_ref`.
/// Returns `RT_OK` if nothing is alive, `RT_PENDING` if it was stopped before.
/// Errors: `RT_EBUSY` inside a turn of this loop, `RT_EPERM` while another thread turns it,
/// `RT_EINVAL`, `RT_EFORK`.
///
/// @threads loop @blocking
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_run(loop_: *mut rt_loop) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a loop, or what is refused. The clone keeps it while it runs.
        let this = unsafe { rt_loop::get(loop_)?.clone() };
        Ok(more(this.run()?))
    })
}

/// One turn that waits until something happens, unless nothing is alive.
/// Returns `RT_PENDING` if something is alive still, else `RT_OK`. Errors: as `rt_loop_run`.
///
/// @threads loop @blocking
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_run_once(loop_: *mut rt_loop) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a loop, or what is refused. The clone keeps it while it runs.
        let this = unsafe { rt_loop::get(loop_)?.clone() };
        Ok(more(this.run_once()?))
    })
}

/// One turn. It waits at most `timeout_ns` for something to do; 0 does not wait, `RT_FOREVER` waits
/// as long as it takes.
/// Returns `RT_PENDING` if there is more to do at once, else `RT_OK`. Errors: as `rt_loop_run`.
///
/// @threads loop @blocking
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_turn(loop_: *mut rt_loop, timeout_ns: u64) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a loop, or what is refused. The clone keeps it while it runs.
        let this = unsafe { rt_loop::get(loop_)?.clone() };
        Ok(more(this.turn(timeout_ns)? == Turn::More))
    })
}

fn more(more: bool) -> c_int {
    if more { RT_PENDING } else { RT_OK }
}

/// Makes `rt_loop_run` return after the turn that is under way; if none is, the next `rt_loop_run`
/// returns at once. The request is forgotten when `rt_loop_run` returns.
/// Errors: `RT_ESHUTDOWN`, `RT_EINVAL`, `RT_EFORK`.
///
/// @threads any @signal_safe
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_stop(loop_: *mut rt_loop) -> c_int {
    // No boundary, as in `rt_loop_wake`.
    // SAFETY: the caller passes a loop, or what is refused.
    status(unsafe { rt_loop::get(loop_) }.and_then(|this| this.stop()))
}

/// Whether something keeps `rt_loop_run` going: `RT_PENDING` if so, else `RT_OK`.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_alive(loop_: *mut rt_loop) -> c_int {
    // SAFETY: the caller passes a loop, or what is refused.
    boundary(|| Ok(more(unsafe { rt_loop::get(loop_)? }.alive()?)))
}

/// The one descriptor to embed the loop with: it is readable whenever a turn would do something,
/// due timers and wakes from other threads included, so a host can sleep on it without a timeout.
/// Watch it level-triggered, or call `rt_loop_turn(loop, 0)` until it returns `RT_OK`. It belongs to
/// the loop: do not read, change or close it.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_backend_fd(loop_: *mut rt_loop, fd: *mut c_int) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a loop, and a place for the result, or what is refused.
        let (this, fd) = unsafe { (rt_loop::get(loop_)?, out(fd)?) };
        fd.write(this.backend_fd()?);
        Ok(RT_OK)
    })
}

/// How long a turn would wait at most, in nanoseconds: 0 if there is something to do, `RT_FOREVER`
/// if nothing is planned. Only a host that cannot sleep on the descriptor needs it.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_timeout_ns(loop_: *mut rt_loop, timeout_ns: *mut u64) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a loop, and a place for the result, or what is refused.
        let (this, timeout_ns) = unsafe { (rt_loop::get(loop_)?, out(timeout_ns)?) };
        let timeout = this.next_timeout()?;
        timeout_ns.write(timeout.map_or(RT_FOREVER, nanoseconds));
        Ok(RT_OK)
    })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(RT_FOREVER)
}

/// Is called when the loop wants a turn.
pub type rt_notify_fn = Option<unsafe extern "C-unwind" fn(data: *mut c_void)>;

/// Sets a function that is called when the loop wants a turn, for a host that cannot sleep on a
/// descriptor: on any thread, at most once until the next turn. It must not block nor turn the
/// loop itself; it tells the host to. NULL for none. If `rt_loop_wake` is called in signal handlers,
/// `notify` must be safe there. `drop(data)` runs when another function is set, or with the loop.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
///
/// @threads loop @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_set_notify(
    loop_: *mut rt_loop,
    notify: rt_notify_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
) -> c_int {
    let user = UserData::new(data, drop);
    boundary(|| {
        // SAFETY: the caller passes a loop, or what is refused.
        let this = unsafe { rt_loop::get(loop_)?.clone() };
        this.set_notify(notify.map(|notify| -> Box<dyn Fn() + Send + Sync> {
            // Not by way of `thread`: a signal handler that wakes must not touch thread-local storage.
            // SAFETY: the caller gave the function for this data, which the closure keeps. Core
            // contains a panic.
            Box::new(move || unsafe { notify(user.data()) })
        }))?;
        Ok(RT_OK)
    })
}

/// A hook of a loop.
pub type rt_hook_fn = Option<unsafe extern "C-unwind" fn(data: *mut c_void)>;

/// Sets functions for fixed points of each turn; each may be NULL. `before_wait` and `after_wait` run
/// around the blocking wait, and only if there is one: nothing else of the loop runs between them,
/// so a host can let go of a lock there. `after_turn` runs last. `drop(data)` runs when others are
/// set, or with the loop.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
///
/// @threads loop @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_set_hooks(
    loop_: *mut rt_loop,
    before_wait: rt_hook_fn,
    after_wait: rt_hook_fn,
    after_turn: rt_hook_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
) -> c_int {
    let user = UserData::new(data, drop);
    boundary(|| {
        // SAFETY: the caller passes a loop, or what is refused.
        let this = unsafe { rt_loop::get(loop_)?.clone() };
        this.set_hooks(hooks::make(before_wait, after_wait, after_turn, user))?;
        Ok(RT_OK)
    })
}

/// Makes a turn happen: ends the wait of the loop, or of the host that sleeps on it. Wakes
/// coalesce. What was written before is seen by the turn.
/// Errors: `RT_EINVAL`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads any @signal_safe
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_wake(loop_: *mut rt_loop) -> c_int {
    // No boundary: a signal handler must not touch thread-local storage that may have to be
    // allocated. Nothing here panics.
    // SAFETY: the caller passes a loop, or what is refused.
    status(unsafe { rt_loop::get(loop_) }.and_then(|this| this.wake()))
}

/// In the child of a `fork` that goes on with the loop, first of all: gives the loop descriptors of its
/// own, with the same numbers, so that neither process disturbs the other's. Its watches, timers and
/// streams work in the child then; what was pending is pending in both processes, and sockets are
/// shared. Its tasks go on, but what they poll gives them `RT_EFORK`. For programs of one thread: a lock that another thread held at the fork is
/// held for ever in the child. A runtime that is attached does not exist in the child.
/// Errors: `RT_EINVAL` if the loop was made in this process, `RT_EBUSY` if it was being turned or used
/// at the fork, `-ENOSYS` where the system has no such means, `RT_ESHUTDOWN`, `RT_EMFILE`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_after_fork(loop_: *mut rt_loop) -> c_int {
    // SAFETY: the caller passes a loop, or what is refused.
    boundary(|| Ok(status(unsafe { rt_loop::get(loop_)? }.after_fork())))
}

/// Something to do once.
pub type rt_post_fn = Option<unsafe extern "C-unwind" fn(data: *mut c_void)>;

/// Calls `call(data)` once in the next turn of the loop, then `drop(data)`. If the loop is closed
/// first, only `drop` is called.
/// Returns `RT_PENDING`. Errors: `RT_EINVAL`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
///
/// @threads any @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_post(
    loop_: *mut rt_loop,
    call: rt_post_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
) -> c_int {
    let user = UserData::new(data, drop);
    boundary(|| {
        let call = call.ok_or(Error::Inval)?;
        // SAFETY: the caller passes a loop, or what is refused.
        let this = unsafe { rt_loop::get(loop_)? };
        this.post(move || {
            // SAFETY: the caller gave the function for this data, which the closure keeps.
            let _ = thread::callback(|| unsafe { call(user.data()) });
        })?;
        Ok(RT_PENDING)
    })
}
