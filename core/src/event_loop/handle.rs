//! What other threads hold of a loop.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::shared::{Message, Shared};

/// Reaches a loop from any thread. It keeps neither the loop nor [`run`](super::EventLoop::run)
/// alive.
#[derive(Clone)]
pub struct LoopHandle {
    shared: Arc<Shared>,
}

// A panic of foreign code ends before it could leave anything of the loop half done.
impl std::panic::UnwindSafe for LoopHandle {}
impl std::panic::RefUnwindSafe for LoopHandle {}
impl std::panic::UnwindSafe for KeepAlive {}
impl std::panic::RefUnwindSafe for KeepAlive {}

impl LoopHandle {
    pub(super) fn new(shared: Arc<Shared>) -> LoopHandle {
        LoopHandle { shared }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Has `call` called in the loop's next turn, on its thread, in the order of posting.
    ///
    /// # Errors
    /// [`LoopClosed`] if the loop is gone; `call` was dropped then. A call that a loop had no turn
    /// left for is dropped with the loop.
    pub fn post(&self, call: impl FnOnce() + Send + 'static) -> Result<(), LoopClosed> {
        self.shared
            .send(Message::Call(Box::new(call)))
            .map_err(|_| LoopClosed)
    }

    /// Makes a turn happen soon. What the caller wrote before is visible to that turn. Any number
    /// of wakes between two turns cause one.
    ///
    /// Async-signal-safe, as far as the loop's notify function is. Does nothing once the loop is
    /// gone.
    pub fn wake(&self) {
        self.shared.wake();
    }

    /// See [`EventLoop::stop`](super::EventLoop::stop).
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Keeps [`run`](super::EventLoop::run) going until what is returned is dropped: for work that
    /// will be posted from elsewhere.
    pub fn keep_alive(&self) -> KeepAlive {
        self.shared.kept.fetch_add(1, Ordering::Relaxed);
        KeepAlive {
            shared: self.shared.clone(),
        }
    }

    /// Whether the loop is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }
}

impl fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

/// Keeps a loop's `run` going; see [`LoopHandle::keep_alive`].
#[must_use = "it ends when it is dropped"]
pub struct KeepAlive {
    shared: Arc<Shared>,
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        if self.shared.kept.fetch_sub(1, Ordering::Release) == 1 {
            // `run` may be asleep, with nothing left to wait for.
            self.shared.wake();
        }
    }
}

impl fmt::Debug for KeepAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepAlive").finish_non_exhaustive()
    }
}

/// The loop is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoopClosed;

impl fmt::Display for LoopClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event loop is gone")
    }
}

impl std::error::Error for LoopClosed {}
