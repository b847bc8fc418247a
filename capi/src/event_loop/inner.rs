//! The loop behind the handle, and who may touch it.
//!
//! Core's `EventLoop` belongs to one thread at a time. Here it can be reached from handles on any
//! thread, so each access asks first: `holder` is the number of the thread that is inside, or 0.
//!
//! - A turn takes `holder` from 0 to its thread for as long as it lasts, and makes that thread the
//!   `owner`. Nested in it, the same thread may use the loop; a nested turn is `Busy`, any other
//!   thread gets `Perm`.
//! - Outside a turn only the owner may use the loop, and takes `holder` for the duration of each
//!   call: were another thread to begin a turn just then, one of the two is refused.
//!
//! Taking is an acquire, giving back a release: what one holder did is seen by the next.
//!
//! Closing is a turn that never ends: it takes the loop out, and drops it while it is the holder,
//! so that callbacks which are told of it (`RT_ECANCELED`) find a loop that refuses everything.

use std::cell::UnsafeCell;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use libruntime_core::event_loop::{EventLoop, LoopHandle};

use crate::ffi::Origin;
use crate::runtime::Runtime;
use crate::status::Error;
use crate::thread;

const NOBODY: u64 = 0;
/// What one event receives at most, in bytes. 64 KiB is where larger pieces stop being quicker.
const READ_BUFFER: usize = 64 * 1024;

/// What a loop's handles, watches, timers and streams share.
pub(crate) struct LoopInner {
    holder: AtomicU64,
    owner: AtomicU64,
    /// Somebody has asked for the loop to be closed.
    closing: AtomicBool,
    /// Reached by the holder only. `None` once closed. Not dropped in a forked child.
    core: UnsafeCell<ManuallyDrop<Option<EventLoop>>>,
    handle: LoopHandle,
    runtime: Option<Arc<Runtime>>,
    /// Where streams receive into. Reached by the holder only.
    buffer: UnsafeCell<Option<Box<[MaybeUninit<u8>]>>>,
    origin: Origin,
}

// SAFETY: `core` and `buffer` are reached by the holder only, which is one thread at a time with acquire and
// release between two of them, and an `EventLoop` may move between threads. All else is Send.
unsafe impl Send for LoopInner {}
// SAFETY: as above.
unsafe impl Sync for LoopInner {}

/// The right to use the loop, for as long as it lives. It stays on its thread.
pub(crate) struct Access<'a> {
    inner: &'a LoopInner,
    core: &'a EventLoop,
    outermost: bool,
}

impl Deref for Access<'_> {
    type Target = EventLoop;

    fn deref(&self) -> &EventLoop {
        self.core
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        if self.outermost {
            self.inner.give_back();
        }
    }
}

impl LoopInner {
    pub(super) fn new(core: EventLoop, runtime: Option<Arc<Runtime>>) -> LoopInner {
        LoopInner {
            holder: AtomicU64::new(NOBODY),
            owner: AtomicU64::new(thread::id().get()),
            closing: AtomicBool::new(false),
            handle: core.handle(),
            core: UnsafeCell::new(ManuallyDrop::new(Some(core))),
            runtime,
            buffer: UnsafeCell::new(None),
            origin: Origin::here(),
        }
    }

    /// Any thread: the handle that posts and wakes.
    pub(crate) fn handle(&self) -> &LoopHandle {
        &self.handle
    }

    /// The process that the loop was made in.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The runtime that is attached.
    pub(crate) fn runtime(&self) -> Option<&Arc<Runtime>> {
        self.runtime.as_ref()
    }

    /// Where an event receives into, and how much fits. For the holder only, and for one event at
    /// a time.
    pub(crate) fn read_buffer(&self) -> (*mut u8, usize) {
        debug_assert!(self.is_held_here());
        // SAFETY: only the holder is here, and the reference ends with this function.
        let buffer = unsafe { &mut *self.buffer.get() };
        let buffer = buffer.get_or_insert_with(|| Box::new_uninit_slice(READ_BUFFER));
        (buffer.as_mut_ptr().cast(), READ_BUFFER)
    }

    /// Any thread: runs `call` in the next turn; drops it if the loop is closed.
    pub(crate) fn post(&self, call: impl FnOnce() + Send + 'static) {
        let _ = self.handle.post(call);
    }

    /// `Error::Shutdown` once the loop is closed or about to be.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        self.origin.check()?;
        if self.closing.load(Ordering::Acquire) {
            Err(Error::Shutdown)
        } else {
            Ok(())
        }
    }

    /// Whether this thread is inside the loop: in a turn, or in a call that uses it.
    pub(crate) fn is_held_here(&self) -> bool {
        self.holder.load(Ordering::Relaxed) == thread::id().get()
    }

    /// The right to use the loop from its thread.
    pub(crate) fn access(&self) -> Result<Access<'_>, Error> {
        self.origin.check()?;
        let me = thread::id().get();
        if self.holder.load(Ordering::Relaxed) == me {
            return self.grant(false);
        }
        if self.owner.load(Ordering::Relaxed) != me {
            return Err(if self.check_open().is_err() {
                Error::Shutdown
            } else {
                Error::Perm
            });
        }
        self.take(me).map_err(|_| Error::Perm)?;
        self.grant(true)
    }

    /// The right to turn the loop; this thread becomes its owner.
    pub(super) fn access_to_turn(&self) -> Result<Access<'_>, Error> {
        self.origin.check()?;
        let me = thread::id().get();
        match self.take(me) {
            Ok(()) => {}
            Err(holder) if holder == me => return Err(Error::Busy),
            Err(_) => return Err(Error::Perm),
        }
        self.owner.store(me, Ordering::Relaxed);
        self.grant(true)
    }

    /// In a forked child: makes the loop this process's own. The forking thread owned it, or nobody
    /// was inside.
    ///
    /// # Errors
    /// `Inval` if it was not made in another process, `Busy` if another thread was inside, or the
    /// forking thread in a turn; the system's.
    pub(super) fn after_fork(&self) -> Result<(), Error> {
        if !self.origin.is_foreign() {
            return Err(Error::Inval);
        }
        let me = thread::id().get();
        self.take(me).map_err(|_| Error::Busy)?;
        self.owner.store(me, Ordering::Relaxed);
        self.grant(true)?.after_fork()?;
        self.origin.adopt();
        Ok(())
    }

    fn take(&self, me: u64) -> Result<(), u64> {
        self.holder
            .compare_exchange(NOBODY, me, Ordering::Acquire, Ordering::Relaxed)
            .map(drop)
    }

    /// The caller is the holder.
    fn grant(&self, outermost: bool) -> Result<Access<'_>, Error> {
        // SAFETY: this thread is the holder. It only takes the loop out in `close_as_holder`,
        // which is called when no access is outstanding.
        match unsafe { &**self.core.get() } {
            Some(core) => Ok(Access {
                inner: self,
                core,
                outermost,
            }),
            None => {
                if outermost {
                    self.give_back();
                }
                Err(Error::Shutdown)
            }
        }
    }

    fn give_back(&self) {
        self.holder.store(NOBODY, Ordering::Release);
        // Whoever wanted to close while we were the holder left it to us. The fence orders our
        // store before the load, as `close` orders its store before its attempt to take: one of
        // the two sees the other.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.closing.load(Ordering::Relaxed) {
            self.try_close();
        }
    }

    /// Closes the loop now if nobody is inside, else when its holder leaves. Everything that is
    /// pending is dropped, which calls back with `RT_ECANCELED`.
    pub(super) fn close(&self) {
        if self.origin.is_foreign() {
            return;
        }
        self.closing.store(true, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
        self.try_close();
    }

    /// Whether the loop itself is gone; only then may any thread hold what is left.
    fn is_gone(&self) -> bool {
        self.handle.is_closed()
    }

    fn try_close(&self) {
        if self.take(thread::id().get()).is_err() {
            return;
        }
        // SAFETY: this thread became the holder just now, so no access is outstanding. The cell is
        // not borrowed while the loop is dropped: nested accesses find `None`.
        let core = unsafe { (*self.core.get()).take() };
        // What the loop still held runs its drops, and callbacks in them, which may panic.
        let _ = thread::contained(|| drop(core));
        self.holder.store(NOBODY, Ordering::Release);
    }
}

/// A part of the loop (a watch, a timer) that is being given up, wherever that happens.
///
/// It is dropped by whoever holds the loop: at once on the owner's thread, else in the next turn,
/// or, when the loop is gone, by the first thread that gets hold of what is left.
struct Parcel<T: 'static> {
    inner: Arc<LoopInner>,
    part: ManuallyDrop<T>,
}

// SAFETY: the part is only touched by the loop's holder, as the loop itself is.
unsafe impl<T: 'static> Send for Parcel<T> {}

/// Drops a part of the loop that is bound to the loop's thread.
pub(crate) fn drop_part<T: 'static>(inner: &Arc<LoopInner>, part: T) {
    drop(Parcel {
        inner: inner.clone(),
        part: ManuallyDrop::new(part),
    });
}

impl<T: 'static> Drop for Parcel<T> {
    fn drop(&mut self) {
        if self.inner.origin.is_foreign() {
            // In a forked child: touching it would change the parent's epoll set.
            return;
        }
        // SAFETY: taken here and nowhere else; `self.part` is not used again.
        let part = unsafe { ManuallyDrop::take(&mut self.part) };
        let inner = &self.inner;
        let me = thread::id().get();
        if inner.holder.load(Ordering::Relaxed) == me {
            return drop(part);
        }
        if inner.owner.load(Ordering::Relaxed) == me && inner.take(me).is_ok() {
            drop(part);
            return inner.give_back();
        }
        while inner.is_gone() {
            if inner.take(me).is_ok() {
                drop(part);
                return inner.holder.store(NOBODY, Ordering::Release);
            }
            std::thread::yield_now();
        }
        // If the loop closes just now, the closure is dropped and this starts over.
        let parcel = Parcel {
            inner: inner.clone(),
            part: ManuallyDrop::new(part),
        };
        inner.post(move || drop(parcel));
    }
}

impl Drop for LoopInner {
    fn drop(&mut self) {
        if !self.origin.is_foreign() {
            // SAFETY: dropped once, here, with nobody else left. In a forked child the loop must
            // not be dropped: it would change the parent's epoll set.
            unsafe { ManuallyDrop::drop(self.core.get_mut()) };
        }
    }
}
