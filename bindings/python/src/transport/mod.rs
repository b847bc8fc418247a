//! `StreamTransport`: the native half of stream sockets, TCP and Unix alike.
//!
//! The type derives from `asyncio.Transport`, so `isinstance` holds; its fields lie behind that
//! base's own slot. Python's half (`libruntime.transports.SocketTransport`) derives from it, which
//! also gives instances a `__dict__` and weak references, and does what happens once per connection.
//!
//! # Life
//! Python's `__init__` schedules `connection_made`, then `_start`, which begins to watch the
//! descriptor. `close()` stops reading, waits for the queue to drain and schedules
//! `_call_connection_lost`; a fatal error or `abort()` does so at once. That method (Python's) closes
//! the socket and calls `_release`, after which the transport is inert.

mod bulk;
mod object;
mod queue;
mod read;
mod write;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::ffi;

use crate::driver::{self, Error, Interest, Ready, Watch};
use crate::event_loop::{self, LoopState};
use crate::globals::{globals, names};
use crate::handle::{self, Call};
use crate::py::{self, Obj, PyRes, Raised, Ref, Slot};
pub(crate) use object::make_type;
use queue::Queue;

/// asyncio's default high-water mark, in bytes.
const HIGH_WATER: usize = 64 * 1024;

/// Bytes of `asyncio.Transport`'s own part of an instance; set once, when the type is made.
static BASE_SIZE: AtomicUsize = AtomicUsize::new(0);

/// A set of facts about a transport.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) struct Flags(u16);

impl Flags {
    /// `close()` or `abort()` has been called, or an error has.
    const CLOSING: Flags = Flags(1);
    /// `pause_reading()` has been called.
    const PAUSED: Flags = Flags(2);
    /// `write_eof()` has been called.
    const EOF: Flags = Flags(4);
    /// The protocol is a `BufferedProtocol`.
    const BUFFERED: Flags = Flags(8);
    /// The protocol has been told to pause writing.
    const PROTOCOL_PAUSED: Flags = Flags(16);
    /// `_start` has run: the descriptor may be watched.
    const STARTED: Flags = Flags(32);
    /// In the loop's list of transports to send for.
    const UNSENT: Flags = Flags(64);
    /// The socket was full: the next send waits for it to be writable.
    const BLOCKED: Flags = Flags(128);
    /// The peer has shut down and the protocol keeps the transport open.
    const READ_EOF: Flags = Flags(256);
    /// `_drained` is to be called when the queue is empty.
    const TELL_DRAINED: Flags = Flags(512);
    /// The last read was large: the next one is a bulk read.
    const BULK: Flags = Flags(1024);
    /// The protocol has kept the result of a bulk read: no more of them.
    const KEEPS: Flags = Flags(2048);
}

pub(crate) struct TransportState {
    event_loop: Slot,
    protocol: Slot,
    /// The socket object, which owns the descriptor.
    sock: Slot,
    /// The context that protocol callbacks run in.
    context: Slot,
    extra: Slot,
    fd: Cell<i32>,
    flags: Cell<Flags>,
    /// Set once the end of the connection is scheduled; then counts writes that came too late.
    conn_lost: Cell<usize>,
    high_water: Cell<usize>,
    low_water: Cell<usize>,
    /// The loop's turn in which this transport last sent something at once.
    sent_in_turn: Cell<u64>,
    queue: RefCell<Queue>,
    watch: RefCell<Option<Watch>>,
}

impl TransportState {
    /// The state of an instance.
    #[inline]
    pub(crate) fn of<'a>(transport: Obj) -> &'a TransportState {
        // SAFETY: only called with instances that the caller keeps alive; the offset is where the
        // type put the state, and `new` has filled it.
        unsafe { &*transport.byte_add(BASE_SIZE.load(Ordering::Relaxed)).cast() }
    }

    /// The state of any transport, if it is native.
    pub(crate) fn try_of<'a>(transport: Obj) -> Option<&'a TransportState> {
        let kind = globals().stream_type();
        // SAFETY: a live object and a live type.
        (unsafe { ffi::PyObject_TypeCheck(transport, kind) } != 0)
            .then(|| TransportState::of(transport))
    }

    fn new() -> TransportState {
        TransportState {
            event_loop: Slot::empty(),
            protocol: Slot::empty(),
            sock: Slot::empty(),
            context: Slot::empty(),
            extra: Slot::empty(),
            fd: Cell::new(-1),
            flags: Cell::new(Flags::default()),
            conn_lost: Cell::new(0),
            high_water: Cell::new(HIGH_WATER),
            low_water: Cell::new(HIGH_WATER / 4),
            sent_in_turn: Cell::new(0),
            queue: RefCell::new(Queue::default()),
            watch: RefCell::new(None),
        }
    }

    #[inline]
    fn has(&self, flag: Flags) -> bool {
        self.flags.get().0 & flag.0 != 0
    }

    #[inline]
    fn set(&self, flag: Flags, on: bool) {
        let flags = self.flags.get().0;
        self.flags
            .set(Flags(if on { flags | flag.0 } else { flags & !flag.0 }));
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.has(Flags::CLOSING)
    }

    fn is_reading(&self) -> bool {
        !self.has(Flags::CLOSING) && !self.has(Flags::PAUSED)
    }

    /// The loop; `None` once the transport has been released.
    #[inline]
    fn event_loop(&self) -> Option<&LoopState> {
        let event_loop = self.event_loop.get();
        (!event_loop.is_null()).then(|| &event_loop::object(event_loop).state)
    }

    /// Stops watching the descriptor for good.
    pub(crate) fn stop_watching(&self) {
        let watch = self.watch.borrow_mut().take();
        drop(watch);
    }

    fn interest(&self) -> Interest {
        let closed = self.has(Flags::CLOSING) || self.has(Flags::READ_EOF);
        let read = self.has(Flags::STARTED) && !closed && !self.has(Flags::PAUSED);
        Interest::new(read, self.has(Flags::BLOCKED))
    }

    /// Brings the watch in line with the flags.
    fn update_watch(&self, transport: Obj) -> PyRes<()> {
        let interest = self.interest();
        let watch = self.watch.borrow();
        let outcome = match &*watch {
            Some(watch) => watch.set_interest(interest),
            None if interest.is_empty() => Ok(()),
            None => {
                drop(watch);
                self.begin_watch(transport, interest)
            }
        };
        match outcome {
            // A descriptor that is gone cannot be watched; the next send or receive says so.
            Ok(()) | Err(Error::Os(libc::ENOENT | libc::EBADF)) => Ok(()),
            Err(error) => driver::raise(error),
        }
    }

    #[cold]
    fn begin_watch(&self, transport: Obj, interest: Interest) -> Result<(), Error> {
        let Some(state) = self.event_loop() else {
            return Ok(());
        };
        let driver = state.driver.borrow();
        let Some(driver) = &*driver else {
            return Ok(());
        };
        // The loop's table holds the transport while it is watched: a plain pointer is enough.
        let callback = move |ready: Ready| on_event(transport, ready);
        let watch = driver.watch(self.fd.get(), interest, callback)?;
        *self.watch.borrow_mut() = Some(watch);
        Ok(())
    }

    /// Calls a method of the protocol in the transport's context.
    #[inline]
    fn call_protocol<const N: usize>(&self, method: Obj, args: [Obj; N]) -> PyRes<Ref> {
        let context = self.context.get();
        // SAFETY: the context and the arguments are alive: the caller holds the transport, and
        // `_release` replaces neither while a callback runs.
        unsafe {
            if ffi::PyContext_Enter(context) < 0 {
                return Err(Raised);
            }
            let outcome = py::call_method(method, args);
            ffi::PyContext_Exit(context);
            outcome
        }
    }

    /// Schedules the end of the connection.
    fn schedule_lost(&self, transport: Obj, exception: Obj) -> PyRes<()> {
        self.conn_lost.set(self.conn_lost.get() + 1);
        let Some(state) = self.event_loop() else {
            return Ok(());
        };
        state.check_closed()?;
        // SAFETY: a live transport.
        let callback = unsafe {
            Ref::owned(ffi::PyObject_GetAttr(
                transport,
                names()._call_connection_lost,
            ))?
        };
        let call = Call {
            callback: callback.as_ptr(),
            args: &[exception],
            context: self.context.get(),
        };
        let handle = handle::new_handle(event_loop::object(self.event_loop.get()), &call)?;
        state.ready.push(handle);
        Ok(())
    }

    /// Ends the connection without sending what waits; `exception` is None for `abort()`.
    fn force_close(&self, transport: Obj, exception: Obj) -> PyRes<()> {
        if self.conn_lost.get() > 0 {
            return Ok(());
        }
        drop(self.queue.take());
        self.set(Flags::BLOCKED, false);
        self.set(Flags::CLOSING, true);
        self.stop_watching();
        self.schedule_lost(transport, exception)
    }

    /// Reports the current exception through Python's half, which ends the connection. Fatal ones
    /// wait for the end of the turn.
    #[cold]
    fn fail(&self, transport: Obj, raised: Raised, message: &str) {
        let outcome = if py::is_fatal(&raised) {
            Err(raised)
        } else {
            let exception = py::take_exception(raised);
            Ref::str(message).and_then(|message| {
                let args = [transport, exception.as_ptr(), message.as_ptr()];
                // SAFETY: live objects.
                unsafe { py::call_method(names()._fatal_error, args) }
            })
        };
        if let (Err(raised), Some(state)) = (outcome, self.event_loop()) {
            state.keep_fatal(raised);
        }
    }
}

/// The descriptor is ready. Called inside the driver's turn, with the GIL held.
fn on_event(transport: Obj, ready: Ready) {
    let state = TransportState::of(transport);
    // SAFETY: the table holds the transport; the callbacks below may remove it from there.
    let _alive = unsafe { Ref::borrowed(transport) };
    // One fatal exception ends the turn: what is ready now will be so again.
    if state
        .event_loop()
        .is_none_or(|state| !state.fatal.get().is_null())
    {
        return;
    }
    if ready.writable() && state.has(Flags::BLOCKED) {
        state.send_blocked(transport);
    }
    if !ready.readable() {
        return;
    }
    if state.is_reading() {
        state.receive(transport);
    } else if let Err(raised) = state.update_watch(transport) {
        // Pausing leaves the watch as it is until data comes: most pauses end before.
        state.fail(transport, raised, "Fatal read error on socket transport");
    }
}
