//! What a loop shares with the threads that send it work: the inbox, the wake word, the bell.

use crate::shim::sync::Mutex;
use std::cell::UnsafeCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use crate::panic::contain;
use crate::reactor::sys::Bell;
use crate::reactor::wake_state::{Gate, WakeState};
use crate::task::Notified;

/// A function that a host is woken with. Boxed twice, for an atomic pointer holds one word.
type Notify = Box<dyn Fn() + Send + Sync>;

/// Work from other threads.
pub(super) enum Message {
    Call(Box<dyn FnOnce() + Send>),
    /// A task of the loop's that was woken.
    Woken(Notified),
    /// A new task.
    Spawned(Notified),
}

struct Inbox {
    messages: Vec<Message>,
    /// The loop is being dropped: nothing new is taken, but tasks that were woken come home still.
    ending: bool,
    closed: bool,
}

pub(super) struct Shared {
    pub(super) wake: WakeState,
    stop: AtomicBool,
    /// How many [`KeepAlive`](super::KeepAlive)s there are.
    pub(super) kept: AtomicUsize,
    inbox: Mutex<Inbox>,
    gate: Gate,
    /// Guarded by `gate`: taken by whoever demolishes, read by those inside.
    bell: UnsafeCell<Option<Bell>>,
    /// Null, or a `Box<Notify>`. Read by those inside `gate`.
    notify: AtomicPtr<Notify>,
    /// Functions that were replaced while somebody was inside.
    #[expect(clippy::vec_box, reason = "somebody may hold a function's address")]
    replaced: Mutex<Vec<Box<Notify>>>,
}

// SAFETY: everything but `bell` is Send and Sync by its type. `bell` is only read by those inside
// the gate, and only written by the one party that the gate tells to demolish, when nobody is
// inside and nobody can come in any more.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn new(bell: Bell) -> Arc<Shared> {
        Arc::new(Shared {
            wake: WakeState::new(),
            stop: AtomicBool::new(false),
            kept: AtomicUsize::new(0),
            inbox: Mutex::new(Inbox {
                messages: Vec::new(),
                ending: false,
                closed: false,
            }),
            gate: Gate::new(),
            bell: UnsafeCell::new(Some(bell)),
            notify: AtomicPtr::new(std::ptr::null_mut()),
            replaced: Mutex::new(Vec::new()),
        })
    }

    /// Makes a turn happen. Async-signal-safe as long as the notify function is.
    pub(super) fn wake(&self) {
        if self.wake.notify() {
            self.ring(true);
        }
    }

    /// Makes the loop's descriptor readable, without a word to the notify function.
    pub(super) fn ring_bell(&self) {
        self.ring(false);
    }

    /// Tells a host again of what it was told before.
    pub(super) fn ring_anew(&self) {
        self.ring(true);
    }

    fn ring(&self, notify: bool) {
        if !self.gate.enter() {
            return;
        }
        // SAFETY: inside the gate the bell is not written.
        if let Some(bell) = unsafe { &*self.bell.get() } {
            bell.ring();
        }
        if notify {
            let function = self.notify.load(Ordering::SeqCst);
            if !function.is_null() {
                // SAFETY: a function is freed only after the pointer was replaced and the gate was
                // then seen empty, so one that is loaded inside the gate lives until we leave.
                let function = unsafe { &*function };
                // The caller may be any thread, or foreign code: nothing may unwind into it.
                contain(function);
            }
        }
        if self.gate.leave() {
            self.demolish();
        }
    }

    pub(super) fn set_notify(&self, notify: Option<Notify>) {
        let new = notify.map_or(std::ptr::null_mut(), |notify| {
            Box::into_raw(Box::new(notify))
        });
        let old = self.notify.swap(new, Ordering::SeqCst);
        let mut free = Vec::new();
        {
            let mut replaced = self.replaced.lock();
            if !old.is_null() {
                // SAFETY: it came from `Box::into_raw`, and the swap made it ours.
                replaced.push(unsafe { Box::from_raw(old) });
            }
            // Whoever enters from now on loads the new pointer; if nobody is inside, nobody can
            // hold an old one.
            if self.gate.is_empty() {
                free = std::mem::take(&mut *replaced);
            }
        }
        drop(free);
    }

    pub(super) fn has_notify(&self) -> bool {
        !self.notify.load(Ordering::Relaxed).is_null()
    }

    /// Queues `message` and wakes the loop; gives it back if the loop is gone, or about to be.
    pub(super) fn send(&self, message: Message) -> Result<(), Message> {
        {
            let mut inbox = self.inbox.lock();
            let is_new = !matches!(message, Message::Woken(_));
            if inbox.closed || (inbox.ending && is_new) {
                return Err(message);
            }
            inbox.messages.push(message);
        }
        self.wake();
        Ok(())
    }

    /// Exchanges the queue's contents for the empty `batch`, whose memory it goes on with.
    pub(super) fn receive(&self, batch: &mut Vec<Message>) {
        debug_assert!(batch.is_empty());
        let mut inbox = self.inbox.lock();
        std::mem::swap(&mut inbox.messages, batch);
    }

    pub(super) fn has_messages(&self) -> bool {
        !self.inbox.lock().messages.is_empty()
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether a stop was asked for; asks no more.
    pub(super) fn take_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed) && self.stop.swap(false, Ordering::Acquire)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inbox.lock().closed
    }

    /// The loop is being dropped: refuses new work, lest its end be put off for as long as somebody
    /// sends more.
    pub(super) fn refuse_new(&self) {
        self.inbox.lock().ending = true;
    }

    /// The loop is gone: refuses work, and closes the bell as soon as nobody rings it. Gives back
    /// what was queued.
    pub(super) fn close(&self) -> Vec<Message> {
        let messages = {
            let mut inbox = self.inbox.lock();
            inbox.closed = true;
            std::mem::take(&mut inbox.messages)
        };
        if self.gate.close() {
            self.demolish();
        }
        self.set_notify(None);
        messages
    }

    #[cold]
    fn demolish(&self) {
        // SAFETY: the gate is closed and empty, and tells this to one party only.
        let bell = unsafe { (*self.bell.get()).take() };
        drop(bell);
    }

    /// The owner: calls `f` with the bell, for a set that is being replaced.
    pub(super) fn with_bell<R>(&self, f: impl FnOnce(&Bell) -> R) -> Option<R> {
        if !self.gate.enter() {
            return None;
        }
        // SAFETY: inside the gate the bell is not written.
        let result = unsafe { &*self.bell.get() }.as_ref().map(f);
        if self.gate.leave() {
            self.demolish();
        }
        result
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let function = *self.notify.get_mut();
        if !function.is_null() {
            // SAFETY: it came from `Box::into_raw`, and nobody else is left.
            drop(unsafe { Box::from_raw(function) });
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("wake", &self.wake)
            .finish_non_exhaustive()
    }
}
