//! Connecting by name or address, inside the turns of a loop.
//!
//! Happy eyeballs (RFC 8305): the addresses are tried one after the other, the families in turn,
//! each with a head start of 250 ms before the next joins in; one that fails lets the next begin at
//! once. The first connection wins, the others are given up.
//!
//! One timer of the loop paces the attempts. Its closure also owns the operation's last word: when
//! the loop is closed under it, the closure is dropped, and that cancels the operation.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use libruntime_core::event_loop as core;
use libruntime_core::runtime::Handle;

use super::{address, sys};
use crate::event_loop::{Access, Interest, LoopInner};
use crate::home::Home;
use crate::status::{Error, RT_ECANCELED};
use crate::task::{Completion, rt_result};

/// The head start of one address before the next: what RFC 8305 recommends.
pub(crate) const HEAD_START: Duration = Duration::from_millis(250);
/// Longer than any name lookup.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

pub(crate) struct LoopConnect {
    inner: Arc<LoopInner>,
    state: RefCell<Option<State>>,
    finish: Box<dyn Fn(OwnedFd) -> rt_result + Send + Sync>,
}

// SAFETY: `state` is only touched by the holder of the loop, one thread at a time: in calls that the
// loop makes inside a turn, in `start`, which has an `Access`, or when the loop is closed.
unsafe impl Send for LoopConnect {}
// SAFETY: as above.
unsafe impl Sync for LoopConnect {}

/// Gone once the operation has ended.
struct State {
    done: Completion,
    timer: core::LoopTimer,
    queue: VecDeque<SocketAddr>,
    attempts: Vec<Attempt>,
    error: Error,
}

struct Attempt {
    socket: OwnedFd,
    watch: core::Watch,
}

impl LoopConnect {
    /// Connects to `host`, a name that is looked up on `runtime` or an address, and calls `done`
    /// with what `finish` makes of the connection, in a later turn.
    ///
    /// # Errors
    /// `NoRuntime` if a name has to be looked up and there is no runtime; the loop's.
    pub(crate) fn start(
        inner: &Arc<LoopInner>,
        runtime: Option<Handle>,
        host: &str,
        port: u16,
        done: Completion,
        finish: impl Fn(OwnedFd) -> rt_result + Send + Sync + 'static,
    ) -> Result<Arc<LoopConnect>, Error> {
        let literal = address::literal(host, port);
        let ready = inner.access().and_then(|access| match (literal, runtime) {
            (None, None) => Err(Error::NoRuntime),
            (_, runtime) => Ok((access, runtime)),
        });
        let (access, runtime) = match ready {
            Ok(ready) => ready,
            Err(error) => {
                done.disarm();
                return Err(error);
            }
        };
        let this = Arc::new(LoopConnect {
            inner: inner.clone(),
            state: RefCell::new(None),
            finish: Box::new(finish),
        });
        let bound = Bound(this.clone());
        let timer = access.timer(move || bound.0.advance());
        timer.restart_after(NEVER, None);
        *this.state.borrow_mut() = Some(State {
            done,
            timer,
            queue: VecDeque::new(),
            attempts: Vec::new(),
            error: Error::Canceled,
        });
        match (literal, runtime) {
            (Some(address), _) => this.found(&access, Ok(vec![address])),
            (None, Some(runtime)) => this.look_up(&runtime, host.to_owned(), port),
            (None, None) => {}
        }
        Ok(this)
    }

    fn look_up(self: &Arc<Self>, runtime: &Handle, host: String, port: u16) {
        let answer = Answer {
            connect: self.clone(),
            found: Err(Error::Shutdown),
        };
        drop(runtime.spawn_blocking(move || {
            let mut answer = answer;
            answer.found = address::resolve(&host, port);
        }));
    }

    /// The addresses are known. Callbacks come in the next turn.
    fn found(self: &Arc<Self>, access: &Access<'_>, found: Result<Vec<SocketAddr>, Error>) {
        {
            let mut state = self.state.borrow_mut();
            let Some(state) = &mut *state else { return };
            match found {
                Ok(addresses) => state.queue = address::interleave(addresses).into(),
                Err(error) => state.error = error,
            }
        }
        let first = self.clone();
        // A failure at the very first step must not call back from inside the submission.
        let step = access.timer(move || first.advance());
        step.restart_after(Duration::ZERO, None);
        step.detach();
    }

    /// Begins the next attempt; ends the operation if none is left.
    fn advance(self: &Arc<Self>) {
        loop {
            let address = {
                let mut state = self.state.borrow_mut();
                let Some(state) = &mut *state else { return };
                match state.queue.pop_front() {
                    Some(address) => address,
                    None if state.attempts.is_empty() => break,
                    None => return,
                }
            };
            match self.attempt(address) {
                Ok(None) => return,
                Ok(Some(socket)) => return self.connected(socket),
                Err(error) => {
                    if let Some(state) = &mut *self.state.borrow_mut() {
                        state.error = error;
                    }
                }
            }
        }
        let error = self
            .state
            .borrow()
            .as_ref()
            .map_or(Error::Canceled, |state| state.error);
        self.end(rt_result::of(error.code()));
    }

    /// Begins to connect. The socket is returned if that is all there was to do.
    fn attempt(self: &Arc<Self>, address: SocketAddr) -> Result<Option<OwnedFd>, Error> {
        let access = self.inner.access()?;
        let (socket, connected) = sys::connect(address)?;
        if connected {
            return Ok(Some(socket));
        }
        let (fd, this) = (socket.as_raw_fd(), self.clone());
        let watch = access.watch(fd, Interest::WRITE, move |_| this.writable(fd))?;
        if let Some(state) = &mut *self.state.borrow_mut() {
            state.attempts.push(Attempt { socket, watch });
            let delay = if state.queue.is_empty() {
                NEVER
            } else {
                HEAD_START
            };
            state.timer.restart_after(delay, None);
        }
        Ok(None)
    }

    /// An attempt has ended.
    fn writable(self: &Arc<Self>, fd: i32) {
        let attempt = {
            let mut state = self.state.borrow_mut();
            let Some(state) = &mut *state else { return };
            let Some(index) = state
                .attempts
                .iter()
                .position(|a| a.socket.as_raw_fd() == fd)
            else {
                return;
            };
            state.attempts.swap_remove(index)
        };
        let Attempt { socket, watch } = attempt;
        drop(watch);
        match sys::connect_error(socket.as_fd()) {
            Ok(()) => self.connected(socket),
            Err(error) => {
                drop(socket);
                if let Some(state) = &mut *self.state.borrow_mut() {
                    state.error = Error::from(error);
                }
                self.advance();
            }
        }
    }

    fn connected(&self, socket: OwnedFd) {
        if self.state.borrow().is_some() {
            self.end((self.finish)(socket));
        }
    }

    fn end(&self, result: rt_result) {
        let state = self.state.borrow_mut().take();
        if let Some(State {
            done,
            timer,
            attempts,
            ..
        }) = state
        {
            drop((timer, attempts));
            done.fire(&result);
        }
    }

    /// Any thread: asks for it to be cancelled.
    pub(crate) fn cancel(self: &Arc<Self>) {
        let this = self.clone();
        self.inner
            .post(move || this.end(rt_result::of(RT_ECANCELED)));
    }

    pub(crate) fn inner(&self) -> &Arc<LoopInner> {
        &self.inner
    }
}

/// What the timer's closure holds: if the loop is closed under the operation, it is cancelled.
struct Bound(Arc<LoopConnect>);

impl Drop for Bound {
    fn drop(&mut self) {
        // After the end this finds nothing left to do.
        self.0.end(rt_result::of(RT_ECANCELED));
    }
}

/// The answer of a name lookup: goes to the loop when it is dropped, so also if the lookup is never
/// made because the runtime shuts down.
struct Answer {
    connect: Arc<LoopConnect>,
    found: Result<Vec<SocketAddr>, Error>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        let connect = self.connect.clone();
        let found = std::mem::replace(&mut self.found, Err(Error::Canceled));
        Home::Loop(self.connect.inner.clone()).run(move || {
            if let Ok(access) = connect.inner.access() {
                connect.found(&access, found);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_refused_connection_is_an_error_of_the_attempt() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = match sys::connect(address) {
            Ok((socket, _)) => loop {
                match sys::connect_error(socket.as_fd()) {
                    Ok(()) => std::thread::yield_now(),
                    Err(error) => break error,
                }
            },
            Err(error) => error,
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
