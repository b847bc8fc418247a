//! A listening socket.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use super::poller::{Interest, Poller, Timer, Watch};
use super::socket::Settings;
use super::sys;
use super::table::Id;

/// How long a listener rests when the system has no descriptor or memory for a connection. What
/// waits in its backlog is served afterwards; trying at once would only spin.
const REST: Duration = Duration::from_millis(50);

pub(crate) struct Listener {
    pub(crate) id: Id,
    pub(crate) settings: Settings,
    pub(crate) held: Cell<bool>,
    fd: RefCell<Option<OwnedFd>>,
    watch: RefCell<Option<Watch>>,
    rest: RefCell<Option<Timer>>,
    /// It failed to accept, and that was told; the next success makes the next failure news.
    failing: Cell<bool>,
}

/// What came of an attempt to accept.
pub(crate) enum Accept {
    Connection(OwnedFd, Option<SocketAddr>),
    /// Nobody is waiting.
    Blocked,
    /// It rests for a while; the error is there when it is news.
    Resting(Option<io::Error>),
}

impl Listener {
    pub(crate) fn new(id: Id, fd: OwnedFd, settings: Settings) -> Self {
        Self {
            id,
            settings,
            held: Cell::new(false),
            fd: RefCell::new(Some(fd)),
            watch: RefCell::new(None),
            rest: RefCell::new(None),
            failing: Cell::new(false),
        }
    }

    /// Begins to watch for connections.
    pub(crate) fn start(&self, poller: &Poller) -> io::Result<()> {
        self.watch.replace(Some(poller.watch(
            self.id,
            self.raw_fd(),
            Interest::READ,
        )?));
        Ok(())
    }

    /// The descriptor, -1 when closed.
    pub(crate) fn raw_fd(&self) -> i32 {
        self.fd.borrow().as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        sys::local_address(self.raw_fd())
    }

    pub(crate) fn accept(&self, poller: &Poller) -> Accept {
        loop {
            match sys::accept(self.raw_fd()) {
                Ok((fd, peer)) => {
                    self.failing.set(false);
                    return Accept::Connection(fd, peer);
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Accept::Blocked,
                    // Errors of one connection that went before it was accepted: on to the next.
                    Some(
                        libc::ECONNABORTED
                        | libc::EPROTO
                        | libc::ENETDOWN
                        | libc::ENOPROTOOPT
                        | libc::EHOSTDOWN
                        | libc::ENONET
                        | libc::EHOSTUNREACH
                        | libc::EOPNOTSUPP
                        | libc::ENETUNREACH,
                    ) => {}
                    _ => {
                        self.begin_rest(poller);
                        let news = !self.failing.replace(true);
                        return Accept::Resting(news.then_some(error));
                    }
                },
            }
        }
    }

    fn begin_rest(&self, poller: &Poller) {
        let timer = poller.timer(self.id, REST);
        if let Some(watch) = &*self.watch.borrow()
            && timer.is_ok()
        {
            // Should it fail, the listener stays watched: it spins, but it is not lost.
            let _ = watch.set(Interest::NONE);
        }
        *self.rest.borrow_mut() = timer.ok();
    }

    /// Watches again once it has rested.
    pub(crate) fn end_rest(&self) {
        if self.rest.take().is_some()
            && let Some(watch) = &*self.watch.borrow()
        {
            let _ = watch.set(Interest::READ);
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.fd.borrow().is_some()
    }

    /// Ends the watch and closes the descriptor, in this order. False when that was done before.
    pub(crate) fn close(&self) -> bool {
        self.rest.take();
        self.watch.take();
        self.fd.take().is_some()
    }
}
