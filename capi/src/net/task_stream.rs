//! A stream for tasks, and, with a runtime as its home, for callbacks on workers.
//!
//! The poll functions go straight to the descriptor. A callback operation tries at once; what would
//! block becomes a task of the runtime: one for each read or subscription, and one that sends
//! whatever is queued, in order, for as long as something is.

mod reading;
mod writing;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use libruntime_core::net::AsyncFd;
use libruntime_core::runtime::Handle;

use self::reading::{Kind, Reader};
use self::writing::Writer;
use super::pieces;
use super::sys::{self, MAX_BUFS};
use crate::ffi::Origin;
use crate::status::Error;
use crate::stream::rt_buf;

pub(crate) struct TaskStream {
    fd: AsyncFd<OwnedFd>,
    home: Option<Handle>,
    origin: Origin,
    closed: AtomicBool,
    reader: Mutex<Reader>,
    writer: Mutex<Writer>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn would_block<T>(result: io::Result<T>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(Error::from(error)),
    }
}

impl TaskStream {
    pub(crate) fn new(socket: OwnedFd, home: Option<Handle>) -> TaskStream {
        TaskStream {
            fd: AsyncFd::new_owned(socket),
            home,
            origin: Origin::here(),
            closed: AtomicBool::new(false),
            reader: Mutex::default(),
            writer: Mutex::default(),
        }
    }

    pub(crate) fn checked(self: &Arc<Self>) -> Result<&Arc<Self>, Error> {
        self.origin.check().map(|()| self)
    }

    fn open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            Err(Error::Os(libc::EBADF))
        } else {
            Ok(())
        }
    }

    fn home(&self) -> Result<&Handle, Error> {
        self.open()?;
        let home = self.home.as_ref().ok_or(Error::Inval)?;
        if home.is_closed() {
            Err(Error::Shutdown)
        } else {
            Ok(home)
        }
    }

    /// Reads inside a task.
    ///
    /// # Safety
    /// `buffer` is valid for writes of `len` bytes.
    pub(crate) unsafe fn poll_read(
        &self,
        waker: &Waker,
        buffer: *mut u8,
        len: usize,
    ) -> Poll<Result<usize, Error>> {
        self.open()?;
        let polled = self
            .fd
            .poll_receive_with(&mut Context::from_waker(waker), len, |fd| {
                // SAFETY: passed on from the caller.
                unsafe { sys::recv(fd.as_raw_fd(), buffer, len) }
            });
        polled.map(|read| match read {
            Ok(0) if len > 0 => Err(Error::Eof),
            read => Ok(read?),
        })
    }

    /// Writes inside a task.
    ///
    /// # Safety
    /// The pieces are valid for reads.
    pub(crate) unsafe fn poll_write(
        &self,
        waker: &Waker,
        bufs: &[rt_buf],
    ) -> Poll<Result<usize, Error>> {
        self.open()?;
        let total = pieces::total(&bufs[..bufs.len().min(MAX_BUFS)]);
        let polled = self
            .fd
            .poll_send_with(&mut Context::from_waker(waker), total, |fd| {
                // SAFETY: passed on from the caller.
                unsafe { sys::send(fd.as_raw_fd(), bufs) }
            });
        polled.map_err(Error::from)
    }

    /// Cancels what is pending, subscriptions excepted.
    pub(crate) fn cancel(&self) {
        self.cancel_writes();
        // The task is aborted, which calls back when it is dropped.
        self.stop_reading(&[Kind::Read]);
    }

    /// Ends the connection now, and cancels what is pending. With `reset` the peer gets a reset.
    /// The descriptor goes with the last handle.
    pub(crate) fn close(&self, reset: bool) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.cancel_writes();
        self.stop_reading(&[Kind::Read, Kind::Subscription]);
        sys::disconnect(self.fd.get_ref().as_fd(), reset);
    }

    pub(crate) fn with_socket<R>(
        &self,
        f: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>,
    ) -> Result<R, Error> {
        self.open()?;
        Ok(f(self.fd.get_ref().as_fd())?)
    }
}
