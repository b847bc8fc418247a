//! A thin, safe face over the raw Node-API calls that the add-on makes.
//!
//! Everything here runs on the JavaScript thread of one environment. A failed call yields `None` or
//! `Err`: once an environment is being torn down every call may fail, and that is not a fault.

use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use napi::sys;

/// A JavaScript value, valid until the handle scope that it was made in closes.
pub(crate) type Value = sys::napi_value;

/// The most arguments that an exported function takes.
const MAX_ARGUMENTS: usize = 8;

/// An environment in which calls may be made now: held only on its JavaScript thread.
#[derive(Clone, Copy)]
pub(crate) struct Js(sys::napi_env);

impl Js {
    /// # Safety
    /// `env` must be alive for as long as the value (or a copy of it) is used, and every use must be
    /// on the thread that `env` belongs to.
    pub(crate) unsafe fn new(env: sys::napi_env) -> Self {
        Self(env)
    }

    pub(crate) fn env(self) -> sys::napi_env {
        self.0
    }

    pub(crate) fn undefined(self) -> Value {
        let mut value = ptr::null_mut();
        // SAFETY: the env is alive and on its thread (`new`); the out pointer is a local.
        unsafe { sys::napi_get_undefined(self.0, &mut value) };
        value
    }

    pub(crate) fn int(self, number: i32) -> Value {
        let mut value = ptr::null_mut();
        // SAFETY: as in `undefined`.
        unsafe { sys::napi_create_int32(self.0, number, &mut value) };
        value
    }

    pub(crate) fn double(self, number: f64) -> Value {
        let mut value = ptr::null_mut();
        // SAFETY: as in `undefined`.
        unsafe { sys::napi_create_double(self.0, number, &mut value) };
        value
    }

    pub(crate) fn string(self, text: &str) -> Value {
        let mut value = ptr::null_mut();
        // SAFETY: as in `undefined`; the text is passed with its length and copied.
        unsafe {
            sys::napi_create_string_utf8(
                self.0,
                text.as_ptr().cast(),
                text.len() as isize,
                &mut value,
            )
        };
        value
    }

    pub(crate) fn array(self, items: &[Value]) -> Value {
        let mut array = ptr::null_mut();
        // SAFETY: as in `undefined`; every item is a value of a scope that is still open.
        unsafe {
            sys::napi_create_array_with_length(self.0, items.len(), &mut array);
            for (index, item) in items.iter().enumerate() {
                sys::napi_set_element(self.0, array, index as u32, *item);
            }
        }
        array
    }

    /// An `ArrayBuffer` that V8 owns, and where its bytes are. They stay in place until it is
    /// collected, so whoever keeps the pointer keeps a [`Ref`] to the buffer.
    pub(crate) fn array_buffer(self, bytes: usize) -> Option<(Value, *mut u8)> {
        let mut value = ptr::null_mut();
        let mut data: *mut c_void = ptr::null_mut();
        // SAFETY: as in `undefined`.
        let status = unsafe { sys::napi_create_arraybuffer(self.0, bytes, &mut data, &mut value) };
        (status == sys::Status::napi_ok).then_some((value, data.cast()))
    }

    pub(crate) fn set(self, object: Value, name: &CStr, value: Value) {
        // SAFETY: as in `undefined`; both values belong to open scopes.
        unsafe { sys::napi_set_named_property(self.0, object, name.as_ptr(), value) };
    }

    pub(crate) fn to_int(self, value: Value) -> Option<i32> {
        let mut number = 0;
        // SAFETY: as in `undefined`; a value of another type is reported, not converted.
        let status = unsafe { sys::napi_get_value_int32(self.0, value, &mut number) };
        (status == sys::Status::napi_ok).then_some(number)
    }

    pub(crate) fn to_double(self, value: Value) -> Option<f64> {
        let mut number = 0.0;
        // SAFETY: as in `to_int`.
        let status = unsafe { sys::napi_get_value_double(self.0, value, &mut number) };
        (status == sys::Status::napi_ok).then_some(number)
    }

    /// Appends the UTF-8 form of a JavaScript string to `out`.
    pub(crate) fn append_string(self, value: Value, out: &mut Vec<u8>) -> Option<usize> {
        // One UTF-16 unit never needs more than three bytes of UTF-8. Asking V8 for the UTF-16 length
        // is O(1); asking for the UTF-8 length would walk the string twice.
        let mut units = 0;
        // SAFETY: as in `to_int`; a null buffer asks for the length only.
        let status = unsafe {
            sys::napi_get_value_string_utf16(self.0, value, ptr::null_mut(), 0, &mut units)
        };
        if status != sys::Status::napi_ok {
            return None;
        }
        let start = out.len();
        out.reserve(units * 3 + 1);
        let mut written = 0;
        // SAFETY: `reserve` made room for `units * 3` bytes and the terminating zero.
        unsafe {
            sys::napi_get_value_string_utf8(
                self.0,
                value,
                out.as_mut_ptr().add(start).cast(),
                units * 3 + 1,
                &mut written,
            );
            out.set_len(start + written);
        }
        Some(written)
    }

    /// The bytes of a `Uint8Array` (every `Buffer` is one). They must not be used after JavaScript
    /// has run again, hence the closure.
    pub(crate) fn with_bytes<R>(self, value: Value, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let mut kind = 0;
        let mut length = 0;
        let mut data: *mut c_void = ptr::null_mut();
        // SAFETY: as in `to_int`; the two results that are not wanted may be null.
        let status = unsafe {
            sys::napi_get_typedarray_info(
                self.0,
                value,
                &mut kind,
                &mut length,
                &mut data,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        if status != sys::Status::napi_ok || kind != sys::TypedarrayType::uint8_array {
            return None;
        }
        let bytes: &[u8] = if data.is_null() {
            &[]
        } else {
            // SAFETY: V8 reports `length` bytes at `data`; nothing runs JavaScript before `f` returns,
            // so they are neither freed nor moved meanwhile.
            unsafe { std::slice::from_raw_parts(data.cast(), length) }
        };
        Some(f(bytes))
    }

    /// Runs `f` with a handle scope of its own, so that values made inside die with it.
    pub(crate) fn scoped<R>(self, f: impl FnOnce() -> R) -> R {
        let mut scope = ptr::null_mut();
        // SAFETY: as in `undefined`.
        let opened = unsafe { sys::napi_open_handle_scope(self.0, &mut scope) };
        let result = f();
        if opened == sys::Status::napi_ok {
            // SAFETY: the scope was opened above and is the innermost one again.
            unsafe { sys::napi_close_handle_scope(self.0, scope) };
        }
        result
    }

    /// Calls `function` from inside another call into this add-on. Ticks and microtasks do not run.
    pub(crate) fn call(self, function: Value, arguments: &[Value]) -> Option<Value> {
        let mut result = ptr::null_mut();
        // SAFETY: as in `undefined`; the arguments are passed with their number.
        let status = unsafe {
            sys::napi_call_function(
                self.0,
                self.undefined(),
                function,
                arguments.len(),
                arguments.as_ptr(),
                &mut result,
            )
        };
        (status == sys::Status::napi_ok).then_some(result)
    }

    /// Throws an `Error` with a `code`, unless an exception is pending already.
    pub(crate) fn throw(self, code: &CStr, message: &CStr) {
        // SAFETY: as in `undefined`; both texts end in a zero and are copied.
        unsafe { sys::napi_throw_error(self.0, code.as_ptr(), message.as_ptr()) };
    }

    /// The exception that the last call left behind, taken. `None` after a termination
    /// (`process.exit`, `worker.terminate`), which is no exception that anybody could handle.
    pub(crate) fn take_exception(self) -> Option<Value> {
        let mut pending = false;
        let mut exception = ptr::null_mut();
        // SAFETY: as in `undefined`.
        let taken = unsafe {
            sys::napi_is_exception_pending(self.0, &mut pending) == sys::Status::napi_ok
                && pending
                && sys::napi_get_and_clear_last_exception(self.0, &mut exception)
                    == sys::Status::napi_ok
        };
        taken.then_some(exception)
    }

    /// Hands an exception to the process as uncaught. False when the environment is going.
    pub(crate) fn report_uncaught(self, exception: Value) -> bool {
        // SAFETY: as in `undefined`; the exception is a value of an open scope.
        unsafe { sys::napi_fatal_exception(self.0, exception) == sys::Status::napi_ok }
    }

    /// The arguments and the data pointer of the running callback.
    ///
    /// # Safety
    /// `info` must be the one that Node passed to the callback that is running.
    pub(crate) unsafe fn arguments(self, info: sys::napi_callback_info) -> Option<Arguments> {
        let mut count = MAX_ARGUMENTS;
        let mut values = [MaybeUninit::<Value>::uninit(); MAX_ARGUMENTS];
        let mut data = ptr::null_mut();
        // SAFETY: the caller vouches for `info`; the array has room for `count` values, and Node
        // fills those that were not given with `undefined`.
        let status = unsafe {
            sys::napi_get_cb_info(
                self.0,
                info,
                &mut count,
                values.as_mut_ptr().cast(),
                ptr::null_mut(),
                &mut data,
            )
        };
        if status != sys::Status::napi_ok {
            return None;
        }
        // SAFETY: a successful call initialised all `MAX_ARGUMENTS` values.
        let values = values.map(|value| unsafe { value.assume_init() });
        Some(Arguments {
            js: self,
            values,
            data,
        })
    }
}

/// What a JavaScript caller passed. A missing argument is `undefined`.
pub(crate) struct Arguments {
    js: Js,
    values: [Value; MAX_ARGUMENTS],
    /// The pointer given when the function was created.
    pub(crate) data: *mut c_void,
}

impl Arguments {
    pub(crate) fn value(&self, index: usize) -> Value {
        self.values[index]
    }

    /// The argument as an integer, -1 when it is none: no id, length or option is negative.
    pub(crate) fn int(&self, index: usize) -> i32 {
        self.js.to_int(self.values[index]).unwrap_or(-1)
    }

    /// The argument as a count of bytes; 0 for whatever is no positive number.
    pub(crate) fn size(&self, index: usize) -> usize {
        self.js.to_double(self.values[index]).unwrap_or(0.0) as usize
    }

    pub(crate) fn string(&self, index: usize) -> Option<String> {
        let mut bytes = Vec::new();
        self.js.append_string(self.values[index], &mut bytes)?;
        String::from_utf8(bytes).ok()
    }
}

/// A strong reference to a JavaScript object or function.
///
/// Not released on drop: a reference may only be deleted while its environment is alive, and they
/// are all kept for as long as the environment is.
#[derive(Clone, Copy)]
pub(crate) struct Ref(sys::napi_ref);

impl Ref {
    pub(crate) fn new(js: Js, value: Value) -> Option<Self> {
        let mut reference = ptr::null_mut();
        // SAFETY: the env is alive and on its thread; a count of 1 makes the reference strong.
        let status = unsafe { sys::napi_create_reference(js.0, value, 1, &mut reference) };
        (status == sys::Status::napi_ok).then_some(Self(reference))
    }

    pub(crate) fn get(self, js: Js) -> Value {
        let mut value = ptr::null_mut();
        // SAFETY: the reference was made in this env and is never deleted before the env is.
        unsafe { sys::napi_get_reference_value(js.0, self.0, &mut value) };
        value
    }
}

/// An `async_hooks` identity and the `AsyncLocalStorage` of the call that it was made in.
pub(crate) struct AsyncContext(sys::napi_async_context);

impl AsyncContext {
    /// `resource` must stay reachable from JavaScript for as long as the context is used.
    pub(crate) fn new(js: Js, resource: Value, name: &str) -> Option<Self> {
        let mut context = ptr::null_mut();
        // SAFETY: the env is alive and on its thread; both values belong to open scopes.
        let status = unsafe { sys::napi_async_init(js.0, resource, js.string(name), &mut context) };
        (status == sys::Status::napi_ok).then_some(Self(context))
    }

    /// Emits `destroy` to `async_hooks`.
    pub(crate) fn destroy(self, js: Js) {
        // SAFETY: made by `napi_async_init` in this env, and consumed here.
        unsafe { sys::napi_async_destroy(js.0, self.0) };
    }

    /// Calls `function` as Node calls a handler from its event loop: in this context, and with
    /// ticks and microtasks run before it returns.
    pub(crate) fn make_callback(
        &self,
        js: Js,
        receiver: Value,
        function: Value,
        arguments: &[Value],
    ) -> Result<(), Status> {
        make_callback(js, self.0, receiver, function, arguments)
    }
}

/// As [`AsyncContext::make_callback`], in no context.
pub(crate) fn make_plain_callback(
    js: Js,
    receiver: Value,
    function: Value,
    arguments: &[Value],
) -> Result<(), Status> {
    make_callback(js, ptr::null_mut(), receiver, function, arguments)
}

/// Why a call into JavaScript did not return; an exception may be pending.
pub(crate) type Status = sys::napi_status;

fn make_callback(
    js: Js,
    context: sys::napi_async_context,
    receiver: Value,
    function: Value,
    arguments: &[Value],
) -> Result<(), Status> {
    // SAFETY: the env is alive and on its thread; the context is null or belongs to it and was not
    // destroyed; the values belong to open scopes; the result is not wanted.
    let status = unsafe {
        sys::napi_make_callback(
            js.0,
            context,
            receiver,
            function,
            arguments.len(),
            arguments.as_ptr(),
            ptr::null_mut(),
        )
    };
    if status == sys::Status::napi_ok {
        Ok(())
    } else {
        Err(status)
    }
}
