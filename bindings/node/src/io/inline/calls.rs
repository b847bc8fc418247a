//! What JavaScript asks of the back end. An id that names nothing any more is no error.

use std::io;
use std::net::SocketAddr;

use super::{Deferred, Inline};
use crate::event::Syscall;
use crate::io::connection::{Connection, Entry, Which, connection};
use crate::io::listener::Listener;
use crate::io::socket::{Flush, Phase, Settings, Socket, Write};
use crate::io::sys::{self, ListenSetup};
use crate::io::table::Id;
use crate::js::AsyncContext;

impl Inline {
    /// Listens, and watches for connections.
    pub(crate) fn listen(
        &self,
        address: SocketAddr,
        setup: ListenSetup,
        settings: Settings,
    ) -> io::Result<Id> {
        let fd = sys::listen(address, setup)?;
        let entry = self.insert(|id| Entry::Listener(Listener::new(id, fd, settings)))?;
        let Entry::Listener(listener) = &*entry else {
            unreachable!("made just now")
        };
        if let Err(error) = listener.start(&self.poller) {
            self.table.borrow_mut().remove(listener.id);
            return Err(error);
        }
        self.set_held(&listener.held, true);
        Ok(listener.id)
    }

    /// Begins to connect; `Open` or `ConnectError` follows.
    pub(crate) fn connect(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        settings: Settings,
        context: Option<AsyncContext>,
    ) -> io::Result<Id> {
        let (fd, done) = sys::connect(remote, local)?;
        sys::configure(&fd, &settings);
        let socket = Socket::new(fd, Phase::Connecting, Some(remote), settings);
        let entry = self.insert(|id| Entry::Connection(Connection::new(id, socket)))?;
        let Entry::Connection(connection) = &*entry else {
            unreachable!("made just now")
        };
        connection.context.replace(context);
        self.set_held(&connection.held, true);
        if done {
            connection.socket.set_connected();
            self.defer(Deferred::Opened(connection.id));
        } else {
            self.refresh(connection);
        }
        Ok(connection.id)
    }

    /// Sends or queues. Returns the number of bytes taken, `None` when nothing can be written.
    /// With `all` it takes everything, whatever the high-water mark.
    pub(crate) fn write(&self, id: Id, data: &[u8], all: bool) -> Option<usize> {
        let entry = self.entry(id)?;
        let connection = connection(&entry)?;
        match connection.socket.write(data, all) {
            Write::Taken(count) => {
                self.touch(connection);
                if connection.socket.wants_write() {
                    self.refresh(connection);
                }
                Some(count)
            }
            Write::Closed => None,
            Write::Failed(error) => {
                self.defer(Deferred::Failed(id, error, Syscall::Write));
                None
            }
        }
    }

    /// Sends what is queued without waiting for the end of the turn.
    pub(crate) fn flush(&self, id: Id) {
        self.with_connection(id, |connection| match connection.socket.flush() {
            Flush::Failed(error) => self.defer(Deferred::Failed(id, error, Syscall::Write)),
            _ if connection.socket.is_over() => self.defer(Deferred::Closed(id)),
            _ => self.refresh(connection),
        });
    }

    /// Queues every write until it is taken back; what was queued leaves then.
    pub(crate) fn cork(&self, id: Id, corked: bool) {
        self.with_connection(id, |connection| connection.socket.set_corked(corked));
        if !corked {
            self.flush(id);
        }
    }

    /// Ends our side once what is queued was sent.
    pub(crate) fn finish(&self, id: Id) {
        self.with_connection(id, |connection| {
            if !connection.socket.finish() {
                return;
            }
            if connection.socket.buffered() == 0 {
                self.flush(id)
            } else {
                self.touch(connection)
            }
        });
    }

    /// Ends the reading side: the rest of what the peer sends is discarded by the kernel.
    pub(crate) fn shut_down_read(&self, id: Id) {
        self.with_connection(id, |connection| {
            sys::shut_down(connection.socket.raw_fd(), libc::SHUT_RD);
        });
    }

    /// Closes with an RST and drops what is queued; `Close` follows.
    pub(crate) fn terminate(&self, id: Id) {
        self.with_connection(id, |connection| {
            connection.close(true);
            self.defer(Deferred::Closed(id));
        });
    }

    pub(crate) fn set_paused(&self, id: Id, paused: bool) {
        self.with_connection(id, |connection| {
            connection.socket.set_paused(paused);
            self.refresh(connection);
        });
    }

    pub(crate) fn buffered(&self, id: Id) -> usize {
        self.with_connection(id, |connection| connection.socket.buffered())
            .unwrap_or(0)
    }

    pub(crate) fn set_no_delay(&self, id: Id, on: bool) -> io::Result<()> {
        self.with_connection(id, |connection| {
            sys::set_no_delay(connection.socket.raw_fd(), on)
        })
        .unwrap_or(Ok(()))
    }

    pub(crate) fn set_keep_alive(&self, id: Id, idle: Option<u32>) -> io::Result<()> {
        self.with_connection(id, |connection| {
            sys::set_keep_alive(connection.socket.raw_fd(), idle)
        })
        .unwrap_or(Ok(()))
    }

    /// The descriptor of a connection or listener, -1 when closed.
    pub(crate) fn raw_fd(&self, id: Id) -> i32 {
        match self.entry(id).as_deref() {
            Some(Entry::Connection(connection)) => connection.socket.raw_fd(),
            Some(Entry::Listener(listener)) => listener.raw_fd(),
            None => -1,
        }
    }

    pub(crate) fn address(&self, id: Id, which: Which) -> Option<SocketAddr> {
        match &*self.entry(id)? {
            Entry::Connection(connection) => connection.address(which),
            Entry::Listener(listener) => listener.address(),
        }
    }

    /// Whether a handle keeps the process alive.
    pub(crate) fn set_ref(&self, id: Id, held: bool) {
        match self.entry(id).as_deref() {
            Some(Entry::Connection(connection)) => self.set_held(&connection.held, held),
            Some(Entry::Listener(listener)) => self.set_held(&listener.held, held),
            None => {}
        }
    }

    /// Closes a listener; what was not accepted yet is refused by the kernel.
    pub(crate) fn close_listener(&self, id: Id) {
        if let Some(Entry::Listener(listener)) = self.entry(id).as_deref() {
            listener.close();
            self.set_held(&listener.held, false);
            self.table.borrow_mut().remove(id);
        }
    }
}
