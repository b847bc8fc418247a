//! `StreamTransport`: the native half of stream sockets, TCP and Unix alike.
//!
//! The type derives from `asyncio.Transport`, so `isinstance` holds; its fields lie behind that
//! base's own slot. Python's half (`libruntime.transports.SocketTransport`) derives from it, which
//! also gives instances a `__dict__` and weak references, and does what happens once per connection.
//!
//! # Life
//! Python's `__init__` schedules `connection_made`, then `_start`, which begins to watch the
//! descriptor. `close()` stops reading, waits for the queue to drain and schedules
//! `_call_connection_lost`; a fatal error or `abort()` does so at once. That method (Python's) closes
//! the socket and calls `_release`, after which the transport is inert.

mod bulk;
mod queue;
mod read;
mod write;

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::ffi;

use crate::driver::{self, Error, Interest, Ready, Watch};
use crate::event_loop::{self, LoopState};
use crate::globals::{globals, names};
use crate::handle::{self, Call};
use crate::py::{self, Obj, PyRes, Raised, Ref, Slot};
use crate::typespec::TypeBuilder;
use queue::Queue;

/// asyncio's default high-water mark, in bytes.
const HIGH_WATER: usize = 64 * 1024;

/// Bytes of `asyncio.Transport`'s own part of an instance; set once, when the type is made.
static BASE_SIZE: AtomicUsize = AtomicUsize::new(0);

/// A set of facts about a transport.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) struct Flags(u16);

impl Flags {
    /// `close()` or `abort()` has been called, or an error has.
    const CLOSING: Flags = Flags(1);
    /// `pause_reading()` has been called.
    const PAUSED: Flags = Flags(2);
    /// `write_eof()` has been called.
    const EOF: Flags = Flags(4);
    /// The protocol is a `BufferedProtocol`.
    const BUFFERED: Flags = Flags(8);
    /// The protocol has been told to pause writing.
    const PROTOCOL_PAUSED: Flags = Flags(16);
    /// `_start` has run: the descriptor may be watched.
    const STARTED: Flags = Flags(32);
    /// In the loop's list of transports to send for.
    const UNSENT: Flags = Flags(64);
    /// The socket was full: the next send waits for it to be writable.
    const BLOCKED: Flags = Flags(128);
    /// The peer has shut down and the protocol keeps the transport open.
    const READ_EOF: Flags = Flags(256);
    /// `_drained` is to be called when the queue is empty.
    const TELL_DRAINED: Flags = Flags(512);
    /// The last read was large: the next one is a bulk read.
    const BULK: Flags = Flags(1024);
    /// The protocol has kept the result of a bulk read: no more of them.
    const KEEPS: Flags = Flags(2048);
}

pub(crate) struct TransportState {
    event_loop: Slot,
    protocol: Slot,
    /// The socket object, which owns the descriptor.
    sock: Slot,
    /// The context that protocol callbacks run in.
    context: Slot,
    extra: Slot,
    fd: Cell<i32>,
    flags: Cell<Flags>,
    /// Set once the end of the connection is scheduled; then counts writes that came too late.
    conn_lost: Cell<usize>,
    high_water: Cell<usize>,
    low_water: Cell<usize>,
    /// The loop's turn in which this transport last sent something at once.
    sent_in_turn: Cell<u64>,
    queue: RefCell<Queue>,
    watch: RefCell<Option<Watch>>,
}

impl TransportState {
    /// The state of an instance.
    #[inline]
    pub(crate) fn of<'a>(transport: Obj) -> &'a TransportState {
        // SAFETY: only called with instances that the caller keeps alive; the offset is where the
        // type put the state, and `new` has filled it.
        unsafe { &*transport.byte_add(BASE_SIZE.load(Ordering::Relaxed)).cast() }
    }

    /// The state of any transport, if it is native.
    pub(crate) fn try_of<'a>(transport: Obj) -> Option<&'a TransportState> {
        let kind = globals().stream_type();
        // SAFETY: a live object and a live type.
        (unsafe { ffi::PyObject_TypeCheck(transport, kind) } != 0)
            .then(|| TransportState::of(transport))
    }

    fn new() -> TransportState {
        TransportState {
            event_loop: Slot::empty(),
            protocol: Slot::empty(),
            sock: Slot::empty(),
            context: Slot::empty(),
            extra: Slot::empty(),
            fd: Cell::new(-1),
            flags: Cell::new(Flags::default()),
            conn_lost: Cell::new(0),
            high_water: Cell::new(HIGH_WATER),
            low_water: Cell::new(HIGH_WATER / 4),
            sent_in_turn: Cell::new(0),
            queue: RefCell::new(Queue::default()),
            watch: RefCell::new(None),
        }
    }

    #[inline]
    fn has(&self, flag: Flags) -> bool {
        self.flags.get().0 & flag.0 != 0
    }

    #[inline]
    fn set(&self, flag: Flags, on: bool) {
        let flags = self.flags.get().0;
        self.flags
            .set(Flags(if on { flags | flag.0 } else { flags & !flag.0 }));
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.has(Flags::CLOSING)
    }

    fn is_reading(&self) -> bool {
        !self.has(Flags::CLOSING) && !self.has(Flags::PAUSED)
    }

    /// The loop; `None` once the transport has been released.
    #[inline]
    fn event_loop(&self) -> Option<&LoopState> {
        let event_loop = self.event_loop.get();
        (!event_loop.is_null()).then(|| &event_loop::object(event_loop).state)
    }

    /// Stops watching the descriptor for good.
    pub(crate) fn stop_watching(&self) {
        let watch = self.watch.borrow_mut().take();
        drop(watch);
    }

    fn interest(&self) -> Interest {
        let flags = self.flags.get();
        let read = flags.0 & (Flags::CLOSING.0 | Flags::PAUSED.0 | Flags::READ_EOF.0) == 0;
        let write = flags.0 & Flags::BLOCKED.0 != 0;
        Interest::new(read && self.has(Flags::STARTED), write)
    }

    /// Brings the watch in line with the flags.
    fn update_watch(&self, transport: Obj) -> PyRes<()> {
        let interest = self.interest();
        let watch = self.watch.borrow();
        let outcome = match &*watch {
            Some(watch) => watch.set_interest(interest),
            None if interest.is_empty() => Ok(()),
            None => {
                drop(watch);
                self.begin_watch(transport, interest)
            }
        };
        match outcome {
            // A descriptor that is gone cannot be watched; the next send or receive says so.
            Ok(()) | Err(Error::Os(libc::ENOENT | libc::EBADF)) => Ok(()),
            Err(error) => driver::raise(error),
        }
    }

    #[cold]
    fn begin_watch(&self, transport: Obj, interest: Interest) -> Result<(), Error> {
        let Some(state) = self.event_loop() else {
            return Ok(());
        };
        let driver = state.driver.borrow();
        let Some(driver) = &*driver else {
            return Ok(());
        };
        // The loop's table holds the transport while it is watched: a plain pointer is enough.
        let callback = move |ready: Ready| on_event(transport, ready);
        let watch = driver.watch(self.fd.get(), interest, callback)?;
        *self.watch.borrow_mut() = Some(watch);
        Ok(())
    }

    /// Calls a method of the protocol in the transport's context.
    #[inline]
    fn call_protocol<const N: usize>(&self, method: Obj, args: [Obj; N]) -> PyRes<Ref> {
        let context = self.context.get();
        // SAFETY: the context and the arguments are alive: the caller holds the transport, and
        // `_release` replaces neither while a callback runs.
        unsafe {
            if ffi::PyContext_Enter(context) < 0 {
                return Err(Raised);
            }
            let outcome = py::call_method(method, args);
            ffi::PyContext_Exit(context);
            outcome
        }
    }

    /// Schedules the end of the connection.
    fn schedule_lost(&self, transport: Obj, exception: Obj) -> PyRes<()> {
        self.conn_lost.set(self.conn_lost.get() + 1);
        let Some(state) = self.event_loop() else {
            return Ok(());
        };
        // SAFETY: a live transport.
        let callback = unsafe {
            Ref::owned(ffi::PyObject_GetAttr(
                transport,
                names()._call_connection_lost,
            ))?
        };
        let call = Call {
            callback: callback.as_ptr(),
            args: &[exception],
            context: self.context.get(),
        };
        let handle = handle::new_handle(event_loop::object(self.event_loop.get()), &call)?;
        state.ready.push(handle);
        Ok(())
    }

    /// Ends the connection without sending what waits; `exception` is None for `abort()`.
    fn force_close(&self, transport: Obj, exception: Obj) -> PyRes<()> {
        if self.conn_lost.get() > 0 {
            return Ok(());
        }
        drop(self.queue.take());
        self.set(Flags::BLOCKED, false);
        self.set(Flags::CLOSING, true);
        self.stop_watching();
        self.schedule_lost(transport, exception)
    }

    /// Reports the current exception through Python's half, which ends the connection. Fatal ones
    /// wait for the end of the turn.
    #[cold]
    fn fail(&self, transport: Obj, raised: Raised, message: &str) {
        let outcome = if py::is_fatal(&raised) {
            Err(raised)
        } else {
            let exception = py::take_exception(raised);
            Ref::str(message).and_then(|message| {
                let args = [transport, exception.as_ptr(), message.as_ptr()];
                // SAFETY: live objects.
                unsafe { py::call_method(names()._fatal_error, args) }
            })
        };
        if let (Err(raised), Some(state)) = (outcome, self.event_loop()) {
            state.keep_fatal(raised);
        }
    }
}

/// The descriptor is ready. Called inside the driver's turn, with the GIL held.
fn on_event(transport: Obj, ready: Ready) {
    let state = TransportState::of(transport);
    // SAFETY: the table holds the transport; the callbacks below may remove it from there.
    let _alive = unsafe { Ref::borrowed(transport) };
    // One fatal exception ends the turn: what is ready now will be so again.
    if state
        .event_loop()
        .is_none_or(|state| !state.fatal.get().is_null())
    {
        return;
    }
    if ready.writable() && state.has(Flags::BLOCKED) {
        state.send_blocked(transport);
    }
    if !ready.readable() {
        return;
    }
    if state.is_reading() {
        state.receive(transport);
    } else if let Err(raised) = state.update_watch(transport) {
        // Pausing leaves the watch as it is until data comes: most pauses end before.
        state.fail(transport, raised, "Fatal read error on socket transport");
    }
}

unsafe extern "C" fn new(kind: *mut ffi::PyTypeObject, _args: Obj, _kwargs: Obj) -> Obj {
    py::object(|| {
        // SAFETY: `kind` is this type or a subclass of it: its allocation is zeroed and has room
        // for the state, which is written before anyone else sees the object.
        unsafe {
            let alloc = (*kind).tp_alloc.unwrap_or(ffi::PyType_GenericAlloc);
            let object = alloc(kind, 0);
            if object.is_null() {
                return Err(Raised);
            }
            let place = object.byte_add(BASE_SIZE.load(Ordering::Relaxed));
            place.cast::<TransportState>().write(TransportState::new());
            Ref::owned(object)
        }
    })
}

/// `_attach(loop, sock, fd, protocol, extra)`: fills a new transport.
unsafe extern "C" fn attach(slf: Obj, args: *mut Obj, nargs: isize) -> Obj {
    py::nothing(|| {
        // SAFETY: CPython passes `nargs` live arguments.
        let args = unsafe { std::slice::from_raw_parts(args, nargs as usize) };
        let &[event_loop, sock, fd, protocol, extra] = args else {
            return py::raise(py::type_error(), c"_attach() takes five arguments");
        };
        event_loop::check(event_loop)?;
        let state = TransportState::of(slf);
        // SAFETY: live objects.
        unsafe {
            let fd = ffi::PyLong_AsLong(fd);
            if fd < 0 {
                if ffi::PyErr_Occurred().is_null() {
                    return py::raise(py::value_error(), c"Invalid file descriptor: -1");
                }
                return Err(Raised);
            }
            state.fd.set(fd as i32);
            state.event_loop.set(Ref::borrowed(event_loop));
            state.sock.set(Ref::borrowed(sock));
            state.extra.set(Ref::borrowed(extra));
            state.context.set(Ref::owned(ffi::PyContext_CopyCurrent())?);
            take_protocol(state, protocol)?;
            event_loop::object(event_loop)
                .state
                .add_transport(fd as i32, Ref::borrowed(slf));
        }
        Ok(())
    })
}

fn take_protocol(state: &TransportState, protocol: Obj) -> PyRes<()> {
    // SAFETY: live objects.
    let buffered = unsafe { ffi::PyObject_IsInstance(protocol, globals().buffered_protocol) };
    if buffered < 0 {
        return Err(Raised);
    }
    state.set(Flags::BUFFERED, buffered != 0);
    // SAFETY: a live object.
    state.protocol.set(unsafe { Ref::borrowed(protocol) });
    Ok(())
}

/// Begins to watch the descriptor; scheduled behind `connection_made`.
unsafe extern "C" fn start(slf: Obj, _: Obj) -> Obj {
    py::nothing(|| {
        let state = TransportState::of(slf);
        if state.has(Flags::CLOSING) {
            return Ok(());
        }
        state.set(Flags::STARTED, true);
        state.update_watch(slf)
    })
}

unsafe extern "C" fn pause_reading(slf: Obj, _: Obj) -> Obj {
    py::nothing(|| {
        let state = TransportState::of(slf);
        if !state.is_reading() {
            return Ok(());
        }
        // The watch is told when data comes, see `on_event`.
        state.set(Flags::PAUSED, true);
        Ok(())
    })
}

unsafe extern "C" fn resume_reading(slf: Obj, _: Obj) -> Obj {
    py::nothing(|| {
        let state = TransportState::of(slf);
        if state.has(Flags::CLOSING) || !state.has(Flags::PAUSED) {
            return Ok(());
        }
        state.set(Flags::PAUSED, false);
        state.update_watch(slf)
    })
}

/// The peer has sent all it will send, and the protocol wants to go on writing.
unsafe extern "C" fn end_reading(slf: Obj, _: Obj) -> Obj {
    py::nothing(|| {
        let state = TransportState::of(slf);
        state.set(Flags::READ_EOF, true);
        state.update_watch(slf)
    })
}

unsafe extern "C" fn is_reading(slf: Obj, _: Obj) -> Obj {
    py::object(|| Ok(Ref::bool(TransportState::of(slf).is_reading())))
}

unsafe extern "C" fn is_closing(slf: Obj, _: Obj) -> Obj {
    py::object(|| Ok(Ref::bool(TransportState::of(slf).is_closing())))
}

unsafe extern "C" fn close(slf: Obj, _: Obj) -> Obj {
    py::nothing(|| {
        let state = TransportState::of(slf);
        if state.has(Flags::CLOSING) {
            return Ok(());
        }
        // What this turn has gathered goes out now, so that a close needs no further turn.
        if !state.has(Flags::BLOCKED) {
            state.send_gathered(slf);
        }
        if state.has(Flags::CLOSING) {
            return Ok(());
        }
        state.set(Flags::CLOSING, true);
        if !state.queue.borrow().is_empty() {
            return state.update_watch(slf);
        }
        state.stop_watching();
        // SAFETY: None is always alive.
        state.schedule_lost(slf, unsafe { ffi::Py_None() })
    })
}

unsafe extern "C" fn abort(slf: Obj, _: Obj) -> Obj {
    // SAFETY: None is always alive.
    py::nothing(|| TransportState::of(slf).force_close(slf, unsafe { ffi::Py_None() }))
}

unsafe extern "C" fn force_close(slf: Obj, exception: Obj) -> Obj {
    py::nothing(|| TransportState::of(slf).force_close(slf, exception))
}

/// Lets go of the loop, the protocol and the socket; the table's reference goes last.
unsafe extern "C" fn release(slf: Obj, _: Obj) -> Obj {
    py::nothing(|| {
        let state = TransportState::of(slf);
        state.set(Flags::CLOSING, true);
        state.stop_watching();
        let entry = state
            .event_loop()
            .and_then(|l| l.remove_transport(state.fd.get(), slf));
        drop(state.queue.take());
        let event_loop = state.event_loop.replace(None);
        state.protocol.clear();
        state.sock.clear();
        drop((event_loop, entry));
        Ok(())
    })
}

/// Lends the descriptor to somebody else: no watch, no entry in the loop's table.
unsafe extern "C" fn suspend(slf: Obj, _: Obj) -> Obj {
    py::nothing(|| {
        let state = TransportState::of(slf);
        state.stop_watching();
        drop(
            state
                .event_loop()
                .and_then(|l| l.remove_transport(state.fd.get(), slf)),
        );
        Ok(())
    })
}

/// Takes the descriptor back, unless the connection ended meanwhile.
unsafe extern "C" fn resume(slf: Obj, _: Obj) -> Obj {
    py::nothing(|| {
        let state = TransportState::of(slf);
        if let Some(event_loop) = state.event_loop()
            && state.conn_lost.get() == 0
        {
            // SAFETY: a live transport.
            event_loop.add_transport(state.fd.get(), unsafe { Ref::borrowed(slf) });
            return state.update_watch(slf);
        }
        Ok(())
    })
}

unsafe extern "C" fn protocol_paused_attribute(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| {
        Ok(Ref::bool(
            TransportState::of(slf).has(Flags::PROTOCOL_PAUSED),
        ))
    })
}

unsafe extern "C" fn set_protocol(slf: Obj, protocol: Obj) -> Obj {
    py::nothing(|| take_protocol(TransportState::of(slf), protocol))
}

unsafe extern "C" fn get_protocol(slf: Obj, _: Obj) -> Obj {
    py::object(|| Ok(TransportState::of(slf).protocol.or_none()))
}

unsafe extern "C" fn protocol_attribute(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| Ok(TransportState::of(slf).protocol.or_none()))
}

unsafe extern "C" fn loop_attribute(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| Ok(TransportState::of(slf).event_loop.or_none()))
}

unsafe extern "C" fn sock_attribute(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| Ok(TransportState::of(slf).sock.or_none()))
}

unsafe extern "C" fn fd_attribute(slf: Obj, _: *mut c_void) -> Obj {
    // SAFETY: returns a new reference or null.
    py::object(|| unsafe {
        Ref::owned(ffi::PyLong_FromLong(
            TransportState::of(slf).fd.get().into(),
        ))
    })
}

unsafe extern "C" fn get_extra(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| Ok(TransportState::of(slf).extra.or_none()))
}

unsafe extern "C" fn set_extra(slf: Obj, value: Obj, _: *mut c_void) -> c_int {
    py::status(|| {
        if value.is_null() {
            return py::raise(py::type_error(), c"_extra cannot be deleted");
        }
        // SAFETY: a live object.
        TransportState::of(slf)
            .extra
            .set(unsafe { Ref::borrowed(value) });
        Ok(())
    })
}

unsafe extern "C" fn conn_lost_attribute(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| Ref::int(TransportState::of(slf).conn_lost.get()))
}

/// `_polling`: what the watch waits for, `(read, write)`.
unsafe extern "C" fn polling_attribute(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| {
        let state = TransportState::of(slf);
        let interest = state.interest();
        let watched = state.watch.borrow().is_some();
        let read = Ref::bool(watched && interest.read());
        let write = Ref::bool(watched && interest.write());
        // SAFETY: live objects.
        unsafe { Ref::owned(ffi::PyTuple_Pack(2, read.as_ptr(), write.as_ptr())) }
    })
}

unsafe extern "C" fn traverse(slf: Obj, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    let state = TransportState::of(slf);
    // SAFETY: called by the collector with a live transport.
    unsafe {
        let mut result = py::visit_ptr(ffi::Py_TYPE(slf).cast(), visit, arg);
        let slots = [
            &state.event_loop,
            &state.protocol,
            &state.sock,
            &state.context,
            &state.extra,
        ];
        for slot in slots {
            if result == 0 {
                result = slot.visit(visit, arg);
            }
        }
        result
    }
}

unsafe extern "C" fn clear(slf: Obj) -> c_int {
    let state = TransportState::of(slf);
    state.stop_watching();
    state.protocol.clear();
    state.sock.clear();
    state.context.clear();
    state.extra.clear();
    state.event_loop.clear();
    0
}

unsafe extern "C" fn dealloc(slf: Obj) {
    // SAFETY: the last reference has gone; the type is released after its instance.
    unsafe {
        ffi::PyObject_GC_UnTrack(slf.cast());
        clear(slf);
        let place = slf
            .byte_add(BASE_SIZE.load(Ordering::Relaxed))
            .cast::<TransportState>();
        ptr::drop_in_place(place);
        let kind = ffi::Py_TYPE(slf);
        let free = (*kind).tp_free.unwrap_or(ffi::PyObject_GC_Del);
        free(slf.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

/// Makes the type behind `asyncio.Transport`.
pub(crate) fn make_type() -> PyRes<Ref> {
    let base = globals().asyncio_transport_base;
    // SAFETY: `base` is a type object.
    let size = unsafe { (*base.cast::<ffi::PyTypeObject>()).tp_basicsize } as usize;
    let size = size.next_multiple_of(align_of::<TransportState>());
    BASE_SIZE.store(size, Ordering::Relaxed);
    let builder = TypeBuilder::new(
        c"libruntime._native.StreamTransport",
        c"The native half of a stream socket's transport.",
        size + size_of::<TransportState>(),
    )
    .flags(ffi::Py_TPFLAGS_BASETYPE)
    .slot(ffi::Py_tp_new, new as *mut c_void)
    .slot(ffi::Py_tp_dealloc, dealloc as *mut c_void)
    .slot(ffi::Py_tp_traverse, traverse as *mut c_void)
    .slot(ffi::Py_tp_clear, clear as *mut c_void)
    .positional(c"_attach", attach)
    .noargs(c"_start", start)
    .noargs(c"_end_reading", end_reading)
    .noargs(c"_release", release)
    .noargs(c"_suspend", suspend)
    .noargs(c"_resume", resume)
    .one(c"_force_close", force_close)
    .noargs(c"pause_reading", pause_reading)
    .noargs(c"resume_reading", resume_reading)
    .noargs(c"is_reading", is_reading)
    .noargs(c"is_closing", is_closing)
    .noargs(c"close", close)
    .noargs(c"abort", abort)
    .one(c"set_protocol", set_protocol)
    .noargs(c"get_protocol", get_protocol)
    .attribute(c"_protocol", protocol_attribute, None)
    .attribute(c"_loop", loop_attribute, None)
    .attribute(c"_sock", sock_attribute, None)
    .attribute(c"_sock_fd", fd_attribute, None)
    .attribute(c"_extra", get_extra, Some(set_extra))
    .attribute(c"_protocol_paused", protocol_paused_attribute, None)
    .attribute(c"_conn_lost", conn_lost_attribute, None)
    .attribute(c"_polling", polling_attribute, None);
    write::methods(builder).build(Some(base))
}
