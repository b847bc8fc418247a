//! What one Node environment (the main thread, or one worker) owns, and how it ends.
//!
//! ```text
//! loaded ──────────► started ──────────► closing ─────────► closed ──────────► freed
//!    first listen or connect  cleanup hook   uv let go of all    instance data finalized
//! ```
//! Loading the package costs nothing but the object itself. A worker that is terminated runs no more
//! JavaScript, so nothing here depends on a user closing a handle: the cleanup hook closes what is
//! open, and Node waits for it. `process.exit` on the main thread runs no hook; there the kernel
//! closes what is open.

use std::cell::{Cell, OnceCell};
use std::ffi::c_void;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use napi::sys;

use crate::dispatch::Dispatcher;
use crate::host::{HANDLES, Host};
use crate::io::{Inline, Poller};
use crate::js::{Js, Value};
use crate::uv::{self, Owner};

pub(crate) struct Environment {
    js: Js,
    started: OnceCell<Started>,
    closing: Cell<bool>,
    /// uv handles that are not closed yet.
    uv_handles: Cell<usize>,
    cleanup: Cell<sys::napi_async_cleanup_hook_handle>,
}

pub(crate) struct Started {
    pub(crate) io: Inline,
    pub(crate) events: Dispatcher,
    /// Where strings become bytes.
    pub(crate) scratch: Cell<Vec<u8>>,
}

impl Environment {
    /// Makes the environment's object and has Node free it in the end.
    ///
    /// # Safety
    /// `env` must be the environment that is loading the add-on, on its thread.
    pub(crate) unsafe fn attach(env: sys::napi_env) -> Option<*const Self> {
        let environment = Box::into_raw(Box::new(Self {
            // SAFETY: the object is freed with the env, and reached on its thread only.
            js: unsafe { Js::new(env) },
            started: OnceCell::new(),
            closing: Cell::new(false),
            uv_handles: Cell::new(0),
            cleanup: Cell::new(ptr::null_mut()),
        }));
        // SAFETY: the finalizer gets the pointer back once, when nothing else uses it any more.
        let status = unsafe {
            sys::napi_set_instance_data(env, environment.cast(), Some(finalize), ptr::null_mut())
        };
        if status != sys::Status::napi_ok {
            // SAFETY: nobody else has the pointer.
            drop(unsafe { Box::from_raw(environment) });
            return None;
        }
        Some(environment)
    }

    pub(crate) fn js(&self) -> Js {
        self.js
    }

    /// The sockets, unless there are none yet or none any more.
    pub(crate) fn started(&self) -> Option<&Started> {
        self.started.get().filter(|_| !self.closing.get())
    }

    /// Ties an event loop to the environment's. Returns the mailbox's buffers (slab, ring).
    pub(crate) fn start(&self, dispatch: Value, adopt: Value) -> io::Result<[Value; 2]> {
        if self.closing.get() || self.started.get().is_some() {
            return Err(io::Error::from_raw_os_error(libc::EALREADY));
        }
        let unsupported = || io::Error::from_raw_os_error(libc::ENOSYS);
        let (events, buffers) =
            Dispatcher::new(self.js, dispatch, adopt).ok_or_else(unsupported)?;
        let mut uv: *mut sys::uv_loop_s = ptr::null_mut();
        // SAFETY: the env is alive and on its thread.
        let status = unsafe { sys::napi_get_uv_event_loop(self.js.env(), &mut uv) };
        if status != sys::Status::napi_ok {
            return Err(unsupported());
        }
        let poller = Poller::new()?;
        // SAFETY: the loop is this thread's; `self` is freed after both handles were closed (`finalize`
        // leaks it otherwise), and the poller's fd lives in `self`.
        let host = unsafe { Host::new(uv.cast::<uv::Loop>(), poller.fd(), self)? };
        self.uv_handles.set(HANDLES);
        let mut cleanup = ptr::null_mut();
        // SAFETY: as above; the hook gets `self` back, which is freed later than the hook runs.
        unsafe {
            let data = ptr::from_ref(self).cast_mut().cast();
            sys::napi_add_async_cleanup_hook(self.js.env(), Some(clean_up), data, &mut cleanup);
        }
        self.cleanup.set(cleanup);
        let started = Started {
            io: Inline::new(poller, host),
            events,
            scratch: Cell::default(),
        };
        // Checked empty above, and nothing in between runs JavaScript.
        let _ = self.started.set(started);
        Ok(buffers)
    }

    fn close(&self) {
        self.closing.set(true);
        if let Some(started) = self.started.get() {
            started.io.shut_down(self.js);
        }
    }
}

impl Owner for Environment {
    fn on_readable(&self) {
        contained(|| {
            if let Some(started) = self.started() {
                started.io.turn(&started.events);
            }
        });
    }

    fn on_prepare(&self) {
        contained(|| {
            if let Some(started) = self.started() {
                started.io.settle(&started.events);
            }
        });
    }

    fn on_closed(&self) {
        self.uv_handles.set(self.uv_handles.get() - 1);
        if self.uv_handles.get() == 0 {
            // SAFETY: the handle that adding the hook returned, given back once; Node goes on with
            // the end of the environment when it has it.
            unsafe { sys::napi_remove_async_cleanup_hook(self.cleanup.get()) };
        }
    }
}

/// Keeps a panic of ours from unwinding into Node. The default hook has printed it by then; the
/// sockets stay usable because no state is borrowed across a call into JavaScript.
fn contained(f: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(f));
}

unsafe extern "C" fn clean_up(_: sys::napi_async_cleanup_hook_handle, data: *mut c_void) {
    // SAFETY: the data is the environment that added this hook, not freed yet (`attach`).
    let environment = unsafe { &*data.cast::<Environment>() };
    contained(|| environment.close());
}

unsafe extern "C" fn finalize(_: sys::napi_env, data: *mut c_void, _: *mut c_void) {
    let environment: *mut Environment = data.cast();
    // SAFETY: the pointer that `attach` gave away; Node finalizes instance data once, after hooks.
    unsafe {
        // A handle that uv still knows would call back into freed memory: rather leak.
        if (*environment).uv_handles.get() == 0 {
            drop(Box::from_raw(environment));
        }
    }
}
