//! What comes in on a stream of a runtime.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use libruntime_core::task::AbortHandle;

use super::{TaskStream, lock, would_block};
use crate::net::{Submitted, Subscription, sys};
use crate::status::Error;
use crate::task::{Completion, rt_result};

/// What a subscription receives at most in one piece, in bytes. It is on the worker's stack.
const PIECE: usize = 64 * 1024;

/// The read or the subscription that is pending.
#[derive(Default)]
pub(super) struct Reader {
    /// Counts reads; tells one that was stopped from the one that is pending.
    number: u64,
    pending: Option<Kind>,
    task: Option<AbortHandle>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Subscription,
}

/// The caller's memory for a read that is pending.
struct Buffer(*mut u8, usize);

// SAFETY: whoever submitted the read promised that the memory is ours until it has ended.
unsafe impl Send for Buffer {}
// SAFETY: as above; only the read itself uses it.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// # Safety
    /// As the submission of the read.
    unsafe fn poll(&self, stream: &TaskStream, cx: &Context<'_>) -> Poll<Result<usize, Error>> {
        // SAFETY: passed on from the caller.
        unsafe { stream.poll_read(cx.waker(), self.0, self.1) }
    }
}

impl TaskStream {
    /// As a stream of a loop: reads now, or when something comes.
    ///
    /// # Safety
    /// `buffer` is valid for writes of `len` bytes until `done` was called.
    pub(crate) unsafe fn read(
        self: &Arc<Self>,
        buffer: *mut u8,
        len: usize,
        done: Completion,
    ) -> Result<Submitted, Error> {
        let begun = self.begin_read(Kind::Read).and_then(|number| {
            // SAFETY: passed on from the caller.
            let now = would_block(unsafe { sys::recv(self.fd.get_ref().as_raw_fd(), buffer, len) });
            match now {
                Ok(None) => return Ok(Err(number)),
                Ok(Some(0)) if len > 0 => Err(Error::Eof),
                Ok(Some(n)) => Ok(Ok(n)),
                Err(error) => Err(error),
            }
            .inspect(|_| self.end_read(number))
            .inspect_err(|_| self.end_read(number))
        });
        let number = match begun {
            Ok(Err(number)) => number,
            Ok(Ok(n)) => {
                done.disarm();
                return Ok(Submitted::Done(n));
            }
            Err(error) => {
                done.disarm();
                return Err(error);
            }
        };
        let (this, buffer) = (self.clone(), Buffer(buffer, len));
        self.spawn_read(number, async move {
            // Declared in this order, so that a task which is dropped first ends the read and
            // then calls back, as below.
            let done = done;
            let reading = Reading(this.clone(), number);
            let buffer = buffer;
            // SAFETY: passed on from the submission.
            let result = match poll_fn(|cx| unsafe { buffer.poll(&this, cx) }).await {
                Ok(n) => rt_result::count(n),
                Err(error) => rt_result::of(error.code()),
            };
            drop(reading);
            done.fire(&result);
        });
        Ok(Submitted::Pending)
    }

    /// As a stream of a loop: calls `subscription` with all that comes.
    pub(crate) fn read_start(self: &Arc<Self>, subscription: Subscription) -> Result<(), Error> {
        let number = self.begin_read(Kind::Subscription)?;
        let this = self.clone();
        self.spawn_read(number, async move {
            let subscription = subscription;
            let reading = Reading(this.clone(), number);
            let last = poll_fn(|cx| this.poll_pieces(cx, number, &subscription)).await;
            drop(reading);
            if let Some(error) = last {
                subscription.call(&rt_result::of(error.code()));
            }
        });
        Ok(())
    }

    /// Passes on what comes until there is an error; `None` if it was stopped.
    fn poll_pieces(
        &self,
        cx: &mut Context<'_>,
        number: u64,
        subscription: &Subscription,
    ) -> Poll<Option<Error>> {
        let mut piece = [MaybeUninit::<u8>::uninit(); PIECE];
        let buffer = piece.as_mut_ptr().cast::<u8>();
        loop {
            // SAFETY: `buffer` has `PIECE` bytes.
            match unsafe { self.poll_read(cx.waker(), buffer, PIECE) } {
                _ if lock(&self.reader).number != number => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(error)),
                Poll::Ready(Ok(n)) => {
                    subscription.call(&rt_result {
                        ptr: buffer.cast(),
                        ..rt_result::count(n)
                    });
                }
            }
        }
    }

    pub(crate) fn read_stop(&self) {
        self.stop_reading(&[Kind::Subscription]);
    }

    fn begin_read(&self, kind: Kind) -> Result<u64, Error> {
        self.home()?;
        let mut reader = lock(&self.reader);
        if reader.pending.is_some() {
            return Err(Error::Busy);
        }
        reader.pending = Some(kind);
        reader.number += 1;
        Ok(reader.number)
    }

    fn end_read(&self, number: u64) {
        let task = {
            let mut reader = lock(&self.reader);
            if reader.number != number {
                return;
            }
            reader.pending = None;
            reader.task.take()
        };
        drop(task);
    }

    fn spawn_read(&self, number: u64, future: impl Future<Output = ()> + Send + 'static) {
        let Some(home) = &self.home else { return };
        let task = home.spawn(future).abort_handle();
        let mut reader = lock(&self.reader);
        if reader.pending.is_some() && reader.number == number {
            reader.task = Some(task);
        }
    }

    pub(super) fn stop_reading(&self, kinds: &[Kind]) {
        let task = {
            let mut reader = lock(&self.reader);
            if !reader.pending.is_some_and(|kind| kinds.contains(&kind)) {
                return;
            }
            reader.number += 1;
            reader.pending = None;
            reader.task.take()
        };
        if let Some(task) = task {
            task.abort();
        }
    }
}

/// A read that is pending, for as long as it is.
struct Reading(Arc<TaskStream>, u64);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.end_read(self.1);
    }
}
