//! Running one future on a thread that is not a worker.

use crate::context;
use crate::executor::SharedRef;
use crate::shim::sync::atomic::{AtomicBool, Ordering};
use crate::shim::thread::{self, Thread};
use crate::task::coop;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

pub(super) fn block_on<F: Future>(shared: &SharedRef, future: F) -> Result<F::Output, EnterError> {
    let _blocking = context::enter_blocking().ok_or(EnterError(()))?;
    let _entered = context::enter(shared);
    let _driver = context::enter_driver(shared.foreign_driver(), false);
    Ok(block_on_thread(future))
}

/// Polls `future` whenever it is woken, and parks the thread meanwhile.
pub(crate) fn block_on_thread<F: Future>(future: F) -> F::Output {
    let parker = Arc::new(ThreadWaker {
        thread: thread::current(),
        woken: AtomicBool::new(false),
    });
    let waker = Waker::from(parker.clone());
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    coop::unlimited(|| {
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            while !parker.woken.swap(false, Ordering::Acquire) {
                thread::park();
            }
        }
    })
}

struct ThreadWaker {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // The thread is unparked by the wake that sets the flag: those after it have nothing to add.
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

/// A thread that must not block was asked to.
pub struct EnterError(());

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "block_on was called on a worker, or inside another block_on, where it would stop what \
             it waits for; spawn the future, or use spawn_blocking",
        )
    }
}

/// With the text: it is what `unwrap` shows, and a `main` that returns the error.
impl fmt::Debug for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnterError({:?})", self.to_string())
    }
}

impl std::error::Error for EnterError {}
