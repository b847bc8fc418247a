//! `call_soon`, `call_soon_threadsafe`, `call_later`, `call_at`.

use pyo3::ffi;

use super::{LoopObject, object};
use crate::clock;
use crate::globals::names;
use crate::handle::{self, Call};
use crate::py::{self, Obj, PyRes, Raised, Ref};
use crate::typespec::TypeBuilder;

/// Adds this file's methods to the loop's type.
pub(super) fn methods(builder: TypeBuilder) -> TypeBuilder {
    builder
        .keywords(c"call_soon", call_soon)
        .keywords(c"call_soon_threadsafe", call_soon_threadsafe)
        .keywords(c"call_later", call_later)
        .keywords(c"call_at", call_at)
}

/// The arguments of one call, as CPython's fast convention passes them.
struct Given<'a> {
    positional: &'a [Obj],
    context: Obj,
}

/// Reads `(*args, context=None)`.
///
/// # Safety
/// The pointers are those of a `METH_FASTCALL | METH_KEYWORDS` call.
#[inline]
unsafe fn given<'a>(args: *const Obj, nargs: isize, kwnames: Obj) -> PyRes<Given<'a>> {
    // SAFETY: CPython passes `nargs` positional values, then one for each name.
    unsafe {
        let positional = py::arguments(args, nargs);
        let mut context = std::ptr::null_mut();
        if !kwnames.is_null() {
            for i in 0..ffi::PyTuple_GET_SIZE(kwnames) {
                let name = ffi::PyTuple_GET_ITEM(kwnames, i);
                if name != names().context && ffi::PyUnicode_Compare(name, names().context) != 0 {
                    return unexpected_keyword(name);
                }
                context = *args.offset(nargs + i);
            }
        }
        if context == ffi::Py_None() {
            context = std::ptr::null_mut();
        } else if !context.is_null() && ffi::PyContext_CheckExact(context) == 0 {
            return not_a_context(context);
        }
        Ok(Given {
            positional,
            context,
        })
    }
}

#[cold]
fn unexpected_keyword<T>(name: Obj) -> PyRes<T> {
    // SAFETY: `name` is a str; %R prints any object.
    unsafe {
        ffi::PyErr_Format(
            ffi::PyExc_TypeError,
            c"scheduling got an unexpected keyword argument %R".as_ptr(),
            name,
        );
    }
    Err(Raised)
}

#[cold]
fn not_a_context<T>(context: Obj) -> PyRes<T> {
    // SAFETY: %R prints any object.
    unsafe {
        ffi::PyErr_Format(
            ffi::PyExc_TypeError,
            c"context must be a contextvars.Context or None, not %R".as_ptr(),
            context,
        );
    }
    Err(Raised)
}

/// Splits `(callback, *args)` off; `name` is the method's, for the error.
#[inline]
fn call_of<'a>(given: &Given<'a>, skip: usize, name: &str) -> PyRes<Call<'a>> {
    match given.positional.get(skip..) {
        Some([callback, args @ ..]) => Ok(Call {
            callback: *callback,
            args,
            context: given.context,
        }),
        _ => py::raise_text(
            py::type_error(),
            &format!("{name}() missing required positional arguments (it takes a callback)"),
        ),
    }
}

/// In debug mode: the callback is callable and, unless `any_thread`, this is the loop's thread.
#[cold]
fn debug_check(event_loop: &LoopObject, call: &Call<'_>, name: &str, any: bool) -> PyRes<()> {
    let name = Ref::str(name)?;
    let any = Ref::bool(any);
    // SAFETY: all are live objects.
    unsafe {
        py::call_method(
            names()._check_call,
            [
                event_loop.as_ptr(),
                call.callback,
                name.as_ptr(),
                any.as_ptr(),
            ],
        )?;
    }
    Ok(())
}

unsafe extern "C" fn call_soon(slf: Obj, args: *const Obj, nargs: isize, kwnames: Obj) -> Obj {
    py::object(|| {
        // SAFETY: CPython's arguments.
        let given = unsafe { given(args, nargs, kwnames)? };
        let call = call_of(&given, 0, "call_soon")?;
        let event_loop = object(slf);
        let state = &event_loop.state;
        state.check_closed()?;
        if state.debug.get() {
            debug_check(event_loop, &call, "call_soon", false)?;
        }
        let handle = handle::new_handle(event_loop, &call)?;
        // SAFETY: just made.
        state.ready.push(unsafe { Ref::borrowed(handle.as_ptr()) });
        Ok(handle)
    })
}

unsafe extern "C" fn call_soon_threadsafe(
    slf: Obj,
    args: *const Obj,
    nargs: isize,
    kwnames: Obj,
) -> Obj {
    py::object(|| {
        // SAFETY: CPython's arguments.
        let given = unsafe { given(args, nargs, kwnames)? };
        let call = call_of(&given, 0, "call_soon_threadsafe")?;
        let event_loop = object(slf);
        let state = &event_loop.state;
        state.check_closed()?;
        if state.debug.get() {
            debug_check(event_loop, &call, "call_soon_threadsafe", true)?;
        }
        let handle = handle::new_handle(event_loop, &call)?;
        // SAFETY: just made.
        state.ready.push(unsafe { Ref::borrowed(handle.as_ptr()) });
        state.wake();
        Ok(handle)
    })
}

/// A number of seconds; `what` names it in errors.
#[inline]
fn seconds(value: Obj, what: &str) -> PyRes<f64> {
    // SAFETY: a live object.
    unsafe {
        if value == ffi::Py_None() {
            return py::raise_text(py::type_error(), &format!("{what} must not be None"));
        }
        let seconds = if ffi::PyFloat_CheckExact(value) != 0 {
            ffi::PyFloat_AS_DOUBLE(value)
        } else {
            let seconds = ffi::PyFloat_AsDouble(value);
            if seconds == -1.0 && !ffi::PyErr_Occurred().is_null() {
                return Err(Raised);
            }
            seconds
        };
        if seconds.is_nan() {
            return py::raise_text(py::value_error(), &format!("{what} must not be NaN"));
        }
        Ok(seconds)
    }
}

/// The loop's clock now, through Python if the program has replaced it.
#[inline]
pub(super) fn now(event_loop: &LoopObject) -> PyRes<f64> {
    if event_loop.state.time_replaced.get() {
        return replaced_now(event_loop);
    }
    Ok(clock::seconds(clock::now_ns()))
}

#[cold]
fn replaced_now(event_loop: &LoopObject) -> PyRes<f64> {
    // SAFETY: a live object.
    let time = unsafe { py::call_method(names().time, [event_loop.as_ptr()])? };
    seconds(time.as_ptr(), "time()")
}

#[inline]
fn schedule_at(event_loop: &LoopObject, when: f64, call: &Call<'_>, name: &str) -> PyRes<Ref> {
    let state = &event_loop.state;
    state.check_closed()?;
    if state.debug.get() {
        debug_check(event_loop, call, name, false)?;
    }
    let timer = handle::new_timer(event_loop, when, call)?;
    // SAFETY: just made.
    state
        .timers
        .push(when, unsafe { Ref::borrowed(timer.as_ptr()) });
    Ok(timer)
}

unsafe extern "C" fn call_later(slf: Obj, args: *const Obj, nargs: isize, kwnames: Obj) -> Obj {
    py::object(|| {
        // SAFETY: CPython's arguments.
        let given = unsafe { given(args, nargs, kwnames)? };
        let call = call_of(&given, 1, "call_later")?;
        let delay = seconds(given.positional[0], "delay")?;
        let event_loop = object(slf);
        let when = now(event_loop)? + delay;
        schedule_at(event_loop, when, &call, "call_later")
    })
}

unsafe extern "C" fn call_at(slf: Obj, args: *const Obj, nargs: isize, kwnames: Obj) -> Obj {
    py::object(|| {
        // SAFETY: CPython's arguments.
        let given = unsafe { given(args, nargs, kwnames)? };
        let call = call_of(&given, 1, "call_at")?;
        let when = seconds(given.positional[0], "when")?;
        schedule_at(object(slf), when, &call, "call_at")
    })
}
