//! Listening sockets: accepting TCP connections.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use crate::callback::{UserData, rt_drop_fn};
use crate::event_loop::rt_loop;
use crate::ffi::{Options, Origin, boundary, boundary_void, first_use, options, out, string};
use crate::handle::{Handle, tag};
use crate::net::loop_listener::{self, LoopListener};
use crate::net::loop_stream::LoopStream;
use crate::net::sys::ListenSettings;
use crate::net::task_listener::{self, TaskListener};
use crate::net::task_stream::TaskStream;
use crate::net::{Subscription, address, sys};
use crate::runtime::rt_runtime;
use crate::status::{Error, RT_OK, RT_PENDING, status};
use crate::stream::{Stream, rt_stream};
use crate::task::{rt_done_fn, rt_result};
use crate::waker::{context_places, context_waker, rt_context};

/// A socket that accepts connections: on a loop or on workers with `rt_listener_start`, or inside
/// tasks with `rt_listener_poll_accept`. A listener is its handle: freeing it stops and closes it.
pub struct rt_listener {
    _opaque: [u8; 0],
}

/// What the handle holds.
pub(crate) struct Listener {
    socket: Arc<OwnedFd>,
    /// For tasks; registers nothing until it has to wait.
    polled: TaskListener,
    started: Mutex<Option<Started>>,
    origin: Origin,
}

enum Started {
    Loop(loop_listener::Started),
    Runtime { _accepting: task_listener::Started },
}

impl Listener {
    fn started(&self) -> MutexGuard<'_, Option<Started>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: the tag is this type's alone.
unsafe impl Handle for rt_listener {
    type Value = Arc<Listener>;
    const TAG: u64 = tag(b"rtlisten");
}

/// In `rt_listen_options.flags`: several sockets may listen on the address, of this process and of
/// others of the same user, and the system spreads connections over them (`SO_REUSEPORT`).
pub const RT_REUSE_PORT: u32 = 1;

/// Options of a listener. Set up by `RT_LISTEN_OPTIONS_INIT`.
#[repr(C)]
pub struct rt_listen_options {
    /// `sizeof(rt_listen_options)`.
    pub size: usize,
    /// `RT_REUSE_PORT`, or 0.
    pub flags: u32,
    /// How many connections may wait to be accepted; 0 for 4096. The system has a limit of its own.
    pub backlog: u32,
}

// SAFETY: `repr(C)`, begins with its size, and zeros are valid everywhere.
unsafe impl Options for rt_listen_options {}

/// Listens on `host`, an address in figures ("127.0.0.1", "::", ...), and `port`; 0 lets the system
/// choose one, which `rt_listener_local_addr` tells. `options` may be NULL.
/// Errors: `RT_EADDRINUSE`, `-EADDRNOTAVAIL`, `-EACCES`, `RT_EMFILE`, `RT_EINVAL`, also for a host that
/// is not in figures, `RT_E2BIG`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_tcp_listen(
    host: *const c_char,
    port: u16,
    options: *const rt_listen_options,
    listener: *mut *mut rt_listener,
) -> c_int {
    boundary(|| {
        first_use();
        // SAFETY: the caller passes a string, a struct as the header declares it, and a place for
        // the result, or what is refused.
        let (host, given, listener) =
            unsafe { (string(host)?, self::options(options)?, out(listener)?) };
        if given.flags & !RT_REUSE_PORT != 0 {
            return Err(Error::Inval);
        }
        let settings = ListenSettings {
            backlog: given.backlog,
            reuse_port: given.flags & RT_REUSE_PORT != 0,
        };
        let address = address::literal(host, port).ok_or(Error::Inval)?;
        let socket: Arc<OwnedFd> = Arc::new(sys::listen(address, settings)?.into());
        listener.write(rt_listener::new(Arc::new(Listener {
            polled: task_listener::new(socket.clone()),
            socket,
            started: Mutex::new(None),
            origin: Origin::here(),
        })));
        Ok(RT_OK)
    })
}

/// The address that it listens on, as `rt_stream_local_addr`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_listener_local_addr(
    listener: *mut rt_listener,
    host: *mut c_char,
    len: usize,
    port: *mut u16,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a listener, and places for the results, or what is refused.
        unsafe {
            let listener = rt_listener::get(listener)?;
            let address = sys::address(listener.socket.as_fd(), false)?;
            Ok(status(address::write(address, host, len, port)))
        }
    })
}

/// Accepts a connection inside a task: `RT_OK` and a stream of that task in `*stream`, or `RT_PENDING`
/// and the waker of `cx` is woken when it is worth polling again. Several tasks may wait.
/// Errors: `RT_EMFILE`, `-ENFILE`, `-ENOBUFS`, `RT_ENOMEM` if something has run out: the connection
/// waits, poll again a little later; `RT_EINVAL`, `RT_EFORK`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_listener_poll_accept(
    listener: *mut rt_listener,
    cx: *mut rt_context,
    stream: *mut *mut rt_stream,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes handles, and a place for the result, or what is refused.
        let (listener, waker, places, stream) = unsafe {
            (
                rt_listener::get(listener)?,
                context_waker(cx)?,
                context_places(cx)?,
                out(stream)?,
            )
        };
        listener.origin.check()?;
        let Poll::Ready(accepted) = places.poll_accept(&listener.polled, waker) else {
            return Ok(RT_PENDING);
        };
        stream.write(Stream::of_task(TaskStream::new(accepted?, None)));
        Ok(RT_OK)
    })
}

/// Calls `accepted` for each connection, with a stream in `result->ptr` that belongs to the callee: a
/// stream of the loop `on`, inside its turns; or, with `on` NULL, a stream of `runtime`, on a
/// worker, one call at a time. If something has run out (`RT_EMFILE` and the like), `accepted` gets
/// that error, connections wait, and a little later it goes on by itself. `drop(data)` runs when the
/// listener is stopped or freed, or with the loop or the runtime.
/// Returns `RT_PENDING`. Errors: `RT_EBUSY` if it is started, `RT_EINVAL`, `RT_EPERM` on another thread
/// than that of `on`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
///
/// @threads loop (with a runtime: any) @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_listener_start(
    listener: *mut rt_listener,
    runtime: *mut rt_runtime,
    on: *mut rt_loop,
    accepted: rt_done_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
) -> c_int {
    let user = UserData::new(data, drop);
    boundary(|| {
        // SAFETY: the caller passes a listener, or what is refused.
        let listener = unsafe { rt_listener::get(listener)?.clone() };
        listener.origin.check()?;
        let subscription = Subscription::new(accepted, user)?;
        let mut started = listener.started();
        if started.is_some() {
            return Err(Error::Busy);
        }
        *started = Some(if on.is_null() {
            // SAFETY: the caller passes a runtime, or what is refused.
            let handle = unsafe { rt_runtime::get(runtime)? }.handle()?.clone();
            let home = handle.clone();
            let accept = move |socket| rt_result {
                ptr: Stream::of_task(TaskStream::new(socket, Some(home.clone()))).cast(),
                ..rt_result::of(RT_OK)
            };
            let polled = listener.polled.clone();
            let accepting = task_listener::start(&handle, polled, subscription, accept);
            Started::Runtime {
                _accepting: accepting,
            }
        } else {
            // SAFETY: the caller passes a loop, or what is refused.
            let inner = unsafe { rt_loop::get(on)? }.inner().clone();
            let home = inner.clone();
            let accept = move |socket| rt_result {
                ptr: Stream::of_loop(LoopStream::new(home.clone(), socket)).cast(),
                ..rt_result::of(RT_OK)
            };
            let access = inner.access()?;
            let socket = listener.socket.clone();
            let started = LoopListener::start(&inner, &access, socket, subscription, accept)?;
            std::mem::drop(access);
            Started::Loop(started)
        });
        Ok(RT_PENDING)
    })
}

/// Ends what `rt_listener_start` began: on a loop no call comes after this; on a runtime one that is
/// under way on another thread may still be, and `drop(data)` tells when it is over. Connections go
/// on to be queued by the system; it can be started again. Stopping twice does nothing.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop (with a runtime: any)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_listener_stop(listener: *mut rt_listener) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a listener, or what is refused.
        let listener = unsafe { rt_listener::get(listener)?.clone() };
        listener.origin.check()?;
        let mut started = listener.started();
        if let Some(Started::Loop(on_loop)) = &*started {
            on_loop.access()?;
        }
        let ended = started.take();
        // Outside of the lock: user data is dropped.
        std::mem::drop(started);
        std::mem::drop(ended);
        Ok(RT_OK)
    })
}

/// Whether a listener that was started on a loop keeps `rt_loop_run` going (not 0), which it does at
/// first.
/// Errors: `RT_EINVAL`, also if it is not started on a loop, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_listener_set_ref(
    listener: *mut rt_listener,
    keeps_alive: c_int,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a listener, or what is refused.
        let listener = unsafe { rt_listener::get(listener)?.clone() };
        listener.origin.check()?;
        let Some(Started::Loop(on_loop)) = &*listener.started() else {
            return Err(Error::Inval);
        };
        on_loop.set_ref(&on_loop.access()?, keeps_alive != 0);
        Ok(RT_OK)
    })
}

/// Stops the listener, closes its socket, and gives the handle back. On another thread than its
/// loop's that is done in the loop's next turn.
///
/// @threads any @consumes listener
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_listener_free(listener: *mut rt_listener) {
    boundary_void(|| {
        // SAFETY: the caller passes a listener that it owns, or what is refused.
        drop(unsafe { rt_listener::take(listener) });
    });
}
