//! A stream whose callbacks run inside the turns of a loop.
//!
//! All state is behind access to the loop, in a `RefCell` whose borrows never span a call of the
//! caller's functions: those may do anything to the stream, closing it included.
//!
//! The watch's closure holds the stream, so a stream with a pending operation lives, and works, until
//! that has ended, whether or not C still has a handle. The cycle ends in `close`, which takes the
//! watch out: on request, or when the last handle is gone and nothing is pending.
//!
//! Readiness is level-triggered and interest is lazy: `READ` stays asked for between one read and
//! the next, and is taken back only when an event finds nobody who wants it. A read that came up
//! short has drained the socket, so the next one waits for an event without asking the system first.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use libruntime_core::event_loop as core;

use super::pieces::{self, Pieces};
use super::sys::{self, MAX_BUFS};
use super::{Submitted, Subscription};
use crate::event_loop::{Access, Interest, LoopInner, Ready, drop_part};
use crate::home::Home;
use crate::status::{Error, RT_ECANCELED, RT_EOF};
use crate::stream::rt_buf;
use crate::task::{Completion, rt_result};

/// Pieces that one event takes from a socket that always has more, so that others get their turn.
const READS_PER_EVENT: usize = 4;

pub(crate) struct LoopStream {
    inner: Arc<LoopInner>,
    state: RefCell<State>,
    /// Whether C still has a handle.
    held: Cell<bool>,
}

// SAFETY: `state` and `held` are only touched by the holder of the loop, one thread at a time:
// every method but `new` takes an `Access`, or is called by the loop inside a turn, or by
// `drop_part`.
unsafe impl Send for LoopStream {}
// SAFETY: as above.
unsafe impl Sync for LoopStream {}

struct State {
    /// `None` once closed.
    socket: Option<OwnedFd>,
    watch: Option<core::Watch>,
    interest: Interest,
    reader: Reader,
    /// The last read took all there was.
    drained: bool,
    writes: VecDeque<Write>,
    /// The end of the stream was asked for; nothing more can be written.
    ending: bool,
    ended: Option<Completion>,
}

enum Reader {
    None,
    /// One read into the caller's buffer.
    Once {
        buffer: *mut u8,
        len: usize,
        done: Completion,
    },
    /// Whatever comes, in the loop's buffer.
    Always(Subscription),
    /// `Always`, and its function is running.
    Running,
    /// `Running`, and it was stopped meanwhile.
    Stopped,
}

struct Write {
    pieces: Pieces,
    done: Completion,
}

impl State {
    fn fd(&self) -> Result<RawFd, Error> {
        self.socket
            .as_ref()
            .map(AsRawFd::as_raw_fd)
            .ok_or(Error::Os(libc::EBADF))
    }

    fn is_reading(&self) -> bool {
        matches!(
            self.reader,
            Reader::Once { .. } | Reader::Always(_) | Reader::Running
        )
    }

    /// Whether an operation is pending.
    fn is_active(&self) -> bool {
        self.is_reading() || !self.writes.is_empty()
    }

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
    pub(crate) fn new(inner: Arc<LoopInner>, socket: OwnedFd) -> Arc<LoopStream> {
        let state = State {
            socket: Some(socket),
            watch: None,
            interest: Interest::NONE,
            reader: Reader::None,
            drained: false,
            writes: VecDeque::new(),
            ending: false,
            ended: None,
        };
        Arc::new(LoopStream {
            inner,
            state: RefCell::new(state),
            held: Cell::new(true),
        })
    }

    pub(crate) fn inner(&self) -> &Arc<LoopInner> {
        &self.inner
    }

    fn home(&self) -> Home {
        Home::Loop(self.inner.clone())
    }

    /// Calls `f` with the socket.
    ///
    /// # Errors
    /// `EBADF` once closed, or what `f` returns.
    pub(crate) fn with_socket<R>(
        &self,
        _access: &Access<'_>,
        f: impl FnOnce(&OwnedFd) -> io::Result<R>,
    ) -> Result<R, Error> {
        let state = self.state.borrow();
        Ok(f(state.socket.as_ref().ok_or(Error::Os(libc::EBADF))?)?)
    }

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

    fn unsubscribe(&self) {
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

    /// Cancels what is pending, subscriptions excepted: callbacks come in the next turn.
    pub(crate) fn cancel(&self, _access: &Access<'_>) {
        let (once, writes, ended) = {
            let mut state = self.state.borrow_mut();
            let once = match std::mem::replace(&mut state.reader, Reader::None) {
                Reader::Once { done, .. } => Some(done),
                other => {
                    state.reader = other;
                    None
                }
            };
            (once, std::mem::take(&mut state.writes), state.ended.take())
        };
        self.tell_cancelled(once, writes, ended);
        self.settle();
    }

    fn tell_cancelled(
        &self,
        once: Option<Completion>,
        writes: VecDeque<Write>,
        ended: Option<Completion>,
    ) {
        if once.is_none() && writes.is_empty() && ended.is_none() {
            return;
        }
        let home = self.home();
        if let Some(done) = once {
            done.deliver(rt_result::of(RT_ECANCELED), &home);
        }
        for write in writes {
            let n = write.pieces.sent() as i64;
            write.done.deliver(
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

    /// Closes the socket now, and cancels what is pending. With `reset` the peer gets a reset.
    pub(crate) fn close(&self, _access: &Access<'_>, reset: bool) {
        self.close_held(reset);
    }

    /// `close` for the holder of the loop, also when the loop itself is gone.
    fn close_held(&self, reset: bool) {
        let (socket, watch, reader, writes, ended) = {
            let mut state = self.state.borrow_mut();
            let next = match state.reader {
                Reader::Running | Reader::Stopped => Reader::Stopped,
                _ => Reader::None,
            };
            let reader = std::mem::replace(&mut state.reader, next);
            state.interest = Interest::NONE;
            let writes = std::mem::take(&mut state.writes);
            (
                state.socket.take(),
                state.watch.take(),
                reader,
                writes,
                state.ended.take(),
            )
        };
        // The watch first: the descriptor must not be closed under it.
        drop(watch);
        if let Some(socket) = &socket
            && reset
        {
            sys::reset_on_close(socket.as_fd());
        }
        drop(socket);
        match reader {
            Reader::Once { done, .. } => self.tell_cancelled(Some(done), writes, ended),
            other => {
                self.tell_cancelled(None, writes, ended);
                drop(other);
            }
        }
    }

    /// C has no handle any more: the stream is closed as soon as nothing is pending.
    fn handle_gone(&self) {
        self.held.set(false);
        self.unsubscribe();
    }

    /// Has the loop watch for what is wanted.
    fn arm(self: &Arc<Self>, access: &Access<'_>) -> Result<(), Error> {
        let mut state = self.state.borrow_mut();
        let fd = state.fd()?;
        let mut interest = state.interest;
        if state.is_reading() {
            interest |= Interest::READ;
        }
        if !state.writes.is_empty() {
            interest |= Interest::WRITE;
        }
        let active = state.is_active();
        match &state.watch {
            Some(watch) => {
                watch.set_referenced(active);
                if interest != state.interest {
                    watch.set_interest(interest)?;
                }
            }
            None => {
                let bound = Bound(self.clone());
                let watch = access.watch(fd, interest, move |ready| bound.0.ready(ready))?;
                watch.set_referenced(active);
                state.watch = Some(watch);
            }
        }
        state.interest = interest;
        Ok(())
    }

    /// After something has ended: watches for no more than is wanted, and closes the stream if
    /// nobody can want anything any more.
    fn settle(&self) {
        let state = self.state.borrow();
        let active = state.is_active();
        if let Some(watch) = &state.watch {
            watch.set_referenced(active);
        }
        if !active && !self.held.get() && state.socket.is_some() {
            drop(state);
            self.close_held(false);
        }
    }

    /// An event. Called by the loop inside a turn.
    fn ready(&self, ready: Ready) {
        let unwanted = ready.is_readable() && !self.state.borrow().is_reading();
        if ready.is_writable() {
            self.flush();
        }
        if ready.is_readable() {
            self.receive();
        }
        self.disarm(unwanted);
        self.settle();
    }

    /// Takes back interest that nobody has any more. For reading not before an event has come that
    /// nobody wanted: reads tend to be followed by reads.
    fn disarm(&self, unwanted: bool) {
        let mut state = self.state.borrow_mut();
        let mut interest = state.interest;
        if unwanted && !state.is_reading() {
            interest = interest - Interest::READ;
        }
        if state.writes.is_empty() {
            interest = interest - Interest::WRITE;
        }
        if interest != state.interest
            && let Some(watch) = &state.watch
            && watch.set_interest(interest).is_ok()
        {
            state.interest = interest;
        }
    }

    fn flush(&self) {
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

    fn receive(&self) {
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

/// What the watch's closure holds: if the loop is closed under the stream, so is the stream.
struct Bound(Arc<LoopStream>);

impl Drop for Bound {
    fn drop(&mut self) {
        // After `close` this finds nothing left to do.
        self.0.close_held(false);
    }
}

/// C's hold on a stream.
pub(crate) struct Held(pub(crate) Arc<LoopStream>);

impl Drop for Held {
    fn drop(&mut self) {
        struct Gone(Arc<LoopStream>);
        impl Drop for Gone {
            fn drop(&mut self) {
                self.0.handle_gone();
            }
        }
        drop_part(&self.0.inner, Gone(self.0.clone()));
    }
}
