//! The Python object around a transport's state: its life, its methods and its attributes.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::Ordering;

use pyo3::ffi;

use super::{BASE_SIZE, Flags, TransportState, write};
use crate::event_loop;
use crate::globals::globals;
use crate::py::{self, Obj, PyRes, Raised, Ref};
use crate::typespec::TypeBuilder;

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
        // SAFETY: CPython's arguments.
        let args = unsafe { py::arguments(args, nargs) };
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
