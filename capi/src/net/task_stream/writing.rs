//! What goes out on a stream of a runtime.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{TaskStream, lock, would_block};
use crate::home::Home;
use crate::net::Submitted;
use crate::net::pieces::{self, Pieces};
use crate::net::sys::{self, MAX_BUFS};
use crate::status::{Error, RT_ECANCELED, status};
use crate::stream::rt_buf;
use crate::task::{Completion, rt_result};

#[derive(Default)]
pub(super) struct Writer {
    queue: VecDeque<Write>,
    /// Whether a task is there that sends what is queued.
    running: bool,
    /// The end of the stream was asked for; nothing more can be written.
    ending: bool,
    ended: Option<Completion>,
}

struct Write {
    pieces: Pieces,
    done: Completion,
}

impl TaskStream {
    /// As a stream of a loop: sends the pieces now, or what is left of them when there is room.
    ///
    /// # Safety
    /// The pieces are valid for reads until `done` was called.
    pub(crate) unsafe fn write(
        self: &Arc<Self>,
        bufs: &[rt_buf],
        done: Completion,
    ) -> Result<Submitted, Error> {
        let mut writer = lock(&self.writer);
        // SAFETY: passed on from the caller.
        let sent = self
            .home()
            .and_then(|home| Ok((home, unsafe { self.send(&writer, bufs)? })));
        let (home, sent) = match sent {
            Ok(sent) => sent,
            Err(error) => {
                drop(writer);
                done.disarm();
                return Err(error);
            }
        };
        let total = pieces::total(bufs);
        if sent == Some(total) {
            drop(writer);
            done.disarm();
            return Ok(Submitted::Done(total));
        }
        let mut pieces = Pieces::new(bufs);
        pieces.advance(sent.unwrap_or(0));
        writer.queue.push_back(Write { pieces, done });
        if !std::mem::replace(&mut writer.running, true) {
            drop(writer);
            let sending = Sending(self.clone());
            drop(home.spawn(async move {
                poll_fn(|cx| sending.0.poll_queue(cx)).await;
            }));
        }
        Ok(Submitted::Pending)
    }

    /// Sends what can be sent at once; `None` if something is queued, or there is no room.
    ///
    /// # Safety
    /// The pieces are valid for reads.
    pub(crate) unsafe fn write_now(&self, bufs: &[rt_buf]) -> Result<Option<usize>, Error> {
        self.open()?;
        // SAFETY: passed on from the caller.
        unsafe { self.send(&lock(&self.writer), bufs) }
    }

    /// # Safety
    /// The pieces are valid for reads.
    unsafe fn send(&self, writer: &Writer, bufs: &[rt_buf]) -> Result<Option<usize>, Error> {
        if writer.ending {
            return Err(Error::Os(libc::EPIPE));
        }
        if !writer.queue.is_empty() {
            return Ok(None);
        }
        // SAFETY: passed on from the caller.
        would_block(unsafe { sys::send(self.fd.get_ref().as_raw_fd(), bufs) })
    }

    /// Sends what is queued; ready when nothing is left.
    fn poll_queue(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut writer = lock(&self.writer);
            if writer.queue.is_empty() {
                writer.running = false;
                let ended = writer.ended.take();
                drop(writer);
                if let Some(done) = ended {
                    let ended = sys::shutdown_write(self.fd.get_ref().as_fd());
                    done.fire(&rt_result::of(status(ended.map_err(Error::from))));
                }
                return Poll::Ready(());
            }
            let polled = self.fd.poll_write_with(cx, |fd| {
                let mut bufs = [rt_buf {
                    base: std::ptr::null(),
                    len: 0,
                }; MAX_BUFS];
                let left = writer.queue.iter().flat_map(|write| write.pieces.left());
                let mut count = 0;
                for (slot, buf) in bufs.iter_mut().zip(left) {
                    *slot = *buf;
                    count += 1;
                }
                // SAFETY: whoever submitted the writes keeps their memory until they have ended.
                unsafe { sys::send(fd.as_raw_fd(), &bufs[..count]) }
            });
            let (finished, result) = match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(mut sent)) => {
                    for write in &mut writer.queue {
                        sent = write.pieces.advance(sent);
                    }
                    let sent = writer
                        .queue
                        .iter()
                        .take_while(|write| write.pieces.is_sent());
                    (sent.count(), Ok(()))
                }
                Poll::Ready(Err(error)) => (writer.queue.len(), Err(Error::from(error))),
            };
            let finished: Vec<Write> = writer.queue.drain(..finished).collect();
            drop(writer);
            for Write { pieces, done } in finished {
                let n = pieces.sent() as i64;
                done.fire(&rt_result {
                    n,
                    ..rt_result::of(status(result))
                });
            }
        }
    }

    /// As a stream of a loop: sends the end when all that is queued has been sent.
    pub(crate) fn end(&self, done: Completion) -> Result<Submitted, Error> {
        let result = {
            let mut writer = lock(&self.writer);
            match (self.open(), writer.ending, writer.running) {
                (Err(error), ..) => Err(error),
                (_, true, _) => Err(Error::Already),
                (Ok(()), false, true) => {
                    writer.ending = true;
                    writer.ended = Some(done);
                    return Ok(Submitted::Pending);
                }
                (Ok(()), false, false) => {
                    writer.ending = true;
                    sys::shutdown_write(self.fd.get_ref().as_fd()).map_err(Error::from)
                }
            }
        };
        done.disarm();
        result.map(|()| Submitted::Done(0))
    }

    /// Bytes that wait for room.
    pub(crate) fn queued(&self) -> usize {
        let writer = lock(&self.writer);
        writer
            .queue
            .iter()
            .map(|write| pieces::total(write.pieces.left()))
            .sum()
    }

    pub(super) fn cancel_writes(&self) {
        let (writes, ended) = {
            let mut writer = lock(&self.writer);
            (std::mem::take(&mut writer.queue), writer.ended.take())
        };
        let Some(home) = self.home.clone().map(Home::Runtime) else {
            return;
        };
        for Write { pieces, done } in writes {
            let n = pieces.sent() as i64;
            done.deliver(
                rt_result {
                    n,
                    ..rt_result::of(RT_ECANCELED)
                },
                &home,
            );
        }
        if let Some(done) = ended {
            done.deliver(rt_result::of(RT_ECANCELED), &home);
        }
    }
}

/// The task that sends what is queued. If it is dropped by a shutdown, the writes are cancelled.
struct Sending(Arc<TaskStream>);

impl Drop for Sending {
    fn drop(&mut self) {
        let (writes, ended) = {
            let mut writer = lock(&self.0.writer);
            if !writer.running {
                return;
            }
            writer.running = false;
            (std::mem::take(&mut writer.queue), writer.ended.take())
        };
        // They call back as they are dropped.
        drop((writes, ended));
    }
}
