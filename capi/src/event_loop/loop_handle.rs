//! The loop's handle as Rust has it.

use std::future::Future;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use libruntime_core::event_loop::{BlockOnError, EventLoop};

use super::inner::LoopInner;
use super::{Interest, Ready, Timer, Turn, Watch, rt_loop};
use crate::ffi::first_use;
use crate::handle::Handle;
use crate::runtime::Runtime;
use crate::status::Error;

/// Functions that a turn calls at its seams, on the loop's thread.
#[derive(Default)]
pub struct Hooks {
    /// Before a wait that may block. Nothing of the loop runs until `after_wait`.
    pub before_wait: Option<Box<dyn Fn() + Send>>,
    /// After a wait that may have blocked.
    pub after_wait: Option<Box<dyn Fn() + Send>>,
    /// At the end of each turn.
    pub after_turn: Option<Box<dyn Fn() + Send>>,
}

/// What a loop is made with.
#[derive(Default)]
pub struct LoopOptions {
    /// Where blocking jobs and name lookups of the loop go.
    pub runtime: Option<Arc<Runtime>>,
}

/// An event loop, as C, Python and Node hold it.
///
/// It belongs to one thread at a time: the one inside a turn, else the one that turned it last,
/// or created it. Between two turns any thread may turn it and becomes the owner. Methods that use
/// the loop return `Error::Perm` on another thread; those that say "any thread" do not.
/// After a fork, in the child, all methods return `Error::Fork`.
///
/// Dropping it closes it: see [`close`](Loop::close).
pub struct Loop {
    inner: Arc<LoopInner>,
}

impl Loop {
    /// A new loop, owned by this thread.
    ///
    /// # Errors
    /// The system's, `EMFILE` for example.
    pub fn new(options: &LoopOptions) -> Result<Arc<Loop>, Error> {
        first_use();
        let core = EventLoop::new()?;
        if let Some(runtime) = &options.runtime {
            core.set_runtime(Some(runtime.handle()?.clone()));
        }
        let inner = LoopInner::new(core, options.runtime.clone());
        Ok(Arc::new(Loop {
            inner: Arc::new(inner),
        }))
    }

    pub(crate) fn inner(&self) -> &Arc<LoopInner> {
        &self.inner
    }

    /// One turn; waits at most `timeout_ns` for something to do ([`u64::MAX`]: as long as it
    /// takes).
    ///
    /// # Errors
    /// `Busy` inside a turn of this loop, `Perm` while another thread turns it, `Shutdown` after
    /// `close`.
    pub fn turn(&self, timeout_ns: u64) -> Result<Turn, Error> {
        let timeout = (timeout_ns != u64::MAX).then(|| Duration::from_nanos(timeout_ns));
        Ok(self.inner.access_to_turn()?.turn(timeout)?)
    }

    /// Makes this thread the owner, as a turn would, so that it may use the loop. Python's loops
    /// are set up on one thread and run on another.
    ///
    /// # Errors
    /// As [`turn`](Loop::turn).
    pub fn claim(&self) -> Result<(), Error> {
        self.inner.access_to_turn().map(drop)
    }

    /// Turns until it is stopped or nothing is alive. Whether something still is.
    ///
    /// # Errors
    /// As [`turn`](Loop::turn).
    pub fn run(&self) -> Result<bool, Error> {
        let access = self.inner.access_to_turn()?;
        access.run()?;
        Ok(access.alive())
    }

    /// One turn that waits for an event, unless nothing is alive. Whether something still is.
    ///
    /// # Errors
    /// As [`turn`](Loop::turn).
    pub fn run_once(&self) -> Result<bool, Error> {
        let access = self.inner.access_to_turn()?;
        access.run_once()?;
        Ok(access.alive())
    }

    /// Turns until `future` is ready. It is polled on this thread, between turns.
    ///
    /// # Errors
    /// `Deadlk` inside a turn of this or another loop or on a worker, `Canceled` if the loop is
    /// stopped, else as [`turn`](Loop::turn).
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        let access = self.inner.access_to_turn().map_err(|error| match error {
            Error::Busy => Error::Deadlk,
            other => other,
        })?;
        access.block_on(future).map_err(|error| match error {
            BlockOnError::Nested => Error::Deadlk,
            BlockOnError::Stopped => Error::Canceled,
            BlockOnError::Wait(error) => Error::from(error),
        })
    }

    /// Any thread: makes `run` return after the turn that is under way; if none is, the next
    /// `run` returns at once.
    ///
    /// # Errors
    /// `Shutdown`.
    pub fn stop(&self) -> Result<(), Error> {
        self.inner.check_open()?;
        self.inner.handle().stop();
        Ok(())
    }

    /// Any thread, and signal handlers: makes a turn happen.
    ///
    /// # Errors
    /// `Shutdown`.
    pub fn wake(&self) -> Result<(), Error> {
        self.inner.check_open()?;
        self.inner.handle().wake();
        Ok(())
    }

    /// Any thread: runs `call` in the next turn. It is dropped without being called when the loop
    /// is closed first.
    ///
    /// # Errors
    /// `Shutdown`.
    pub fn post(&self, call: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        self.inner.check_open()?;
        self.inner.post(call);
        Ok(())
    }

    /// Whether something keeps `run` going: a watch, a timer, a task, an operation.
    ///
    /// # Errors
    /// `Perm`, `Shutdown`.
    pub fn alive(&self) -> Result<bool, Error> {
        Ok(self.inner.access()?.alive())
    }

    /// Whether this thread is inside a turn of this loop.
    pub fn is_turning_here(&self) -> bool {
        self.inner.is_held_here()
    }

    /// The descriptor that is readable whenever a turn would do something, timers included. The
    /// first call turns on what that needs, so loops that nobody embeds do not pay for it.
    ///
    /// # Errors
    /// `Perm`, `Shutdown`, or the system's.
    pub fn backend_fd(&self) -> Result<RawFd, Error> {
        Ok(self.inner.access()?.backend_fd()?)
    }

    /// How long a turn would wait: zero if there is something to do, `None` for ever.
    ///
    /// # Errors
    /// `Perm`, `Shutdown`.
    pub fn next_timeout(&self) -> Result<Option<Duration>, Error> {
        Ok(self.inner.access()?.next_timeout())
    }

    /// Functions that run around the wait and at the end of each turn.
    ///
    /// # Errors
    /// `Perm`, `Shutdown`.
    pub fn set_hooks(&self, hooks: Hooks) -> Result<(), Error> {
        let Hooks {
            before_wait,
            after_wait,
            after_turn,
        } = hooks;
        self.inner
            .access()?
            .set_hooks(libruntime_core::event_loop::Hooks {
                before_wait: before_wait.map(|hook| hook as Box<dyn Fn()>),
                after_wait: after_wait.map(|hook| hook as Box<dyn Fn()>),
                after_turn: after_turn.map(|hook| hook as Box<dyn Fn()>),
            });
        Ok(())
    }

    /// A function that is called, on any thread, when a turn is wanted: at most once until the
    /// next turn.
    ///
    /// # Errors
    /// `Perm`, `Shutdown`.
    pub fn set_notify(&self, notify: Option<Box<dyn Fn() + Send + Sync>>) -> Result<(), Error> {
        self.inner.access()?.set_notify(notify);
        Ok(())
    }

    /// Calls `callback` in every turn in which `fd` is ready for `interest`, until the watch is
    /// stopped or dropped. The callback is dropped on the loop's thread, or where the loop is
    /// closed.
    ///
    /// # Errors
    /// `Perm`, `Shutdown`; `EEXIST` if `fd` is watched already, `EPERM` for a regular file,
    /// `EBADF`.
    pub fn watch(
        &self,
        fd: RawFd,
        interest: Interest,
        callback: impl FnMut(Ready) + Send + 'static,
    ) -> Result<Watch, Error> {
        Watch::new(&self.inner, fd, interest, callback)
    }

    /// A timer that is not started. The callback is dropped as a watch's.
    ///
    /// # Errors
    /// `Perm`, `Shutdown`.
    pub fn timer(&self, callback: impl FnMut() + Send + 'static) -> Result<Timer, Error> {
        Timer::new(&self.inner, callback)
    }

    /// In the child of a fork that goes on with the loop: gives it descriptors of its own. Everything
    /// that belongs to it (watches, timers, streams, local tasks) works in the child from then on;
    /// what was pending is pending in both processes. A runtime that is attached does not exist in
    /// the child.
    ///
    /// # Errors
    /// `Inval` if the loop is not a parent's, `Busy` if it was being used at the fork.
    pub fn after_fork(&self) -> Result<(), Error> {
        self.inner.after_fork()
    }

    /// Closes the loop: everything that is pending is dropped, which for an operation means that
    /// its callback runs here, with `Error::Canceled`.
    ///
    /// # Errors
    /// `Busy` inside a turn of this loop, `Perm` while another thread turns it, `Shutdown` if it
    /// is closed, `Fork`.
    pub fn close(&self) -> Result<(), Error> {
        drop(self.inner.access_to_turn()?);
        self.inner.close();
        Ok(())
    }

    /// Whether the loop was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.inner.check_open(), Err(Error::Shutdown))
    }

    /// A handle for C (`rt_loop *`), to be given back with `rt_loop_free`.
    pub fn to_handle(self: &Arc<Loop>) -> *mut rt_loop {
        rt_loop::new(self.clone())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.inner.close();
    }
}

/// A loop on whose thread user data is to be dropped.
pub(crate) struct DropHome(Arc<LoopInner>);

impl DropHome {
    pub(crate) fn new(home: &Arc<Loop>) -> DropHome {
        DropHome(home.inner.clone())
    }

    /// Runs `call` on the loop's thread; here if this is it, or if the loop is closed.
    pub(crate) fn run(self, call: impl FnOnce() + Send + 'static) {
        struct Always<F: FnOnce()>(Option<F>);
        impl<F: FnOnce()> Drop for Always<F> {
            fn drop(&mut self) {
                if let Some(call) = self.0.take() {
                    call();
                }
            }
        }
        let always = Always(Some(call));
        if self.0.is_held_here() {
            drop(always);
        } else {
            self.0.post(move || drop(always));
        }
    }
}
