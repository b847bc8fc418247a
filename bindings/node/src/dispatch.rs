//! The one way from a native event to a JavaScript handler.
//!
//! Each event is delivered in a callback scope of its own, as node:net does it: ticks and microtasks
//! that a handler queued run before the next event, and an exception ends one handler, not the batch.

use std::ops::ControlFlow;

use crate::event::{Event, Mailbox};
use crate::io::{Id, Read};
use crate::js::{AsyncContext, Js, Ref, Value, make_plain_callback};

/// The name that `async_hooks` shows for a socket.
const RESOURCE_NAME: &str = "LIBRUNTIMESOCKET";

pub(crate) struct Dispatcher {
    js: Js,
    mailbox: Mailbox,
    receiver: Ref,
    /// `(at)`: handles the event at this place of the ring.
    dispatch: Ref,
    /// `(id, listener)`: makes the object of an accepted connection.
    adopt: Ref,
}

impl Dispatcher {
    /// With the two functions of `lib/dispatch.js`. Returns the mailbox's buffers as well.
    pub(crate) fn new(js: Js, dispatch: Value, adopt: Value) -> Option<(Self, [Value; 2])> {
        let (mailbox, buffers) = Mailbox::new(js)?;
        let dispatcher = Self {
            js,
            mailbox,
            // Any object does: each socket's own object is the resource of its async context.
            receiver: Ref::new(js, dispatch)?,
            dispatch: Ref::new(js, dispatch)?,
            adopt: Ref::new(js, adopt)?,
        };
        Some((dispatcher, buffers))
    }

    pub(crate) fn js(&self) -> Js {
        self.js
    }

    /// Reads into the slab; bytes are at its start until the next read.
    pub(crate) fn read(&self, read: impl FnOnce(&mut [u8]) -> Read) -> Read {
        self.mailbox.with_slab(read)
    }

    /// Runs the handler of an event, and all ticks and microtasks that follow from it.
    ///
    /// `Break` when JavaScript cannot run any more (the process or the worker is ending): the caller
    /// must touch no handle and return to the event loop at once.
    pub(crate) fn deliver(
        &self,
        context: Option<&AsyncContext>,
        id: Id,
        event: Event,
    ) -> ControlFlow<()> {
        let js = self.js;
        js.scoped(|| {
            let arguments = [js.int(self.mailbox.put(id, event))];
            let (receiver, dispatch) = (self.receiver.get(js), self.dispatch.get(js));
            let called = match context {
                Some(context) => context.make_callback(js, receiver, dispatch, &arguments),
                None => make_plain_callback(js, receiver, dispatch, &arguments),
            };
            match called {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => self.report(),
            }
        })
    }

    /// Has JavaScript make the object of an accepted connection; no code of the user runs.
    pub(crate) fn adopt(&self, id: Id, listener: Id) -> ControlFlow<(), AsyncContext> {
        let js = self.js;
        js.scoped(|| {
            let arguments = [js.int(id.number()), js.int(listener.number())];
            let object = js.call(self.adopt.get(js), &arguments);
            match object.and_then(|object| AsyncContext::new(js, object, RESOURCE_NAME)) {
                Some(context) => ControlFlow::Continue(context),
                None => {
                    let _ = self.report();
                    ControlFlow::Break(())
                }
            }
        })
    }

    /// The context of a connection that JavaScript asked for, in the context of that call.
    pub(crate) fn context_of(&self, object: Value) -> Option<AsyncContext> {
        AsyncContext::new(self.js, object, RESOURCE_NAME)
    }

    /// Hands the exception of a handler to `uncaughtException`.
    #[cold]
    fn report(&self) -> ControlFlow<()> {
        match self.js.take_exception() {
            Some(exception) if self.js.report_uncaught(exception) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}
