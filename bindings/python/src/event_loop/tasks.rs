//! `create_future` and `create_task`: straight to asyncio's C types.

use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::ffi;

use super::object;
use crate::globals::globals;
use crate::py::{self, Obj, PyRes, Ref};
use crate::typespec::TypeBuilder;

/// Keyword arguments that `create_task` passes on without an allocation of its own.
const MOST_KEYWORDS: usize = 6;

/// Adds this file's methods to the loop's type.
pub(super) fn methods(builder: TypeBuilder) -> TypeBuilder {
    builder
        .noargs(c"create_future", create_future)
        .keywords(c"create_task", create_task)
        .attribute(c"_task_factory", get_factory, Some(set_factory))
}

unsafe extern "C" fn create_future(slf: Obj, _: Obj) -> Obj {
    let globals = globals();
    // SAFETY: one keyword argument, `loop`, whose name is in the tuple.
    py::object(|| unsafe {
        Ref::owned(ffi::PyObject_Vectorcall(
            globals.future_type,
            [slf].as_ptr(),
            0,
            globals.loop_keyword,
        ))
    })
}

/// `create_task(coro, **kwargs)`: `asyncio.Task(coro, loop=self, **kwargs)`, unless a task factory
/// or debug mode wants asyncio's own way.
unsafe extern "C" fn create_task(slf: Obj, args: *const Obj, nargs: isize, kwnames: Obj) -> Obj {
    py::object(|| {
        let state = &object(slf).state;
        // SAFETY: CPython passes `nargs` values, then one for each keyword.
        let (given, keywords) = unsafe {
            let keywords = if kwnames.is_null() {
                0
            } else {
                ffi::PyTuple_GET_SIZE(kwnames) as usize
            };
            (py::arguments(args, nargs + keywords as isize), keywords)
        };
        let special = state.debug.get() || !state.task_factory.get().is_null();
        if nargs != 1 || keywords > MOST_KEYWORDS || special {
            return asyncio_create_task(slf, given, nargs as usize, kwnames);
        }
        state.check_closed()?;
        let globals = globals();
        let mut call = [ptr::null_mut(); MOST_KEYWORDS + 2];
        call[0] = given[0];
        call[1] = slf;
        call[2..2 + keywords].copy_from_slice(&given[1..]);
        let mut names = globals.loop_keyword;
        let joined;
        if keywords > 0 {
            // SAFETY: two live tuples.
            joined = unsafe { Ref::owned(ffi::PySequence_Concat(names, kwnames))? };
            names = joined.as_ptr();
        }
        // SAFETY: one positional argument, then one value for each name.
        unsafe {
            Ref::owned(ffi::PyObject_Vectorcall(
                globals.task_type,
                call.as_ptr(),
                1,
                names,
            ))
        }
    })
}

#[cold]
fn asyncio_create_task(slf: Obj, given: &[Obj], nargs: usize, kwnames: Obj) -> PyRes<Ref> {
    let mut call = vec![slf];
    call.extend_from_slice(given);
    // SAFETY: a plain function, called with the loop in front of what we were given.
    unsafe {
        let function = globals().asyncio_create_task;
        Ref::owned(ffi::PyObject_Vectorcall(
            function,
            call.as_ptr(),
            nargs + 1,
            kwnames,
        ))
    }
}

unsafe extern "C" fn get_factory(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| Ok(object(slf).state.task_factory.or_none()))
}

unsafe extern "C" fn set_factory(slf: Obj, value: Obj, _: *mut c_void) -> c_int {
    py::status(|| {
        // SAFETY: a live object, or null for a deletion.
        let factory =
            unsafe { (!value.is_null() && value != ffi::Py_None()).then(|| Ref::borrowed(value)) };
        drop(object(slf).state.task_factory.replace(factory));
        Ok(())
    })
}
