//! Tasks: a caller's poll functions, run by workers or by a loop.

mod future;
mod shared;

use std::ffi::{c_int, c_void};
use std::sync::Arc;

pub(crate) use shared::{Cancel, Completion, Shared};

use crate::callback::{UserData, rt_drop_fn};
use crate::event_loop::{DropHome, rt_loop};
use crate::ffi::{Options, boundary, boundary_void, options, out};
use crate::handle::{Handle, tag};
use crate::home::Home;
use crate::runtime::rt_runtime;
use crate::status::{Error, RT_OK, RT_PENDING, status};
use crate::thread;
use crate::waker::{context_waker, rt_context};
use future::{PollFn, UserTask};

/// How an operation or a task ended.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rt_result {
    /// `RT_OK`, or a negative `RT_E*`.
    pub status: i32,
    /// Zero in this version.
    pub flags: u32,
    /// A count, as the operation says: bytes read, for example.
    pub n: i64,
    /// A pointer, as the operation says: an accepted stream, for example.
    pub ptr: *mut c_void,
    /// Zero in this version.
    pub reserved: u64,
}

// SAFETY: the library only passes the pointer on.
unsafe impl Send for rt_result {}
// SAFETY: as above.
unsafe impl Sync for rt_result {}

impl rt_result {
    pub(crate) fn of(status: i32) -> rt_result {
        rt_result {
            status,
            flags: 0,
            n: 0,
            ptr: std::ptr::null_mut(),
            reserved: 0,
        }
    }

    pub(crate) fn count(n: usize) -> rt_result {
        rt_result {
            n: n as i64,
            ..rt_result::of(RT_OK)
        }
    }
}

/// Polls a task: does what can be done now and returns `RT_OK` or a negative code when the task is
/// finished, with what it wants to say in `*result` (the library sets `result->status`), or
/// `RT_PENDING` after it has arranged for the waker of `cx` to be woken. It must not block.
pub type rt_poll_fn = Option<
    unsafe extern "C-unwind" fn(
        data: *mut c_void,
        cx: *mut rt_context,
        result: *mut rt_result,
    ) -> c_int,
>;

/// Hears how an operation or a task ended: called exactly once for each submission that returned
/// `RT_PENDING`, never inside the submitting call. `result` is valid during the call.
pub type rt_done_fn =
    Option<unsafe extern "C-unwind" fn(data: *mut c_void, result: *const rt_result)>;

pub(crate) type DoneFn = unsafe extern "C-unwind" fn(*mut c_void, *const rt_result);

/// A task: a poll function with its data, run by the workers of a runtime or inside the turns of a
/// loop. The handle only observes: freeing it detaches the task.
///
/// The contract between a task and the library:
///  1. Polls of one task never overlap, and each sees all that the one before wrote, across
///     workers.
///  2. What is written before a wake is seen by the poll that it causes. A wake during a poll
///     means one more poll; any number of wakes before a poll mean one. No wake, no poll; there is
///     always a first poll unless the task is cancelled before it.
///  3. `drop(data)` runs once, after the last poll and before anybody hears of the result: what
///     `data` points to may be freed by whoever hears.
///  4. Results do not change once they can be seen.
///  5. Cancelling or freeing a task is allowed anywhere, also inside its own poll. A poll that
///     is under way ends first, and if it says that the task is finished, that counts.
///  6. At shutdown pending tasks get `drop` without another poll, then `RT_ECANCELED`; nothing of
///     a runtime runs after the last `rt_runtime_free` has returned.
pub struct rt_task {
    _opaque: [u8; 0],
}

// SAFETY: the tag is this type's alone.
unsafe impl Handle for rt_task {
    type Value = Arc<Shared>;
    const TAG: u64 = tag(b"rttask  ");
}

/// In `rt_spawn_options.flags`: `drop(data)` runs on the thread of the loop in
/// `rt_spawn_options.loop`, inside a turn; when that loop is closed, wherever the task ends.
pub const RT_DROP_ON_LOOP: u32 = 1;

/// Options of a task. Set up by `RT_SPAWN_OPTIONS_INIT`.
#[repr(C)]
pub struct rt_spawn_options {
    /// `sizeof(rt_spawn_options)`.
    pub size: usize,
    /// `RT_DROP_ON_LOOP`, or 0.
    pub flags: u32,
    /// Zero in this version.
    pub reserved: u32,
    /// The loop of `RT_DROP_ON_LOOP`, otherwise NULL.
    pub loop_: *mut rt_loop,
}

// SAFETY: `repr(C)`, begins with its size, and zeros are valid everywhere.
unsafe impl Options for rt_spawn_options {}

/// # Safety
/// As [`options`], and the loop in it is a loop or what a check refuses.
pub(crate) unsafe fn spawn_options(
    user: &mut UserData,
    given: *const rt_spawn_options,
) -> Result<(), Error> {
    // SAFETY: passed on from the caller.
    let given = unsafe { options(given)? };
    match given.flags {
        0 if given.loop_.is_null() && given.reserved == 0 => Ok(()),
        RT_DROP_ON_LOOP if given.reserved == 0 => {
            // SAFETY: passed on from the caller.
            let home = unsafe { rt_loop::get(given.loop_)? };
            user.drop_on(DropHome::new(home));
            Ok(())
        }
        _ => Err(Error::Inval),
    }
}

/// Writes a handle for a task to `task`, if the caller wants one.
///
/// # Safety
/// `task` is NULL or valid for a write.
pub(crate) unsafe fn hand_out(task: *mut *mut rt_task, shared: Option<Arc<Shared>>) {
    if let Some(shared) = shared {
        // SAFETY: passed on from the caller; there is a shared part only if `task` is not NULL.
        unsafe { task.write(rt_task::new(shared)) };
    }
}

/// Runs `poll(data, ...)` as a task on the workers of `runtime`. `options` and `task` may be NULL;
/// without `task` the task is detached from the start. The first poll may come before this call
/// returns, on another thread.
/// Errors: `RT_EINVAL`, `RT_ESHUTDOWN`, `RT_EFORK`, `RT_E2BIG`; `drop(data)` has run then.
///
/// @threads any @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_spawn(
    runtime: *mut rt_runtime,
    poll: rt_poll_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
    options: *const rt_spawn_options,
    task: *mut *mut rt_task,
) -> c_int {
    let mut user = UserData::new(data, drop);
    boundary(|| {
        // SAFETY: the caller passes live handles, and structs as the header declares them.
        let runtime = unsafe {
            spawn_options(&mut user, options)?;
            rt_runtime::get(runtime)?
        };
        let poll = poll.ok_or(Error::Inval)?;
        let handle = runtime.handle()?;
        let shared = (!task.is_null()).then(|| Shared::new(Home::Runtime(handle.clone())));
        let join = handle.spawn(UserTask::new(poll, user, shared.clone()));
        if let Some(shared) = &shared {
            shared.set_cancel(Cancel::Task(join.abort_handle()));
        }
        // SAFETY: the caller passes a place for the result, or NULL.
        unsafe { hand_out(task, shared) };
        Ok(RT_OK)
    })
}

/// Runs `poll(data, ...)` as a task inside the turns of `loop`, on that loop's thread only.
/// `options` and `task` may be NULL.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`, `RT_E2BIG`; `drop(data)` has run
/// then.
///
/// @threads loop @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_spawn_local(
    loop_: *mut rt_loop,
    poll: rt_poll_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
    options: *const rt_spawn_options,
    task: *mut *mut rt_task,
) -> c_int {
    let mut user = UserData::new(data, drop);
    boundary(|| {
        // SAFETY: the caller passes live handles, and structs as the header declares them.
        let inner = unsafe {
            spawn_options(&mut user, options)?;
            rt_loop::get(loop_)?.inner().clone()
        };
        let poll = poll.ok_or(Error::Inval)?;
        let shared = (!task.is_null()).then(|| Shared::new(Home::Loop(inner.clone())));
        let join = inner
            .access()?
            .spawn_local(UserTask::new(poll, user, shared.clone()));
        if let Some(shared) = &shared {
            shared.set_cancel(Cancel::Task(join.abort_handle()));
        }
        // SAFETY: the caller passes a place for the result, or NULL.
        unsafe { hand_out(task, shared) };
        Ok(RT_OK)
    })
}

fn user_poll(poll: rt_poll_fn) -> Result<PollFn, Error> {
    thread::may_block()?;
    poll.ok_or(Error::Inval)
}

/// # Safety
/// `result` is NULL or valid for a write.
unsafe fn write_result(result: *mut rt_result, value: rt_result) {
    if !result.is_null() {
        // SAFETY: passed on from the caller.
        unsafe { result.write(value) };
    }
}

/// Runs `poll(data, ...)` on the calling thread until it is finished, and blocks in between. Tasks
/// of `runtime` go on meanwhile, and what the poll uses (timers, sockets) is `runtime`'s.
/// `RT_OK` means that it finished, in whichever way: `*result` says how (`result` may be NULL).
/// Errors: `RT_EINVAL`, `RT_EDEADLK` inside a callback or a poll, `RT_ESHUTDOWN`, `RT_EFORK`;
/// `drop(data)` has run then.
///
/// @threads any @blocking @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_block_on(
    runtime: *mut rt_runtime,
    poll: rt_poll_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
    result: *mut rt_result,
) -> c_int {
    let user = UserData::new(data, drop);
    boundary(|| {
        // SAFETY: the caller passes a runtime, or what is refused.
        let runtime = unsafe { rt_runtime::get(runtime)?.clone() };
        let value = runtime.block_on(UserTask::new(user_poll(poll)?, user, None))?;
        // SAFETY: the caller passes a place for the result, or NULL.
        unsafe { write_result(result, value) };
        Ok(RT_OK)
    })
}

/// Turns `loop` on the calling thread until `poll(data, ...)`, run as a task of the loop, is
/// finished. Results as for `rt_block_on`.
/// Errors: `RT_ECANCELED` if the loop was stopped, `RT_EDEADLK` inside a callback or a poll,
/// `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
///
/// @threads loop @blocking @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_loop_block_on(
    loop_: *mut rt_loop,
    poll: rt_poll_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
    result: *mut rt_result,
) -> c_int {
    let user = UserData::new(data, drop);
    boundary(|| {
        // SAFETY: the caller passes a loop, or what is refused.
        let loop_ = unsafe { rt_loop::get(loop_)?.clone() };
        let value = loop_.block_on(UserTask::new(user_poll(poll)?, user, None))?;
        // SAFETY: the caller passes a place for the result, or NULL.
        unsafe { write_result(result, value) };
        Ok(RT_OK)
    })
}

/// Waits for `task` from inside another task: `RT_OK` when it has ended, with its result in
/// `*result` (which may be NULL), or `RT_PENDING`, and the waker of `cx` is woken when it ends.
/// Errors: `RT_EINVAL`, `RT_EFORK`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_task_poll(
    task: *mut rt_task,
    cx: *mut rt_context,
    result: *mut rt_result,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a task and a context, or what is refused.
        let (shared, waker) = unsafe { (rt_task::get(task)?, context_waker(cx)?) };
        shared.origin.check()?;
        let std::task::Poll::Ready(value) = shared.poll(waker) else {
            return Ok(RT_PENDING);
        };
        // SAFETY: the caller passes a place for the result, or NULL.
        unsafe { write_result(result, value) };
        Ok(RT_OK)
    })
}

/// Blocks until `task` has ended, at most `timeout_ns` (`RT_FOREVER`: as long as it takes), and
/// writes its result to `*result` (which may be NULL).
/// Errors: `RT_ETIMEDOUT`, `RT_EDEADLK` inside a callback or a poll, `RT_EINVAL`, `RT_EFORK`.
///
/// @threads any @blocking
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_task_join(
    task: *mut rt_task,
    timeout_ns: u64,
    result: *mut rt_result,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a task, or what is refused.
        let shared = unsafe { rt_task::get(task)?.clone() };
        shared.origin.check()?;
        if !shared.is_finished() {
            thread::may_block()?;
        }
        let value = shared.join(timeout_ns)?;
        // SAFETY: the caller passes a place for the result, or NULL.
        unsafe { write_result(result, value) };
        Ok(RT_OK)
    })
}

/// Calls `done(data, result)` when `task` ends: inside a turn of the loop `on`, or with `on` NULL
/// on the thread on which the task ends (a worker; its loop's thread; at shutdown, the thread
/// that shuts down). If the task has ended already the callback comes just so, never inside this
/// call. Any number of callbacks can be set.
/// Returns `RT_PENDING`. Errors: `RT_EINVAL`, `RT_ESHUTDOWN` if where it should run is closed,
/// `RT_EFORK`; `drop(data)` has run then, and `done` is not called.
///
/// @threads any @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_task_on_done(
    task: *mut rt_task,
    on: *mut rt_loop,
    done: rt_done_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
) -> c_int {
    let user = UserData::new(data, drop);
    boundary(|| {
        // SAFETY: the caller passes a task, or what is refused.
        let shared = unsafe { rt_task::get(task)?.clone() };
        shared.origin.check()?;
        let on = if on.is_null() {
            None
        } else {
            // SAFETY: the caller passes a loop, or what is refused.
            let inner = unsafe { rt_loop::get(on)?.inner().clone() };
            inner.check_open()?;
            Some(Home::Loop(inner))
        };
        if on.is_none() && shared.is_finished() {
            shared.home.check_open()?;
        }
        shared.on_done(Completion::new(done, user)?, on);
        Ok(RT_PENDING)
    })
}

/// Asks for `task` to be cancelled: it gets `drop` instead of another poll, and its result is
/// `RT_ECANCELED`, unless it ends by itself first. A blocking job is cancelled only if it has
/// not begun. Idempotent; does not wait.
/// Errors: `RT_EALREADY` if it has ended, `RT_EBUSY` if it is a blocking job that runs, `RT_EINVAL`,
/// `RT_EFORK`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_task_cancel(task: *mut rt_task) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a task, or what is refused.
        let shared = unsafe { rt_task::get(task)?.clone() };
        shared.origin.check()?;
        Ok(status(shared.cancel()))
    })
}

/// Another handle for the same task.
/// Errors: `RT_EINVAL`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_task_clone(task: *mut rt_task, clone: *mut *mut rt_task) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a task, and a place for the result, or what is refused.
        let (shared, clone) = unsafe { (rt_task::get(task)?, out(clone)?) };
        clone.write(rt_task::new(shared.clone()));
        Ok(RT_OK)
    })
}

/// Gives the handle back. The task goes on; cancel it first if it should not.
///
/// @threads any @consumes task
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_task_free(task: *mut rt_task) {
    boundary_void(|| {
        // SAFETY: the caller passes a task that it owns, or what is refused.
        std::mem::drop(unsafe { rt_task::take(task) });
    });
}
