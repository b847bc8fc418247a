//! The C API of libruntime.
//!
//! Each section of `include/runtime.h` is one module here, in the header's order. A handle is an
//! ordinary Rust type with ordinary methods; an `extern "C"` function checks its arguments, calls
//! the method and turns the result into a status. The Python and Node packages call the methods.
//!
//! What all sections share is in `handle` (the slots that C's pointers point to), `ffi` (panics,
//! out-parameters, options) and `callback` (user data that is dropped exactly once).

// The types and functions of the header have C's names.
#![allow(non_camel_case_types)]
// What a caller must uphold is the header's contract, written once in docs/c-api.md and in each
// function's text, not in a `# Safety` section for each function.
#![allow(clippy::missing_safety_doc)]

pub mod blocking;
pub mod callback;
pub mod connect;
mod errno;
pub mod event_loop;
mod ffi;
pub mod handle;
mod home;
pub mod listener;
pub mod log;
mod net;
pub mod runtime;
pub mod sleep;
pub mod status;
pub mod stream;
pub mod stream_io;
pub mod task;
mod thread;
pub mod timer;
pub mod version;
pub mod waker;
pub mod watch;

pub use event_loop::Loop;
pub use runtime::Runtime;

pub use status::Error;
