//! Streams: connections, to read from and write to.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::callback::{UserData, rt_drop_fn};
use crate::ffi::{boundary, boundary_void, out};
use crate::handle::{Handle, tag};
use crate::net::loop_stream::{Held, LoopStream};
use crate::net::task_stream::TaskStream;
use crate::net::{Submitted, address, sys};
use crate::status::{Error, RT_OK, RT_PENDING, status};
use crate::task::{Completion, rt_done_fn, rt_result};

/// A piece of memory, laid out as `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rt_buf {
    /// The first byte.
    pub base: *const c_void,
    /// How many bytes.
    pub len: usize,
}

/// A connection. It is at home where it was made:
///
/// - on a loop: its operations are submitted on the loop's thread, their callbacks run inside the
///   loop's turns, and it has no poll functions;
/// - on a runtime: any thread may submit, callbacks run on workers;
/// - in a task (from a poll function): poll functions only. Those work for a stream of a runtime
///   too, inside any task.
///
/// One read and any number of writes can be pending at a time. An operation that finishes at once
/// says so by returning `RT_OK`, and does not call back. `RT_PENDING` means that its callback will
/// come: exactly once, also when it is cancelled; until then its memory is the library's.
///
/// Freeing the handle closes the stream when what is pending has ended; `rt_stream_close` closes
/// it now.
pub struct rt_stream {
    _opaque: [u8; 0],
}

/// What the handle holds.
pub(crate) struct Stream(pub(crate) Kind);

pub(crate) enum Kind {
    Loop(Held),
    Task(Arc<TaskStream>),
}

// SAFETY: the tag is this type's alone.
unsafe impl Handle for rt_stream {
    type Value = Arc<Stream>;
    const TAG: u64 = tag(b"rtstream");
}

impl Stream {
    /// A handle for a stream of a loop.
    pub(crate) fn of_loop(stream: Arc<LoopStream>) -> *mut rt_stream {
        rt_stream::new(Arc::new(Stream(Kind::Loop(Held(stream)))))
    }

    /// A handle for a stream of a runtime or of a task.
    pub(crate) fn of_task(stream: TaskStream) -> *mut rt_stream {
        rt_stream::new(Arc::new(Stream(Kind::Task(Arc::new(stream)))))
    }

    pub(crate) fn task(&self) -> Result<&Arc<TaskStream>, Error> {
        match &self.0 {
            Kind::Loop(_) => Err(Error::Inval),
            Kind::Task(stream) => stream.checked(),
        }
    }
}

/// The result of a submission, for C: `*n` is written when it is done.
///
/// # Safety
/// `n` is NULL or valid for a write.
pub(crate) unsafe fn submitted(
    n: *mut usize,
    submitted: Result<Submitted, Error>,
) -> Result<c_int, Error> {
    match submitted? {
        Submitted::Pending => Ok(RT_PENDING),
        Submitted::Done(count) => {
            if !n.is_null() {
                // SAFETY: passed on from the caller.
                unsafe { n.write(count) };
            }
            Ok(RT_OK)
        }
    }
}

/// Goes on with `done` if the first step has worked, and makes sure that it is not called if not.
pub(crate) fn guarded<T>(
    first: Result<T, Error>,
    done: Completion,
    then: impl FnOnce(T, Completion) -> Result<Submitted, Error>,
) -> Result<Submitted, Error> {
    match first {
        Ok(value) => then(value, done),
        Err(error) => {
            done.disarm();
            Err(error)
        }
    }
}

/// Sends the end of the stream after all that was submitted before; reading goes on. `RT_OK` if it
/// was sent now, else `RT_PENDING`, and `done` is called when it was, or could not be.
/// Errors (`done` is not called, `drop(data)` has run): `RT_EALREADY` the second time, `RT_ENOTCONN`,
/// `RT_EBADF` after `rt_stream_close`, `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop (of a runtime: any) @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_shutdown(
    stream: *mut rt_stream,
    done: rt_done_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
) -> c_int {
    let user = UserData::new(data, drop);
    boundary(|| {
        // SAFETY: the caller passes a stream, or what is refused.
        let stream = unsafe { rt_stream::get(stream)?.clone() };
        let done = Completion::new(done.or(Some(ignore)), user)?;
        let result = match &stream.0 {
            Kind::Loop(Held(stream)) => guarded(stream.inner().access(), done, |access, done| {
                stream.end(&access, done)
            }),
            Kind::Task(stream) => guarded(stream.checked(), done, |stream, done| stream.end(done)),
        };
        // SAFETY: NULL.
        unsafe { submitted(std::ptr::null_mut(), result) }
    })
}

unsafe extern "C-unwind" fn ignore(_data: *mut c_void, _result: *const rt_result) {}

/// Cancels the read and the writes that are pending: each calls back with `RT_ECANCELED`, or with
/// its real result, and says in `result->n` how many bytes were transferred. What
/// `rt_stream_read_start` began goes on.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop (of a runtime: any)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_cancel(stream: *mut rt_stream) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a stream, or what is refused.
        let stream = unsafe { rt_stream::get(stream)?.clone() };
        match &stream.0 {
            Kind::Loop(Held(stream)) => stream.cancel(&stream.inner().access()?),
            Kind::Task(stream) => stream.checked()?.cancel(),
        }
        Ok(RT_OK)
    })
}

unsafe fn close(stream: *mut rt_stream, reset: bool) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a stream, or what is refused.
        let stream = unsafe { rt_stream::get(stream)?.clone() };
        match &stream.0 {
            Kind::Loop(Held(stream)) => stream.close(&stream.inner().access()?, reset),
            Kind::Task(stream) => stream.checked()?.close(reset),
        }
        Ok(RT_OK)
    })
}

/// Closes the stream now, whatever is pending: that calls back as for `rt_stream_cancel`. What is
/// done with the handle then returns `RT_EBADF`; it remains to be freed. Closing twice does nothing.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop (of a runtime: any)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_close(stream: *mut rt_stream) -> c_int {
    // SAFETY: passed on from the caller.
    unsafe { close(stream, false) }
}

/// As `rt_stream_close`, and the peer gets a reset instead of the end of the stream.
///
/// @threads loop (of a runtime: any)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_reset(stream: *mut rt_stream) -> c_int {
    // SAFETY: passed on from the caller.
    unsafe { close(stream, true) }
}

fn with_socket<R>(
    stream: &Stream,
    f: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> std::io::Result<R>,
) -> Result<R, Error> {
    match &stream.0 {
        Kind::Loop(Held(stream)) => {
            stream.with_socket(&stream.inner().access()?, |socket| f(socket.as_fd()))
        }
        Kind::Task(stream) => stream.checked()?.with_socket(f),
    }
}

/// The address of this end: as text in figures in `host`, which has room for `len` bytes (46 are
/// always enough, 64 with a scope), and the port. Either may be NULL.
/// Errors: `-ENOSPC` if `host` is too small, `RT_EBADF` after `rt_stream_close`, `RT_EINVAL`,
/// `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop (of a runtime: any)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_local_addr(
    stream: *mut rt_stream,
    host: *mut c_char,
    len: usize,
    port: *mut u16,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a stream, and places for the results, or what is refused.
        unsafe {
            let address = with_socket(rt_stream::get(stream)?, |fd| sys::address(fd, false))?;
            Ok(status(address::write(address, host, len, port)))
        }
    })
}

/// The address of the other end, as `rt_stream_local_addr`.
///
/// @threads loop (of a runtime: any)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_peer_addr(
    stream: *mut rt_stream,
    host: *mut c_char,
    len: usize,
    port: *mut u16,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a stream, and places for the results, or what is refused.
        unsafe {
            let address = with_socket(rt_stream::get(stream)?, |fd| sys::address(fd, true))?;
            Ok(status(address::write(address, host, len, port)))
        }
    })
}

/// Whether small writes leave at once (not 0) instead of waiting for the peer's acknowledgement of
/// those before (`TCP_NODELAY`). The system's default is 0.
/// Errors: `RT_EBADF` after `rt_stream_close`, `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop (of a runtime: any)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_set_nodelay(stream: *mut rt_stream, on: c_int) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a stream, or what is refused.
        let stream = unsafe { rt_stream::get(stream)? };
        Ok(status(with_socket(stream, |fd| {
            sys::set_nodelay(fd, on != 0)
        })))
    })
}

/// Another handle for the same stream.
/// Errors: `RT_EINVAL`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_clone(
    stream: *mut rt_stream,
    clone: *mut *mut rt_stream,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a stream, and a place for the result, or what is refused.
        let (stream, clone) = unsafe { (rt_stream::get(stream)?, out(clone)?) };
        clone.write(rt_stream::new(stream.clone()));
        Ok(RT_OK)
    })
}

/// Gives the handle back. With the last one, what `rt_stream_read_start` began is ended, and the
/// stream is closed as soon as no read or write is pending. On another thread than its loop's that
/// is done in the loop's next turn.
///
/// @threads any @consumes stream
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_stream_free(stream: *mut rt_stream) {
    boundary_void(|| {
        // SAFETY: the caller passes a stream that it owns, or what is refused.
        drop(unsafe { rt_stream::take(stream) });
    });
}
