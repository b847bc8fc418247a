//! Threads of our own, in a process that is not.

use crate::shim::thread::{Builder, JoinHandle};
use std::fmt;
use std::io;
use std::sync::Arc;

/// Hooks and properties that all threads of a runtime share.
#[derive(Clone)]
pub(crate) struct ThreadOptions {
    pub(crate) name: Arc<dyn Fn() -> String + Send + Sync>,
    pub(crate) stack_size: Option<usize>,
    pub(crate) on_start: Option<Hook>,
    pub(crate) on_stop: Option<Hook>,
}

/// A function that a thread calls when it starts or stops.
pub(crate) type Hook = Arc<dyn Fn() + Send + Sync>;

impl ThreadOptions {
    /// Starts a thread with signals blocked, which runs `body` between the two hooks.
    ///
    /// The host's signal handlers keep running on the host's threads: the new thread blocks every
    /// signal that the kernel may deliver to any thread.
    pub(crate) fn spawn(&self, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
        let mut builder = Builder::new().name((self.name)());
        if let Some(size) = self.stack_size {
            builder = builder.stack_size(size);
        }
        let options = self.clone();
        with_signals_blocked(|| {
            builder.spawn(move || {
                call(&options.on_start);
                body();
                call(&options.on_stop);
            })
        })
    }
}

impl fmt::Debug for ThreadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadOptions")
            .field("name", &(self.name)())
            .field("stack_size", &self.stack_size)
            .finish_non_exhaustive()
    }
}

/// Calls a hook; a panic in it must not take the thread along.
fn call(hook: &Option<Hook>) {
    if let Some(hook) = hook {
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hook()));
    }
}

/// Has the calling thread's waits end when they are due. Linux adds up to 50 µs to the waits of a
/// thread, so that timers of several may go off together; a worker waits for many timers by itself.
pub(crate) fn wake_on_time() {
    #[cfg(target_os = "linux")]
    // SAFETY: the call takes a number, in nanoseconds, and changes nothing but this thread.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1_000_u64)
    };
}

/// Runs `f` with the signals blocked that are sent to a process and not caused by a thread: a
/// thread started meanwhile inherits the mask.
#[cfg(unix)]
fn with_signals_blocked<R>(f: impl FnOnce() -> R) -> R {
    use std::mem::MaybeUninit;
    use std::ptr;

    const CAUSED_BY_A_THREAD: [libc::c_int; 6] = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
    ];
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the sets live on this stack; `before` is written by the first pthread_sigmask.
    unsafe {
        let mut blocked = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(blocked.as_mut_ptr());
        for signal in CAUSED_BY_A_THREAD {
            libc::sigdelset(blocked.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, blocked.as_ptr(), before.as_mut_ptr());
    }
    let result = f();
    // SAFETY: `before` is the mask that the call above stored.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    result
}

#[cfg(not(unix))]
fn with_signals_blocked<R>(f: impl FnOnce() -> R) -> R {
    f()
}
