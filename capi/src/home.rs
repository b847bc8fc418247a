//! Where callbacks run: in the turns of a loop, or on the workers of a runtime.

use std::sync::Arc;

use libruntime_core::runtime::Handle;

use crate::event_loop::LoopInner;
use crate::status::Error;

/// Where callbacks run.
#[derive(Clone)]
pub(crate) enum Home {
    /// Inside the turns of a loop.
    Loop(Arc<LoopInner>),
    /// On a worker of a runtime.
    Runtime(Handle),
}

impl Home {
    /// `Error::Shutdown` if nothing runs there any more.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        match self {
            Home::Loop(inner) => inner.check_open(),
            Home::Runtime(handle) if handle.is_closed() => Err(Error::Shutdown),
            Home::Runtime(_) => Ok(()),
        }
    }

    /// Runs `call` at home, later. If the home has been shut down, `call` is dropped instead,
    /// possibly here: what must happen in any case belongs into the drop of what it captures.
    pub(crate) fn run(&self, call: impl FnOnce() + Send + 'static) {
        match self {
            Home::Loop(inner) => inner.post(call),
            Home::Runtime(handle) => drop(handle.spawn(async move { call() })),
        }
    }
}
