//! Link arguments of a Node add-on, and the pin that keeps it mapped.

fn main() {
    napi_build::setup();
    // Node calls `dlclose` when the last environment that loaded the add-on ends, which may be a
    // worker thread's. Thread-local destructors and callbacks of this library may run after that.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
