//! Connecting: TCP connections by name or address.

use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

use crate::callback::{UserData, rt_drop_fn};
use crate::event_loop::rt_loop;
use crate::ffi::{boundary, boundary_void, out, string};
use crate::handle::{Handle, tag};
use crate::net::loop_connect::LoopConnect;
use crate::net::loop_stream::LoopStream;
use crate::net::task_connect::{self, TaskConnect};
use crate::net::task_stream::TaskStream;
use crate::runtime::rt_runtime;
use crate::status::{Error, RT_OK, RT_PENDING};
use crate::stream::{Stream, rt_stream};
use crate::task::{Completion, rt_done_fn, rt_result};
use crate::waker::{context_waker, rt_context};

/// An operation that is under way and can be cancelled. Freeing the handle leaves the operation
/// alone.
pub struct rt_op {
    _opaque: [u8; 0],
}

/// What the handle holds.
pub(crate) enum Op {
    Loop(Arc<LoopConnect>),
    Runtime(task_connect::Started),
}

// SAFETY: the tag is this type's alone.
unsafe impl Handle for rt_op {
    type Value = Arc<Op>;
    const TAG: u64 = tag(b"rtop    ");
}

/// Asks for an operation to be cancelled: its callback comes with `RT_ECANCELED`, or with its real
/// result if it has one. If it has ended, this does nothing.
/// Errors: `RT_EINVAL`, `RT_EFORK`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_op_cancel(op: *mut rt_op) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes an operation, or what is refused.
        match &**unsafe { rt_op::get(op)? } {
            Op::Loop(connect) => {
                connect.inner().origin().check()?;
                connect.cancel();
            }
            Op::Runtime(started) => started.cancel()?,
        }
        Ok(RT_OK)
    })
}

/// Gives the handle back. The operation goes on.
///
/// @threads any @consumes op
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_op_free(op: *mut rt_op) {
    boundary_void(|| {
        // SAFETY: the caller passes an operation that it owns, or what is refused.
        drop(unsafe { rt_op::take(op) });
    });
}

/// Connects to `host`, a name or an address in figures, and `port`, and calls `connected` with a
/// stream in `result->ptr` that belongs to the callee: a stream of the loop `on`, inside its turns; or,
/// with `on` NULL, a stream of `runtime`, on a worker. Names are looked up on `runtime`, or on the
/// runtime that is attached to `on`. All addresses of a name are tried, the families in turn, the next
/// 250 ms after the one before or when that has failed (RFC 8305). `op` may be NULL.
/// Returns `RT_PENDING`. The result's errors: `RT_ECONNREFUSED`, `RT_ETIMEDOUT`, `-ENETUNREACH` and what
/// else the system says of the last address that was tried; `RT_EAI_NONAME` and so on;
/// `RT_ECANCELED`. Errors of the call: `RT_ENORUNTIME` for a name without a runtime, `RT_EINVAL`,
/// `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
///
/// @threads loop (with a runtime: any) @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_tcp_connect(
    runtime: *mut rt_runtime,
    on: *mut rt_loop,
    host: *const c_char,
    port: u16,
    connected: rt_done_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
    op: *mut *mut rt_op,
) -> c_int {
    let user = UserData::new(data, drop);
    boundary(|| {
        // SAFETY: the caller passes a string, or what is refused.
        let host = unsafe { string(host)? };
        let mut handle = None;
        if !runtime.is_null() {
            // SAFETY: the caller passes a runtime, or what is refused.
            handle = Some(unsafe { rt_runtime::get(runtime)? }.handle()?.clone());
        }
        let started = if on.is_null() {
            let handle = handle.ok_or(Error::Inval)?;
            let home = handle.clone();
            let done = Completion::new(connected, user)?;
            Op::Runtime(task_connect::start(
                &handle,
                host,
                port,
                done,
                move |socket| rt_result {
                    ptr: Stream::of_task(TaskStream::new(socket, Some(home))).cast(),
                    ..rt_result::of(RT_OK)
                },
            ))
        } else {
            // SAFETY: the caller passes a loop, or what is refused.
            let inner = unsafe { rt_loop::get(on)? }.inner().clone();
            if handle.is_none()
                && let Some(runtime) = inner.runtime()
            {
                handle = runtime.handle().ok().cloned();
            }
            let home = inner.clone();
            let done = Completion::new(connected, user)?;
            Op::Loop(LoopConnect::start(
                &inner,
                handle,
                host,
                port,
                done,
                move |socket| rt_result {
                    ptr: Stream::of_loop(LoopStream::new(home.clone(), socket)).cast(),
                    ..rt_result::of(RT_OK)
                },
            )?)
        };
        if !op.is_null() {
            // SAFETY: the caller passes a place for the result.
            unsafe { op.write(rt_op::new(Arc::new(started))) };
        }
        Ok(RT_PENDING)
    })
}

/// A connection that is being made inside a task, to be polled by it.
pub struct rt_connect {
    _opaque: [u8; 0],
}

// SAFETY: the tag is this type's alone.
unsafe impl Handle for rt_connect {
    type Value = Arc<TaskConnect>;
    const TAG: u64 = tag(b"rtconnct");
}

/// Begins to connect as `rt_tcp_connect` does, for a task that polls. Nothing happens before the first
/// poll. `runtime` looks a name up; for an address in figures it may be NULL.
/// Errors: `RT_ENORUNTIME` for a name without a runtime, `RT_EINVAL`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_connect_new(
    runtime: *mut rt_runtime,
    host: *const c_char,
    port: u16,
    connect: *mut *mut rt_connect,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a string, and a place for the result, or what is refused.
        let (host, connect) = unsafe { (string(host)?, out(connect)?) };
        let mut handle = None;
        if !runtime.is_null() {
            // SAFETY: the caller passes a runtime, or what is refused.
            handle = Some(unsafe { rt_runtime::get(runtime)? }.handle()?.clone());
        }
        connect.write(rt_connect::new(Arc::new(TaskConnect::new(
            handle, host, port,
        )?)));
        Ok(RT_OK)
    })
}

/// `RT_OK` and a stream of the task in `*stream` when it is connected, once, or `RT_PENDING`, and the
/// waker of `cx` is woken when it is worth polling again.
/// Errors: as the result of `rt_tcp_connect`; `RT_EINVAL`, also when it has ended before; `RT_EFORK`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_connect_poll(
    connect: *mut rt_connect,
    cx: *mut rt_context,
    stream: *mut *mut rt_stream,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes handles, and a place for the result, or what is refused.
        let (connect, waker, stream) = unsafe {
            (
                rt_connect::get(connect)?.clone(),
                context_waker(cx)?,
                out(stream)?,
            )
        };
        let std::task::Poll::Ready(connected) = connect.poll(waker) else {
            return Ok(RT_PENDING);
        };
        stream.write(Stream::of_task(TaskStream::new(connected?, None)));
        Ok(RT_OK)
    })
}

/// Gives up the connection if it is not made yet, and gives the handle back.
///
/// @threads any @consumes connect
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_connect_free(connect: *mut rt_connect) {
    boundary_void(|| {
        // SAFETY: the caller passes a connect that it owns, or what is refused.
        drop(unsafe { rt_connect::take(connect) });
    });
}
