//! Sending: the first write of a turn goes out at once, what follows in the same turn is gathered
//! and leaves as one vectored send before the loop waits again.

use pyo3::ffi;

use super::queue::bytes_of;
use super::read::View;
use super::{Flags, TransportState};
use crate::driver::last_errno;
use crate::globals::names;
use crate::py::{self, Obj, PyRes, Raised, Ref};
use crate::typespec::TypeBuilder;

/// Adds this file's methods to the transport's type.
pub(super) fn methods(builder: TypeBuilder) -> TypeBuilder {
    builder
        .one(c"write", write)
        .one(c"writelines", writelines)
        .noargs(c"write_eof", write_eof)
        .noargs(c"get_write_buffer_size", get_write_buffer_size)
        .noargs(c"get_write_buffer_limits", get_write_buffer_limits)
        .positional(c"_set_limits", set_limits)
        .one(c"_tell_drained", tell_drained)
}

unsafe extern "C" fn write(slf: Obj, data: Obj) -> Obj {
    py::nothing(|| {
        let state = TransportState::of(slf);
        // SAFETY: `data` is alive.
        unsafe {
            if ffi::PyBytes_CheckExact(data) != 0 {
                state.may_write(c"Cannot call write() after write_eof()")?;
                return state.write(slf, bytes_of(data), Some(data));
            }
        }
        if !is_bytes_like(data) {
            return not_bytes_like(data);
        }
        state.may_write(c"Cannot call write() after write_eof()")?;
        let mut view = View::empty();
        state.write(slf, view.read(data)?, None)
    })
}

/// What asyncio's transports accept: bytes, bytearray, memoryview.
fn is_bytes_like(data: Obj) -> bool {
    // SAFETY: a live object.
    unsafe {
        ffi::PyBytes_Check(data) != 0
            || ffi::PyByteArray_Check(data) != 0
            || ffi::PyMemoryView_Check(data) != 0
    }
}

#[cold]
fn not_bytes_like<T>(data: Obj) -> PyRes<T> {
    // SAFETY: a live object, whose type's name ends in NUL.
    unsafe {
        let text = c"data argument must be a bytes-like object, not '%.200s'";
        let name = (*ffi::Py_TYPE(data)).tp_name;
        ffi::PyErr_Format(ffi::PyExc_TypeError, text.as_ptr(), name);
    }
    Err(Raised)
}

/// `writelines(list_of_data)`: all of it as one vectored send, or behind what already waits.
unsafe extern "C" fn writelines(slf: Obj, list: Obj) -> Obj {
    py::nothing(|| {
        let state = TransportState::of(slf);
        state.may_write(c"Cannot call writelines() after write_eof()")?;
        // SAFETY: a live object; the fast sequence borrows its items while it is held.
        let items = unsafe {
            Ref::owned(ffi::PySequence_Fast(
                list,
                c"writelines() needs an iterable".as_ptr(),
            ))?
        };
        // SAFETY: `items` is a list or a tuple.
        let count = unsafe { ffi::PySequence_Size(items.as_ptr()) };
        for i in 0..count {
            // SAFETY: in range; the reference keeps the item past any change of the list.
            let item = unsafe { Ref::owned(ffi::PySequence_GetItem(items.as_ptr(), i))? };
            if !is_bytes_like(item.as_ptr()) {
                return not_bytes_like(item.as_ptr());
            }
        }
        if state.conn_lost.get() > 0 {
            return state.write_too_late();
        }
        for i in 0..count {
            // SAFETY: as above.
            let item = unsafe { Ref::owned(ffi::PySequence_GetItem(items.as_ptr(), i))? };
            let mut view = View::empty();
            // SAFETY: a live object.
            let exact = unsafe { ffi::PyBytes_CheckExact(item.as_ptr()) } != 0;
            let bytes = exact.then_some(item.as_ptr());
            state
                .queue
                .borrow_mut()
                .push(view.read(item.as_ptr())?, 0, bytes);
        }
        if state.queue.borrow().is_empty() {
            return Ok(());
        }
        state.sent_or_gathered(slf)
    })
}

unsafe extern "C" fn write_eof(slf: Obj, _: Obj) -> Obj {
    py::nothing(|| {
        let state = TransportState::of(slf);
        if state.has(Flags::CLOSING) || state.has(Flags::EOF) {
            return Ok(());
        }
        state.set(Flags::EOF, true);
        if !state.has(Flags::BLOCKED) && !state.queue.borrow().is_empty() {
            // Sends what waits and, having sent all, shuts down.
            state.send_gathered(slf);
            return Ok(());
        }
        if state.queue.borrow().is_empty() {
            return state.shut_down();
        }
        Ok(())
    })
}

unsafe extern "C" fn get_write_buffer_size(slf: Obj, _: Obj) -> Obj {
    py::object(|| Ref::int(TransportState::of(slf).queue.borrow().len()))
}

/// `(low, high)`, in bytes.
unsafe extern "C" fn get_write_buffer_limits(slf: Obj, _: Obj) -> Obj {
    py::object(|| {
        let state = TransportState::of(slf);
        let low = Ref::int(state.low_water.get())?;
        let high = Ref::int(state.high_water.get())?;
        // SAFETY: live objects.
        unsafe { Ref::owned(ffi::PyTuple_Pack(2, low.as_ptr(), high.as_ptr())) }
    })
}

/// `_set_limits(low, high)`: already checked by Python's half.
unsafe extern "C" fn set_limits(slf: Obj, args: *mut Obj, nargs: isize) -> Obj {
    py::nothing(|| {
        // SAFETY: CPython's arguments.
        let args = unsafe { py::arguments(args, nargs) };
        let &[low, high] = args else {
            return py::raise(py::type_error(), c"_set_limits() takes two arguments");
        };
        let state = TransportState::of(slf);
        // SAFETY: live objects; an exception is set for anything but an int that fits.
        unsafe {
            let (low, high) = (ffi::PyLong_AsSize_t(low), ffi::PyLong_AsSize_t(high));
            if !ffi::PyErr_Occurred().is_null() {
                return Err(Raised);
            }
            state.low_water.set(low);
            state.high_water.set(high);
        }
        state.pause_if_full(slf);
        Ok(())
    })
}

/// `_tell_drained(on)`: whether `_drained(exc)` is to be called when everything has been sent.
unsafe extern "C" fn tell_drained(slf: Obj, on: Obj) -> Obj {
    py::nothing(|| {
        // SAFETY: a live object.
        let on = unsafe { ffi::PyObject_IsTrue(on) } == 1;
        TransportState::of(slf).set(Flags::TELL_DRAINED, on);
        Ok(())
    })
}

impl TransportState {
    /// Refuses writes that the protocol has ruled out itself.
    #[inline]
    fn may_write(&self, after_eof: &std::ffi::CStr) -> PyRes<()> {
        if self.has(Flags::EOF) {
            return py::raise(py::runtime_error(), after_eof);
        }
        if self.has(Flags::TELL_DRAINED) {
            let text = c"unable to write; sendfile is in progress";
            return py::raise(py::runtime_error(), text);
        }
        Ok(())
    }

    /// A write after the connection has ended is dropped; Python's half logs repeated ones.
    #[cold]
    fn write_too_late(&self) -> PyRes<()> {
        let late = self.conn_lost.get();
        self.conn_lost.set(late + 1);
        let late = Ref::int(late)?;
        // SAFETY: live objects.
        unsafe {
            Ref::owned(ffi::PyObject_CallOneArg(
                crate::globals::globals().log_late_write,
                late.as_ptr(),
            ))?
        };
        Ok(())
    }

    #[inline]
    fn write(&self, transport: Obj, data: &[u8], bytes: Option<Obj>) -> PyRes<()> {
        if data.is_empty() {
            return Ok(());
        }
        if self.conn_lost.get() > 0 {
            return self.write_too_late();
        }
        let Some(event_loop) = self.event_loop() else {
            return Ok(());
        };
        let turn = event_loop.turn.get();
        let first = self.sent_in_turn.replace(turn) != turn;
        let mut sent = 0;
        if first && self.queue.borrow().is_empty() {
            // SAFETY: the slice is readable; MSG_NOSIGNAL keeps SIGPIPE away.
            let count = unsafe {
                libc::send(
                    self.fd.get(),
                    data.as_ptr().cast(),
                    data.len(),
                    libc::MSG_NOSIGNAL,
                )
            };
            if count == data.len() as isize {
                return Ok(());
            }
            if count >= 0 {
                sent = count as usize;
                self.set(Flags::BLOCKED, true);
            } else {
                match last_errno() {
                    libc::EAGAIN => self.set(Flags::BLOCKED, true),
                    libc::EINTR => {}
                    errno => {
                        self.send_failed(transport, errno);
                        return Ok(());
                    }
                }
            }
        }
        self.queue.borrow_mut().push(data, sent, bytes);
        self.wait_to_send(transport)
    }

    /// Sends new content of the queue at once if that is this turn's first, or leaves it gathered.
    fn sent_or_gathered(&self, transport: Obj) -> PyRes<()> {
        let turn = self.event_loop().map_or(0, |state| state.turn.get());
        if self.sent_in_turn.replace(turn) != turn && !self.has(Flags::BLOCKED) {
            self.send_gathered(transport);
            return Ok(());
        }
        self.wait_to_send(transport)
    }

    /// Arranges for the queue to be sent: when the socket is writable, or at the end of the turn.
    fn wait_to_send(&self, transport: Obj) -> PyRes<()> {
        if self.has(Flags::BLOCKED) {
            self.update_watch(transport)?;
            self.pause_if_full(transport);
        } else if self.queue.borrow().len() > self.high_water.get() {
            // Gathering is for small writes: this much goes out before the protocol is paused.
            self.send_gathered(transport);
        } else if !self.has(Flags::UNSENT)
            && let Some(event_loop) = self.event_loop()
        {
            self.set(Flags::UNSENT, true);
            // SAFETY: a live transport.
            event_loop
                .unsent
                .borrow_mut()
                .push(unsafe { Ref::borrowed(transport) });
        }
        Ok(())
    }

    /// Sends what this turn has gathered.
    pub(crate) fn send_gathered(&self, transport: Obj) {
        self.set(Flags::UNSENT, false);
        if self.conn_lost.get() > 0 || self.has(Flags::BLOCKED) || self.queue.borrow().is_empty() {
            return;
        }
        let outcome = self.queue.borrow_mut().send(self.fd.get());
        self.after_send(transport, outcome);
    }

    /// The socket takes more: sends the rest of the queue.
    pub(super) fn send_blocked(&self, transport: Obj) {
        if self.conn_lost.get() > 0 {
            return;
        }
        self.set(Flags::BLOCKED, false);
        let outcome = self.queue.borrow_mut().send(self.fd.get());
        self.after_send(transport, outcome);
    }

    fn after_send(&self, transport: Obj, outcome: Result<(), i32>) {
        match outcome {
            Ok(()) => {}
            Err(libc::EAGAIN | libc::EINTR) => self.set(Flags::BLOCKED, true),
            Err(errno) => return self.send_failed(transport, errno),
        }
        let outcome = self.update_watch(transport).and_then(|()| {
            if self.has(Flags::BLOCKED) {
                self.pause_if_full(transport);
            }
            self.resume_if_low(transport);
            if self.queue.borrow().is_empty() {
                self.all_sent(transport)
            } else {
                Ok(())
            }
        });
        if let Err(raised) = outcome {
            self.fail(transport, raised, "Fatal write error on socket transport");
        }
    }

    #[cold]
    fn send_failed(&self, transport: Obj, errno: i32) {
        drop(self.queue.take());
        self.set(Flags::BLOCKED, false);
        let Err(raised) = py::raise_errno::<()>(errno) else {
            return;
        };
        let exception = py::take_exception(raised);
        let told = self
            .has(Flags::TELL_DRAINED)
            .then(|| self.tell_drained(transport, &exception));
        if let Some(Err(raised)) = told {
            self.fail(transport, raised, "Fatal write error on socket transport");
        }
        let Err(raised) = py::raise_again::<()>(exception) else {
            return;
        };
        self.fail(transport, raised, "Fatal write error on socket transport");
    }

    /// The queue has just become empty: what waited for that happens now.
    fn all_sent(&self, transport: Obj) -> PyRes<()> {
        if self.has(Flags::TELL_DRAINED) {
            self.tell_drained(transport, &Ref::none())?;
        }
        if self.has(Flags::CLOSING) {
            if self.conn_lost.get() == 0 {
                self.stop_watching();
                // SAFETY: None is always alive.
                self.schedule_lost(transport, unsafe { ffi::Py_None() })?;
            }
        } else if self.has(Flags::EOF) {
            self.shut_down()?;
        }
        Ok(())
    }

    #[cold]
    fn tell_drained(&self, transport: Obj, exception: &Ref) -> PyRes<()> {
        // SAFETY: live objects.
        unsafe { py::call_method(names()._drained, [transport, exception.as_ptr()])? };
        Ok(())
    }

    fn shut_down(&self) -> PyRes<()> {
        // SAFETY: plain system call on a descriptor that the socket object owns.
        if unsafe { libc::shutdown(self.fd.get(), libc::SHUT_WR) } < 0 {
            return py::raise_errno(last_errno());
        }
        Ok(())
    }

    /// Tells the protocol to stop writing when the queue is above the high-water mark.
    fn pause_if_full(&self, transport: Obj) {
        if self.has(Flags::PROTOCOL_PAUSED) || self.queue.borrow().len() <= self.high_water.get() {
            return;
        }
        self.set(Flags::PROTOCOL_PAUSED, true);
        self.tell_protocol(
            transport,
            names().pause_writing,
            "protocol.pause_writing() failed",
        );
    }

    fn resume_if_low(&self, transport: Obj) {
        if !self.has(Flags::PROTOCOL_PAUSED) || self.queue.borrow().len() > self.low_water.get() {
            return;
        }
        self.set(Flags::PROTOCOL_PAUSED, false);
        self.tell_protocol(
            transport,
            names().resume_writing,
            "protocol.resume_writing() failed",
        );
    }

    /// Calls one of the two flow-control methods; an exception is reported and goes no further.
    #[cold]
    fn tell_protocol(&self, transport: Obj, method: Obj, failure: &str) {
        let Some(protocol) = self.protocol.cloned() else {
            return;
        };
        let Err(raised) = self.call_protocol(method, [protocol.as_ptr()]) else {
            return;
        };
        let outcome = if py::is_fatal(&raised) {
            Err(raised)
        } else {
            let exception = py::take_exception(raised);
            Ref::str(failure).and_then(|failure| {
                let args = [transport, exception.as_ptr(), failure.as_ptr()];
                // SAFETY: live objects.
                unsafe { py::call_method(names()._report_protocol, args) }
            })
        };
        if let (Err(raised), Some(state)) = (outcome, self.event_loop()) {
            state.keep_fatal(raised);
        }
    }
}
