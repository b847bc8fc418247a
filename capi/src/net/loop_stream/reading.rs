//! What comes in on a stream of a loop.

use std::io;
use std::sync::Arc;

use super::{LoopStream, Reader};
use crate::event_loop::{Access, Interest};
use crate::net::{Submitted, Subscription, sys};
use crate::status::{Error, RT_EOF};
use crate::task::{Completion, rt_result};

/// Pieces that one event takes from a socket that always has more, so that others get their turn.
const READS_PER_EVENT: usize = 4;

impl LoopStream {
    /// Reads what is there, at most `len` bytes, now or when it comes.
    ///
    /// # Errors
    /// `Eof`, `Busy` while another read is pending, `EBADF` once closed, the system's.
    ///
    /// # Safety
    /// `buffer` is valid for writes of `len` bytes until `done` was called.
    pub(crate) unsafe fn read(
        self: &Arc<Self>,
        access: &Access<'_>,
        buffer: *mut u8,
        len: usize,
        done: Completion,
    ) -> Result<Submitted, Error> {
        // SAFETY: passed on from the caller.
        let now = unsafe { self.read_now(buffer, len) };
        match now {
            Ok(None) => {}
            Ok(Some(n)) => {
                done.disarm();
                return Ok(Submitted::Done(n));
            }
            Err(error) => {
                done.disarm();
                return Err(error);
            }
        }
        self.state.borrow_mut().reader = Reader::Once { buffer, len, done };
        if let Err(error) = self.arm(access) {
            let reader = std::mem::replace(&mut self.state.borrow_mut().reader, Reader::None);
            if let Reader::Once { done, .. } = reader {
                done.disarm();
            }
            return Err(error);
        }
        Ok(Submitted::Pending)
    }

    /// # Safety
    /// As `read`.
    unsafe fn read_now(&self, buffer: *mut u8, len: usize) -> Result<Option<usize>, Error> {
        let mut state = self.state.borrow_mut();
        let fd = state.fd()?;
        if state.is_reading() {
            return Err(Error::Busy);
        }
        if state.drained && state.interest.contains(Interest::READ) {
            return Ok(None);
        }
        // SAFETY: passed on from the caller.
        match unsafe { sys::recv(fd, buffer, len) } {
            Ok(0) if len > 0 => Err(Error::Eof),
            Ok(n) => {
                state.drained = n < len;
                Ok(Some(n))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                state.drained = true;
                Ok(None)
            }
            Err(error) => Err(Error::from(error)),
        }
    }

    /// Calls `subscription` with all that comes.
    ///
    /// # Errors
    /// `Busy` while another read is pending, `EBADF` once closed, the system's.
    pub(crate) fn read_start(
        self: &Arc<Self>,
        access: &Access<'_>,
        subscription: Subscription,
    ) -> Result<(), Error> {
        {
            let mut state = self.state.borrow_mut();
            state.fd()?;
            if state.is_reading() {
                return Err(Error::Busy);
            }
            state.reader = Reader::Always(subscription);
        }
        self.arm(access).inspect_err(|_| self.read_stop(access))
    }

    /// Ends a subscription at once. Its user data is dropped, after its function has returned.
    pub(crate) fn read_stop(&self, _access: &Access<'_>) {
        self.unsubscribe();
    }

    pub(super) fn unsubscribe(&self) {
        let subscription = {
            let mut state = self.state.borrow_mut();
            match std::mem::replace(&mut state.reader, Reader::None) {
                Reader::Always(subscription) => Some(subscription),
                Reader::Running | Reader::Stopped => {
                    state.reader = Reader::Stopped;
                    None
                }
                other => {
                    state.reader = other;
                    None
                }
            }
        };
        self.settle();
        drop(subscription);
    }

    /// An event says that there is something to read.
    pub(super) fn receive(&self) {
        for _ in 0..READS_PER_EVENT {
            let more = match &self.state.borrow().reader {
                Reader::Once { .. } => None,
                Reader::Always(_) => Some(()),
                _ => return,
            };
            match more {
                None => return self.receive_once(),
                Some(()) if self.receive_piece() => {}
                Some(()) => return,
            }
        }
    }

    fn receive_once(&self) {
        let mut state = self.state.borrow_mut();
        let Ok(fd) = state.fd() else { return };
        let Reader::Once { buffer, len, .. } = state.reader else {
            return;
        };
        // SAFETY: whoever submitted the read keeps its memory until it has ended.
        let result = match unsafe { sys::recv(fd, buffer, len) } {
            Ok(0) if len > 0 => rt_result::of(RT_EOF),
            Ok(n) => {
                state.drained = n < len;
                rt_result::count(n)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => rt_result::of(Error::from(error).code()),
        };
        let reader = std::mem::replace(&mut state.reader, Reader::None);
        drop(state);
        if let Reader::Once { done, .. } = reader {
            done.fire(&result);
        }
    }

    /// Passes one piece on to the subscription. Whether there may be more.
    fn receive_piece(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let Ok(fd) = state.fd() else { return false };
        let (buffer, len) = self.inner.read_buffer();
        // SAFETY: the loop's buffer is used by one event at a time, and this thread holds the loop.
        let (result, more) = match unsafe { sys::recv(fd, buffer, len) } {
            Ok(0) => (rt_result::of(RT_EOF), None),
            Ok(n) => {
                state.drained = n < len;
                (
                    rt_result {
                        ptr: buffer.cast(),
                        ..rt_result::count(n)
                    },
                    Some(n == len),
                )
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => (rt_result::of(Error::from(error).code()), None),
        };
        let running = if more.is_some() {
            Reader::Running
        } else {
            Reader::None
        };
        let Reader::Always(subscription) = std::mem::replace(&mut state.reader, running) else {
            return false;
        };
        drop(state);
        subscription.call(&result);
        let mut state = self.state.borrow_mut();
        match state.reader {
            Reader::Running => {
                state.reader = Reader::Always(subscription);
                return more == Some(true);
            }
            Reader::Stopped => state.reader = Reader::None,
            // It had its last call, or was replaced by another.
            _ => {}
        }
        drop(state);
        drop(subscription);
        false
    }
}
