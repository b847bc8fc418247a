//! The back end that drives sockets on JavaScript's own thread.
//!
//! A turn of the event loop only collects what is ready. The sockets are served after it, so that
//! handlers run outside of the turn and each one sees what the handlers before it did: a socket that
//! another one's handler paused or closed is not read any more.
//!
//! What a call from JavaScript brings about (the last event of a closed socket, a write that
//! failed) is not told from inside that call but deferred to the end of the turn, or, between
//! turns, to the moment before Node waits next. The same moment ends the turn for writes.

mod calls;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;

use super::connection::{Connection, Entry, connection};
use super::listener::{Accept, Listener};
use super::poller::{Arrival, Poller};
use super::socket::{Flush, Phase, Read, Socket};
use super::sys;
use super::table::{Id, Table};
use crate::dispatch::Dispatcher;
use crate::event::{Event, Syscall};
use crate::host::Host;
use crate::js::Js;

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

    /// Serves what is ready, without waiting.
    pub(crate) fn turn(&self, events: &Dispatcher) {
        let _busy = Busy::new(&self.busy);
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
    }

    /// Ends a turn: what was written in it leaves, what was deferred is told.
    pub(crate) fn settle(&self, events: &Dispatcher) {
        self.host.prepare_done();
        let _busy = Busy::new(&self.busy);
        let _ = self.settle_all(events);
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

/// Says that a turn is being served, until it is dropped.
struct Busy<'a>(&'a Cell<bool>);

impl<'a> Busy<'a> {
    fn new(busy: &'a Cell<bool>) -> Self {
        busy.set(true);
        Self(busy)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
