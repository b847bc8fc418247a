//! `Handle` and `TimerHandle`: one scheduled callback.
//!
//! A handle holds up to four arguments inline, so that scheduling makes no tuple, and comes from a
//! free list. `isinstance(handle, asyncio.Handle)` is true through the `__class__` attribute; real
//! inheritance would add asyncio's eight unused slots to every callback.
//!
//! While its callback runs, a handle keeps the callback and the arguments alive by itself:
//! `cancel()` from inside the callback only marks it, and the references go when the call ends.

mod attributes;
mod flags;
mod free_list;

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::ffi;

use crate::event_loop::{LoopObject, LoopState};
use crate::globals::{globals, names};
use crate::py::{self, Obj, PyRes, Raised, Ref, Slot};
use crate::typespec::TypeBuilder;
use flags::{Flag, Flags};
use free_list::{FreeList, release};

/// Arguments held inline; more of them go into a tuple in the first place.
const INLINE: usize = 4;

static FREE_HANDLES: FreeList = FreeList::new();
static FREE_TIMERS: FreeList = FreeList::new();

#[repr(C)]
pub(crate) struct HandleObject {
    ob_base: ffi::PyObject,
    callback: Slot,
    args: [Slot; INLINE],
    context: Slot,
    event_loop: Slot,
    /// Where the handle was made, in debug mode.
    traceback: Slot,
    flags: Flags,
    nargs: Cell<u8>,
}

#[repr(C)]
struct TimerObject {
    base: HandleObject,
    when: Cell<f64>,
}

/// What `call_soon` and its sisters were given.
pub(crate) struct Call<'a> {
    pub(crate) callback: Obj,
    pub(crate) args: &'a [Obj],
    /// Null to run in a copy of the current context.
    pub(crate) context: Obj,
}

/// Makes a handle for `call_soon`.
#[inline]
pub(crate) fn new_handle(event_loop: &LoopObject, call: &Call<'_>) -> PyRes<Ref> {
    let object = FREE_HANDLES.allocate(globals().handle_type)?;
    // SAFETY: a fresh object of the handle type.
    unsafe { fill(object, event_loop, call) }
}

/// Makes a handle for a timer that is about to enter the heap.
#[inline]
pub(crate) fn new_timer(event_loop: &LoopObject, when: f64, call: &Call<'_>) -> PyRes<Ref> {
    let object = FREE_TIMERS.allocate(globals().timer_type)?;
    // SAFETY: a fresh object of the timer type, which begins with the fields of a handle.
    unsafe {
        (&raw mut (*object.cast::<TimerObject>()).when).write(Cell::new(when));
        let timer = fill(object, event_loop, call)?;
        view(object).flags.set(Flag::IN_HEAP, true);
        Ok(timer)
    }
}

/// Writes every field of a fresh handle and shows it to the garbage collector.
#[inline]
unsafe fn fill(object: Obj, event_loop: &LoopObject, call: &Call<'_>) -> PyRes<Ref> {
    // SAFETY: the caller's object is fresh; the pointers in `call` are borrowed live objects.
    unsafe {
        let place = object.cast::<HandleObject>();
        let own = |obj: Obj| Slot::filled(Ref::borrowed(obj));
        (&raw mut (*place).callback).write(own(call.callback));
        (&raw mut (*place).event_loop).write(own(event_loop.as_ptr()));
        (&raw mut (*place).traceback).write(Slot::empty());
        (&raw mut (*place).context).write(Slot::empty());
        (&raw mut (*place).args).write([const { Slot::empty() }; INLINE]);
        (&raw mut (*place).flags).write(Flags::none());
        (&raw mut (*place).nargs).write(Cell::new(0));
        let handle = &*place;
        let reference = Ref::owned(object)?;
        if call.args.len() <= INLINE {
            for (slot, &arg) in handle.args.iter().zip(call.args) {
                slot.set(Ref::borrowed(arg));
            }
            handle.nargs.set(call.args.len() as u8);
        } else {
            handle.args[0].set(tuple_of(call.args)?);
            handle.flags.set(Flag::TUPLE, true);
        }
        let context = if call.context.is_null() {
            Ref::owned(ffi::PyContext_CopyCurrent())?
        } else {
            Ref::borrowed(call.context)
        };
        handle.context.set(context);
        ffi::PyObject_GC_Track(object.cast());
        if event_loop.state.debug.get() {
            let stack = Ref::owned(ffi::PyObject_CallNoArgs(globals().extract_stack))?;
            handle.traceback.set(stack);
        }
        Ok(reference)
    }
}

fn tuple_of(items: &[Obj]) -> PyRes<Ref> {
    // SAFETY: the items are live; a fresh tuple takes one reference for each place.
    unsafe {
        let tuple = Ref::owned(ffi::PyTuple_New(items.len() as isize))?;
        for (i, &item) in items.iter().enumerate() {
            ffi::Py_INCREF(item);
            ffi::PyTuple_SET_ITEM(tuple.as_ptr(), i as isize, item);
        }
        Ok(tuple)
    }
}

#[inline]
fn view<'a>(object: Obj) -> &'a HandleObject {
    // SAFETY: only called with instances of the handle types, by code that holds a reference.
    unsafe { &*object.cast::<HandleObject>() }
}

/// Whether a handle has been cancelled.
#[inline]
pub(crate) fn is_cancelled(handle: Obj) -> bool {
    view(handle).flags.has(Flag::CANCELLED)
}

/// Notes that the timer heap no longer holds this handle.
#[inline]
pub(crate) fn left_heap(handle: Obj) {
    view(handle).flags.set(Flag::IN_HEAP, false);
}

/// Calls the callback in its context, if the handle is not cancelled.
///
/// An exception goes to the loop's exception handler; only `SystemExit` and `KeyboardInterrupt`
/// come back.
#[inline]
pub(crate) fn run(object: Obj) -> PyRes<()> {
    let handle = view(object);
    if handle.flags.has(Flag::CANCELLED) {
        return Ok(());
    }
    // A handle that runs inside its own callback (`handle._run()`) is still running after.
    let nested = handle.flags.has(Flag::RUNNING);
    handle.flags.set(Flag::RUNNING, true);
    // SAFETY: the handle keeps the context, the callback and the arguments alive while RUNNING.
    let outcome = unsafe {
        if ffi::PyContext_Enter(handle.context.get()) < 0 {
            Err(Raised)
        } else {
            let outcome = call(handle);
            // Leaving fails only for a context that is not the current one, which the callback
            // cannot bring about. The exception of the call, if any, stays set.
            ffi::PyContext_Exit(handle.context.get());
            outcome
        }
    };
    handle.flags.set(Flag::RUNNING, nested);
    if !nested && handle.flags.has(Flag::CANCELLED) {
        clear_call(handle);
    }
    match outcome {
        Ok(result) => {
            drop(result);
            Ok(())
        }
        Err(raised) => failed(object, raised),
    }
}

#[inline]
unsafe fn call(handle: &HandleObject) -> PyRes<Ref> {
    // SAFETY: the caller keeps the objects alive. The free first place lets a bound method put
    // its `self` in front of the arguments without copying them.
    unsafe {
        let callback = handle.callback.get();
        if handle.flags.has(Flag::TUPLE) {
            let tuple = handle.args[0].get().cast::<ffi::PyTupleObject>();
            let items = (&raw const (*tuple).ob_item).cast::<Obj>();
            return py::call(
                callback,
                items,
                ffi::PyTuple_GET_SIZE(tuple.cast()) as usize,
            );
        }
        let mut args: [Obj; INLINE + 1] = [
            ptr::null_mut(),
            handle.args[0].get(),
            handle.args[1].get(),
            handle.args[2].get(),
            handle.args[3].get(),
        ];
        const OFFSET: usize = 1 << (usize::BITS - 1);
        py::call(
            callback,
            args.as_mut_ptr().add(1),
            handle.nargs.get() as usize | OFFSET,
        )
    }
}

#[cold]
fn failed(object: Obj, raised: Raised) -> PyRes<()> {
    if py::is_fatal(&raised) {
        return Err(raised);
    }
    let exception = py::take_exception(raised);
    let event_loop = view(object).event_loop.get();
    // SAFETY: all are live objects.
    unsafe {
        py::call_method(
            names()._callback_failed,
            [event_loop, object, exception.as_ptr()],
        )?;
    }
    Ok(())
}

/// Releases what the call would have needed. This may run Python code.
fn clear_call(handle: &HandleObject) {
    handle.callback.clear();
    for slot in &handle.args {
        slot.clear();
    }
    handle.nargs.set(0);
}

/// The loop that a handle belongs to.
pub(crate) fn loop_of(object: Obj) -> Option<Ref> {
    view(object).event_loop.cloned()
}

fn loop_state(handle: &HandleObject) -> Option<&LoopState> {
    let event_loop = handle.event_loop.get();
    // SAFETY: the slot holds a loop object or nothing, and keeps it alive.
    (!event_loop.is_null()).then(|| unsafe { &(*event_loop.cast::<LoopObject>()).state })
}

/// Cancels a handle: what its `cancel()` does.
pub(crate) fn cancel_handle(object: Obj) -> PyRes<()> {
    let handle = view(object);
    if handle.flags.has(Flag::CANCELLED) {
        return Ok(());
    }
    handle.flags.set(Flag::CANCELLED, true);
    let Some(state) = loop_state(handle) else {
        return Ok(());
    };
    if handle.flags.has(Flag::IN_HEAP) {
        state.timers.note_cancelled(object);
    }
    if handle.flags.has(Flag::RUNNING) {
        return Ok(());
    }
    if !state.debug.get() {
        clear_call(handle);
        return Ok(());
    }
    // The text stays, for what the log says of the handle later.
    // SAFETY: `object` is alive.
    let text = unsafe { Ref::owned(ffi::PyObject_Repr(object))? };
    clear_call(handle);
    handle.args[0].set(text);
    handle.flags.set(Flag::TUPLE, false);
    handle.flags.set(Flag::OLD_REPR, true);
    Ok(())
}

fn slots(handle: &HandleObject) -> [&Slot; INLINE + 4] {
    let [a, b, c, d] = &handle.args;
    [
        &handle.callback,
        a,
        b,
        c,
        d,
        &handle.context,
        &handle.event_loop,
        &handle.traceback,
    ]
}

unsafe extern "C" fn traverse(slf: Obj, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: called by the collector with a live handle.
    unsafe {
        let kind = ffi::Py_TYPE(slf).cast::<ffi::PyObject>();
        let result = py::visit_ptr(kind, visit, arg);
        if result != 0 {
            return result;
        }
        for slot in slots(view(slf)) {
            let result = slot.visit(visit, arg);
            if result != 0 {
                return result;
            }
        }
    }
    0
}

unsafe extern "C" fn clear(slf: Obj) -> c_int {
    for slot in slots(view(slf)) {
        slot.clear();
    }
    0
}

unsafe extern "C" fn dealloc_handle(slf: Obj) {
    release(slf, &FREE_HANDLES);
}

unsafe extern "C" fn dealloc_timer(slf: Obj) {
    release(slf, &FREE_TIMERS);
}

/// Makes both types. `repr` comes from asyncio's classes: they read the attributes above.
pub(crate) fn make_types(asyncio_handle: Obj, asyncio_timer: Obj) -> PyRes<(Ref, Ref)> {
    let handle = attributes::of_handle(TypeBuilder::new(
        c"libruntime._native.Handle",
        c"A scheduled callback: what call_soon() returns.",
        size_of::<HandleObject>(),
    ))
    .flags(ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION)
    .slot(ffi::Py_tp_dealloc, dealloc_handle as *mut c_void)
    .slot(ffi::Py_tp_traverse, traverse as *mut c_void)
    .slot(ffi::Py_tp_clear, clear as *mut c_void)
    .build(None)?;
    let timer = attributes::of_timer(TypeBuilder::new(
        c"libruntime._native.TimerHandle",
        c"A scheduled callback with a deadline: what call_later() and call_at() return.",
        size_of::<TimerObject>(),
    ))
    .flags(ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION)
    .slot(ffi::Py_tp_dealloc, dealloc_timer as *mut c_void)
    .slot(ffi::Py_tp_traverse, traverse as *mut c_void)
    .slot(ffi::Py_tp_clear, clear as *mut c_void)
    .build(Some(handle.as_ptr()))?;
    // SAFETY: live types; the names end in NUL.
    unsafe {
        for (kind, source) in [(&handle, asyncio_handle), (&timer, asyncio_timer)] {
            for name in [c"_repr_info", c"__repr__"] {
                let function = Ref::owned(ffi::PyObject_GetAttrString(source, name.as_ptr()))?;
                if ffi::PyObject_SetAttrString(kind.as_ptr(), name.as_ptr(), function.as_ptr()) < 0
                {
                    return Err(Raised);
                }
            }
        }
    }
    Ok((handle, timer))
}
