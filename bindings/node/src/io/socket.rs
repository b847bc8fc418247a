//! One TCP connection, without any knowledge of JavaScript or of the event loop.
//!
//! Its methods make the system calls and keep the state; they report what happened and leave it to
//! the back end to turn that into events and to change what is watched.
//!
//! ```text
//!            connected             end of stream read + everything sent and shut down
//! Connecting ─────────► Open ──────────────────────────────────────────────────► Closed
//!      └──────────────────┴──── an error, or terminated ─────────────────────────────┘
//! ```

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::out_buffer::OutBuffer;
use super::sys;

/// From this size on a chunk that finds others waiting is sent with them at once, not copied behind them.
const GATHER: usize = 16 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Connecting,
    Open,
    Closed,
}

/// What reading once yielded.
pub(crate) enum Read {
    /// So many bytes; `true` when the buffer was filled, so that there may be more.
    Data(usize, bool),
    End,
    Blocked,
    Failed(io::Error),
}

/// What became of a write.
pub(crate) enum Write {
    /// So many bytes were sent or queued.
    Taken(usize),
    /// The writable side is closed, or not open yet.
    Closed,
    Failed(io::Error),
}

/// What became of the queue.
pub(crate) enum Flush {
    /// Nothing is waiting; `true` when something was and the kernel had been full.
    Empty(bool),
    Blocked,
    Failed(io::Error),
}

/// How a connection behaves, chosen when it is made.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// The most bytes that may wait in the queue.
    pub(crate) high_water_mark: usize,
    /// Whether our side stays open when the peer has ended its own.
    pub(crate) allow_half_open: bool,
    pub(crate) no_delay: bool,
    /// Seconds of silence before the first probe; `None` without keep-alive.
    pub(crate) keep_alive: Option<u32>,
}

pub(crate) struct Socket {
    fd: RefCell<Option<OwnedFd>>,
    /// A copy of the number in `fd` for the hot path; -1 when closed.
    raw: Cell<RawFd>,
    phase: Cell<Phase>,
    peer: Option<SocketAddr>,
    pub(crate) settings: Settings,
    out: RefCell<OutBuffer>,
    /// The kernel refused bytes; only its readiness makes another attempt worth while.
    blocked: Cell<bool>,
    corked: Cell<bool>,
    /// Something was sent in this turn, so that what follows in it waits for its end.
    sent_this_turn: Cell<bool>,
    paused: Cell<bool>,
    read_ended: Cell<bool>,
    /// Nothing more may be written; the FIN follows the queue.
    finishing: Cell<bool>,
    finished: Cell<bool>,
    /// A write failed: the connection is broken, which is yet to be told.
    failed: Cell<bool>,
}

impl Socket {
    pub(crate) fn new(
        fd: OwnedFd,
        phase: Phase,
        peer: Option<SocketAddr>,
        settings: Settings,
    ) -> Self {
        Self {
            raw: Cell::new(fd.as_raw_fd()),
            fd: RefCell::new(Some(fd)),
            phase: Cell::new(phase),
            peer,
            settings,
            out: RefCell::default(),
            blocked: Cell::new(false),
            corked: Cell::new(false),
            sent_this_turn: Cell::new(false),
            paused: Cell::new(false),
            read_ended: Cell::new(false),
            finishing: Cell::new(false),
            finished: Cell::new(false),
            failed: Cell::new(false),
        }
    }

    /// The descriptor, -1 when closed.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.raw.get()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Bytes that wait in the queue.
    pub(crate) fn buffered(&self) -> usize {
        self.out.borrow().len()
    }

    pub(crate) fn wants_read(&self) -> bool {
        self.phase.get() == Phase::Open && !self.paused.get() && !self.read_ended.get()
    }

    pub(crate) fn wants_write(&self) -> bool {
        match self.phase.get() {
            Phase::Connecting => true,
            Phase::Open => self.blocked.get() && !self.failed.get(),
            Phase::Closed => false,
        }
    }

    /// Both directions have ended in good order: only closing is left.
    pub(crate) fn is_over(&self) -> bool {
        self.phase.get() == Phase::Open
            && self.read_ended.get()
            && self.finishing.get()
            && !self.failed.get()
            && self.out.borrow().is_empty()
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.set(paused);
    }

    /// The outcome of the attempt to connect, once the descriptor is writable.
    pub(crate) fn finish_connect(&self) -> io::Result<()> {
        let error = sys::take_error(self.raw.get())?;
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        self.set_connected();
        Ok(())
    }

    pub(crate) fn set_connected(&self) {
        self.phase.set(Phase::Open);
    }

    /// Reads once into `buffer`.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Read {
        match sys::receive(self.raw.get(), buffer) {
            Ok(0) => {
                self.read_ended.set(true);
                Read::End
            }
            Ok(count) => Read::Data(count, count == buffer.len()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Blocked,
            Err(error) => Read::Failed(error),
        }
    }

    /// Sends at once when this is the turn's first write, else queues: the rest of a turn leaves
    /// together when [`Socket::end_turn`] comes. Unless `all` is asked for, takes no more than the
    /// high-water mark allows to wait.
    pub(crate) fn write(&self, data: &[u8], all: bool) -> Write {
        if self.phase.get() != Phase::Open || self.finishing.get() || self.failed.get() {
            return Write::Closed;
        }
        let mut out = self.out.borrow_mut();
        let fresh = out.is_empty() && !self.sent_this_turn.get();
        let room = self.settings.high_water_mark.saturating_sub(out.len());
        let at_once = !self.corked.get() && (fresh || data.len() >= GATHER);
        let mut taken = 0;
        if !self.blocked.get() && (at_once || data.len() > room) && !data.is_empty() {
            self.sent_this_turn.set(true);
            let waiting = out.len();
            match sys::send(self.raw.get(), out.pending(), data) {
                Ok(sent) => {
                    out.consume(sent.min(waiting));
                    taken = sent.saturating_sub(waiting);
                    self.blocked.set(sent < waiting + data.len());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked.set(true),
                Err(error) => {
                    self.failed.set(true);
                    return Write::Failed(error);
                }
            }
        }
        let rest = &data[taken..];
        let room = self.settings.high_water_mark.saturating_sub(out.len());
        let queued = if all {
            rest.len()
        } else {
            rest.len().min(room)
        };
        out.push(&rest[..queued]);
        Write::Taken(taken + queued)
    }

    /// Sends what waits, unless the kernel is known to be full.
    pub(crate) fn flush(&self) -> Flush {
        if self.blocked.get() {
            Flush::Blocked
        } else {
            self.flush_now()
        }
    }

    /// Sends what waits because the kernel has room again.
    pub(crate) fn flush_now(&self) -> Flush {
        let mut out = self.out.borrow_mut();
        let was_blocked = self.blocked.replace(false);
        if !out.is_empty() {
            match sys::send(self.raw.get(), out.pending(), &[]) {
                Ok(sent) => out.consume(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Flush::Failed(error),
            }
            if !out.is_empty() {
                self.blocked.set(true);
                return Flush::Blocked;
            }
        }
        drop(out);
        if self.finishing.get() && !self.finished.replace(true) && !self.read_ended.get() {
            // When the peer has ended as well, closing says the same with one call less.
            sys::shut_down(self.raw.get(), libc::SHUT_WR);
        }
        Flush::Empty(was_blocked)
    }

    /// Forgets that something was sent in this turn. True when queued bytes should go now.
    pub(crate) fn end_turn(&self) -> bool {
        self.sent_this_turn.set(false);
        self.phase.get() == Phase::Open && !self.corked.get()
    }

    pub(crate) fn set_corked(&self, corked: bool) {
        self.corked.set(corked);
    }

    /// Refuses further writes; the FIN goes when [`Socket::flush`] finds the queue empty.
    /// False when that was asked for before.
    pub(crate) fn finish(&self) -> bool {
        self.corked.set(false);
        self.phase.get() == Phase::Open && !self.finishing.replace(true)
    }

    /// Closes the descriptor and forgets the queue. With `reset` the peer gets an RST.
    pub(crate) fn close(&self, reset: bool) {
        self.phase.set(Phase::Closed);
        self.raw.set(-1);
        self.out.borrow_mut().clear();
        if let Some(fd) = self.fd.take()
            && reset
        {
            sys::reset_on_close(fd.as_raw_fd());
        }
    }
}
