//! Timers of a loop that call back.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use libruntime_core::event_loop::LoopTimer;

use crate::callback::{UserData, rt_drop_fn};
use crate::event_loop::{Access, LoopInner, drop_part, rt_loop};
use crate::ffi::{boundary, boundary_void, out};
use crate::handle::{Handle, tag};
use crate::status::{Error, RT_OK, status};
use crate::thread;

/// A timer of a loop; see [`Loop::timer`](crate::event_loop::Loop::timer).
///
/// Methods are for the loop's thread. Dropping it stops it, on any thread: at once on the loop's,
/// from elsewhere in the loop's next turn.
pub struct Timer {
    inner: Arc<LoopInner>,
    /// Touched with access to the loop only.
    core: UnsafeCell<ManuallyDrop<LoopTimer>>,
}

// SAFETY: `core` is only touched by a thread that has access to the loop, one at a time.
unsafe impl Send for Timer {}
// SAFETY: as above.
unsafe impl Sync for Timer {}

impl Timer {
    pub(crate) fn new(
        inner: &Arc<LoopInner>,
        callback: impl FnMut() + Send + 'static,
    ) -> Result<Timer, Error> {
        let core = inner.access()?.timer(callback);
        Ok(Timer {
            inner: inner.clone(),
            core: UnsafeCell::new(ManuallyDrop::new(core)),
        })
    }

    fn core(&self) -> Result<(Access<'_>, &LoopTimer), Error> {
        let access = self.inner.access()?;
        // SAFETY: this thread has access to the loop, and only `drop` writes the cell.
        Ok((access, unsafe { &*self.core.get() }))
    }

    /// Starts it, or starts it anew: it fires when `delay` has passed (zero: in the next turn), and
    /// then, with `repeat`, each time that this has passed again.
    ///
    /// # Errors
    /// `Perm`, `Shutdown`.
    pub fn start(&self, delay: Duration, repeat: Option<Duration>) -> Result<(), Error> {
        let (_access, core) = self.core()?;
        core.restart_after(delay, repeat);
        Ok(())
    }

    /// As [`start`](Timer::start), with the moment at which it fires.
    ///
    /// # Errors
    /// `Perm`, `Shutdown`.
    pub fn start_at(&self, deadline: Instant, repeat: Option<Duration>) -> Result<(), Error> {
        let (_access, core) = self.core()?;
        core.restart(deadline, repeat);
        Ok(())
    }

    /// Stops it: it does not fire, not even if it is due in this very turn. Whether it was going
    /// to.
    ///
    /// # Errors
    /// `Perm`, `Shutdown`.
    pub fn stop(&self) -> Result<bool, Error> {
        let (_access, core) = self.core()?;
        Ok(core.stop())
    }

    /// Whether it is going to fire.
    ///
    /// # Errors
    /// `Perm`, `Shutdown`.
    pub fn is_active(&self) -> Result<bool, Error> {
        let (_access, core) = self.core()?;
        Ok(core.is_active())
    }

    /// Whether the timer keeps `run` going while it is active; it does at first.
    ///
    /// # Errors
    /// `Perm`, `Shutdown`.
    pub fn set_ref(&self, keeps_alive: bool) -> Result<(), Error> {
        let (_access, core) = self.core()?;
        core.set_referenced(keeps_alive);
        Ok(())
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: taken here and nowhere else, and handed over to who may touch it.
        let core = unsafe { ManuallyDrop::take(self.core.get_mut()) };
        drop_part(&self.inner, core);
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").finish_non_exhaustive()
    }
}

/// The time of the clock that timers go by, in nanoseconds from a fixed point in the past. It never
/// goes back.
///
/// @threads any
#[unsafe(no_mangle)]
pub extern "C" fn rt_now_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    // Not zero at the first call, so that a time can be told from a variable that was never set.
    1 + u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX - 1)
}

/// A timer of a loop, once or repeating. It never fires early; timers with equal deadlines fire in
/// the order in which they were started. A timer is its handle: freeing it stops it.
pub struct rt_timer {
    _opaque: [u8; 0],
}

// SAFETY: the tag is this type's alone.
unsafe impl Handle for rt_timer {
    type Value = Arc<Timer>;
    const TAG: u64 = tag(b"rttimer ");
}

/// Is called when a timer fires.
pub type rt_timer_fn = Option<unsafe extern "C-unwind" fn(data: *mut c_void)>;

/// Makes a timer that is not started. `drop(data)` runs when it is freed, or with the loop; on the
/// loop's thread.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
///
/// @threads loop @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_timer_new(
    loop_: *mut rt_loop,
    fire: rt_timer_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
    timer: *mut *mut rt_timer,
) -> c_int {
    let user = UserData::new(data, drop);
    boundary(|| {
        // SAFETY: the caller passes a loop, and a place for the result, or what is refused.
        let (inner, timer) = unsafe { (rt_loop::get(loop_)?.inner().clone(), out(timer)?) };
        let fire = fire.ok_or(Error::Inval)?;
        let new = Timer::new(&inner, move || {
            // SAFETY: the caller gave the function for this data, which the closure keeps.
            let _ = thread::callback(|| unsafe { fire(user.data()) });
        })?;
        timer.write(rt_timer::new(Arc::new(new)));
        Ok(RT_OK)
    })
}

/// Starts the timer, or starts it anew if it is running: it fires when `delay_ns` has passed, with 0
/// in the next turn, never in this one. With `repeat_ns` not 0 it fires again each time that this has
/// passed, without drift; a loop that is late by several periods fires it once. `RT_FOREVER` as a
/// delay is as good as never.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_timer_start(
    timer: *mut rt_timer,
    delay_ns: u64,
    repeat_ns: u64,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a timer, or what is refused.
        let timer = unsafe { rt_timer::get(timer)? };
        let repeat = (repeat_ns != 0).then(|| Duration::from_nanos(repeat_ns));
        Ok(status(timer.start(Duration::from_nanos(delay_ns), repeat)))
    })
}

/// Stops the timer: it does not fire, not even if it is due in this very turn. It can be started
/// again. Stopping twice does nothing.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_timer_stop(timer: *mut rt_timer) -> c_int {
    // SAFETY: the caller passes a timer, or what is refused.
    boundary(|| Ok(status(unsafe { rt_timer::get(timer)? }.stop().map(drop))))
}

/// Whether the timer keeps `rt_loop_run` going while it is running (not 0), which it does at first.
/// Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
///
/// @threads loop
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_timer_set_ref(timer: *mut rt_timer, keeps_alive: c_int) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a timer, or what is refused.
        let timer = unsafe { rt_timer::get(timer)? };
        Ok(status(timer.set_ref(keeps_alive != 0)))
    })
}

/// Stops the timer and gives the handle back; it may be its own callback that does so. On another
/// thread than the loop's it is stopped in the loop's next turn.
///
/// @threads any @consumes timer
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_timer_free(timer: *mut rt_timer) {
    boundary_void(|| {
        // SAFETY: the caller passes a timer that it owns, or what is refused.
        drop(unsafe { rt_timer::take(timer) });
    });
}
