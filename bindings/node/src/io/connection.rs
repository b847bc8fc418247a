//! A socket as an entry of an environment's table: with its id, its watch and its async context.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use super::listener::Listener;
use super::poller::{Interest, Poller, Watch};
use super::socket::Socket;
use super::sys;
use super::table::Id;
use crate::js::AsyncContext;

/// What an id names.
pub(crate) enum Entry {
    Connection(Connection),
    Listener(Listener),
}

/// Which end of a connection an address belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Local,
    Remote,
}

pub(crate) struct Connection {
    pub(crate) id: Id,
    pub(crate) socket: Socket,
    watch: RefCell<Option<Watch>>,
    watched: Cell<Interest>,
    pub(crate) context: RefCell<Option<AsyncContext>>,
    /// Whether it keeps the process alive.
    pub(crate) held: Cell<bool>,
    /// It is in the list of those that wrote in this turn.
    pub(crate) touched: Cell<bool>,
}

impl Connection {
    pub(crate) fn new(id: Id, socket: Socket) -> Self {
        Self {
            id,
            socket,
            watch: RefCell::new(None),
            watched: Cell::new(Interest::NONE),
            context: RefCell::new(None),
            held: Cell::new(false),
            touched: Cell::new(false),
        }
    }

    /// Brings the watch in line with what the socket waits for.
    pub(crate) fn refresh(&self, poller: &Poller) -> io::Result<()> {
        let wanted = Interest::new(self.socket.wants_read(), self.socket.wants_write());
        if wanted == self.watched.get() {
            return Ok(());
        }
        let mut watch = self.watch.borrow_mut();
        match &*watch {
            Some(watch) => watch.set(wanted)?,
            None => *watch = Some(poller.watch(self.id, self.socket.raw_fd(), wanted)?),
        }
        self.watched.set(wanted);
        Ok(())
    }

    /// Ends the watch and closes the descriptor, in this order.
    pub(crate) fn close(&self, reset: bool) {
        self.watch.take();
        self.watched.set(Interest::NONE);
        self.socket.close(reset);
    }

    pub(crate) fn address(&self, which: Which) -> Option<SocketAddr> {
        match which {
            Which::Local => sys::local_address(self.socket.raw_fd()),
            Which::Remote => self.socket.peer(),
        }
    }
}

/// The connection that an entry is, kept alive by it.
pub(crate) fn connection(entry: &Rc<Entry>) -> Option<&Connection> {
    match &**entry {
        Entry::Connection(connection) => Some(connection),
        Entry::Listener(_) => None,
    }
}
