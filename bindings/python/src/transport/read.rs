//! Receiving: one `recv` for an event, into the loop's buffer and then an exact `bytes`, or straight
//! into the buffer that a `BufferedProtocol` gives.

use std::ptr;

use pyo3::ffi;

use super::bulk::{BULK, Block};
use super::{Flags, TransportState};
use crate::driver::last_errno;
use crate::event_loop;
use crate::globals::names;
use crate::py::{self, Obj, PyRes, Raised, Ref};

/// What one `recv` brought.
enum Received {
    Data(Ref),
    /// Bytes written to the protocol's own buffer.
    Filled(usize),
    End,
    Nothing,
}

impl TransportState {
    /// Takes what the socket has, and gives it to the protocol.
    pub(super) fn receive(&self, transport: Obj) {
        // The writer, or an earlier event of this turn, may have ended or paused the transport.
        if !self.is_reading() || self.has(Flags::READ_EOF) || self.conn_lost.get() > 0 {
            return;
        }
        // SAFETY: the slot is filled while the transport is open; the reference keeps a protocol
        // alive that `set_protocol` replaces meanwhile.
        let protocol = unsafe { Ref::borrowed(self.protocol.get()) };
        if self.has(Flags::BUFFERED) {
            self.receive_buffered(transport, &protocol);
        } else if self.has(Flags::BULK) && !self.has(Flags::KEEPS) {
            self.receive_bulk(transport, &protocol);
        } else {
            self.receive_bytes(transport, &protocol);
        }
    }

    /// A read into the loop's large block, given to the protocol without a copy.
    #[cold]
    fn receive_bulk(&self, transport: Obj, protocol: &Ref) {
        let Some(event_loop) = self.event_loop.cloned() else {
            return;
        };
        let spare = &event_loop::object(event_loop.as_ptr()).state.spare_block;
        let received = Block::take(spare).and_then(|mut block| {
            let received = recv(self.fd.get(), block.room());
            if let Ok(Received::Filled(count)) = received
                && count >= BULK
            {
                return Ok(Received::Data(block.fill(count)));
            }
            let received = match received {
                Ok(Received::Filled(count)) => exact(&block.room()[..count]),
                other => other,
            };
            self.set(Flags::BULK, false);
            block.give_back(spare);
            received
        });
        match received {
            Ok(Received::Data(data)) => {
                let bulk = self.has(Flags::BULK);
                self.give(transport, protocol, &data);
                if bulk {
                    match Block::recover(data) {
                        Some(block) => block.give_back(spare),
                        None => self.set(Flags::KEEPS, true),
                    }
                }
            }
            Ok(other) => self.received_other(transport, other),
            Err(raised) => self.fail(transport, raised, "Fatal read error on socket transport"),
        }
    }

    #[inline]
    fn give(&self, transport: Obj, protocol: &Ref, data: &Ref) {
        let args = [protocol.as_ptr(), data.as_ptr()];
        if let Err(raised) = self.call_protocol(names().data_received, args) {
            let message = "Fatal error: protocol.data_received() call failed.";
            self.fail(transport, raised, message);
        }
    }

    #[inline]
    fn receive_bytes(&self, transport: Obj, protocol: &Ref) {
        match self.recv_bytes() {
            Ok(Received::Data(data)) => self.give(transport, protocol, &data),
            Ok(other) => self.received_other(transport, other),
            Err(raised) => self.fail(transport, raised, "Fatal read error on socket transport"),
        }
    }

    #[cold]
    fn received_other(&self, transport: Obj, received: Received) {
        if !matches!(received, Received::End) {
            return;
        }
        // SAFETY: a live transport.
        if let Err(raised) = self.call_protocol(names()._read_eof, [transport]) {
            self.fail(
                transport,
                raised,
                "Fatal error: protocol.eof_received() call failed.",
            );
        }
    }

    fn recv_bytes(&self) -> PyRes<Received> {
        let Some(state) = self.event_loop() else {
            return Ok(Received::Nothing);
        };
        // SAFETY: nothing between here and the copy runs Python code.
        unsafe {
            let buffer = state.read_buffer();
            match recv(self.fd.get(), buffer)? {
                Received::Filled(count) => {
                    self.set(Flags::BULK, count >= BULK);
                    exact(&buffer[..count])
                }
                other => Ok(other),
            }
        }
    }

    fn receive_buffered(&self, transport: Obj, protocol: &Ref) {
        let buffer = match self.protocol_buffer(protocol) {
            Ok(buffer) => buffer,
            Err(raised) => {
                let message = "Fatal error: protocol.get_buffer() call failed.";
                return self.fail(transport, raised, message);
            }
        };
        // `get_buffer` may have closed the transport.
        if self.conn_lost.get() > 0 {
            return;
        }
        let received = {
            let mut view = View::empty();
            view.open(&buffer)
                .and_then(|bytes| recv(self.fd.get(), bytes))
        };
        match received {
            Ok(Received::Filled(count)) => {
                let outcome = Ref::int(count).and_then(|count| {
                    let args = [protocol.as_ptr(), count.as_ptr()];
                    self.call_protocol(names().buffer_updated, args)
                });
                if let Err(raised) = outcome {
                    let message = "Fatal error: protocol.buffer_updated() call failed.";
                    self.fail(transport, raised, message);
                }
            }
            Ok(other) => self.received_other(transport, other),
            Err(raised) => self.fail(transport, raised, "Fatal read error on socket transport"),
        }
    }

    /// `protocol.get_buffer(-1)`, which must not be empty.
    fn protocol_buffer(&self, protocol: &Ref) -> PyRes<Ref> {
        // SAFETY: a new reference; the others are live.
        let hint = unsafe { Ref::owned(ffi::PyLong_FromLong(-1))? };
        let buffer = self.call_protocol(names().get_buffer, [protocol.as_ptr(), hint.as_ptr()])?;
        // SAFETY: a live object.
        match unsafe { ffi::PyObject_Size(buffer.as_ptr()) } {
            0 => py::raise(
                py::runtime_error(),
                c"get_buffer() returned an empty buffer",
            ),
            -1 => Err(Raised),
            _ => Ok(buffer),
        }
    }
}

/// A `bytes` object with a copy of `data`.
fn exact(data: &[u8]) -> PyRes<Received> {
    // SAFETY: the slice is readable for its length.
    unsafe {
        let bytes = ffi::PyBytes_FromStringAndSize(data.as_ptr().cast(), data.len() as isize);
        Ref::owned(bytes).map(Received::Data)
    }
}

/// One `recv`; the GIL stays held, because the socket does not block.
fn recv(fd: i32, buffer: &mut [u8]) -> PyRes<Received> {
    // SAFETY: the buffer is writable for its whole length.
    let count = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    match count {
        0 => Ok(Received::End),
        1.. => Ok(Received::Filled(count as usize)),
        _ => match last_errno() {
            libc::EAGAIN | libc::EINTR => Ok(Received::Nothing),
            errno => py::raise_errno(errno),
        },
    }
}

/// A buffer export that is released with the value.
pub(super) struct View(ffi::Py_buffer);

impl View {
    pub(super) fn empty() -> View {
        View(ffi::Py_buffer::new())
    }

    fn open_with(&mut self, object: Obj, flags: i32) -> PyRes<*mut u8> {
        // SAFETY: `object` is alive; the view is empty, and released at most once, by `drop`.
        if unsafe { ffi::PyObject_GetBuffer(object, &mut self.0, flags) } < 0 {
            self.0 = ffi::Py_buffer::new();
            return Err(Raised);
        }
        Ok(if self.0.len == 0 {
            ptr::dangling_mut()
        } else {
            self.0.buf.cast()
        })
    }

    /// The writable bytes of an object.
    fn open(&mut self, object: &Ref) -> PyRes<&mut [u8]> {
        let start = self.open_with(object.as_ptr(), ffi::PyBUF_WRITABLE)?;
        // SAFETY: a contiguous writable export; no Python code runs while the slice lives.
        Ok(unsafe { std::slice::from_raw_parts_mut(start, self.0.len as usize) })
    }

    /// The bytes of an object that exports a contiguous buffer.
    pub(super) fn read(&mut self, object: Obj) -> PyRes<&[u8]> {
        let start = self.open_with(object, ffi::PyBUF_SIMPLE)?;
        // SAFETY: a contiguous export; no Python code runs while the slice lives.
        Ok(unsafe { std::slice::from_raw_parts(start, self.0.len as usize) })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if !self.0.obj.is_null() {
            // SAFETY: a filled view, released once.
            unsafe { ffi::PyBuffer_Release(&mut self.0) };
        }
    }
}
