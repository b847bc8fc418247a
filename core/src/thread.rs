//! Threads of our own, in a process that is not.

use crate::panic::{contain, discard_payload};
use crate::shim::thread::{Builder, JoinHandle, current};
use crate::shim::thread_local;
use crate::topology::{Pin, unpinned};
use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

thread_local! {
    /// The family of this thread, if it is one of ours.
    static FAMILY: Cell<*const ()> = const { Cell::new(ptr::null()) };
}

/// Hooks and properties that all threads of a runtime share.
#[derive(Clone)]
pub(crate) struct ThreadOptions {
    pub(crate) name: Arc<dyn Fn() -> String + Send + Sync>,
    pub(crate) stack_size: Option<usize>,
    pub(crate) on_start: Option<Hook>,
    pub(crate) on_stop: Option<Hook>,
    /// Tells the threads of one runtime from all others, by its address.
    pub(crate) family: Arc<()>,
}

/// A function that a thread calls when it starts or stops.
pub(crate) type Hook = Arc<dyn Fn() + Send + Sync>;

/// What a worker calls around each of its waits.
#[derive(Clone, Default)]
pub(crate) struct ParkHooks {
    pub(crate) park: Option<Hook>,
    pub(crate) unpark: Option<Hook>,
}

impl ThreadOptions {
    /// Threads without any of it.
    #[cfg(test)]
    pub(crate) fn plain() -> ThreadOptions {
        ThreadOptions {
            name: Arc::new(String::new),
            stack_size: None,
            on_start: None,
            on_stop: None,
            family: Arc::new(()),
        }
    }

    /// Starts a thread with signals blocked, which runs `body` between the two hooks, and drops what
    /// `body` returns when nothing of the user's is left to run.
    ///
    /// The host's signal handlers keep running on the host's threads: the new thread blocks every
    /// signal that the kernel may deliver to any thread, except while it starts a program.
    ///
    /// # Errors
    /// `InvalidInput` if the thread can not have its name; what the system says.
    pub(crate) fn spawn<T>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        self.spawn_on(None, body)
    }

    /// As [`spawn`](Self::spawn), on a processor that the thread will stay on, or on any that the
    /// calling thread might use.
    pub(crate) fn spawn_on<T>(
        &self,
        cpu: Option<usize>,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let pin = cpu.map(Pin::new).transpose()?;
        let mut builder = Builder::new().name(self.next_name()?);
        if let Some(size) = self.stack_size {
            builder = builder.stack_size(size);
        }
        let (options, own) = (self.clone(), pin.clone());
        let start = || {
            builder.spawn(move || {
                if let Some(pin) = own {
                    pin.adopt();
                }
                FAMILY.with(|family| family.set(Arc::as_ptr(&options.family)));
                call(&options.on_start);
                let ended = body();
                call(&options.on_stop);
                drop(ended);
            })
        };
        with_signals_blocked(|| match pin {
            Some(pin) => pin.start(start),
            None => unpinned(start),
        })
    }

    fn next_name(&self) -> io::Result<String> {
        let name = catch_unwind(AssertUnwindSafe(|| (self.name)())).map_err(|payload| {
            discard_payload(payload);
            io::Error::other("the function that names threads panicked")
        })?;
        if name.contains('\0') {
            let message = "the name of a thread can not contain a zero byte";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(name)
    }

    /// Whether the calling thread was started with these options, its hooks included.
    pub(crate) fn started_current(&self) -> bool {
        FAMILY.with(Cell::get) == Arc::as_ptr(&self.family)
    }
}

/// Starts a thread of our own that ends by itself, with signals blocked. `false` if the system has
/// none left.
#[cfg(not(loom))]
pub(crate) fn spawn_helper(name: &str, body: impl FnOnce() + Send + 'static) -> bool {
    let builder = std::thread::Builder::new().name(name.to_owned());
    with_signals_blocked(|| unpinned(|| builder.spawn(body))).is_ok()
}

/// Waits until a thread has ended, unless it is the calling one, which its destructors of
/// thread-local values may make it.
pub(crate) fn join(handle: JoinHandle<()>) {
    if handle.thread().id() != current().id() {
        // What runs on our threads contains its panics.
        let _ = handle.join();
    }
}

impl fmt::Debug for ThreadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadOptions")
            .field("stack_size", &self.stack_size)
            .finish_non_exhaustive()
    }
}

/// Calls a hook; a panic in it must not take the thread along.
pub(crate) fn call(hook: &Option<Hook>) {
    if let Some(hook) = hook {
        contain(|| hook());
    }
}

/// Has the calling thread's waits end when they are due. Linux adds up to 50 µs to the waits of a
/// thread, so that timers of several may go off together; a worker waits for many timers by itself.
pub(crate) fn wake_on_time() {
    #[cfg(target_os = "linux")]
    // SAFETY: the call takes a number, in nanoseconds, and changes nothing but this thread. The C
    // library hands on all five words, so all are given.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1_000_u64, 0_u64, 0_u64, 0_u64)
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

/// Runs `f`, which writes to a descriptor, without the `SIGPIPE` that the system sends to a thread for a
/// write that nobody will read. Our own threads block signals anyway; another one does for a moment, and
/// takes the signal out if one has come.
pub(crate) fn without_sigpipe<R>(f: impl FnOnce() -> std::io::Result<R>) -> std::io::Result<R> {
    if is_ours() {
        return f();
    }
    let pipe = only_sigpipe();
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets live on this stack; the call writes the second.
    let before = unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const pipe, before.as_mut_ptr());
        before.assume_init()
    };
    let result = f();
    // SAFETY: the set was written by the call above.
    if unsafe { libc::sigismember(&raw const before, libc::SIGPIPE) } == 1 {
        return result;
    }
    if matches!(&result, Err(error) if error.kind() == io::ErrorKind::BrokenPipe) {
        discard_sigpipe();
    }
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    result
}

/// Runs `f`, which starts a program: the mask of signals that it inherits is this thread's. One of ours
/// lets all signals through meanwhile, for a program that is deaf to `SIGTERM` helps nobody.
pub(crate) fn with_signals_as_for_a_program<R>(f: impl FnOnce() -> R) -> R {
    if !is_ours() {
        return f();
    }
    // One that a write has caused is pending still, and would come now.
    discard_sigpipe();
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the sets live on this stack; the calls write them.
    let before = unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    };
    let result = f();
    // SAFETY: written by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    result
}

fn is_ours() -> bool {
    !FAMILY.with(Cell::get).is_null()
}

fn only_sigpipe() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is initialised by the first call.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE);
        set.assume_init()
    }
}

/// Takes out a `SIGPIPE` that is pending, which this thread blocks.
fn discard_sigpipe() {
    let pipe = only_sigpipe();
    loop {
        let mut pending = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the sets live on this stack; the call writes the second. `sigwait` does not wait for
        // what is pending.
        unsafe {
            let mut signal = 0;
            if libc::sigpending(pending.as_mut_ptr()) != 0
                || libc::sigismember(pending.as_ptr(), libc::SIGPIPE) != 1
                || libc::sigwait(&raw const pipe, &raw mut signal) != 0
            {
                return;
            }
        }
    }
}
