//! Owned references, slots inside native objects, and the way in and out of CPython's calling
//! conventions.
//!
//! Everything here assumes what CPython promises a C function: the calling thread is attached to
//! the interpreter (it holds the GIL). PyO3's `Py<T>` is avoided on purpose: dropping one outside a
//! PyO3 entry point parks the reference in a locked queue, which costs more than the callback.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};

use pyo3::ffi;

/// A borrowed or owned object pointer, as CPython's functions take and return it.
pub(crate) type Obj = *mut ffi::PyObject;

/// A Python exception is set in the current thread.
#[derive(Debug)]
pub(crate) struct Raised;

/// The outcome of anything that may leave a Python exception set.
pub(crate) type PyRes<T> = Result<T, Raised>;

/// One owned reference.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Ref(NonNull<ffi::PyObject>);

impl Ref {
    /// Takes over a new reference; null means that an exception is set.
    ///
    /// # Safety
    /// `ptr` is null with an exception set, or a reference that the caller owns.
    #[inline]
    pub(crate) unsafe fn owned(ptr: Obj) -> PyRes<Ref> {
        NonNull::new(ptr).map(Ref).ok_or(Raised)
    }

    /// Adds a reference to a borrowed object.
    ///
    /// # Safety
    /// `ptr` points to a live object.
    #[inline]
    pub(crate) unsafe fn borrowed(ptr: Obj) -> Ref {
        // SAFETY: the caller promises a live object, so it is not null and may be counted.
        unsafe {
            ffi::Py_INCREF(ptr);
            Ref(NonNull::new_unchecked(ptr))
        }
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> Obj {
        self.0.as_ptr()
    }

    /// Gives the reference away.
    #[inline]
    pub(crate) fn into_ptr(self) -> Obj {
        let ptr = self.0.as_ptr();
        std::mem::forget(self);
        ptr
    }

    pub(crate) fn none() -> Ref {
        // SAFETY: None is immortal or at least always alive.
        unsafe { Ref::borrowed(ffi::Py_None()) }
    }

    pub(crate) fn bool(value: bool) -> Ref {
        // SAFETY: True and False are always alive.
        unsafe {
            Ref::borrowed(if value {
                ffi::Py_True()
            } else {
                ffi::Py_False()
            })
        }
    }

    /// A new `str`.
    pub(crate) fn str(text: &str) -> PyRes<Ref> {
        // SAFETY: the pointer and length describe valid UTF-8.
        unsafe {
            Ref::owned(ffi::PyUnicode_FromStringAndSize(
                text.as_ptr().cast(),
                text.len() as isize,
            ))
        }
    }

    /// A new `int`.
    pub(crate) fn int(value: usize) -> PyRes<Ref> {
        // SAFETY: returns a new reference or null.
        unsafe { Ref::owned(ffi::PyLong_FromSize_t(value)) }
    }

    /// A new `float`.
    pub(crate) fn float(value: f64) -> PyRes<Ref> {
        // SAFETY: returns a new reference or null.
        unsafe { Ref::owned(ffi::PyFloat_FromDouble(value)) }
    }
}

impl Drop for Ref {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: we own one reference, and the thread is attached (see the module's contract).
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) }
    }
}

/// A place inside a native object that owns at most one reference.
///
/// It never drops by itself: the object's `tp_clear` and `tp_dealloc` empty it.
#[repr(transparent)]
pub(crate) struct Slot(Cell<Obj>);

impl Slot {
    pub(crate) const fn empty() -> Slot {
        Slot(Cell::new(ptr::null_mut()))
    }

    #[inline]
    pub(crate) fn filled(value: Ref) -> Slot {
        Slot(Cell::new(value.into_ptr()))
    }

    /// The object, borrowed; null if empty.
    #[inline]
    pub(crate) fn get(&self) -> Obj {
        self.0.get()
    }

    /// A new reference to the object, if there is one.
    #[inline]
    pub(crate) fn cloned(&self) -> Option<Ref> {
        let ptr = self.0.get();
        // SAFETY: a filled slot keeps its object alive.
        (!ptr.is_null()).then(|| unsafe { Ref::borrowed(ptr) })
    }

    /// A new reference to the object, or to None.
    pub(crate) fn or_none(&self) -> Ref {
        self.cloned().unwrap_or_else(Ref::none)
    }

    /// Stores `value`; the previous object is released after the store, so that whatever its
    /// destructor runs sees the new one.
    #[inline]
    pub(crate) fn set(&self, value: Ref) {
        drop(self.replace(Some(value)));
    }

    #[inline]
    pub(crate) fn replace(&self, value: Option<Ref>) -> Option<Ref> {
        let old = self.0.replace(value.map_or(ptr::null_mut(), Ref::into_ptr));
        NonNull::new(old).map(Ref)
    }

    #[inline]
    pub(crate) fn clear(&self) {
        drop(self.replace(None));
    }

    /// Shows the object to the garbage collector.
    ///
    /// # Safety
    /// Called from a `tp_traverse` with that call's `visit` and `arg`.
    pub(crate) unsafe fn visit(&self, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
        // SAFETY: forwarded from the caller.
        unsafe { visit_ptr(self.0.get(), visit, arg) }
    }
}

/// Shows a possibly null object to the garbage collector.
///
/// # Safety
/// As [`Slot::visit`].
pub(crate) unsafe fn visit_ptr(obj: Obj, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    if obj.is_null() {
        return 0;
    }
    // SAFETY: `obj` is alive while its owner is being traversed.
    unsafe { visit(obj, arg) }
}

/// Sets an exception with a fixed text.
#[cold]
pub(crate) fn raise<T>(kind: Obj, text: &CStr) -> PyRes<T> {
    // SAFETY: `kind` is one of CPython's exception types, `text` ends in NUL.
    unsafe { ffi::PyErr_SetString(kind, text.as_ptr()) };
    Err(Raised)
}

/// Sets an exception with a text made on the spot.
#[cold]
pub(crate) fn raise_text<T>(kind: Obj, text: &str) -> PyRes<T> {
    let text = Ref::str(text)?;
    // SAFETY: both are live objects.
    unsafe { ffi::PyErr_SetObject(kind, text.as_ptr()) };
    Err(Raised)
}

/// Sets the `OSError` subclass that belongs to an errno value.
#[cold]
pub(crate) fn raise_errno<T>(errno: i32) -> PyRes<T> {
    // SAFETY: PyErr_SetFromErrno reads errno, which is set for it here.
    unsafe {
        *libc::__errno_location() = errno;
        ffi::PyErr_SetFromErrno(ffi::PyExc_OSError);
    }
    Err(Raised)
}

/// `RuntimeError`, borrowed.
pub(crate) fn runtime_error() -> Obj {
    // SAFETY: an always-live type object.
    unsafe { ffi::PyExc_RuntimeError }
}

/// `TypeError`, borrowed.
pub(crate) fn type_error() -> Obj {
    // SAFETY: an always-live type object.
    unsafe { ffi::PyExc_TypeError }
}

/// `ValueError`, borrowed.
pub(crate) fn value_error() -> Obj {
    // SAFETY: an always-live type object.
    unsafe { ffi::PyExc_ValueError }
}

/// Takes the current exception, with its traceback attached, out of the thread.
#[cold]
pub(crate) fn take_exception(_: Raised) -> Ref {
    // SAFETY: an exception is set (the caller holds a `Raised`); the fetched references are ours.
    unsafe {
        #[cfg(Py_3_12)]
        let value = ffi::PyErr_GetRaisedException();
        #[cfg(not(Py_3_12))]
        let value = {
            let (mut kind, mut value, mut trace) =
                (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
            ffi::PyErr_Fetch(&mut kind, &mut value, &mut trace);
            ffi::PyErr_NormalizeException(&mut kind, &mut value, &mut trace);
            if !trace.is_null() {
                ffi::PyException_SetTraceback(value, trace);
                ffi::Py_DECREF(trace);
            }
            ffi::Py_XDECREF(kind);
            value
        };
        NonNull::new(value).map(Ref).unwrap_or_else(Ref::none)
    }
}

/// Raises an exception object again.
#[cold]
pub(crate) fn raise_again<T>(exception: Ref) -> PyRes<T> {
    // SAFETY: `exception` is an exception instance; its type is alive as long as it is.
    unsafe {
        #[cfg(Py_3_12)]
        ffi::PyErr_SetRaisedException(exception.into_ptr());
        #[cfg(not(Py_3_12))]
        {
            let kind = ffi::Py_TYPE(exception.as_ptr()).cast::<ffi::PyObject>();
            ffi::Py_INCREF(kind);
            let trace = ffi::PyException_GetTraceback(exception.as_ptr());
            ffi::PyErr_Restore(kind, exception.into_ptr(), trace);
        }
    }
    Err(Raised)
}

/// True for the two exceptions that no callback's error handling may swallow.
#[cold]
pub(crate) fn is_fatal(_: &Raised) -> bool {
    // SAFETY: an exception is set; both types are always alive.
    unsafe {
        ffi::PyErr_ExceptionMatches(ffi::PyExc_SystemExit) != 0
            || ffi::PyErr_ExceptionMatches(ffi::PyExc_KeyboardInterrupt) != 0
    }
}

unsafe extern "C-unwind" {
    fn PyObject_VectorcallDict(callable: Obj, args: *const Obj, nargs: usize, kwargs: Obj) -> Obj;
    fn PyObject_VectorcallMethod(name: Obj, args: *const Obj, nargs: usize, kwnames: Obj) -> Obj;
}

/// Lives on the stack below Python code.
///
/// When the interpreter ends, daemon threads that want the GIL back are ended by `pthread_exit`
/// (before Python 3.14), which unwinds the stack and must not unwind ours. Being dropped tells that
/// this is happening: the thread then waits for the end of the process, as it does from 3.14 on.
struct NeverUnwound;

impl Drop for NeverUnwound {
    #[cold]
    fn drop(&mut self) {
        loop {
            // SAFETY: waits for a signal; nothing is touched.
            unsafe { libc::pause() };
        }
    }
}

/// Calls `callable` with `nargs` arguments, which may carry vectorcall's offset flag.
///
/// # Safety
/// The pointers are live objects; with the flag, `args[-1]` may be written.
#[inline]
pub(crate) unsafe fn call(callable: Obj, args: *const Obj, nargs: usize) -> PyRes<Ref> {
    let guard = NeverUnwound;
    // SAFETY: forwarded from the caller.
    let result = unsafe { PyObject_VectorcallDict(callable, args, nargs, ptr::null_mut()) };
    std::mem::forget(guard);
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Ref::owned(result) }
}

/// Calls `method` of `args[0]` with the other arguments.
///
/// # Safety
/// Every pointer is a live object.
#[inline]
pub(crate) unsafe fn call_method<const N: usize>(method: Obj, args: [Obj; N]) -> PyRes<Ref> {
    let guard = NeverUnwound;
    // SAFETY: `args` outlives the call; no offset flag is given, so the callee only reads it.
    let result = unsafe { PyObject_VectorcallMethod(method, args.as_ptr(), N, ptr::null_mut()) };
    std::mem::forget(guard);
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Ref::owned(result) }
}

/// The arguments of a `METH_FASTCALL` method: `count` positional ones, keyword values behind them.
///
/// # Safety
/// The pointer and the count are those that CPython passed; the slice ends with the call.
#[inline]
pub(crate) unsafe fn arguments<'a>(args: *const Obj, count: isize) -> &'a [Obj] {
    // The pointer may be null if there are none.
    if count == 0 {
        return &[];
    }
    // SAFETY: CPython passes that many live objects.
    unsafe { std::slice::from_raw_parts(args, count as usize) }
}

#[cold]
fn raise_panic() {
    let _: PyRes<()> = raise(
        runtime_error(),
        c"libruntime: internal error (a panic was contained)",
    );
}

/// Body of an `extern "C"` function that returns an object: null when an exception is set.
#[inline]
pub(crate) fn object(body: impl FnOnce() -> PyRes<Ref>) -> Obj {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value.into_ptr(),
        Ok(Err(Raised)) => ptr::null_mut(),
        Err(_) => {
            raise_panic();
            ptr::null_mut()
        }
    }
}

/// Body of an `extern "C"` function that returns None.
#[inline]
pub(crate) fn nothing(body: impl FnOnce() -> PyRes<()>) -> Obj {
    object(|| body().map(|()| Ref::none()))
}

/// Body of an `extern "C"` function that returns 0, or -1 when an exception is set.
#[inline]
pub(crate) fn status(body: impl FnOnce() -> PyRes<()>) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(Raised)) => -1,
        Err(_) => {
            raise_panic();
            -1
        }
    }
}
