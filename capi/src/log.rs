//! The log callback: where contained panics and other reports go. Nothing is ever printed.

use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Arc, Once, PoisonError, RwLock};

use crate::callback::{UserData, rt_drop_fn};
use crate::ffi::boundary;
use crate::status::RT_OK;
use crate::thread;

/// Something went wrong that a return value could not fully say.
pub const RT_LOG_ERROR: i32 = 1;
/// Something is probably a mistake.
pub const RT_LOG_WARN: i32 = 2;

/// Receives one line of the log: `len` bytes of UTF-8 at `message`, a NUL after them. It may be
/// called on any thread, on several at once, also inside a call of this library: it must not block
/// and must not call this library.
pub type rt_log_fn = Option<
    unsafe extern "C-unwind" fn(data: *mut c_void, level: i32, message: *const c_char, len: usize),
>;

struct Target {
    call: unsafe extern "C-unwind" fn(*mut c_void, i32, *const c_char, usize),
    user: UserData,
}

static TARGET: RwLock<Option<Arc<Target>>> = RwLock::new(None);

/// Hands one line to the log callback; without one it is lost.
pub(crate) fn log(level: i32, message: &str) {
    // Cloned, so that the callback runs without the lock.
    let target = TARGET
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let Some(target) = target else { return };
    let mut line = message.replace('\0', " ").into_bytes();
    let len = line.len();
    line.push(0);
    let data = target.user.data();
    // A panic of the log callback has nowhere to be reported.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller of `rt_set_log_callback` promised a function for this data; `target`
        // keeps the data alive.
        unsafe { (target.call)(data, level, line.as_ptr().cast(), len) };
    }));
}

/// Sets the function that receives the log of the whole process, in place of the one before; NULL
/// for none. The log says what a status code cannot: the message of a contained panic. The library
/// prints nothing by itself, and writes a line only when something has gone wrong.
/// `drop(data)` is called once, after the last call of `callback`, when another function is set.
/// Errors: none but `RT_EPANIC`.
///
/// @threads any @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_set_log_callback(
    callback: rt_log_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
) -> c_int {
    let user = UserData::new(data, drop);
    boundary(|| {
        let new = callback.map(|call| Arc::new(Target { call, user }));
        let old = {
            let mut target = TARGET.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *target, new)
        };
        std::mem::drop(old);
        Ok(RT_OK)
    })
}

/// Sends panics inside the library to the log instead of stderr; panics of other Rust code that
/// shares this copy of `std` go where they went before.
pub(crate) fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if thread::is_inside() {
                report(info);
            } else {
                before(info);
            }
        }));
    });
}

fn report(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a payload that is no string");
    match info.location() {
        Some(at) => log(
            RT_LOG_ERROR,
            &format!("panic at {}:{}: {message}", at.file(), at.line()),
        ),
        None => log(RT_LOG_ERROR, &format!("panic: {message}")),
    }
}
