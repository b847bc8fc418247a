//! The functions that the JavaScript layer calls; `lib/binding.d.ts` declares each one.
//!
//! They are made with the raw API because each is bound to its environment through its data pointer:
//! no call looks anything up by thread or by name. Those that can fail return a negative errno,
//! from which JavaScript makes an error of Node's shape. An id whose handle is gone is no fault.

use std::ffi::CStr;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use napi::sys;

use crate::environment::{Environment, Started};
use crate::io::{Id, ListenSetup, Settings, Which, parse_address};
use crate::js::{Arguments, Js, Value};

/// Adds all functions to `exports`.
///
/// # Safety
/// `environment` must stay valid for as long as JavaScript can run in `js`.
pub(crate) unsafe fn define(js: Js, exports: Value, environment: *const Environment) {
    let add = Adder {
        js,
        exports,
        environment,
    };
    add.function(c"start", start);
    add.function(c"listen", listen);
    add.function(c"connect", connect);
    add.function(c"write", write);
    add.function(c"writeAll", write_all);
    add.function(c"writeString", write_string);
    add.function(c"flush", |env, a| done(env, |s| s.io.flush(id(a))));
    add.function(c"cork", |env, a| {
        done(env, |s| s.io.cork(id(a), a.int(1) != 0))
    });
    add.function(c"finish", |env, a| done(env, |s| s.io.finish(id(a))));
    add.function(c"shutdownRead", |env, a| {
        done(env, |s| s.io.shut_down_read(id(a)))
    });
    add.function(c"terminate", |env, a| done(env, |s| s.io.terminate(id(a))));
    add.function(c"closeListener", |env, a| {
        done(env, |s| s.io.close_listener(id(a)))
    });
    add.function(c"setPaused", |env, a| {
        done(env, |s| s.io.set_paused(id(a), a.int(1) != 0))
    });
    add.function(c"setRef", |env, a| {
        done(env, |s| s.io.set_ref(id(a), a.int(1) != 0))
    });
    add.function(c"setNoDelay", set_no_delay);
    add.function(c"setKeepAlive", set_keep_alive);
    add.function(c"address", address);
    add.function(c"fd", |env, a| number(env, |s| s.io.raw_fd(id(a)) as f64));
    add.function(c"buffered", |env, a| {
        number(env, |s| s.io.buffered(id(a)) as f64)
    });
    add.function(c"handles", |env, _| number(env, |s| s.io.handles() as f64));
}

/// Bits of the `flags` argument of `listen` and `connect`, as in `lib/options.js`.
mod flag {
    pub(super) const ALLOW_HALF_OPEN: i32 = 1;
    pub(super) const NO_DELAY: i32 = 2;
    pub(super) const KEEP_ALIVE: i32 = 4;
    pub(super) const IPV6_ONLY: i32 = 8;
    pub(super) const REUSE_PORT: i32 = 16;
}

fn id(arguments: &Arguments) -> Id {
    Id::from_number(arguments.int(0))
}

fn settings(flags: i32, high_water_mark: usize, keep_alive_delay: i32) -> Settings {
    Settings {
        high_water_mark,
        allow_half_open: flags & flag::ALLOW_HALF_OPEN != 0,
        no_delay: flags & flag::NO_DELAY != 0,
        keep_alive: (flags & flag::KEEP_ALIVE != 0).then_some(keep_alive_delay.max(0) as u32),
    }
}

/// `(dispatch, adopt)` → `[slab, ring]`, or an errno when the host cannot be tied to.
fn start(environment: &Environment, arguments: &Arguments) -> Value {
    let js = environment.js();
    match environment.start(arguments.value(0), arguments.value(1)) {
        Ok(buffers) => js.array(&buffers),
        Err(error) => js.int(-errno(&error)),
    }
}

/// `(host, port, backlog, flags, highWaterMark, keepAliveDelay)` → id or errno.
fn listen(environment: &Environment, arguments: &Arguments) -> Value {
    let flags = arguments.int(3);
    outcome(environment, |started| {
        let address =
            parse_address(&text(arguments, 0)?, arguments.int(1) as u16).ok_or_else(invalid)?;
        let setup = ListenSetup {
            backlog: arguments.int(2),
            ipv6_only: flags & flag::IPV6_ONLY != 0,
            reuse_port: flags & flag::REUSE_PORT != 0,
        };
        let settings = settings(flags, arguments.size(4), arguments.int(5));
        started.io.listen(address, setup, settings).map(Id::number)
    })
}

/// `(socket, host, port, localHost, localPort, flags, highWaterMark, keepAliveDelay)` → id or errno.
fn connect(environment: &Environment, arguments: &Arguments) -> Value {
    outcome(environment, |started| {
        let remote =
            parse_address(&text(arguments, 1)?, arguments.int(2) as u16).ok_or_else(invalid)?;
        let local = match arguments.string(3) {
            Some(host) => Some(parse_address(&host, arguments.int(4) as u16).ok_or_else(invalid)?),
            None => None,
        };
        let settings = settings(arguments.int(5), arguments.size(6), arguments.int(7));
        let context = started.events.context_of(arguments.value(0));
        started
            .io
            .connect(remote, local, settings, context)
            .map(Id::number)
    })
}

/// `(id, bytes)` → bytes taken, -1 when nothing can be written (any more).
fn write(environment: &Environment, arguments: &Arguments) -> Value {
    taken(environment, |started| {
        let write = |bytes: &[u8]| started.io.write(id(arguments), bytes, false);
        environment.js().with_bytes(arguments.value(1), write)?
    })
}

/// As `write`, whatever the high-water mark.
fn write_all(environment: &Environment, arguments: &Arguments) -> Value {
    taken(environment, |started| {
        let write = |bytes: &[u8]| started.io.write(id(arguments), bytes, true);
        environment.js().with_bytes(arguments.value(1), write)?
    })
}

/// `(id, text)` → as `write`, with the text as UTF-8.
fn write_string(environment: &Environment, arguments: &Arguments) -> Value {
    taken(environment, |started| {
        let mut bytes = started.scratch.take();
        bytes.clear();
        environment
            .js()
            .append_string(arguments.value(1), &mut bytes)?;
        let count = started.io.write(id(arguments), &bytes, false);
        // A long string must not pin its memory.
        if bytes.capacity() <= SCRATCH_BYTES {
            started.scratch.set(bytes);
        }
        count
    })
}

const SCRATCH_BYTES: usize = 64 * 1024;

fn taken(environment: &Environment, write: impl FnOnce(&Started) -> Option<usize>) -> Value {
    let js = environment.js();
    match environment.started().and_then(write) {
        Some(count) => match i32::try_from(count) {
            Ok(count) => js.int(count),
            Err(_) => js.double(count as f64),
        },
        None => js.int(-1),
    }
}

/// `(id, on)` → 0 or errno.
fn set_no_delay(environment: &Environment, arguments: &Arguments) -> Value {
    outcome(environment, |started| {
        started
            .io
            .set_no_delay(id(arguments), arguments.int(1) != 0)
            .map(|()| 0)
    })
}

/// `(id, seconds)` → 0 or errno; 0 seconds leave the delay to the system, negative turns it off.
fn set_keep_alive(environment: &Environment, arguments: &Arguments) -> Value {
    let idle = u32::try_from(arguments.int(1)).ok();
    outcome(environment, |started| {
        started.io.set_keep_alive(id(arguments), idle).map(|()| 0)
    })
}

/// `(id, remote)` → `[host, port, family]`, or `undefined` when it is not known (any more).
fn address(environment: &Environment, arguments: &Arguments) -> Value {
    let js = environment.js();
    let which = if arguments.int(1) == 1 {
        Which::Remote
    } else {
        Which::Local
    };
    let address = environment
        .started()
        .and_then(|started| started.io.address(id(arguments), which));
    match address {
        Some(address) => js.array(&[
            js.string(&address.ip().to_string()),
            js.int(i32::from(address.port())),
            js.int(if address.is_ipv6() { 6 } else { 4 }),
        ]),
        None => js.undefined(),
    }
}

fn text(arguments: &Arguments, index: usize) -> io::Result<String> {
    arguments.string(index).ok_or_else(invalid)
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn outcome(environment: &Environment, f: impl FnOnce(&Started) -> io::Result<i32>) -> Value {
    let result = match environment.started() {
        Some(started) => f(started),
        None => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
    };
    environment
        .js()
        .int(result.unwrap_or_else(|error| -errno(&error)))
}

fn number(environment: &Environment, f: impl FnOnce(&Started) -> f64) -> Value {
    environment
        .js()
        .double(environment.started().map_or(0.0, f))
}

fn done(environment: &Environment, f: impl FnOnce(&Started)) -> Value {
    environment.started().map(f);
    environment.js().undefined()
}

struct Adder {
    js: Js,
    exports: Value,
    environment: *const Environment,
}

impl Adder {
    fn function<F>(&self, name: &CStr, _: F)
    where
        F: Fn(&Environment, &Arguments) -> Value + Copy + 'static,
    {
        const { assert!(size_of::<F>() == 0, "a function without captured state") };
        let mut function = ptr::null_mut();
        // SAFETY: the env is alive and on its thread; the data is what `call` expects.
        let status = unsafe {
            sys::napi_create_function(
                self.js.env(),
                name.as_ptr(),
                name.count_bytes() as isize,
                Some(call::<F>),
                self.environment.cast_mut().cast(),
                &mut function,
            )
        };
        if status == sys::Status::napi_ok {
            self.js.set(self.exports, name, function);
        }
    }
}

/// What Node calls for each of the functions.
unsafe extern "C" fn call<F>(env: sys::napi_env, info: sys::napi_callback_info) -> Value
where
    F: Fn(&Environment, &Arguments) -> Value + Copy + 'static,
{
    // SAFETY: Node passes the env that the running call belongs to, and its info.
    let (js, arguments) = unsafe {
        let js = Js::new(env);
        (js, js.arguments(info))
    };
    let Some(arguments) = arguments else {
        return ptr::null_mut();
    };
    // SAFETY: `F` has no bytes (asserted where the function was made), and a value of it was given there.
    let function: F = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer that `define` was given, which JavaScript cannot outlive.
    let environment = unsafe { &*arguments.data.cast::<Environment>() };
    catch_unwind(AssertUnwindSafe(|| function(environment, &arguments))).unwrap_or_else(|_| {
        js.throw(
            c"ERR_LIBRUNTIME_INTERNAL",
            c"libruntime: a call panicked; this is a bug",
        );
        ptr::null_mut()
    })
}
