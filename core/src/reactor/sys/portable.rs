//! Everywhere else: mio as it is.
//!
//! mio is edge-triggered, so a level is made of edges: after the owner of a watch has been told, the
//! watch is registered anew, which makes mio look at it again. There is no alarm: a host has to
//! keep an eye on the loop's next timeout.
//!
//! Build with `--cfg libruntime_portable` to use this on Linux too.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mio::unix::SourceFd;

use super::{Event, Mode};
use crate::reactor::{Interest, Ready};

const CAPACITY: usize = 1024;

#[derive(Debug)]
pub(crate) struct Poller {
    /// Held while waiting; there is one waiter.
    poll: Mutex<mio::Poll>,
    registry: mio::Registry,
    fd: RawFd,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let fd = poll.as_raw_fd();
        Ok(Poller {
            poll: Mutex::new(poll),
            registry,
            fd,
        })
    }

    /// The descriptor that a host can sleep on.
    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    /// Waits until something is reported, `timeout` has passed (`None`: never) or a signal was
    /// handled. Only the owner of `events` calls this.
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.ready.clear();
        let mut poll = self.poll.lock().unwrap_or_else(PoisonError::into_inner);
        match poll.poll(&mut events.buffer, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        events.ready.extend(events.buffer.iter().map(|event| Event {
            token: usize::from(event.token()) as u64,
            ready: ready_of(event),
        }));
        Ok(())
    }

    pub(crate) fn add(
        &self,
        fd: RawFd,
        token: u64,
        interest: Interest,
        _mode: Mode,
    ) -> io::Result<()> {
        self.registry
            .register(&mut SourceFd(&fd), mio::Token(token as usize), of(interest))
    }

    /// Asks for something else; what is ready already is reported again.
    pub(crate) fn modify(
        &self,
        fd: RawFd,
        token: u64,
        interest: Interest,
        _mode: Mode,
    ) -> io::Result<()> {
        self.registry
            .reregister(&mut SourceFd(&fd), mio::Token(token as usize), of(interest))
    }

    /// Takes `fd` out of the set: no wait that begins later reports it.
    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.registry.deregister(&mut SourceFd(&fd))
    }

    /// To be called after the owner of a level-triggered descriptor has been told.
    pub(crate) fn rearm(&self, fd: RawFd, token: u64, interest: Interest) {
        if !interest.is_empty() {
            // If the descriptor was closed, it is silent from now on.
            let _ = self.modify(fd, token, interest, Mode::Level);
        }
    }

    /// Edges report a ghost no more than once, which is no reason to do anything.
    pub(crate) fn replace_set(&self, _fill: impl FnOnce(&Filler)) -> io::Result<bool> {
        Ok(false)
    }
}

/// A set that is being filled by [`Poller::replace_set`].
pub(crate) struct Filler(());

impl Filler {
    pub(crate) fn add(
        &self,
        _fd: RawFd,
        _token: u64,
        _interest: Interest,
        _mode: Mode,
    ) -> io::Result<()> {
        Ok(())
    }
}

/// mio has no empty interest; the callers have none either.
fn of(interest: Interest) -> mio::Interest {
    let mut all: Option<mio::Interest> = None;
    let mut add = |part: mio::Interest| all = Some(all.map_or(part, |all| all | part));
    if interest.contains(Interest::READ) {
        add(mio::Interest::READABLE);
    }
    if interest.contains(Interest::WRITE) {
        add(mio::Interest::WRITABLE);
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if interest.contains(Interest::PRIORITY) {
        add(mio::Interest::PRIORITY);
    }
    all.unwrap_or(mio::Interest::READABLE)
}

fn ready_of(event: &mio::event::Event) -> Ready {
    let mut ready = Ready::NONE;
    if event.is_readable() {
        ready |= Ready::READABLE;
    }
    if event.is_writable() {
        ready |= Ready::WRITABLE;
    }
    if event.is_priority() {
        ready |= Ready::PRIORITY;
    }
    if event.is_read_closed() {
        ready |= Ready::READ_CLOSED | Ready::READABLE;
    }
    if event.is_read_closed() && event.is_write_closed() {
        ready |= Ready::HANGUP | Ready::WRITABLE;
    }
    if event.is_error() {
        ready |= Ready::ERROR | Ready::READABLE | Ready::WRITABLE;
    }
    ready
}

/// What a wait reported.
pub(crate) struct Events {
    buffer: mio::Events,
    ready: Vec<Event>,
}

impl Events {
    pub(crate) fn new() -> Events {
        Events {
            buffer: mio::Events::with_capacity(CAPACITY),
            ready: Vec::with_capacity(CAPACITY),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ready.len()
    }

    /// Whether the wait may have left something behind.
    pub(crate) fn is_full(&self) -> bool {
        self.ready.len() == CAPACITY
    }

    pub(crate) fn get(&self, index: usize) -> Event {
        self.ready[index]
    }
}

/// Ends a wait.
#[derive(Debug)]
pub(crate) struct Bell(mio::Waker);

impl Bell {
    pub(crate) fn new(poller: &Poller, token: u64) -> io::Result<Bell> {
        mio::Waker::new(&poller.registry, mio::Token(token as usize)).map(Bell)
    }

    pub(crate) fn refill(&self, _filler: &Filler, _token: u64) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn renew(&self) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    /// Ends the current wait, or the next one.
    pub(crate) fn ring(&self) {
        // It fails only if the set is gone, and then nobody waits.
        let _ = self.0.wake();
    }
}

/// There is none here.
#[derive(Debug)]
pub(crate) enum Alarm {}

impl Alarm {
    pub(crate) fn new(_poller: &Poller, _token: u64) -> io::Result<Option<Alarm>> {
        Ok(None)
    }

    pub(crate) fn refill(&self, _filler: &Filler, _token: u64) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn renew(&self) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn set(&self, _after: Duration) -> io::Result<()> {
        match *self {}
    }
}
