//! Lets the linker leave Node-API symbols to the host process, and pins the library.
//!
//! Node calls `dlclose` when the last environment that loaded an add-on ends, which may be a worker
//! thread's. `napi_build` links with `-z nodelete`, so that thread-local destructors and callbacks
//! that come later find their code (`test/module.test.js` looks for the flag).

fn main() {
    napi_build::setup();
}
