//! The native half of the Node package.
//!
//! From the bottom up: `uv` and `js` are thin faces over libuv and Node-API; `io` holds sockets and the
//! back end that drives them, `host` ties its event loop to Node's; `event` and `dispatch`
//! carry what happened to JavaScript; `environment` owns all of it for one `napi_env`; `exports` is
//! what the JavaScript layer in `lib/` calls. Everything belongs to the thread of its environment.

mod dispatch;
mod environment;
mod event;
mod exports;
mod host;
mod io;
mod js;
mod uv;

use napi::bindgen_prelude::{Env, JsValue, Object};
use napi_derive::napi;

/// The version of the native library.
#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

#[napi(module_exports)]
fn load(exports: Object<'_>, env: Env) -> napi::Result<()> {
    // SAFETY: Node calls this on the thread of the env that is loading the add-on.
    let environment = unsafe { environment::Environment::attach(env.raw()) }
        .ok_or_else(|| napi::Error::from_reason("the environment takes no instance data"))?;
    // SAFETY: the environment object is freed when the env has ended.
    unsafe {
        let js = js::Js::new(env.raw());
        exports::define(js, exports.raw(), environment);
    }
    Ok(())
}
