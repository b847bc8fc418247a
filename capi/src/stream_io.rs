//! Reading and writing streams, in poll shape and in callback shape.

use std::ffi::{c_int, c_void};
use std::task::Poll;

use crate::callback::{UserData, rt_drop_fn};
use crate::ffi::{boundary, out};
use crate::handle::Handle;
use crate::net::Subscription;
use crate::net::loop_stream::Held;
use crate::status::{Error, RT_OK, RT_PENDING};
use crate::stream::{Kind, guarded, rt_buf, rt_stream, submitted};
use crate::task::{Completion, rt_done_fn};
use crate::waker::{context_waker, rt_context};

/// The result of a poll, for C: `*n` is written when it is ready.
///
/// # Safety
/// `n` is NULL or valid for a write.
unsafe fn polled(n: *mut usize, polled: Poll<Result<usize, Error>>) -> Result<c_int, Error> {
    match polled {
        Poll::Pending => Ok(RT_PENDING),
        Poll::Ready(count) => {
            // SAFETY: passed on from the caller.
            unsafe { out(n)? }.write(count?);
            Ok(RT_OK)
        }
    }
}

fn buffer(buffer: *mut c_void, len: usize) -> Result<*mut u8, Error> {
    if buffer.is_null() || len == 0 {
        Err(Error::Inval)
    } else {
        Ok(buffer.cast())
    }
}

fn one(data: *const c_void, len: usize) -> Result<[rt_buf; 1], Error> {
    if data.is_null() && len > 0 {
        Err(Error::Inval)
    } else {
        Ok([rt_buf { base: data, len }])
    }
}

/// # Safety
/// `bufs` is NULL or points to `count` pieces that are valid while `'a` lasts.
unsafe fn many<'a>(bufs: *const rt_buf, count: usize) -> Result<&'a [rt_buf], Error> {
    if bufs.is_null() || count == 0 || !bufs.is_aligned() || count > 1 << 20 {
        return Err(Error::Inval);
    }
    // SAFETY: by the caller's promise.
    let bufs = unsafe { std::slice::from_raw_parts(bufs, count) };
    let bad = bufs.iter().any(|buf| buf.base.is_null() && buf.len > 0);
    if bad { Err(Error::Inval) } else { Ok(bufs) }
}

/// Reads what is there, at most `len` bytes: `RT_OK` and at least one byte in `*n`, or `RT_PENDING`
/// and the waker of `cx` is woken when it is worth polling again. Nothing is allocated.
/// Errors: `RT_EOF` when the peer has sent all, `RT_ECONNRESET` and what else the system says,
/// `RT_EINVAL` for no memory or a stream of a loop, `RT_EBADF` after `rt_stream_close`, `RT_EFORK`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_poll_read(
    stream: *mut rt_stream,
    cx: *mut rt_context,
    data: *mut c_void,
    len: usize,
    n: *mut usize,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes handles and memory, or what is refused.
        unsafe {
            let (stream, waker) = (rt_stream::get(stream)?, context_waker(cx)?);
            let data = buffer(data, len)?;
            polled(n, stream.task()?.poll_read(waker, data, len))
        }
    })
}

/// Writes what there is room for, at most `len` bytes: `RT_OK` and how many in `*n`, or `RT_PENDING`
/// and the waker of `cx` is woken when it is worth polling again. Nothing is allocated.
/// Errors: `RT_EPIPE`, `RT_ECONNRESET` and what else the system says, `RT_EINVAL` for no memory or a
/// stream of a loop, `RT_EBADF` after `rt_stream_close`, `RT_EFORK`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_poll_write(
    stream: *mut rt_stream,
    cx: *mut rt_context,
    data: *const c_void,
    len: usize,
    n: *mut usize,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes handles and memory, or what is refused.
        unsafe {
            let (stream, waker) = (rt_stream::get(stream)?, context_waker(cx)?);
            polled(n, stream.task()?.poll_write(waker, &one(data, len)?))
        }
    })
}

/// As `rt_stream_poll_write` with several pieces, which leave together as far as there is room.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_poll_writev(
    stream: *mut rt_stream,
    cx: *mut rt_context,
    bufs: *const rt_buf,
    count: usize,
    n: *mut usize,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes handles and memory, or what is refused.
        unsafe {
            let (stream, waker) = (rt_stream::get(stream)?, context_waker(cx)?);
            polled(n, stream.task()?.poll_write(waker, many(bufs, count)?))
        }
    })
}

/// Reads what is there, at most `len` bytes: `RT_OK` and at least one byte in `*n` if there is
/// something now; else `RT_PENDING`, and `done` is called when something has come, with the count in
/// `result->n`, or with an error, or with `RT_EOF` when the peer has sent all. The memory is the
/// library's until then.
/// Errors (`done` is not called, `drop(data)` has run): `RT_EOF`, `RT_EBUSY` while another read is
/// pending, `RT_ECONNRESET` and what else the system says, `RT_EBADF` after `rt_stream_close`,
/// `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop (of a runtime: any) @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_read(
    stream: *mut rt_stream,
    buffer: *mut c_void,
    len: usize,
    n: *mut usize,
    done: rt_done_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
) -> c_int {
    let user = UserData::new(data, drop);
    boundary(|| {
        // SAFETY: the caller passes a stream and memory, or what is refused.
        unsafe {
            let stream = rt_stream::get(stream)?.clone();
            let buffer = self::buffer(buffer, len)?;
            let done = Completion::new(done, user)?;
            let result = match &stream.0 {
                Kind::Loop(Held(stream)) => {
                    guarded(stream.inner().access(), done, |access, done| {
                        stream.read(&access, buffer, len, done)
                    })
                }
                Kind::Task(stream) => guarded(stream.checked(), done, |stream, done| {
                    stream.read(buffer, len, done)
                }),
            };
            submitted(n, result)
        }
    })
}

/// Calls `received` with all that comes, piece by piece: `result->n` bytes at `result->ptr`, which are
/// valid during the call. No memory is kept for a stream on which nothing comes. The last call has
/// an error, or `RT_EOF` when the peer has sent all. No call comes after `rt_stream_read_stop`,
/// `rt_stream_close` or `rt_stream_free`. Then, or after the last call, `drop(data)` runs.
/// Returns `RT_PENDING`. Errors: `RT_EBUSY` while another read is pending, `RT_EBADF` after
/// `rt_stream_close`, `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
///
/// @threads loop (of a runtime: any) @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_read_start(
    stream: *mut rt_stream,
    received: rt_done_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
) -> c_int {
    let user = UserData::new(data, drop);
    boundary(|| {
        // SAFETY: the caller passes a stream, or what is refused.
        let stream = unsafe { rt_stream::get(stream)?.clone() };
        let subscription = Subscription::new(received, user)?;
        match &stream.0 {
            Kind::Loop(Held(stream)) => {
                stream.read_start(&stream.inner().access()?, subscription)?;
            }
            Kind::Task(stream) => stream.checked()?.read_start(subscription)?,
        }
        Ok(RT_PENDING)
    })
}

/// Ends what `rt_stream_read_start` began: on a loop no call comes after this; on a runtime one that is
/// under way on another thread may still be, and `drop(data)` tells when it is over. It can be
/// started again. Stopping what is not started does nothing.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop (of a runtime: any)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_read_stop(stream: *mut rt_stream) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a stream, or what is refused.
        let stream = unsafe { rt_stream::get(stream)?.clone() };
        match &stream.0 {
            Kind::Loop(Held(stream)) => stream.read_stop(&stream.inner().access()?),
            Kind::Task(stream) => stream.checked()?.read_stop(),
        }
        Ok(RT_OK)
    })
}

/// Writes `len` bytes: `RT_OK` if all were taken now (and `*n`, which may be NULL, is `len`), else
/// `RT_PENDING`, and `done` is called when the last has been taken, or with an error; `result->n`
/// says how many were. Writes leave in the order of their submission. The memory is the library's
/// until `done` is called; it is not copied.
/// Errors (`done` is not called, `drop(data)` has run): `RT_EPIPE`, `RT_ECONNRESET` and what else the
/// system says, `RT_EBADF` after `rt_stream_close`, `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`,
/// `RT_EFORK`. No signal is raised.
///
/// @threads loop (of a runtime: any) @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_write(
    stream: *mut rt_stream,
    bytes: *const c_void,
    len: usize,
    n: *mut usize,
    done: rt_done_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
) -> c_int {
    let user = UserData::new(data, drop);
    // SAFETY: the caller passes a stream and memory, or what is refused.
    boundary(|| unsafe { write(stream, &one(bytes, len)?, n, done, user) })
}

/// As `rt_stream_write` with several pieces, which leave together as far as there is room. The
/// array is copied, what it points to is not.
///
/// @threads loop (of a runtime: any) @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_writev(
    stream: *mut rt_stream,
    bufs: *const rt_buf,
    count: usize,
    n: *mut usize,
    done: rt_done_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
) -> c_int {
    let user = UserData::new(data, drop);
    // SAFETY: the caller passes a stream and memory, or what is refused.
    boundary(|| unsafe { write(stream, many(bufs, count)?, n, done, user) })
}

/// # Safety
/// The pieces are valid until `done` was called, `n` is NULL or valid for a write.
unsafe fn write(
    stream: *mut rt_stream,
    bufs: &[rt_buf],
    n: *mut usize,
    done: rt_done_fn,
    user: UserData,
) -> Result<c_int, Error> {
    // SAFETY: passed on from the caller.
    unsafe {
        let stream = rt_stream::get(stream)?.clone();
        let done = Completion::new(done, user)?;
        let result = match &stream.0 {
            Kind::Loop(Held(stream)) => guarded(stream.inner().access(), done, |access, done| {
                stream.write(&access, bufs, done)
            }),
            Kind::Task(stream) => guarded(stream.checked(), done, |stream, done| {
                stream.write(bufs, done)
            }),
        };
        submitted(n, result)
    }
}

/// Writes what there is room for now, at most `len` bytes, and says how many in `*n`.
/// Errors: `RT_EAGAIN` if there is no room, or writes are queued; else as `rt_stream_write`.
///
/// @threads loop (of a runtime: any)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_try_write(
    stream: *mut rt_stream,
    bytes: *const c_void,
    len: usize,
    n: *mut usize,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a stream and memory, or what is refused.
        unsafe {
            let stream = rt_stream::get(stream)?.clone();
            let (bufs, n) = (one(bytes, len)?, out(n)?);
            let written = match &stream.0 {
                Kind::Loop(Held(stream)) => {
                    let _access = stream.inner().access()?;
                    stream.write_now(&bufs)?
                }
                Kind::Task(stream) => stream.checked()?.write_now(&bufs)?,
            };
            n.write(written.ok_or(Error::Os(libc::EAGAIN))?);
            Ok(RT_OK)
        }
    })
}

/// How many bytes of submitted writes wait for room, in `*n`: the measure for back-pressure. 0 does
/// not mean that all callbacks have come: several writes may end at once, and they are told one
/// after the other.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop (of a runtime: any)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_queued(stream: *mut rt_stream, n: *mut usize) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a stream, and a place for the result, or what is refused.
        let (stream, n) = unsafe { (rt_stream::get(stream)?, out(n)?) };
        n.write(match &stream.0 {
            Kind::Loop(Held(stream)) => stream.queued(&stream.inner().access()?),
            Kind::Task(stream) => stream.checked()?.queued(),
        });
        Ok(RT_OK)
    })
}
