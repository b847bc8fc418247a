//! The tie between an event loop and the uv loop of a Node environment.
//!
//! A nested descriptor carries all readiness: uv polls the one fd of the event loop, whose set holds
//! every socket. A prepare handle covers what no descriptor announces: work that JavaScript left
//! behind outside of a turn.

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;

use crate::environment::Environment;
use crate::uv::{Handle, Loop};

pub(crate) struct Host {
    poll: Handle,
    prepare: Handle,
    prepared: Cell<bool>,
    holds: Cell<usize>,
}

/// How many handles a host has: so often `on_closed` is called after [`Host::close`].
pub(crate) const HANDLES: usize = 2;

impl Host {
    /// From now on calls `on_readable` of `owner` whenever `fd` is readable.
    ///
    /// # Safety
    /// `uv` must be the calling thread's loop, and alive. `fd` must stay open until [`Host::close`],
    /// `owner` valid until it was told of both handles having closed.
    pub(crate) unsafe fn new(
        uv: *mut Loop,
        fd: RawFd,
        owner: *const Environment,
    ) -> io::Result<Self> {
        // SAFETY: what the caller promises is what both ask for.
        let poll = unsafe { Handle::poll(uv, fd, owner)? };
        // SAFETY: as above.
        let prepare = unsafe { Handle::prepare(uv, owner)? };
        poll.start_poll::<Environment>()?;
        Ok(Self {
            poll,
            prepare,
            prepared: Cell::new(false),
            holds: Cell::new(0),
        })
    }

    /// Asks for one `on_prepare` before the loop waits next.
    pub(crate) fn call_before_wait(&self) {
        if !self.prepared.replace(true) {
            self.prepare.start_prepare::<Environment>();
        }
    }

    /// Answers the request of `call_before_wait`.
    pub(crate) fn prepare_done(&self) {
        if self.prepared.replace(false) {
            self.prepare.stop_prepare();
        }
    }

    /// Keeps the process (or the worker) alive until the matching [`Host::release`].
    pub(crate) fn hold(&self) {
        if self.holds.replace(self.holds.get() + 1) == 0 {
            self.poll.hold(true);
        }
    }

    /// Takes back one [`Host::hold`].
    pub(crate) fn release(&self) {
        debug_assert!(self.holds.get() > 0, "released more often than held");
        self.holds.set(self.holds.get() - 1);
        if self.holds.get() == 0 {
            self.poll.hold(false);
        }
    }

    /// Ends all callbacks but `on_closed`, for good. To be called once.
    pub(crate) fn close(&self) {
        self.poll.stop_poll();
        self.poll.close::<Environment>();
        self.prepare.close::<Environment>();
    }
}
