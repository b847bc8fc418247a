//! The back end that drives sockets on JavaScript's own thread.
//!
//! A turn of the event loop only collects what is ready. The sockets are served after it, so that
//! handlers run outside of the turn and each one sees what the handlers before it did: a socket that
//! another one's handler paused or closed is not read any more.
//!
//! What a call from JavaScript brings about (the last event of a closed socket, a write that
//! failed) is not told from inside that call but deferred to the end of the turn, or, between
//! turns, to the moment before Node waits next. The same moment ends the turn for writes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::rc::Rc;

use super::connection::{Connection, Entry, Which, connection};
use super::listener::{Accept, Listener};
use super::poller::{Arrival, Poller};
use super::socket::{Flush, Phase, Read, Settings, Socket, Write};
use super::sys::{self, ListenSetup};
use super::table::{Id, Table};
use crate::dispatch::Dispatcher;
use crate::event::{Event, Syscall};
use crate::host::Host;
use crate::js::{AsyncContext, Js};

/// How often a socket is read in one turn while each read fills the slab.
const READS_PER_TURN: usize = 4;
/// How many connections a listener accepts in one turn.
const ACCEPTS_PER_TURN: usize = 64;

/// Something that JavaScript has to hear of, but not from inside its own call.
enum Deferred {
    Opened(Id),
    Failed(Id, io::Error, Syscall),
    Closed(Id),
}

pub(crate) struct Inline {
    host: Host,
    poller: Poller,
    table: RefCell<Table<Entry>>,
    deferred: RefCell<VecDeque<Deferred>>,
    /// Those that wrote since the last `settle`.
    touched: RefCell<VecDeque<Id>>,
    /// Lent to each turn, to keep its memory.
    arrivals: RefCell<Vec<(Id, Arrival)>>,
    /// A turn is being served: it settles by itself.
    busy: Cell<bool>,
}

type Flow = ControlFlow<()>;

impl Inline {
    pub(crate) fn new(poller: Poller, host: Host) -> Self {
        Self {
            host,
            poller,
            table: RefCell::new(Table::new()),
            deferred: RefCell::default(),
            touched: RefCell::default(),
            arrivals: RefCell::default(),
            busy: Cell::new(false),
        }
    }

    /// Closes all descriptors and the tie to uv; nothing is told any more. To be called once.
    pub(crate) fn shut_down(&self, js: Js) {
        let entries = self.table.borrow_mut().drain();
        for entry in entries {
            match &*entry {
                Entry::Listener(listener) => {
                    listener.close();
                }
                Entry::Connection(connection) => {
                    connection.close(false);
                    if let Some(context) = connection.context.take() {
                        context.destroy(js);
                    }
                }
            }
        }
        self.host.close();
    }

    /// How many connections and listeners there are.
    pub(crate) fn handles(&self) -> usize {
        self.table.borrow().len()
    }

    // Serving what is ready.

    /// Serves what is ready, without waiting.
    pub(crate) fn turn(&self, events: &Dispatcher) {
        self.busy.set(true);
        let mut arrivals = self.arrivals.take();
        self.poller.turn(&mut arrivals);
        let served = arrivals
            .drain(..)
            .try_for_each(|(id, arrival)| self.serve(id, arrival, events))
            .is_continue();
        self.arrivals.replace(arrivals);
        if served {
            let _ = self.settle_all(events);
        }
        self.busy.set(false);
    }

    /// Ends a turn: what was written in it leaves, what was deferred is told.
    pub(crate) fn settle(&self, events: &Dispatcher) {
        self.host.prepare_done();
        self.busy.set(true);
        let _ = self.settle_all(events);
        self.busy.set(false);
    }

    fn settle_all(&self, events: &Dispatcher) -> Flow {
        loop {
            let touched = self.touched.borrow_mut().pop_front();
            if let Some(id) = touched {
                self.end_turn(id, events)?;
                continue;
            }
            let deferred = self.deferred.borrow_mut().pop_front();
            match deferred {
                Some(deferred) => self.tell(deferred, events)?,
                None => return Flow::Continue(()),
            }
        }
    }

    fn serve(&self, id: Id, arrival: Arrival, events: &Dispatcher) -> Flow {
        let Some(entry) = self.entry(id) else {
            return Flow::Continue(());
        };
        let (connection, readable, writable) = match (&*entry, arrival) {
            (Entry::Listener(listener), Arrival::Ready { .. }) => {
                return self.accept(listener, events);
            }
            (Entry::Listener(listener), Arrival::Timer) => {
                listener.end_rest();
                return Flow::Continue(());
            }
            (Entry::Connection(connection), Arrival::Ready { readable, writable }) => {
                (connection, readable, writable)
            }
            (Entry::Connection(_), Arrival::Timer) => return Flow::Continue(()),
        };
        let socket = &connection.socket;
        if socket.phase() == Phase::Connecting {
            return match socket.finish_connect() {
                Ok(()) => self.opened(connection, events),
                Err(error) => self.refused(connection, &error, events),
            };
        }
        if writable && socket.wants_write() {
            self.resume_sending(connection, events)?;
        }
        if readable {
            self.read(connection, events)?;
        }
        self.refresh(connection);
        Flow::Continue(())
    }

    fn opened(&self, connection: &Connection, events: &Dispatcher) -> Flow {
        self.deliver(connection, Event::Open, events)?;
        self.refresh(connection);
        Flow::Continue(())
    }

    fn refused(&self, connection: &Connection, error: &io::Error, events: &Dispatcher) -> Flow {
        connection.close(false);
        let flow = self.deliver(
            connection,
            Event::ConnectError {
                errno: errno(error),
            },
            events,
        );
        self.forget(connection, events);
        flow
    }

    fn read(&self, connection: &Connection, events: &Dispatcher) -> Flow {
        for _ in 0..READS_PER_TURN {
            if !connection.socket.wants_read() {
                break;
            }
            match events.read(|slab| connection.socket.read(slab)) {
                Read::Data(length, more) => {
                    self.deliver(connection, Event::Data { offset: 0, length }, events)?;
                    if !more {
                        break;
                    }
                }
                Read::End => return self.peer_ended(connection, events),
                Read::Blocked => break,
                Read::Failed(error) => {
                    return self.broken(connection, &error, Syscall::Read, events);
                }
            }
        }
        Flow::Continue(())
    }

    fn peer_ended(&self, connection: &Connection, events: &Dispatcher) -> Flow {
        self.deliver(connection, Event::End, events)?;
        if !connection.socket.settings.allow_half_open {
            connection.socket.finish();
        }
        match connection.socket.flush() {
            Flush::Failed(error) => self.broken(connection, &error, Syscall::Write, events),
            _ if connection.socket.is_over() => self.closed(connection, events),
            _ => Flow::Continue(()),
        }
    }

    /// The kernel has room again.
    fn resume_sending(&self, connection: &Connection, events: &Dispatcher) -> Flow {
        match connection.socket.flush_now() {
            Flush::Failed(error) => self.broken(connection, &error, Syscall::Write, events),
            Flush::Blocked => Flow::Continue(()),
            Flush::Empty(_) if connection.socket.is_over() => self.closed(connection, events),
            Flush::Empty(false) => Flow::Continue(()),
            Flush::Empty(true) => self.deliver(connection, Event::Drain, events),
        }
    }

    /// Sends what was queued in this turn.
    fn end_turn(&self, id: Id, events: &Dispatcher) -> Flow {
        let Some(entry) = self.entry(id) else {
            return Flow::Continue(());
        };
        let Some(connection) = connection(&entry) else {
            return Flow::Continue(());
        };
        connection.touched.set(false);
        if !connection.socket.end_turn() {
            return Flow::Continue(());
        }
        match connection.socket.flush() {
            Flush::Failed(error) => self.broken(connection, &error, Syscall::Write, events),
            _ if connection.socket.is_over() => self.closed(connection, events),
            _ => {
                self.refresh(connection);
                Flow::Continue(())
            }
        }
    }

    fn tell(&self, deferred: Deferred, events: &Dispatcher) -> Flow {
        let (Deferred::Opened(id) | Deferred::Failed(id, ..) | Deferred::Closed(id)) = deferred;
        let Some(entry) = self.entry(id) else {
            return Flow::Continue(());
        };
        let Some(connection) = connection(&entry) else {
            return Flow::Continue(());
        };
        match deferred {
            Deferred::Opened(_) if connection.socket.phase() == Phase::Closed => Flow::Continue(()),
            Deferred::Opened(_) => self.opened(connection, events),
            Deferred::Closed(_) => self.closed(connection, events),
            Deferred::Failed(_, error, syscall) => {
                // What the peer sent before it broke the connection still counts.
                while connection.socket.wants_read() {
                    match events.read(|slab| connection.socket.read(slab)) {
                        Read::Data(length, _) => {
                            self.deliver(connection, Event::Data { offset: 0, length }, events)?;
                        }
                        _ => break,
                    }
                }
                self.broken(connection, &error, syscall, events)
            }
        }
    }

    fn broken(
        &self,
        connection: &Connection,
        error: &io::Error,
        syscall: Syscall,
        events: &Dispatcher,
    ) -> Flow {
        // A handler may have terminated it meanwhile: then its `Close` is deferred already.
        if connection.socket.phase() != Phase::Closed {
            connection.close(false);
            self.deliver(
                connection,
                Event::Error {
                    errno: errno(error),
                    syscall,
                },
                events,
            )?;
            self.closed(connection, events)?;
        }
        Flow::Continue(())
    }

    /// Tells the last event of a connection and forgets it.
    fn closed(&self, connection: &Connection, events: &Dispatcher) -> Flow {
        connection.close(false);
        let flow = self.deliver(connection, Event::Close, events);
        self.forget(connection, events);
        flow
    }

    fn forget(&self, connection: &Connection, events: &Dispatcher) {
        if self.table.borrow_mut().remove(connection.id).is_none() {
            return;
        }
        self.set_held(&connection.held, false);
        if let Some(context) = connection.context.take() {
            context.destroy(events.js());
        }
    }

    fn accept(&self, listener: &Listener, events: &Dispatcher) -> Flow {
        for _ in 0..ACCEPTS_PER_TURN {
            if !listener.is_open() {
                break;
            }
            match listener.accept(&self.poller) {
                Accept::Connection(fd, peer) => {
                    sys::configure(&fd, &listener.settings);
                    let socket = Socket::new(fd, Phase::Open, peer, listener.settings);
                    // Without an id to spare the connection is dropped, which closes it.
                    let entry = self.insert(|id| Entry::Connection(Connection::new(id, socket)));
                    let Some(connection) = entry.as_ref().ok().and_then(connection) else {
                        break;
                    };
                    self.set_held(&connection.held, true);
                    match events.adopt(connection.id, listener.id) {
                        ControlFlow::Continue(context) => {
                            connection.context.replace(Some(context));
                        }
                        ControlFlow::Break(()) => {
                            connection.close(false);
                            self.forget(connection, events);
                            return Flow::Break(());
                        }
                    }
                    self.opened(connection, events)?;
                }
                Accept::Blocked => break,
                Accept::Resting(None) => break,
                Accept::Resting(Some(error)) => {
                    let event = Event::AcceptError {
                        errno: errno(&error),
                    };
                    return events.deliver(None, listener.id, event);
                }
            }
        }
        Flow::Continue(())
    }

    fn deliver(&self, connection: &Connection, event: Event, events: &Dispatcher) -> Flow {
        events.deliver(connection.context.borrow().as_ref(), connection.id, event)
    }

    // Calls from JavaScript. An id that names nothing any more is no error.

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

    fn insert(&self, make: impl FnOnce(Id) -> Entry) -> io::Result<Rc<Entry>> {
        let entry = self.table.borrow_mut().insert(make);
        entry.ok_or_else(|| io::Error::from_raw_os_error(libc::EMFILE))
    }

    fn entry(&self, id: Id) -> Option<Rc<Entry>> {
        self.table.borrow().get(id)
    }

    fn with_connection<R>(&self, id: Id, f: impl FnOnce(&Connection) -> R) -> Option<R> {
        let entry = self.entry(id)?;
        connection(&entry).map(f)
    }

    fn refresh(&self, connection: &Connection) {
        if let Err(error) = connection.refresh(&self.poller) {
            self.defer(Deferred::Failed(connection.id, error, Syscall::EpollCtl));
        }
    }

    fn touch(&self, connection: &Connection) {
        if !connection.touched.replace(true) {
            self.touched.borrow_mut().push_back(connection.id);
            self.ask_to_settle();
        }
    }

    fn defer(&self, deferred: Deferred) {
        self.deferred.borrow_mut().push_back(deferred);
        self.ask_to_settle();
    }

    fn ask_to_settle(&self) {
        if !self.busy.get() {
            self.host.call_before_wait();
        }
    }

    fn set_held(&self, held: &Cell<bool>, hold: bool) {
        if held.replace(hold) != hold {
            if hold {
                self.host.hold()
            } else {
                self.host.release()
            }
        }
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
