//! `LoopCore`: the native half of `libruntime.EventLoop`.
//!
//! Python's half derives from this type and from `asyncio.BaseEventLoop`. What runs once per
//! callback or per packet is here: scheduling (`schedule`), the turn (`turn`), descriptor
//! callbacks (`watchers`) and the list of transports with writes to send (`LoopState::unsent`).
//!
//! # Threads
//! Everything happens under the GIL. Foreign threads may only push to the ready ring and wake the
//! loop (`call_soon_threadsafe`); the other methods belong to the thread that runs the loop, as
//! asyncio's do, and check that in debug mode.

mod schedule;
mod tasks;
mod turn;
mod watchers;

use std::cell::{Cell, OnceCell, RefCell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;

use crate::clock;
use crate::driver::{self, Driver};
use crate::globals::names;
use crate::py::{self, Obj, PyRes, Raised, Ref, Slot};
use crate::ring::Ring;
use crate::timers::Timers;
use crate::transport::TransportState;
use crate::typespec::TypeBuilder;
use watchers::Watchers;

/// Bytes that one `recv` of a transport may take: asyncio's figure.
pub(crate) const READ_SIZE: usize = 256 * 1024;

#[repr(C)]
pub(crate) struct LoopObject {
    ob_base: ffi::PyObject,
    pub(crate) state: LoopState,
}

impl LoopObject {
    #[inline]
    pub(crate) fn as_ptr(&self) -> Obj {
        ptr::from_ref(self).cast_mut().cast()
    }
}

/// What a loop owns. Shared references only: callbacks re-enter it.
pub(crate) struct LoopState {
    /// Waits for descriptors and wakes; empty once the loop is closed.
    pub(crate) driver: RefCell<Option<Driver>>,
    pub(crate) ready: Ring,
    pub(crate) timers: Timers,
    pub(crate) debug: Cell<bool>,
    closed: Cell<bool>,
    stopping: Cell<bool>,
    running: Cell<bool>,
    /// `time` has been replaced by a subclass or on the instance: ask Python.
    time_replaced: Cell<bool>,
    /// The loop's thread waits, or is about to, with the GIL released: a push must wake it.
    asleep: Cell<bool>,
    saved_thread: Cell<*mut ffi::PyThreadState>,
    /// What a callback of the current turn raised that must leave `run_forever`.
    pub(crate) fatal: Slot,
    /// When the driver was last asked for events, in ns.
    polled_at: Cell<u64>,
    /// When a timer was last found due, in ns.
    timers_served_at: Cell<u64>,
    /// Counts turns; a transport's first write in each goes out at once.
    pub(crate) turn: Cell<u64>,
    /// Transports that gathered writes in this turn.
    pub(crate) unsent: RefCell<Vec<Ref>>,
    /// What makes tasks, if the program has set it.
    task_factory: Slot,
    watchers: Watchers,
    /// The transports by descriptor; one reference for each.
    transports: RefCell<Vec<Obj>>,
    /// The block of the next bulk read, see `transport::bulk`.
    pub(crate) spare_block: Slot,
    read_buffer: OnceCell<UnsafeCell<Box<[u8]>>>,
}

impl LoopState {
    fn new() -> PyRes<LoopState> {
        let driver = match Driver::new() {
            Ok(driver) => driver,
            Err(error) => return driver::raise(error),
        };
        Ok(LoopState {
            driver: RefCell::new(Some(driver)),
            ready: Ring::new(),
            timers: Timers::new(),
            debug: Cell::new(false),
            closed: Cell::new(false),
            stopping: Cell::new(false),
            running: Cell::new(false),
            time_replaced: Cell::new(false),
            asleep: Cell::new(false),
            saved_thread: Cell::new(ptr::null_mut()),
            fatal: Slot::empty(),
            polled_at: Cell::new(0),
            timers_served_at: Cell::new(0),
            turn: Cell::new(1),
            unsent: RefCell::new(Vec::new()),
            task_factory: Slot::empty(),
            watchers: Watchers::new(),
            transports: RefCell::new(Vec::new()),
            spare_block: Slot::empty(),
            read_buffer: OnceCell::new(),
        })
    }

    pub(crate) fn check_closed(&self) -> PyRes<()> {
        if self.closed.get() {
            return py::raise(py::runtime_error(), c"Event loop is closed");
        }
        Ok(())
    }

    /// The buffer that every `recv` of this loop goes through.
    ///
    /// # Safety
    /// The caller lets go of it before anything can run Python code.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn read_buffer(&self) -> &mut [u8] {
        let fresh = || UnsafeCell::new(vec![0; READ_SIZE].into_boxed_slice());
        let buffer = self.read_buffer.get_or_init(fresh);
        // SAFETY: one borrower at a time, by this function's contract.
        unsafe { &mut *buffer.get() }
    }

    /// Keeps a callback's fatal exception for the end of the turn.
    #[cold]
    pub(crate) fn keep_fatal(&self, raised: Raised) {
        let exception = py::take_exception(raised);
        if self.fatal.get().is_null() {
            self.fatal.set(exception);
        }
    }

    /// Wakes the loop's thread if it waits. At most one wake is under way at a time.
    #[inline]
    pub(crate) fn wake(&self) {
        if self.asleep.replace(false) {
            self.wake_driver();
        }
    }

    #[cold]
    fn wake_driver(&self) {
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake();
        }
    }

    /// Records an open transport under its descriptor.
    pub(crate) fn add_transport(&self, fd: i32, transport: Ref) {
        let mut transports = self.transports.borrow_mut();
        let at = fd as usize;
        if transports.len() <= at {
            transports.resize(at + 1, ptr::null_mut());
        }
        let old = std::mem::replace(&mut transports[at], transport.into_ptr());
        drop(transports);
        if !old.is_null() {
            // SAFETY: the table owned this reference.
            drop(unsafe { Ref::owned(old) });
        }
    }

    /// Forgets `transport`, unless another one has taken its descriptor since.
    pub(crate) fn remove_transport(&self, fd: i32, transport: Obj) -> Option<Ref> {
        let mut transports = self.transports.borrow_mut();
        let place = transports.get_mut(usize::try_from(fd).ok()?)?;
        if *place != transport {
            return None;
        }
        *place = ptr::null_mut();
        // SAFETY: the table owned this reference.
        unsafe { Ref::owned(transport) }.ok()
    }

    /// The transport that uses `fd`, borrowed; null if there is none.
    fn transport(&self, fd: i32) -> Obj {
        let transports = self.transports.borrow();
        usize::try_from(fd)
            .ok()
            .and_then(|fd| transports.get(fd).copied())
            .unwrap_or_default()
    }

    /// Releases everything that can lead to other objects. This runs Python code.
    fn clear(&self) {
        while let Some(entry) = self.ready.pop() {
            drop(entry);
        }
        self.timers.clear();
        self.watchers.clear();
        self.unsent.take();
        for transport in self.transports.take() {
            if !transport.is_null() {
                if let Some(transport) = TransportState::try_of(transport) {
                    transport.stop_watching();
                }
                // SAFETY: the table owned this reference.
                drop(unsafe { Ref::owned(transport) });
            }
        }
        self.fatal.clear();
        self.task_factory.clear();
        self.spare_block.clear();
    }
}

/// The native object behind a loop that is known to be one.
#[inline]
pub(crate) fn object<'a>(event_loop: Obj) -> &'a LoopObject {
    // SAFETY: only called with instances of `LoopCore` that the caller keeps alive.
    unsafe { &*event_loop.cast::<LoopObject>() }
}

unsafe extern "C" fn new(kind: *mut ffi::PyTypeObject, _args: Obj, _kwargs: Obj) -> Obj {
    py::object(|| {
        let state = LoopState::new()?;
        // SAFETY: `kind` is this type or a subclass: its allocation has room for the state, which
        // is written before anyone else sees the object.
        unsafe {
            let alloc = (*kind).tp_alloc.unwrap_or(ffi::PyType_GenericAlloc);
            let object = Ref::owned(alloc(kind, 0))?;
            let place = object.as_ptr().cast::<LoopObject>();
            (&raw mut (*place).state).write(state);
            let state: *const LoopState = &raw const (*place).state;
            if let Some(driver) = &*(*state).driver.borrow() {
                // The hooks live in the driver, which the state owns and never moves.
                let before = move || turn::before_wait(&*state);
                if let Err(error) = driver.set_hooks(before, move || turn::after_wait(&*state)) {
                    return driver::raise(error);
                }
            }
            let replaced = overrides_time(kind)?;
            (*place).state.time_replaced.set(replaced);
            Ok(object)
        }
    })
}

/// Whether a subclass has its own `time`.
unsafe fn overrides_time(kind: *mut ffi::PyTypeObject) -> PyRes<bool> {
    // SAFETY: a live type.
    let time = unsafe { Ref::owned(ffi::PyObject_GetAttr(kind.cast(), names().time))? };
    // SAFETY: as above; a method descriptor of this very type is the native one.
    Ok(unsafe { ffi::Py_TYPE(time.as_ptr()) != &raw mut ffi::PyMethodDescr_Type })
}

unsafe extern "C" fn set_attribute(slf: Obj, name: Obj, value: Obj) -> c_int {
    // SAFETY: forwarded; `name` is a str, and interned names compare by value.
    unsafe {
        if ffi::PyUnicode_Compare(name, names().time) == 0 {
            object(slf).state.time_replaced.set(true);
        }
        ffi::PyObject_GenericSetAttr(slf, name, value)
    }
}

unsafe extern "C" fn traverse(slf: Obj, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    let state = &object(slf).state;
    // SAFETY: called by the collector with a live loop.
    let mut show = |obj: Obj| unsafe { py::visit_ptr(obj, visit, arg) };
    // SAFETY: every object has a type.
    let kind = unsafe { ffi::Py_TYPE(slf).cast::<ffi::PyObject>() };
    let mut result = show(kind);
    if result == 0 {
        result = show(state.task_factory.get());
    }
    if result == 0 {
        result = show(state.fatal.get());
    }
    if result == 0 {
        result = state.ready.visit(&mut show);
    }
    if result == 0 {
        result = state.timers.visit(&mut show);
    }
    if result == 0 {
        result = state.watchers.visit(&mut show);
    }
    if result == 0 {
        let transports = state.transports.borrow();
        result = transports
            .iter()
            .map(|&obj| show(obj))
            .find(|&r| r != 0)
            .unwrap_or(0);
    }
    if result == 0 {
        let unsent = state.unsent.borrow();
        result = unsent
            .iter()
            .map(|r| show(r.as_ptr()))
            .find(|&r| r != 0)
            .unwrap_or(0);
    }
    result
}

unsafe extern "C" fn clear(slf: Obj) -> c_int {
    object(slf).state.clear();
    0
}

unsafe extern "C" fn dealloc(slf: Obj) {
    // SAFETY: the last reference has gone; the type is released after its instance.
    unsafe {
        ffi::PyObject_GC_UnTrack(slf.cast());
        object(slf).state.clear();
        ptr::drop_in_place(&raw mut (*slf.cast::<LoopObject>()).state);
        let kind = ffi::Py_TYPE(slf);
        let free = (*kind).tp_free.unwrap_or(ffi::PyObject_GC_Del);
        free(slf.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn time(slf: Obj, _: Obj) -> Obj {
    let _ = slf;
    py::object(|| Ref::float(clock::seconds(clock::now_ns())))
}

unsafe extern "C" fn stop(slf: Obj, _: Obj) -> Obj {
    py::nothing(|| {
        let state = &object(slf).state;
        state.stopping.set(true);
        state.wake();
        Ok(())
    })
}

unsafe extern "C" fn set_native_debug(slf: Obj, enabled: Obj) -> Obj {
    py::nothing(|| {
        // SAFETY: a live object.
        match unsafe { ffi::PyObject_IsTrue(enabled) } {
            -1 => Err(Raised),
            truth => {
                object(slf).state.debug.set(truth != 0);
                Ok(())
            }
        }
    })
}

/// Closes the native half: nothing can be scheduled or watched afterwards.
unsafe extern "C" fn close(slf: Obj, _: Obj) -> Obj {
    py::nothing(|| {
        let state = &object(slf).state;
        if state.running.get() {
            return py::raise(py::runtime_error(), c"Cannot close a running event loop");
        }
        state.closed.set(true);
        state.clear();
        // A callback's destructor may look at the loop: let go of the borrow first.
        let driver = state.driver.borrow_mut().take();
        drop(driver);
        Ok(())
    })
}

unsafe extern "C" fn get_stopping(slf: Obj, _: *mut c_void) -> Obj {
    py::object(|| Ok(Ref::bool(object(slf).state.stopping.get())))
}

unsafe extern "C" fn set_stopping(slf: Obj, value: Obj, _: *mut c_void) -> c_int {
    py::status(|| {
        // SAFETY: a live object, or null for a deletion, which counts as false.
        let truth = !value.is_null() && unsafe { ffi::PyObject_IsTrue(value) } == 1;
        object(slf).state.stopping.set(truth);
        Ok(())
    })
}

/// The transport that uses a descriptor, or None.
unsafe extern "C" fn transport_of(slf: Obj, fd: Obj) -> Obj {
    py::object(|| {
        let transport = object(slf).state.transport(watchers::descriptor(fd)?);
        if transport.is_null() {
            return Ok(Ref::none());
        }
        // SAFETY: the table keeps it alive.
        Ok(unsafe { Ref::borrowed(transport) })
    })
}

/// `_set_transport(fd, transport)`: records a transport that is not native; None to forget it.
unsafe extern "C" fn set_transport(slf: Obj, args: *mut Obj, nargs: isize) -> Obj {
    py::nothing(|| {
        // SAFETY: CPython's arguments.
        let args = unsafe { py::arguments(args, nargs) };
        let &[fd, transport] = args else {
            return py::raise(py::type_error(), c"_set_transport() takes two arguments");
        };
        let fd = watchers::descriptor(fd)?;
        let state = &object(slf).state;
        // SAFETY: live objects.
        if transport == unsafe { ffi::Py_None() } {
            drop(state.remove_transport(fd, state.transport(fd)));
        } else {
            // SAFETY: as above.
            state.add_transport(fd, unsafe { Ref::borrowed(transport) });
        }
        Ok(())
    })
}

/// Ends a wait that is under way, from any thread.
unsafe extern "C" fn wake(slf: Obj, _: Obj) -> Obj {
    py::nothing(|| {
        object(slf).state.wake();
        Ok(())
    })
}

/// The type, kept for checks; set once, when it is made.
static LOOP_TYPE: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

/// Refuses anything but a loop of this package.
pub(crate) fn check(event_loop: Obj) -> PyRes<()> {
    // SAFETY: a live object and a live type.
    if unsafe { ffi::PyObject_TypeCheck(event_loop, LOOP_TYPE.load(Ordering::Relaxed)) } == 0 {
        return py::raise(py::type_error(), c"a libruntime.EventLoop is required");
    }
    Ok(())
}

/// Makes the type.
pub(crate) fn make_type() -> PyRes<Ref> {
    let builder = TypeBuilder::new(
        c"libruntime._native.LoopCore",
        c"The native half of libruntime.EventLoop.",
        size_of::<LoopObject>(),
    )
    .flags(ffi::Py_TPFLAGS_BASETYPE)
    .slot(ffi::Py_tp_new, new as *mut c_void)
    .slot(ffi::Py_tp_dealloc, dealloc as *mut c_void)
    .slot(ffi::Py_tp_traverse, traverse as *mut c_void)
    .slot(ffi::Py_tp_clear, clear as *mut c_void)
    .slot(ffi::Py_tp_setattro, set_attribute as *mut c_void)
    .noargs(c"time", time)
    .noargs(c"stop", stop)
    .noargs(c"_wake", wake)
    .noargs(c"_close_native", close)
    .positional(c"_set_transport", set_transport)
    .one(c"_set_native_debug", set_native_debug)
    .one(c"_transport_of", transport_of)
    .attribute(c"_stopping", get_stopping, Some(set_stopping));
    let builder = schedule::methods(builder);
    let builder = tasks::methods(builder);
    let builder = turn::methods(builder);
    let made = watchers::methods(builder).build(None)?;
    // SAFETY: a live type; the reference is kept for the life of the process.
    let kept = unsafe { Ref::borrowed(made.as_ptr()) };
    LOOP_TYPE.store(kept.into_ptr().cast(), Ordering::Relaxed);
    Ok(made)
}
