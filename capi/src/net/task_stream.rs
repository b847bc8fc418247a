//! A stream for tasks, and, with a runtime as its home, for callbacks on workers.
//!
//! The poll functions go straight to the descriptor. A callback operation tries at once; what would
//! block becomes a task of the runtime: one for each read or subscription, and one that sends
//! whatever is queued, in order, for as long as something is.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use libruntime_core::net::AsyncFd;
use libruntime_core::runtime::Handle;
use libruntime_core::task::AbortHandle;

use super::pieces::{self, Pieces};
use super::sys::{self, MAX_BUFS};
use super::{Submitted, Subscription};
use crate::ffi::Origin;
use crate::home::Home;
use crate::status::{Error, RT_ECANCELED, status};
use crate::stream::rt_buf;
use crate::task::{Completion, rt_result};

/// What a subscription receives at most in one piece, in bytes. It is on the worker's stack.
const PIECE: usize = 64 * 1024;

pub(crate) struct TaskStream {
    fd: AsyncFd<OwnedFd>,
    home: Option<Handle>,
    origin: Origin,
    closed: AtomicBool,
    reader: Mutex<Reader>,
    writer: Mutex<Writer>,
}

/// The read or the subscription that is pending.
#[derive(Default)]
struct Reader {
    /// Counts reads; tells one that was stopped from the one that is pending.
    number: u64,
    pending: Option<Kind>,
    task: Option<AbortHandle>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Subscription,
}

#[derive(Default)]
struct Writer {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn would_block<T>(result: io::Result<T>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(Error::from(error)),
    }
}

impl TaskStream {
    pub(crate) fn new(socket: OwnedFd, home: Option<Handle>) -> TaskStream {
        TaskStream {
            fd: AsyncFd::new(socket),
            home,
            origin: Origin::here(),
            closed: AtomicBool::new(false),
            reader: Mutex::default(),
            writer: Mutex::default(),
        }
    }

    pub(crate) fn checked(self: &Arc<Self>) -> Result<&Arc<Self>, Error> {
        self.origin.check().map(|()| self)
    }

    fn open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            Err(Error::Os(libc::EBADF))
        } else {
            Ok(())
        }
    }

    fn home(&self) -> Result<&Handle, Error> {
        self.open()?;
        let home = self.home.as_ref().ok_or(Error::Inval)?;
        if home.is_closed() {
            Err(Error::Shutdown)
        } else {
            Ok(home)
        }
    }

    /// Reads inside a task.
    ///
    /// # Safety
    /// `buffer` is valid for writes of `len` bytes.
    pub(crate) unsafe fn poll_read(
        &self,
        waker: &Waker,
        buffer: *mut u8,
        len: usize,
    ) -> Poll<Result<usize, Error>> {
        self.open()?;
        let polled = self
            .fd
            .poll_receive_with(&mut Context::from_waker(waker), len, |fd| {
                // SAFETY: passed on from the caller.
                unsafe { sys::recv(fd.as_raw_fd(), buffer, len) }
            });
        polled.map(|read| match read {
            Ok(0) if len > 0 => Err(Error::Eof),
            read => Ok(read?),
        })
    }

    /// Writes inside a task.
    ///
    /// # Safety
    /// The pieces are valid for reads.
    pub(crate) unsafe fn poll_write(
        &self,
        waker: &Waker,
        bufs: &[rt_buf],
    ) -> Poll<Result<usize, Error>> {
        self.open()?;
        let total = pieces::total(&bufs[..bufs.len().min(MAX_BUFS)]);
        let polled = self
            .fd
            .poll_send_with(&mut Context::from_waker(waker), total, |fd| {
                // SAFETY: passed on from the caller.
                unsafe { sys::send(fd.as_raw_fd(), bufs) }
            });
        polled.map_err(Error::from)
    }

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

    fn stop_reading(&self, kinds: &[Kind]) {
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

    /// Cancels what is pending, subscriptions excepted.
    pub(crate) fn cancel(&self) {
        self.cancel_writes();
        // The task is aborted, which calls back when it is dropped.
        self.stop_reading(&[Kind::Read]);
    }

    fn cancel_writes(&self) {
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

    /// Ends the connection now, and cancels what is pending. With `reset` the peer gets a reset.
    /// The descriptor goes with the last handle.
    pub(crate) fn close(&self, reset: bool) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.cancel_writes();
        self.stop_reading(&[Kind::Read, Kind::Subscription]);
        sys::disconnect(self.fd.get_ref().as_fd(), reset);
    }

    pub(crate) fn with_socket<R>(
        &self,
        f: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>,
    ) -> Result<R, Error> {
        self.open()?;
        Ok(f(self.fd.get_ref().as_fd())?)
    }
}

/// A read that is pending, for as long as it is.
struct Reading(Arc<TaskStream>, u64);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.end_read(self.1);
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
