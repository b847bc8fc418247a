//! A loop with one owner thread: descriptors, timers, tasks and cross-thread work, in turns.
//!
//! An [`EventLoop`] can be run ([`run`](EventLoop::run)), driven from outside
//! ([`turn`](EventLoop::turn)), or slept on by a host: [`backend_fd`](EventLoop::backend_fd) is
//! one descriptor that is readable whenever a turn would do something, timers and cross-thread
//! wakes included.
//!
//! # A turn, in this order
//! 1. the wait, at most one: until something is ready, a timer is due, a wake comes, or the
//!    caller's timeout has passed; not at all if there is work already
//! 2. what other threads have posted
//! 3. due timers
//! 4. ready descriptors, at most 1024
//! 5. tasks that are ready, at most 256 polls
//! 6. the after-turn hook
//!
//! What a callback posts, or sets with no delay, is for the next turn: a turn always ends.
//!
//! # Threads
//! The loop, its watches and its timers belong to one thread and are not `Send`. Nothing in them
//! depends on *which* thread that is, so a wrapper that proves exclusive access may move all of
//! them together between two turns. A [`LoopHandle`] goes anywhere.
//!
//! # Panics
//! A callback that panics is contained: the loop goes on, and the payload goes to
//! [`set_on_panic`](EventLoop::set_on_panic)'s function, if there is one.

mod core;
mod embedding;
mod handle;
mod local;
mod shared;
#[cfg(test)]
mod tests;
mod timer;
mod watch;

use std::any::Any;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use self::core::Core;
pub use handle::{KeepAlive, LoopClosed, LoopHandle};
pub(crate) use local::try_spawn_local;
pub use local::{BlockOnError, NoLoopError, spawn_local};
pub use timer::LoopTimer;
pub use watch::Watch;

/// What a turn left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Nothing is to be done until a descriptor is ready, a timer is due, or a wake comes.
    Idle,
    /// There is more to do already: the next turn will not wait.
    More,
}

/// Functions that a turn calls at its seams. All are called on the loop's thread. Those around the
/// wait must not set timers, since the wait's length is decided by then.
#[derive(Default)]
pub struct Hooks {
    /// Called before a wait that may block. No callback runs until `after_wait` was called, so this
    /// is the place to give up a lock that the callbacks need.
    pub before_wait: Option<Box<dyn Fn()>>,
    /// Called after a wait that may have blocked.
    pub after_wait: Option<Box<dyn Fn()>>,
    /// Called at the end of each turn, after every callback: the place to send what they gathered.
    pub after_turn: Option<Box<dyn Fn()>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("before_wait", &self.before_wait.is_some())
            .field("after_wait", &self.after_wait.is_some())
            .field("after_turn", &self.after_turn.is_some())
            .finish()
    }
}

/// A loop with one owner thread. See the [module](self).
///
/// Dropping it drops what it holds, callbacks included, on this thread, and closes its descriptors.
/// Watches, timers and handles that outlive it do nothing.
pub struct EventLoop {
    core: Rc<Core>,
    /// Futures and callbacks of one thread are in here.
    _not_send: PhantomData<*const ()>,
}

impl EventLoop {
    /// Makes a loop.
    ///
    /// # Errors
    /// What the system says, when it has no descriptors left for instance.
    pub fn new() -> io::Result<EventLoop> {
        Ok(EventLoop {
            core: Core::new()?,
            _not_send: PhantomData,
        })
    }

    fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// Does one turn. It waits for at most `timeout` (`None`: until there is something to do;
    /// zero: not at all), and may return early with nothing done, after a signal for instance.
    ///
    /// # Errors
    /// `ResourceBusy` when called from inside a turn. What the system says about the wait.
    pub fn turn(&self, timeout: Option<Duration>) -> io::Result<Turn> {
        self.core.turn(timeout)
    }

    /// Does turns until [`stop`](Self::stop) is called or nothing is [alive](Self::alive). A stop
    /// that was asked for before is honoured at once; the request is used up.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn run(&self) -> io::Result<()> {
        while !self.core.shared.take_stop() && self.alive() {
            self.turn(None)?;
        }
        Ok(())
    }

    /// Does one turn that waits until there is something to do, if anything is
    /// [alive](Self::alive). Whether something still is.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn run_once(&self) -> io::Result<bool> {
        if !self.core.shared.take_stop() && self.alive() {
            self.turn(None)?;
        }
        Ok(self.alive())
    }

    /// Does turns that do not wait until there is nothing left to do but to wait: every task is
    /// pending, every message is delivered, no timer is due and no watched descriptor is ready.
    /// Whether something is [alive](Self::alive) still.
    ///
    /// It does not return as long as a task or a callback makes more to do each time, but for
    /// [`stop`](Self::stop), which ends it as it ends [`run`](Self::run).
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn run_until_stalled(&self) -> io::Result<bool> {
        while !self.core.shared.take_stop() && self.turn(Some(Duration::ZERO))? == Turn::More {}
        Ok(self.alive())
    }

    /// Makes [`run`](Self::run) return after the current turn, or, if it is not running, the next
    /// time it is called.
    pub fn stop(&self) {
        self.core.shared.stop();
    }

    /// Whether [`run`](Self::run) would have something to wait for: a referenced watch or active
    /// timer, a task that is not done, work that was posted, a [`KeepAlive`].
    pub fn alive(&self) -> bool {
        self.core.is_alive()
    }

    /// A handle for other threads.
    pub fn handle(&self) -> LoopHandle {
        LoopHandle::new(self.core.shared.clone())
    }

    /// The one descriptor that is readable whenever a [`turn`](Self::turn) would do something.
    ///
    /// Watch it level-triggered, or take turns until one is [`Turn::Idle`] before sleeping on it.
    /// Do not read from it. From this call on, timers make it readable too, at the cost of a system
    /// call for each earlier deadline. It is the loop's, and closed with it.
    ///
    /// Where the system has no timer descriptor, a host has to sleep for at most
    /// [`next_timeout`](Self::next_timeout).
    ///
    /// # Errors
    /// What the system says, when it has no descriptors left for instance.
    pub fn backend_fd(&self) -> io::Result<RawFd> {
        self.core.enable_embedding()
    }

    /// To be called first in the child of a fork that goes on with this loop: gives it descriptors of
    /// its own, so that neither process disturbs the other's. The numbers stay the same. What was
    /// pending is pending in both processes.
    ///
    /// It must have been the only thread of its process that used the loop: a lock that another
    /// thread held at the fork is held for ever in the child.
    ///
    /// # Errors
    /// `ResourceBusy` inside a turn, `Unsupported` where the system has no such means, or what the
    /// system says.
    pub fn after_fork(&self) -> io::Result<()> {
        self.core.after_fork()
    }

    /// How long a host may sleep if nothing happens: zero if there is work, `None` for ever.
    pub fn next_timeout(&self) -> Option<Duration> {
        self.core.next_timeout()
    }

    /// Sets a function that is called when a turn becomes necessary: by a wake, a post, or a timer or
    /// a task that is added between turns. It is called on the thread that causes that, at most once until the next
    /// turn. It is not called for descriptors, which nobody watches between turns, nor when a turn
    /// returns [`Turn::More`].
    ///
    /// A function that was replaced may still be running on another thread; it is dropped when it is
    /// not.
    pub fn set_notify(&self, notify: Option<Box<dyn Fn() + Send + Sync>>) {
        self.core.shared.set_notify(notify);
    }

    /// Sets the functions that are called at a turn's seams, from the next turn on.
    pub fn set_hooks(&self, hooks: Hooks) {
        self.core.set_hooks(hooks);
    }

    /// Sets a function that is called when the descriptor of [`backend_fd`](Self::backend_fd), while
    /// its number stayed the same, has come to stand for another open file. A host that has it in an
    /// epoll or kqueue set of its own must add it there again; one that uses `poll(2)` or `select(2)`
    /// need not care. It happens only after a watched descriptor was duplicated, and then closed
    /// before its watch was stopped.
    pub fn set_on_backend_replaced(&self, on_replaced: impl Fn() + 'static) {
        self.core.set_on_replaced(Rc::new(on_replaced));
    }

    /// Sets a function that is given the payload of each panic that a callback ends with. Without
    /// one the payload is dropped, and Rust's panic hook is all that tells of it.
    pub fn set_on_panic(&self, on_panic: impl Fn(Box<dyn Any + Send>) + 'static) {
        self.core.set_on_panic(Some(Rc::new(on_panic)));
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("alive", &self.alive())
            .field("shared", &self.core.shared)
            .finish_non_exhaustive()
    }
}
