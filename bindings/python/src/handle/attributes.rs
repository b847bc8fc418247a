//! What Python sees of a handle: methods, attributes, comparison.

use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::ffi;

use super::flags::Flag;
use super::{HandleObject, TimerObject, cancel_handle, is_cancelled, run, tuple_of, view};
use crate::globals::globals;
use crate::py::{self, Obj, PyRes, Raised, Ref, Slot};
use crate::typespec::TypeBuilder;

/// Adds a handle's methods and attributes to its type.
pub(super) fn of_handle(builder: TypeBuilder) -> TypeBuilder {
    builder
        .noargs(c"cancel", cancel)
        .noargs(c"cancelled", cancelled)
        .noargs(c"get_context", get_context)
        .noargs(c"_run", run_method)
        .attribute(c"_callback", get_callback, None)
        .attribute(c"_args", get_args, None)
        .attribute(c"_cancelled", get_cancelled, None)
        .attribute(c"_loop", get_loop, None)
        .attribute(c"_context", get_context_attribute, None)
        .attribute(c"_source_traceback", get_traceback, None)
        .attribute(c"_repr", get_old_repr, None)
        .attribute(c"__class__", handle_class, None)
}

/// Adds what a timer has besides.
pub(super) fn of_timer(builder: TypeBuilder) -> TypeBuilder {
    builder
        .slot(ffi::Py_tp_hash, timer_hash as *mut c_void)
        .slot(ffi::Py_tp_richcompare, timer_compare as *mut c_void)
        .noargs(c"when", when)
        .attribute(c"_when", get_when, None)
        .attribute(c"_scheduled", get_scheduled, None)
        .attribute(c"__class__", timer_class, None)
}

unsafe extern "C" fn cancel(slf: Obj, _: Obj) -> Obj {
    py::nothing(|| cancel_handle(slf))
}

unsafe extern "C" fn cancelled(slf: Obj, _: Obj) -> Obj {
    py::object(|| Ok(Ref::bool(is_cancelled(slf))))
}

unsafe extern "C" fn get_context(slf: Obj, _: Obj) -> Obj {
    py::object(|| Ok(view(slf).context.or_none()))
}

unsafe extern "C" fn run_method(slf: Obj, _: Obj) -> Obj {
    py::nothing(|| run(slf))
}

/// Whether the callback has been released, or will be as soon as it returns.
fn is_gone(handle: &HandleObject) -> bool {
    let flags = &handle.flags;
    flags.has(Flag::CANCELLED) && (flags.has(Flag::RUNNING) || handle.callback.get().is_null())
}

unsafe extern "C" fn get_callback(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| {
        let handle = view(slf);
        Ok(if is_gone(handle) {
            Ref::none()
        } else {
            handle.callback.or_none()
        })
    })
}

unsafe extern "C" fn get_args(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| {
        let handle = view(slf);
        if is_gone(handle) {
            return Ok(Ref::none());
        }
        if handle.flags.has(Flag::TUPLE) {
            return Ok(handle.args[0].or_none());
        }
        let args = handle.args.each_ref().map(Slot::get);
        tuple_of(&args[..handle.nargs.get() as usize])
    })
}

unsafe extern "C" fn get_cancelled(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| Ok(Ref::bool(is_cancelled(slf))))
}

unsafe extern "C" fn get_loop(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| Ok(view(slf).event_loop.or_none()))
}

unsafe extern "C" fn get_context_attribute(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| Ok(view(slf).context.or_none()))
}

unsafe extern "C" fn get_traceback(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| Ok(view(slf).traceback.or_none()))
}

unsafe extern "C" fn get_old_repr(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| {
        let handle = view(slf);
        let kept = handle.flags.has(Flag::OLD_REPR);
        Ok(if kept {
            handle.args[0].or_none()
        } else {
            Ref::none()
        })
    })
}

unsafe extern "C" fn handle_class(_: Obj, _: *mut c_void) -> Obj {
    // SAFETY: held for the life of the process.
    py::object(|| Ok(unsafe { Ref::borrowed(globals().asyncio_handle) }))
}

unsafe extern "C" fn timer_class(_: Obj, _: *mut c_void) -> Obj {
    // SAFETY: held for the life of the process.
    py::object(|| Ok(unsafe { Ref::borrowed(globals().asyncio_timer_handle) }))
}

fn when_of(timer: Obj) -> f64 {
    // SAFETY: only called with instances of the timer type.
    unsafe { (*timer.cast::<TimerObject>()).when.get() }
}

unsafe extern "C" fn when(slf: Obj, _: Obj) -> Obj {
    py::object(|| Ref::float(when_of(slf)))
}

unsafe extern "C" fn get_when(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| Ref::float(when_of(slf)))
}

unsafe extern "C" fn get_scheduled(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| Ok(Ref::bool(view(slf).flags.has(Flag::IN_HEAP))))
}

unsafe extern "C" fn timer_hash(slf: Obj) -> isize {
    let Ok(when) = Ref::float(when_of(slf)) else {
        return -1;
    };
    // SAFETY: a live float.
    unsafe { ffi::PyObject_Hash(when.as_ptr()) }
}

/// Timers compare by deadline; equal ones also compare callback, arguments and cancellation.
unsafe extern "C" fn timer_compare(slf: Obj, other: Obj, op: c_int) -> Obj {
    py::object(|| {
        // SAFETY: live objects; the attributes read below exist on every timer handle.
        unsafe {
            if ffi::Py_TYPE(other) != globals().timer_type {
                return Ok(Ref::borrowed(ffi::Py_NotImplemented()));
            }
            let (a, b) = (when_of(slf), when_of(other));
            let result = match op {
                ffi::Py_LT => a < b,
                ffi::Py_GT => a > b,
                ffi::Py_LE => a < b || same_timer(slf, other)?,
                ffi::Py_GE => a > b || same_timer(slf, other)?,
                ffi::Py_NE => !same_timer(slf, other)?,
                _ => same_timer(slf, other)?,
            };
            Ok(Ref::bool(result))
        }
    })
}

fn same_timer(a: Obj, b: Obj) -> PyRes<bool> {
    if when_of(a) != when_of(b) || is_cancelled(a) != is_cancelled(b) {
        return Ok(false);
    }
    // SAFETY: getters of live timer objects.
    unsafe {
        for getter in [get_callback as ffi::getter, get_args] {
            let x = Ref::owned(getter(a, ptr::null_mut()))?;
            let y = Ref::owned(getter(b, ptr::null_mut()))?;
            match ffi::PyObject_RichCompareBool(x.as_ptr(), y.as_ptr(), ffi::Py_EQ) {
                0 => return Ok(false),
                1 => {}
                _ => return Err(Raised),
            }
        }
    }
    Ok(true)
}
