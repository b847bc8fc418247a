//! `Handle` and `TimerHandle`: one scheduled callback.
//!
//! A handle holds up to four arguments inline, so that scheduling makes no tuple, and comes from a
//! free list. `isinstance(handle, asyncio.Handle)` is true through the `__class__` attribute; real
//! inheritance would add asyncio's eight unused slots to every callback.
//!
//! While its callback runs, a handle keeps the callback and the arguments alive by itself:
//! `cancel()` from inside the callback only marks it, and the references go when the call ends.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::ffi;

use crate::event_loop::{LoopObject, LoopState};
use crate::globals::{globals, names};
use crate::py::{self, Obj, PyRes, Raised, Ref, Slot};
use crate::typespec::TypeBuilder;

/// Arguments held inline; more of them go into a tuple in the first place.
const INLINE: usize = 4;

/// Freed handles of each kind that are kept for reuse.
const FREE_LIST: usize = 256;

const CANCELLED: u8 = 1;
/// The callback is being called right now.
const RUNNING: u8 = 2;
/// `args[0]` is a tuple with all the arguments.
const TUPLE: u8 = 4;
/// The timer heap holds this handle.
const IN_HEAP: u8 = 8;
/// Cancelled in debug mode: `args[0]` is the `repr` from before.
const OLD_REPR: u8 = 16;

#[repr(C)]
pub(crate) struct HandleObject {
    ob_base: ffi::PyObject,
    callback: Slot,
    args: [Slot; INLINE],
    context: Slot,
    event_loop: Slot,
    /// Where the handle was made, in debug mode.
    traceback: Slot,
    flags: Cell<u8>,
    nargs: Cell<u8>,
}

#[repr(C)]
struct TimerObject {
    base: HandleObject,
    when: Cell<f64>,
}

/// Freed objects of one type, their type reference still counted.
struct FreeList(UnsafeCell<Vec<Obj>>);

// SAFETY: only touched under the GIL, by code that cannot release it.
unsafe impl Sync for FreeList {}

static FREE_HANDLES: FreeList = FreeList(UnsafeCell::new(Vec::new()));
static FREE_TIMERS: FreeList = FreeList(UnsafeCell::new(Vec::new()));

unsafe extern "C" {
    /// Brings a dead object back with one reference, as every CPython free list does.
    fn _Py_NewReference(object: Obj);
}

impl FreeList {
    #[inline]
    fn allocate(&self, kind: *mut ffi::PyTypeObject) -> PyRes<Obj> {
        // SAFETY: see `Sync`; a listed object is a dead, untracked instance of `kind`.
        unsafe {
            match (*self.0.get()).pop() {
                Some(object) => {
                    _Py_NewReference(object);
                    Ok(object)
                }
                None => Ref::owned(ffi::PyObject_GC_New::<ffi::PyObject>(kind)).map(Ref::into_ptr),
            }
        }
    }

    /// Keeps a dead object, or frees it.
    #[inline]
    fn give_back(&self, object: Obj) {
        // SAFETY: called at the end of `tp_dealloc` with an untracked object without references.
        unsafe {
            let list = &mut *self.0.get();
            if list.len() < FREE_LIST && cfg!(not(Py_GIL_DISABLED)) {
                list.push(object);
            } else {
                let kind = ffi::Py_TYPE(object);
                ffi::PyObject_GC_Del(object.cast());
                ffi::Py_DECREF(kind.cast());
            }
        }
    }
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
        set_flag(object, IN_HEAP);
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
        (&raw mut (*place).flags).write(Cell::new(0));
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
            handle.flags.set(TUPLE);
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

fn set_flag(object: Obj, flag: u8) {
    let handle = view(object);
    handle.flags.set(handle.flags.get() | flag);
}

/// Whether a handle has been cancelled.
#[inline]
pub(crate) fn is_cancelled(handle: Obj) -> bool {
    view(handle).flags.get() & CANCELLED != 0
}

/// Notes that the timer heap no longer holds this handle.
#[inline]
pub(crate) fn left_heap(handle: Obj) {
    let handle = view(handle);
    handle.flags.set(handle.flags.get() & !IN_HEAP);
}

/// The context that a handle's callback runs in, borrowed.
fn context_of(handle: &HandleObject) -> Obj {
    handle.context.get()
}

/// Calls the callback in its context, if the handle is not cancelled.
///
/// An exception goes to the loop's exception handler; only `SystemExit` and `KeyboardInterrupt`
/// come back.
#[inline]
pub(crate) fn run(object: Obj) -> PyRes<()> {
    let handle = view(object);
    let before = handle.flags.get();
    if before & CANCELLED != 0 {
        return Ok(());
    }
    handle.flags.set(before | RUNNING);
    // SAFETY: the handle keeps the context, the callback and the arguments alive while RUNNING.
    let outcome = unsafe {
        if ffi::PyContext_Enter(context_of(handle)) < 0 {
            Err(Raised)
        } else {
            let outcome = call(handle, before);
            // Leaving fails only for a context that is not the current one, which the callback
            // cannot bring about. The exception of the call, if any, stays set.
            ffi::PyContext_Exit(context_of(handle));
            outcome
        }
    };
    // A handle that runs inside its own callback (`handle._run()`) is still running after.
    handle
        .flags
        .set((handle.flags.get() & !RUNNING) | (before & RUNNING));
    if handle.flags.get() & (CANCELLED | RUNNING) == CANCELLED {
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
unsafe fn call(handle: &HandleObject, flags: u8) -> PyRes<Ref> {
    // SAFETY: the caller keeps the objects alive. The free first place lets a bound method put
    // its `self` in front of the arguments without copying them.
    unsafe {
        let callback = handle.callback.get();
        if flags & TUPLE != 0 {
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
    let flags = handle.flags.get();
    if flags & CANCELLED != 0 {
        return Ok(());
    }
    let state = loop_state(handle);
    handle.flags.set(flags | CANCELLED);
    if flags & RUNNING == 0 {
        // In debug mode the text stays, for what the log says of the handle later.
        let text = match state {
            // SAFETY: `object` is alive.
            Some(state) if state.debug.get() => unsafe {
                Some(Ref::owned(ffi::PyObject_Repr(object))?)
            },
            _ => None,
        };
        clear_call(handle);
        if let Some(text) = text {
            handle.args[0].set(text);
            handle.flags.set((handle.flags.get() | OLD_REPR) & !TUPLE);
        }
    }
    if handle.flags.get() & IN_HEAP != 0
        && let Some(state) = state
    {
        state.timers.note_cancelled(object);
    }
    Ok(())
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
    let flags = handle.flags.get();
    flags & CANCELLED != 0 && (flags & RUNNING != 0 || handle.callback.get().is_null())
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
        let flags = handle.flags.get();
        if is_gone(handle) {
            return Ok(Ref::none());
        }
        if flags & TUPLE != 0 {
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
        let kept = handle.flags.get() & OLD_REPR != 0;
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
    py::object(|| Ok(Ref::bool(view(slf).flags.get() & IN_HEAP != 0)))
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

#[inline]
fn release(slf: Obj, list: &'static FreeList) {
    // SAFETY: the last reference has gone; nothing else can reach the object.
    unsafe {
        ffi::PyObject_GC_UnTrack(slf.cast());
    }
    let nesting = &NESTING.0;
    if nesting.depth.get() >= DEEPEST {
        // SAFETY: see `Nesting`.
        return unsafe { (*nesting.waiting.get()).push((slf, list)) };
    }
    nesting.depth.set(nesting.depth.get() + 1);
    for slot in slots(view(slf)) {
        slot.clear();
    }
    list.give_back(slf);
    nesting.depth.set(nesting.depth.get() - 1);
    if nesting.depth.get() == 0 {
        release_waiting();
    }
}

/// Handles that are being released inside the release of another one.
struct Nesting {
    depth: Cell<usize>,
    /// Dead handles that were too deep down, and the lists that they go to.
    waiting: UnsafeCell<Vec<(Obj, &'static FreeList)>>,
}

struct Global<T>(T);

// SAFETY: as a free list: only touched under the GIL, and never across Python code.
unsafe impl<T> Sync for Global<T> {}

static NESTING: Global<Nesting> = Global(Nesting {
    depth: Cell::new(0),
    waiting: UnsafeCell::new(Vec::new()),
});

/// A chain of handles, each an argument of the next, is released this deep on the stack and the
/// rest from a list, as CPython does it for its own containers.
const DEEPEST: usize = 50;

#[inline]
fn release_waiting() {
    // SAFETY: see `Nesting`; the borrow ends before anything is released.
    while let Some((handle, list)) = unsafe { (*NESTING.0.waiting.get()).pop() } {
        release(handle, list);
    }
}

/// Makes both types. `repr` comes from asyncio's classes: they read the attributes above.
pub(crate) fn make_types(asyncio_handle: Obj, asyncio_timer: Obj) -> PyRes<(Ref, Ref)> {
    let handle = TypeBuilder::new(
        c"libruntime._native.Handle",
        c"A scheduled callback: what call_soon() returns.",
        size_of::<HandleObject>(),
    )
    .flags(ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION)
    .slot(ffi::Py_tp_dealloc, dealloc_handle as *mut c_void)
    .slot(ffi::Py_tp_traverse, traverse as *mut c_void)
    .slot(ffi::Py_tp_clear, clear as *mut c_void)
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
    .build(None)?;
    let timer = TypeBuilder::new(
        c"libruntime._native.TimerHandle",
        c"A scheduled callback with a deadline: what call_later() and call_at() return.",
        size_of::<TimerObject>(),
    )
    .flags(ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION)
    .slot(ffi::Py_tp_dealloc, dealloc_timer as *mut c_void)
    .slot(ffi::Py_tp_traverse, traverse as *mut c_void)
    .slot(ffi::Py_tp_clear, clear as *mut c_void)
    .slot(ffi::Py_tp_hash, timer_hash as *mut c_void)
    .slot(ffi::Py_tp_richcompare, timer_compare as *mut c_void)
    .noargs(c"when", when)
    .attribute(c"_when", get_when, None)
    .attribute(c"_scheduled", get_scheduled, None)
    .attribute(c"__class__", timer_class, None)
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
