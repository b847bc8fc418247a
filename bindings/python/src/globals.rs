//! Interned names and objects of the standard library, looked up once at import.

use std::ffi::CString;
use std::ptr;
use std::sync::OnceLock;

use pyo3::ffi;

use crate::py::{Obj, PyRes, Ref};

macro_rules! globals {
    ($($name:ident,)*) => {
        /// Every name that native code looks up on a Python object, interned, so that a look-up
        /// compares pointers.
        pub(crate) struct Names { $(pub(crate) $name: Obj,)* }

        impl Names {
            fn intern() -> PyRes<Names> {
                Ok(Names { $($name: interned(stringify!($name))?,)* })
            }
        }
    };
}

globals! {
    _call_connection_lost,
    _callback_failed,
    _check_call,
    _debug_run,
    _drained,
    _fatal_error,
    _read_eof,
    _report_protocol,
    buffer_updated,
    context,
    data_received,
    get_buffer,
    is_closing,
    pause_writing,
    resume_writing,
    time,
}

fn interned(text: &str) -> PyRes<Obj> {
    let text = CString::new(text).expect("a name has no NUL");
    // SAFETY: `text` ends in NUL; the reference is kept for the life of the process.
    unsafe { Ref::owned(ffi::PyUnicode_InternFromString(text.as_ptr())).map(Ref::into_ptr) }
}

/// What native code needs from elsewhere, all held for the life of the process.
pub(crate) struct Globals {
    pub(crate) names: Names,
    /// `asyncio.Handle`, `asyncio.TimerHandle`: what our handles say they are.
    pub(crate) asyncio_handle: Obj,
    pub(crate) asyncio_timer_handle: Obj,
    /// The class in front of a stream transport: `asyncio.Transport` with the flow control that
    /// asyncio's `sendfile` fallback asks for.
    pub(crate) asyncio_transport_base: Obj,
    pub(crate) buffered_protocol: Obj,
    /// `asyncio.format_helpers.extract_stack`, for debug mode.
    pub(crate) extract_stack: Obj,
    /// `libruntime._errors.log_late_write`.
    pub(crate) log_late_write: Obj,
    pub(crate) future_type: Obj,
    pub(crate) task_type: Obj,
    /// `asyncio.BaseEventLoop.create_task`.
    pub(crate) asyncio_create_task: Obj,
    /// `("loop",)`: the names of a call with that one keyword.
    pub(crate) loop_keyword: Obj,
    stream_type: OnceLock<Kept>,
    pub(crate) handle_type: *mut ffi::PyTypeObject,
    pub(crate) timer_type: *mut ffi::PyTypeObject,
}

/// A type that lives as long as the process.
struct Kept(*mut ffi::PyTypeObject);

impl Globals {
    /// The type of native stream transports.
    #[inline]
    pub(crate) fn stream_type(&self) -> *mut ffi::PyTypeObject {
        self.stream_type
            .get()
            .map_or(ptr::null_mut(), |kept| kept.0)
    }

    /// Records that type; called once, when it is made.
    pub(crate) fn keep_stream_type(&self, made: &Ref) {
        // SAFETY: a live type, kept for the life of the process.
        let kept = unsafe { Ref::borrowed(made.as_ptr()) };
        let _ = self.stream_type.set(Kept(kept.into_ptr().cast()));
    }
}

fn create_task() -> PyRes<Obj> {
    let base = import("asyncio.base_events", "BaseEventLoop")?;
    // SAFETY: a live class; the name ends in NUL.
    unsafe {
        Ref::owned(ffi::PyObject_GetAttrString(base, c"create_task".as_ptr())).map(Ref::into_ptr)
    }
}

// SAFETY: the pointers are written once, at import, and only used by attached threads.
unsafe impl Send for Globals {}
// SAFETY: as above; nothing is changed after import.
unsafe impl Sync for Globals {}

static GLOBALS: OnceLock<Globals> = OnceLock::new();

/// The globals; import has filled them before any other code of this module can run.
#[inline]
pub(crate) fn globals() -> &'static Globals {
    // SAFETY: `init` runs in the module's exec function, before any type is reachable.
    unsafe { GLOBALS.get().unwrap_unchecked() }
}

#[inline]
pub(crate) fn names() -> &'static Names {
    &globals().names
}

/// `module.attribute`, as a reference that is never given back.
fn import(module: &str, attribute: &str) -> PyRes<Obj> {
    let module = CString::new(module).expect("a name has no NUL");
    let attribute = CString::new(attribute).expect("a name has no NUL");
    // SAFETY: both strings end in NUL.
    unsafe {
        let module = Ref::owned(ffi::PyImport_ImportModule(module.as_ptr()))?;
        Ref::owned(ffi::PyObject_GetAttrString(
            module.as_ptr(),
            attribute.as_ptr(),
        ))
        .map(Ref::into_ptr)
    }
}

/// Looks everything up and makes the handle types. Called once, by the module's init.
pub(crate) fn init() -> PyRes<()> {
    if GLOBALS.get().is_some() {
        return Ok(());
    }
    let mut globals = Globals {
        names: Names::intern()?,
        asyncio_handle: import("asyncio.events", "Handle")?,
        asyncio_timer_handle: import("asyncio.events", "TimerHandle")?,
        asyncio_transport_base: import("asyncio.transports", "_FlowControlMixin")?,
        buffered_protocol: import("asyncio.protocols", "BufferedProtocol")?,
        extract_stack: import("asyncio.format_helpers", "extract_stack")?,
        log_late_write: import("libruntime._errors", "log_late_write")?,
        future_type: import("asyncio.futures", "Future")?,
        task_type: import("asyncio.tasks", "Task")?,
        asyncio_create_task: create_task()?,
        // SAFETY: a fresh tuple around an interned name.
        loop_keyword: unsafe { Ref::owned(ffi::PyTuple_Pack(1, interned("loop")?))?.into_ptr() },
        stream_type: OnceLock::new(),
        handle_type: ptr::null_mut(),
        timer_type: ptr::null_mut(),
    };
    let (handle, timer) =
        crate::handle::make_types(globals.asyncio_handle, globals.asyncio_timer_handle)?;
    globals.handle_type = handle.into_ptr().cast();
    globals.timer_type = timer.into_ptr().cast();
    let _ = GLOBALS.set(globals);
    Ok(())
}
