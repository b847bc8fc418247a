//! The few libuv calls that tie an event loop to Node's, found in the process that loaded us.
//!
//! Node exports libuv's functions but promises nothing about the size of its structures, so every
//! handle is allocated with `uv_handle_size` and only touched through functions. All of this is
//! for the thread that the uv loop belongs to.

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::OnceLock;

/// `uv_loop_t`, opaque.
pub(crate) type Loop = c_void;
/// `uv_handle_t`, opaque.
type RawHandle = c_void;

type CloseCallback = unsafe extern "C" fn(*mut RawHandle);
type PollCallback = unsafe extern "C" fn(*mut RawHandle, status: c_int, events: c_int);
type PrepareCallback = unsafe extern "C" fn(*mut RawHandle);

// Values of libuv's public enumerations, part of its ABI.
const UV_POLL: c_int = 8;
const UV_PREPARE: c_int = 9;
const UV_READABLE: c_int = 1;

struct Api {
    handle_size: unsafe extern "C" fn(c_int) -> usize,
    handle_get_data: unsafe extern "C" fn(*const RawHandle) -> *mut c_void,
    handle_set_data: unsafe extern "C" fn(*mut RawHandle, *mut c_void),
    reference: unsafe extern "C" fn(*mut RawHandle),
    unreference: unsafe extern "C" fn(*mut RawHandle),
    close: unsafe extern "C" fn(*mut RawHandle, CloseCallback),
    poll_init: unsafe extern "C" fn(*mut Loop, *mut RawHandle, c_int) -> c_int,
    poll_start: unsafe extern "C" fn(*mut RawHandle, c_int, PollCallback) -> c_int,
    poll_stop: unsafe extern "C" fn(*mut RawHandle) -> c_int,
    prepare_init: unsafe extern "C" fn(*mut Loop, *mut RawHandle) -> c_int,
    prepare_start: unsafe extern "C" fn(*mut RawHandle, PrepareCallback) -> c_int,
    prepare_stop: unsafe extern "C" fn(*mut RawHandle) -> c_int,
}

/// The functions, or `None` in a host that does not run on libuv (or hides it).
fn api() -> Option<&'static Api> {
    static API: OnceLock<Option<Api>> = OnceLock::new();
    fn find<F: Copy>(name: &CStr) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: a look-up by name in what is already loaded.
        let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        // SAFETY: `F` is the function-pointer type that libuv documents for this name, of the size
        // asserted above, and the symbol is not null.
        (!symbol.is_null()).then(|| unsafe { std::mem::transmute_copy(&symbol) })
    }
    API.get_or_init(|| {
        Some(Api {
            handle_size: find(c"uv_handle_size")?,
            handle_get_data: find(c"uv_handle_get_data")?,
            handle_set_data: find(c"uv_handle_set_data")?,
            reference: find(c"uv_ref")?,
            unreference: find(c"uv_unref")?,
            close: find(c"uv_close")?,
            poll_init: find(c"uv_poll_init")?,
            poll_start: find(c"uv_poll_start")?,
            poll_stop: find(c"uv_poll_stop")?,
            prepare_init: find(c"uv_prepare_init")?,
            prepare_start: find(c"uv_prepare_start")?,
            prepare_stop: find(c"uv_prepare_stop")?,
        })
    })
    .as_ref()
}

/// What a handle calls back: one object for all handles of an environment.
pub(crate) trait Owner: 'static {
    /// The fd of the poll handle is readable.
    fn on_readable(&self);
    /// The loop is about to wait.
    fn on_prepare(&self);
    /// A handle that was closed is gone.
    fn on_closed(&self);
}

/// A `uv_poll_t` on one fd, or a `uv_prepare_t`: stopped at first, and holding the loop alive only
/// while it is started and [`Handle::hold`] says so.
///
/// Its memory is freed after [`Handle::close`] only: libuv keeps a pointer to it until then.
pub(crate) struct Handle {
    raw: NonNull<RawHandle>,
    api: &'static Api,
}

impl Handle {
    /// A handle for the readability of `fd`, an fd that can be polled.
    ///
    /// # Safety
    /// `uv` must be the calling thread's loop, and alive; `owner` must stay valid until its
    /// `on_closed` was called for this handle.
    pub(crate) unsafe fn poll<O: Owner>(
        uv: *mut Loop,
        fd: RawFd,
        owner: *const O,
    ) -> io::Result<Self> {
        // SAFETY: `init` gets memory of the size that libuv asked for; the caller vouches for the rest.
        Self::allocate(UV_POLL, owner, |api, raw| unsafe {
            (api.poll_init)(uv, raw, fd)
        })
    }

    /// A handle that is called before each wait of the loop.
    ///
    /// # Safety
    /// As for [`Handle::poll`].
    pub(crate) unsafe fn prepare<O: Owner>(uv: *mut Loop, owner: *const O) -> io::Result<Self> {
        // SAFETY: as in `poll`.
        Self::allocate(UV_PREPARE, owner, |api, raw| unsafe {
            (api.prepare_init)(uv, raw)
        })
    }

    fn allocate<O: Owner>(
        kind: c_int,
        owner: *const O,
        init: impl FnOnce(&Api, *mut RawHandle) -> c_int,
    ) -> io::Result<Self> {
        let api = api().ok_or_else(|| io::Error::from_raw_os_error(libc::ENOSYS))?;
        // SAFETY: `malloc` aligns for every C type, and libuv itself names the size.
        let raw = unsafe { libc::malloc((api.handle_size)(kind)) };
        let raw = NonNull::new(raw).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        if let Err(error) = check(init(api, raw.as_ptr())) {
            // SAFETY: allocated above; a handle whose initialisation failed is not known to libuv.
            unsafe { libc::free(raw.as_ptr()) };
            return Err(error);
        }
        // SAFETY: the handle is initialised; nothing needs it to hold the loop yet.
        unsafe {
            (api.handle_set_data)(raw.as_ptr(), owner.cast_mut().cast());
            (api.unreference)(raw.as_ptr());
        }
        Ok(Self { raw, api })
    }

    /// From now on calls `on_readable` whenever the fd is readable (level-triggered).
    pub(crate) fn start_poll<O: Owner>(&self) -> io::Result<()> {
        // SAFETY: an initialised poll handle of this thread, whose data is an `O` (`poll`).
        check(unsafe { (self.api.poll_start)(self.raw.as_ptr(), UV_READABLE, readable::<O>) })
    }

    /// Ends `start_poll`; its fd may be closed after this.
    pub(crate) fn stop_poll(&self) {
        // SAFETY: an initialised poll handle of this thread.
        unsafe { (self.api.poll_stop)(self.raw.as_ptr()) };
    }

    /// From now on calls `on_prepare` before each wait.
    pub(crate) fn start_prepare<O: Owner>(&self) {
        // SAFETY: an initialised prepare handle of this thread, whose data is an `O` (`prepare`).
        unsafe { (self.api.prepare_start)(self.raw.as_ptr(), prepared::<O>) };
    }

    /// Ends `start_prepare`.
    pub(crate) fn stop_prepare(&self) {
        // SAFETY: an initialised prepare handle of this thread.
        unsafe { (self.api.prepare_stop)(self.raw.as_ptr()) };
    }

    /// Whether the handle holds the loop alive while it is started.
    pub(crate) fn hold(&self, hold: bool) {
        let change = if hold {
            self.api.reference
        } else {
            self.api.unreference
        };
        // SAFETY: an initialised handle of this thread; both calls are idempotent.
        unsafe { change(self.raw.as_ptr()) };
    }

    /// Stops the handle for good; `on_closed` is called from the loop when libuv has let go of it.
    /// To be called once, and nothing after it.
    pub(crate) fn close<O: Owner>(&self) {
        // SAFETY: an initialised handle of this thread that was not closed before.
        unsafe { (self.api.close)(self.raw.as_ptr(), closed::<O>) };
    }
}

fn check(status: c_int) -> io::Result<()> {
    // libuv's errors are negated errno values on every Unix.
    if status < 0 {
        Err(io::Error::from_raw_os_error(-status))
    } else {
        Ok(())
    }
}

/// The owner that was stored in a live handle.
///
/// # Safety
/// `handle` must have been made by [`Handle::allocate`] with an owner of this type that is still valid.
unsafe fn owner_of<'a, O: Owner>(handle: *mut RawHandle) -> &'a O {
    let api = api().expect("a handle exists, so its functions were found");
    // SAFETY: the caller vouches for the handle and for its owner.
    unsafe { &*(api.handle_get_data)(handle).cast::<O>() }
}

unsafe extern "C" fn readable<O: Owner>(handle: *mut RawHandle, _status: c_int, _events: c_int) {
    // SAFETY: libuv passes the handle that was started, whose owner outlives it (`Handle::poll`).
    unsafe { owner_of::<O>(handle) }.on_readable();
}

unsafe extern "C" fn prepared<O: Owner>(handle: *mut RawHandle) {
    // SAFETY: as in `readable`.
    unsafe { owner_of::<O>(handle) }.on_prepare();
}

unsafe extern "C" fn closed<O: Owner>(handle: *mut RawHandle) {
    // SAFETY: as in `readable`; libuv does not touch the handle again, so its memory is ours. The
    // owner may free itself in `on_closed`, hence the order.
    unsafe {
        let owner = owner_of::<O>(handle);
        libc::free(handle);
        owner.on_closed();
    }
}
