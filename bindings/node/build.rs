//! Lets the linker leave N-API symbols to the host process.
fn main() {
    napi_build::setup();
}
