//! Watches: being told when a descriptor is ready.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::sync::Arc;

use libruntime_core::event_loop as core;

use crate::callback::{UserData, rt_drop_fn};
use crate::event_loop::{Access, Interest, LoopInner, Ready, drop_part, rt_loop};
use crate::ffi::{boundary, boundary_void, out};
use crate::handle::{Handle, tag};
use crate::status::{Error, RT_OK, status};
use crate::thread;

/// A descriptor that a loop watches; see [`Loop::watch`](crate::event_loop::Loop::watch).
///
/// Methods are for the loop's thread. Dropping it stops it, on any thread: at once on the loop's,
/// from elsewhere in the loop's next turn.
pub struct Watch {
    inner: Arc<LoopInner>,
    /// Touched with access to the loop only.
    core: UnsafeCell<ManuallyDrop<core::Watch>>,
}

// SAFETY: `core` is only touched by a thread that has access to the loop, one at a time.
unsafe impl Send for Watch {}
// SAFETY: as above.
unsafe impl Sync for Watch {}

impl Watch {
    pub(crate) fn new(
        inner: &Arc<LoopInner>,
        fd: RawFd,
        interest: Interest,
        callback: impl FnMut(Ready) + Send + 'static,
    ) -> Result<Watch, Error> {
        let core = inner.access()?.watch(fd, interest, callback)?;
        let core = UnsafeCell::new(ManuallyDrop::new(core));
        Ok(Watch {
            inner: inner.clone(),
            core,
        })
    }

    fn core(&self) -> Result<(Access<'_>, &core::Watch), Error> {
        let access = self.inner.access()?;
        // SAFETY: this thread has access to the loop, and only `drop` writes the cell.
        Ok((access, unsafe { &*self.core.get() }))
    }

    /// Asks for something else from now on; an empty interest pauses the watch.
    ///
    /// # Errors
    /// `Perm`, `Shutdown`; `EBADF` or `ENOENT` if the descriptor was closed or the watch stopped.
    pub fn set_interest(&self, interest: Interest) -> Result<(), Error> {
        let (_access, core) = self.core()?;
        Ok(core.set_interest(interest)?)
    }

    /// Whether the watch keeps `run` going; it does at first.
    ///
    /// # Errors
    /// `Perm`, `Shutdown`.
    pub fn set_ref(&self, keeps_alive: bool) -> Result<(), Error> {
        let (_access, core) = self.core()?;
        core.set_referenced(keeps_alive);
        Ok(())
    }

    /// Ends the watch at once: its callback is not called again, not even for an event that this
    /// turn has fetched already.
    ///
    /// # Errors
    /// `Perm`, `Shutdown`.
    pub fn stop(&self) -> Result<(), Error> {
        let (_access, core) = self.core()?;
        core.stop();
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: taken here and nowhere else, and handed over to who may touch it.
        let core = unsafe { ManuallyDrop::take(self.core.get_mut()) };
        drop_part(&self.inner, core);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// A descriptor that a loop watches. Level-triggered: the callback is called in every turn in which
/// the descriptor is ready, until the watch is paused, stopped or freed. All three take effect at
/// once, so that the descriptor can be closed right after; close it after, not before.
/// One watch for a descriptor and loop: it can ask for both directions.
pub struct rt_watch {
    _opaque: [u8; 0],
}

// SAFETY: the tag is this type's alone.
unsafe impl Handle for rt_watch {
    type Value = Arc<Watch>;
    const TAG: u64 = tag(b"rtwatch ");
}

/// A read would not block: there is data, the end of the stream, or an error to collect.
pub const RT_READABLE: u32 = 1;
/// A write would not block, or would return an error.
pub const RT_WRITABLE: u32 = 2;
/// Exceptional data, such as TCP's urgent data.
pub const RT_PRIORITY: u32 = 4;
/// Reported only: the peer will send no more.
pub const RT_READ_CLOSED: u32 = 8;
/// Reported only: both directions are closed.
pub const RT_HANGUP: u32 = 16;
/// Reported only: an error is pending.
pub const RT_ERROR: u32 = 32;

/// Is called when a descriptor is ready for what was asked; `ready` is a set of `RT_READABLE` and so
/// on. An error or a hang-up is reported whatever was asked.
pub type rt_ready_fn = Option<unsafe extern "C-unwind" fn(data: *mut c_void, ready: u32)>;

fn interest(events: u32) -> Result<Interest, Error> {
    u8::try_from(events)
        .ok()
        .and_then(Interest::from_bits)
        .ok_or(Error::Inval)
}

/// Watches `fd`, which stays the caller's, for `events` (`RT_READABLE`, `RT_WRITABLE`,
/// `RT_PRIORITY`, or 0 for a watch that is paused). `drop(data)` runs when the watch is stopped or
/// freed, or with the loop; on the loop's thread.
/// Errors: `RT_EEXIST` if this loop watches `fd` already, `RT_EPERM` for a regular file, which is
/// always ready, or on another thread, `RT_EBADF`, `RT_EINVAL`, `RT_ESHUTDOWN`, `RT_EFORK`;
/// `drop(data)` has run then.
///
/// @threads loop @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_watch_new(
    loop_: *mut rt_loop,
    fd: c_int,
    events: u32,
    ready: rt_ready_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
    watch: *mut *mut rt_watch,
) -> c_int {
    let user = UserData::new(data, drop);
    boundary(|| {
        // SAFETY: the caller passes a loop, and a place for the result, or what is refused.
        let (inner, watch) = unsafe { (rt_loop::get(loop_)?.inner().clone(), out(watch)?) };
        let call = ready.ok_or(Error::Inval)?;
        let callback = move |ready: Ready| {
            let bits = u32::from(ready.bits());
            // SAFETY: the caller gave the function for this data, which the closure keeps.
            let _ = thread::callback(|| unsafe { call(user.data(), bits) });
        };
        let new = Watch::new(&inner, fd, interest(events)?, callback)?;
        watch.write(rt_watch::new(Arc::new(new)));
        Ok(RT_OK)
    })
}

/// Watches for other events from now on; 0 pauses the watch, and not even a hang-up is reported.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_EBADF` or `-ENOENT` if the descriptor was closed or the
/// watch stopped, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_watch_set(watch: *mut rt_watch, events: u32) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a watch, or what is refused.
        let watch = unsafe { rt_watch::get(watch)? };
        Ok(status(watch.set_interest(interest(events)?)))
    })
}

/// Whether the watch keeps `rt_loop_run` going (not 0), which it does at first.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_watch_set_ref(watch: *mut rt_watch, keeps_alive: c_int) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a watch, or what is refused.
        let watch = unsafe { rt_watch::get(watch)? };
        Ok(status(watch.set_ref(keeps_alive != 0)))
    })
}

/// Ends the watch at once: `ready` is not called again, not even for an event that this turn has
/// fetched already. `drop(data)` has run when this returns, unless `ready` is running: then it
/// runs after that. Stopping twice does nothing.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_watch_stop(watch: *mut rt_watch) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a watch, or what is refused. The clone keeps it if `drop`
        // frees the handle.
        let watch = unsafe { rt_watch::get(watch)?.clone() };
        Ok(status(watch.stop()))
    })
}

/// Stops the watch and gives the handle back. On another thread than the loop's it is stopped in
/// the loop's next turn; the descriptor must stay open until then (`drop(data)` tells).
///
/// @threads any @consumes watch
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_watch_free(watch: *mut rt_watch) {
    boundary_void(|| {
        // SAFETY: the caller passes a watch that it owns, or what is refused.
        drop(unsafe { rt_watch::take(watch) });
    });
}
