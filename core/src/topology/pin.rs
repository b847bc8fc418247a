//! Threads that stay on one processor, and what they start, which does not.
//!
//! A thread and a program inherit the processors of the thread that starts them. So a worker is
//! pinned by whoever starts it, who runs on its processor for that moment: what the system says
//! against that is heard at once. And a worker that starts something itself, a thread for blocking jobs
//! or a program, is let loose for that moment.

use super::sys::CpuSet;
use std::cell::RefCell;
use std::io;
use std::sync::Arc;

thread_local! {
    /// What the calling thread is pinned to.
    static PIN: RefCell<Option<Arc<Pin>>> = const { RefCell::new(None) };
}

/// A thread's processor.
#[derive(Debug)]
pub(crate) struct Pin {
    to: CpuSet,
    /// What the thread could use without it.
    without: CpuSet,
}

impl Pin {
    /// To a processor, for a thread that the calling one is to start.
    ///
    /// # Errors
    /// What the system says when it is asked for the calling thread's processors.
    pub(crate) fn new(cpu: usize) -> io::Result<Arc<Pin>> {
        Ok(Arc::new(Pin {
            to: CpuSet::one(cpu),
            without: unpinned(CpuSet::of_this_thread)?,
        }))
    }

    /// Runs `f`, which starts a thread that calls [`Pin::adopt`] first.
    ///
    /// # Errors
    /// What the system says if threads can not run there.
    pub(crate) fn start<R>(&self, f: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        let _back = Back(CpuSet::of_this_thread()?);
        self.to.set()?;
        f()
    }

    /// Tells the calling thread that it has been pinned.
    pub(crate) fn adopt(self: Arc<Self>) {
        PIN.with(|pin| *pin.borrow_mut() = Some(self));
    }
}

/// Runs `f` as if nobody had pinned the calling thread.
pub(crate) fn unpinned<R>(f: impl FnOnce() -> R) -> R {
    // Nothing where the thread's own values are gone already: it is about to end.
    let pin = PIN.try_with(|pin| pin.borrow().clone()).ok().flatten();
    let Some(pin) = pin else {
        return f();
    };
    // If its processors have been taken from the process, the thread stays where it is.
    let _back = pin.without.set().is_ok().then(|| Back(pin.to.clone()));
    f()
}

/// Puts the calling thread back.
struct Back(CpuSet);

impl Drop for Back {
    fn drop(&mut self) {
        // It was there before. If it may not be any more, the system has found it another place.
        let _ = self.0.set();
    }
}
