//! Timers that tasks poll.

use std::ffi::c_int;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};

use libruntime_core::time;

use crate::ffi::{Origin, boundary, boundary_void, out};
use crate::handle::{Handle, tag};
use crate::status::{Error, RT_OK, RT_PENDING};
use crate::waker::{context_waker, rt_context};

/// A point in time that a task waits for. It belongs to the timers of the worker or the loop that
/// polls it first.
pub struct rt_sleep {
    _opaque: [u8; 0],
}

/// What the handle holds.
pub(crate) struct Sleep {
    future: Mutex<Pin<Box<time::Sleep>>>,
    origin: Origin,
}

// SAFETY: the tag is this type's alone.
unsafe impl Handle for rt_sleep {
    type Value = Arc<Sleep>;
    const TAG: u64 = tag(b"rtsleep ");
}

fn after(delay_ns: u64) -> Instant {
    let now = Instant::now();
    // What is too long for the clock is as good as a hundred years.
    now.checked_add(Duration::from_nanos(delay_ns))
        .unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 86_400))
}

/// Makes a timer for tasks that is ready when `delay_ns` has passed, counted from now. It is never
/// early.
/// Errors: `RT_EINVAL`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_sleep_new(delay_ns: u64, sleep: *mut *mut rt_sleep) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a place for the result, or NULL.
        let sleep = unsafe { out(sleep)? };
        sleep.write(rt_sleep::new(Arc::new(Sleep {
            future: Mutex::new(Box::pin(time::sleep_until(after(delay_ns)))),
            origin: Origin::here(),
        })));
        Ok(RT_OK)
    })
}

/// `RT_OK` when the time has come, also when it is polled again after that; else `RT_PENDING`, and the
/// waker of `cx` is woken when it is there. One task waits at a time.
/// Errors: `RT_ENORUNTIME` where there are neither workers nor a turning loop, `RT_EINVAL`, `RT_EFORK`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_sleep_poll(sleep: *mut rt_sleep, cx: *mut rt_context) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes handles, or what is refused.
        let (sleep, waker) = unsafe { (rt_sleep::get(sleep)?, context_waker(cx)?) };
        sleep.origin.check()?;
        if !time::is_available() {
            return Err(Error::NoRuntime);
        }
        let mut future = sleep.future.lock().unwrap_or_else(PoisonError::into_inner);
        let polled = future.as_mut().poll(&mut Context::from_waker(waker));
        Ok(if polled.is_ready() { RT_OK } else { RT_PENDING })
    })
}

/// Sets the timer anew: it is ready when `delay_ns` has passed from now. A task that waits for it is
/// not woken by this, but at the new time.
/// Errors: `RT_EINVAL`, `RT_EFORK`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_sleep_reset(sleep: *mut rt_sleep, delay_ns: u64) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a timer, or what is refused.
        let sleep = unsafe { rt_sleep::get(sleep)? };
        sleep.origin.check()?;
        let mut future = sleep.future.lock().unwrap_or_else(PoisonError::into_inner);
        future.as_mut().reset(after(delay_ns));
        Ok(RT_OK)
    })
}

/// Gives the timer back.
///
/// @threads any @consumes sleep
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_sleep_free(sleep: *mut rt_sleep) {
    boundary_void(|| {
        // SAFETY: the caller passes a timer that it owns, or what is refused.
        drop(unsafe { rt_sleep::take(sleep) });
    });
}
