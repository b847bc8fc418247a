//! What goes out on a stream of a loop.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::{LoopStream, State, Write};
use crate::event_loop::Access;
use crate::net::Submitted;
use crate::net::pieces::{self, Pieces};
use crate::net::sys::{self, MAX_BUFS};
use crate::status::Error;
use crate::stream::rt_buf;
use crate::task::{Completion, rt_result};

impl State {
    /// Sends what is queued, as far as the socket takes it. How many writes are finished now, and
    /// with which error.
    fn send_queued(&mut self) -> (usize, Option<Error>) {
        let Ok(fd) = self.fd() else { return (0, None) };
        loop {
            let mut bufs = [rt_buf {
                base: std::ptr::null(),
                len: 0,
            }; MAX_BUFS];
            let left = self.writes.iter().flat_map(|write| write.pieces.left());
            let mut n = 0;
            for (slot, buf) in bufs.iter_mut().zip(left) {
                *slot = *buf;
                n += 1;
            }
            let finished = || {
                self.writes
                    .iter()
                    .take_while(|write| write.pieces.is_sent())
                    .count()
            };
            if n == 0 {
                return (finished(), None);
            }
            // SAFETY: whoever submitted the writes keeps their memory until they have ended.
            match unsafe { sys::send(fd, &bufs[..n]) } {
                Ok(mut sent) => {
                    for write in &mut self.writes {
                        sent = write.pieces.advance(sent);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return (finished(), None);
                }
                Err(error) => return (self.writes.len(), Some(Error::from(error))),
            }
        }
    }
}

impl LoopStream {
    /// Sends the pieces now, or what is left of them when there is room.
    ///
    /// # Errors
    /// `EPIPE` after the end was sent, `EBADF` once closed, the system's.
    ///
    /// # Safety
    /// The pieces are valid for reads until `done` was called.
    pub(crate) unsafe fn write(
        self: &Arc<Self>,
        access: &Access<'_>,
        bufs: &[rt_buf],
        done: Completion,
    ) -> Result<Submitted, Error> {
        // SAFETY: passed on from the caller.
        let sent = match unsafe { self.write_now(bufs) } {
            Ok(sent) => sent,
            Err(error) => {
                done.disarm();
                return Err(error);
            }
        };
        let total = pieces::total(bufs);
        if sent == Some(total) {
            done.disarm();
            return Ok(Submitted::Done(total));
        }
        let mut pieces = Pieces::new(bufs);
        pieces.advance(sent.unwrap_or(0));
        self.state
            .borrow_mut()
            .writes
            .push_back(Write { pieces, done });
        if let Err(error) = self.arm(access) {
            let write = self.state.borrow_mut().writes.pop_back();
            if let Some(write) = write {
                write.done.disarm();
            }
            return Err(error);
        }
        Ok(Submitted::Pending)
    }

    /// Sends what can be sent at once; `None` if something is queued, or there is no room.
    ///
    /// # Errors
    /// As `write`.
    ///
    /// # Safety
    /// The pieces are valid for reads.
    pub(crate) unsafe fn write_now(&self, bufs: &[rt_buf]) -> Result<Option<usize>, Error> {
        let state = self.state.borrow();
        let fd = state.fd()?;
        if state.ending {
            return Err(Error::Os(libc::EPIPE));
        }
        if !state.writes.is_empty() {
            return Ok(None);
        }
        // SAFETY: passed on from the caller.
        match unsafe { sys::send(fd, bufs) } {
            Ok(n) => Ok(Some(n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(Error::from(error)),
        }
    }

    /// Sends the end of the stream when all that is queued has been sent.
    ///
    /// # Errors
    /// `Already` if it was asked for, `EBADF` once closed, the system's.
    pub(crate) fn end(&self, _access: &Access<'_>, done: Completion) -> Result<Submitted, Error> {
        let result = {
            let mut state = self.state.borrow_mut();
            match (state.fd(), state.ending, state.writes.is_empty()) {
                (Err(error), ..) => Err(error),
                (_, true, _) => Err(Error::Already),
                (Ok(_), false, true) => {
                    state.ending = true;
                    let socket = state.socket.as_ref().expect("it has a descriptor");
                    sys::shutdown_write(socket.as_fd()).map_err(Error::from)
                }
                (Ok(_), false, false) => {
                    state.ending = true;
                    state.ended = Some(done);
                    return Ok(Submitted::Pending);
                }
            }
        };
        done.disarm();
        result.map(|()| Submitted::Done(0))
    }

    /// Bytes that wait for room.
    pub(crate) fn queued(&self, _access: &Access<'_>) -> usize {
        let state = self.state.borrow();
        state
            .writes
            .iter()
            .map(|write| pieces::total(write.pieces.left()))
            .sum()
    }

    /// An event says that there is room.
    pub(super) fn flush(&self) {
        let (finished, error) = self.state.borrow_mut().send_queued();
        let status = error.map_or(0, Error::code);
        for _ in 0..finished {
            let Some(write) = self.state.borrow_mut().writes.pop_front() else {
                return;
            };
            let n = write.pieces.sent() as i64;
            write.done.fire(&rt_result {
                n,
                ..rt_result::of(status)
            });
        }
        let mut state = self.state.borrow_mut();
        if !state.writes.is_empty() || !state.ending {
            return;
        }
        let Some(done) = state.ended.take() else {
            return;
        };
        let result = match (&state.socket, error) {
            (_, Some(error)) => Err(error),
            (Some(socket), None) => sys::shutdown_write(socket.as_fd()).map_err(Error::from),
            (None, None) => return,
        };
        drop(state);
        done.fire(&rt_result::of(crate::status::status(result)));
    }
}
