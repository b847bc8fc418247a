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

mod reading;
mod writing;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use libruntime_core::event_loop as core;

use super::Subscription;
use super::pieces::Pieces;
use super::sys;
use crate::event_loop::{Access, Interest, LoopInner, Ready, drop_part};
use crate::home::Home;
use crate::status::{Error, RT_ECANCELED};
use crate::task::{Completion, rt_result};

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
