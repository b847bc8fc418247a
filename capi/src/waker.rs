//! Wakers and the context of a poll.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::callback::{UserData, rt_drop_fn};
use crate::ffi::{boundary, boundary_void, first_use, out};
use crate::handle::{Handle, Lent, tag};
use crate::net::task_listener::Places;
use crate::status::{Error, RT_OK};
use crate::thread;

/// Wakes one task, on any thread, whoever it belongs to: a task of this library, or a caller's own
/// executor. Wakers are counted: each one from `rt_waker_clone` or `rt_waker_new` is given back by
/// `rt_waker_free` or `rt_waker_wake`. Waking a task that has ended is allowed and does nothing.
/// Wakes coalesce: any number of them before a poll cause one poll.
pub struct rt_waker {
    _opaque: [u8; 0],
}

// SAFETY: the tag is this type's alone.
unsafe impl Handle for rt_waker {
    type Value = Waker;
    const TAG: u64 = tag(b"rtwaker ");
}

/// The waker of a context: it belongs to the poll and cannot be freed.
struct LentWaker;

// SAFETY: the tag is this type's alone.
unsafe impl Handle for LentWaker {
    type Value = Waker;
    const TAG: u64 = tag(b"rtwakerl");
}

/// What a poll is told: who to wake when it is worth polling again. It is valid during that poll
/// only.
pub struct rt_context {
    _opaque: [u8; 0],
}

// SAFETY: the tag is this type's alone.
unsafe impl Handle for rt_context {
    type Value = Lend;
    const TAG: u64 = tag(b"rtcontxt");
}

/// A context that a caller's own executor made.
struct OwnContext;

// SAFETY: the tag is this type's alone.
unsafe impl Handle for OwnContext {
    type Value = Own;
    const TAG: u64 = tag(b"rtcontxo");
}

/// What a context lends to a poll.
#[derive(Clone, Copy)]
pub(crate) struct Lend {
    waker: *const rt_waker,
    places: *const Places,
}

pub(crate) struct Own {
    waker: *const rt_waker,
    places: Box<Places>,
}

/// Calls `poll` with a context that lends it `waker`, and what it waits for together with others.
pub(crate) fn with_context<R>(
    waker: &Waker,
    places: &Places,
    poll: impl FnOnce(*mut rt_context) -> R,
) -> R {
    // SAFETY: `waker` outlives both.
    let lent = unsafe { Lent::new::<LentWaker>(waker) };
    let lend = Lend {
        waker: lent.as_handle::<LentWaker>().cast(),
        places,
    };
    // SAFETY: `lend` outlives the context.
    let context = unsafe { Lent::new::<rt_context>(&lend) };
    poll(context.as_handle::<rt_context>().cast_mut())
}

/// What is in a context.
///
/// # Safety
/// As [`Handle::get`].
unsafe fn lend_of(cx: *const rt_context) -> Result<Lend, Error> {
    // SAFETY: passed on from the caller.
    unsafe {
        rt_context::get(cx).copied().or_else(|_| {
            OwnContext::get(cx.cast()).map(|own| Lend {
                waker: own.waker,
                places: &raw const *own.places,
            })
        })
    }
}

/// # Safety
/// As [`Handle::get`].
unsafe fn waker_ref<'a>(waker: *const rt_waker) -> Result<&'a Waker, Error> {
    // SAFETY: passed on from the caller.
    unsafe { rt_waker::get(waker).or_else(|_| LentWaker::get(waker.cast())) }
}

/// The waker of a context argument.
///
/// # Safety
/// As [`Handle::get`].
pub(crate) unsafe fn context_waker<'a>(cx: *const rt_context) -> Result<&'a Waker, Error> {
    // SAFETY: passed on from the caller; a live context's waker is alive.
    unsafe { waker_ref(lend_of(cx)?.waker) }
}

/// The places of a context argument.
///
/// # Safety
/// As [`Handle::get`].
pub(crate) unsafe fn context_places<'a>(cx: *const rt_context) -> Result<&'a Places, Error> {
    // SAFETY: passed on from the caller; a context is valid with its places.
    unsafe { Ok(&*lend_of(cx)?.places) }
}

/// The waker that a poll must arrange to be woken before it returns `RT_PENDING`. It is lent:
/// clone it to keep it after the poll. NULL if `cx` is not a live context. Nothing is allocated.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_context_waker(cx: *const rt_context) -> *const rt_waker {
    // SAFETY: the caller passes a context or something that the check refuses.
    let lend = unsafe { lend_of(cx) };
    lend.map_or(std::ptr::null(), |lend| lend.waker)
}

/// A context for polling from an executor of the caller's own: pass it to any `rt_..._poll`
/// function in place of the one that a task gets. It keeps a clone of `waker`.
/// Errors: `RT_EINVAL`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_context_new(
    waker: *const rt_waker,
    context: *mut *mut rt_context,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a waker, and a place for the result, or what is refused.
        let (waker, context) = unsafe { (waker_ref(waker)?, out(context)?) };
        let own = Own {
            waker: rt_waker::new(waker.clone()),
            places: Box::default(),
        };
        context.write(OwnContext::new(own).cast());
        Ok(RT_OK)
    })
}

/// Gives back a context of `rt_context_new`; one that a poll was lent is left alone.
///
/// @threads any @consumes context
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_context_free(context: *mut rt_context) {
    boundary_void(|| {
        // SAFETY: the caller passes a context that it made, or what is refused.
        unsafe {
            if let Ok(own) = OwnContext::take(context.cast()) {
                rt_waker_free(own.waker.cast_mut());
            }
        }
    });
}

/// Wakes; it may be called on any thread, also inside a call of this library, and must not block.
/// No lock of the library is held during the call.
pub type rt_wake_fn = Option<unsafe extern "C-unwind" fn(data: *mut c_void)>;

struct Foreign {
    wake: unsafe extern "C-unwind" fn(*mut c_void),
    user: UserData,
}

impl Wake for Foreign {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // SAFETY: the caller of `rt_waker_new` gave the function for this data, which `self` keeps.
        let _ = thread::callback(|| unsafe { (self.wake)(self.user.data()) });
    }
}

/// A waker that calls `wake(data)`: with it, a caller's own executor can poll what this library
/// offers (see `rt_context_new`). The library counts the clones, and calls `drop(data)` after the
/// last one is gone. A panic of `wake` goes to the log.
/// Errors: `RT_EINVAL`.
///
/// @threads any @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_waker_new(
    wake: rt_wake_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
    waker: *mut *mut rt_waker,
) -> c_int {
    let user = UserData::new(data, drop);
    boundary(|| {
        first_use();
        let wake = wake.ok_or(Error::Inval)?;
        // SAFETY: the caller passes a place for the result, or NULL.
        let waker = unsafe { out(waker)? };
        waker.write(rt_waker::new(Waker::from(Arc::new(Foreign { wake, user }))));
        Ok(RT_OK)
    })
}

/// Another waker for the same task, to keep; NULL if `waker` is not a live waker.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_waker_clone(waker: *const rt_waker) -> *mut rt_waker {
    let mut clone = std::ptr::null_mut();
    boundary_void(|| {
        // SAFETY: the caller passes a waker, or what is refused.
        if let Ok(waker) = unsafe { waker_ref(waker) } {
            clone = rt_waker::new(waker.clone());
        }
    });
    clone
}

/// Wakes and gives the waker back. NULL and a waker that was lent are left alone.
/// What was written before this call is seen by the poll that it causes.
///
/// @threads any @consumes waker
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_waker_wake(waker: *mut rt_waker) {
    boundary_void(|| {
        // SAFETY: the caller passes a waker that it owns, or what is refused.
        if let Ok(waker) = unsafe { rt_waker::take(waker) } {
            waker.wake();
        }
    });
}

/// Wakes and keeps the waker.
/// What was written before this call is seen by the poll that it causes.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_waker_wake_by_ref(waker: *const rt_waker) {
    boundary_void(|| {
        // SAFETY: the caller passes a waker, or what is refused.
        if let Ok(waker) = unsafe { waker_ref(waker) } {
            waker.wake_by_ref();
        }
    });
}

/// Gives a waker back without waking. NULL and a waker that was lent are left alone.
///
/// @threads any @consumes waker
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_waker_free(waker: *mut rt_waker) {
    boundary_void(|| {
        // SAFETY: the caller passes a waker that it owns, or what is refused.
        drop(unsafe { rt_waker::take(waker) });
    });
}

/// 1 if both wake the same task, 0 if they do not or it cannot be told: a poll that kept a waker
/// need not clone the new one then.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_waker_will_wake(a: *const rt_waker, b: *const rt_waker) -> c_int {
    // SAFETY: the caller passes wakers, or what is refused.
    match unsafe { (waker_ref(a), waker_ref(b)) } {
        (Ok(a), Ok(b)) => c_int::from(a.will_wake(b)),
        _ => 0,
    }
}
