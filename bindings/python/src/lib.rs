//! `libruntime._native`: the native half of libruntime's asyncio event loop.
//!
//! One rule decides what is here: native if it runs once per callback or per packet, Python
//! (`python/libruntime`) if it runs once per connection or per loop. [`driver`] is the only module that
//! names the runtime's handles; the rest knows Python's C API and sockets.

mod clock;
mod driver;
mod event_loop;
mod globals;
mod handle;
mod py;
mod ring;
mod timers;
mod transport;
mod typespec;

use pyo3::prelude::*;

/// Adds a type made through the C API to the module.
fn add(module: &Bound<'_, PyModule>, name: &str, made: py::PyRes<py::Ref>) -> PyResult<()> {
    let made = made.map_err(|py::Raised| PyErr::fetch(module.py()))?;
    // SAFETY: `made` owns a live object; the new handle to it counts its own reference.
    let made = unsafe { Bound::from_borrowed_ptr(module.py(), made.as_ptr()) };
    module.add(name, made)
}

/// Fills the module. The code relies on the GIL for exclusion, so it asks for it.
#[pymodule(gil_used = true)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    globals::init().map_err(|py::Raised| PyErr::fetch(module.py()))?;
    let globals = globals::globals();
    // SAFETY: both types live as long as the process.
    let (handle, timer) = unsafe {
        (
            py::Ref::borrowed(globals.handle_type.cast()),
            py::Ref::borrowed(globals.timer_type.cast()),
        )
    };
    add(module, "Handle", Ok(handle))?;
    add(module, "TimerHandle", Ok(timer))?;
    add(module, "LoopCore", event_loop::make_type())?;
    let stream = transport::make_type().inspect(|stream| globals.keep_stream_type(stream));
    add(module, "StreamTransport", stream)?;
    Ok(())
}
