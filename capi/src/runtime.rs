//! Runtimes: a pool of workers, and a pool of threads for blocking jobs.

use std::ffi::{c_char, c_int, c_void};
use std::fmt;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libruntime_core::runtime as core;

use crate::callback::{UserData, rt_drop_fn};
use crate::ffi::{Options, Origin, boundary, boundary_void, first_use, options, out, string};
use crate::handle::{Handle, tag};
use crate::status::{Error, RT_OK};
use crate::thread;

/// What a runtime is made with.
#[derive(Default)]
pub struct RuntimeOptions {
    /// Workers; 0 for one for each core that this process may use.
    pub worker_threads: usize,
    /// Threads for blocking jobs at most; 0 for the default.
    pub max_blocking_threads: usize,
    /// How long a thread without blocking jobs stays; zero for the default.
    pub thread_keep_alive: Duration,
    /// The size of each thread's stack, in bytes; 0 for the default.
    pub thread_stack_size: usize,
    /// The name of the threads.
    pub thread_name: Option<String>,
    /// Called first on each thread.
    pub on_thread_start: Option<Arc<dyn Fn() + Send + Sync>>,
    /// Called last on each thread.
    pub on_thread_stop: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// What a shutdown did, and had to leave.
pub type ShutdownReport = core::ShutdownReport;

/// A pool of workers, as C, Python and Node hold it. Any thread may use it. After a fork, in the
/// child, all methods return `Error::Fork`.
///
/// Dropping it shuts it down, and waits for its threads, unless this is one of them.
pub struct Runtime {
    /// Not dropped in a forked child, where its threads do not exist.
    core: ManuallyDrop<core::Runtime>,
    handle: core::Handle,
    shut: AtomicBool,
    origin: Origin,
}

impl Runtime {
    /// Starts a runtime.
    ///
    /// # Errors
    /// `Inval` if a setting is out of range, or the system's.
    pub fn new(options: &RuntimeOptions) -> Result<Arc<Runtime>, Error> {
        first_use();
        let mut builder = core::Builder::new();
        builder.worker_threads(options.worker_threads);
        if options.max_blocking_threads > 0 {
            builder.max_blocking_threads(options.max_blocking_threads);
        }
        if !options.thread_keep_alive.is_zero() {
            builder.thread_keep_alive(options.thread_keep_alive);
        }
        if options.thread_stack_size > 0 {
            builder.thread_stack_size(options.thread_stack_size);
        }
        if let Some(name) = &options.thread_name {
            builder.thread_name(name.clone());
        }
        if let Some(hook) = options.on_thread_start.clone() {
            builder.on_thread_start(move || hook());
        }
        if let Some(hook) = options.on_thread_stop.clone() {
            builder.on_thread_stop(move || hook());
        }
        let core = builder.build()?;
        Ok(Arc::new(Runtime {
            handle: core.handle().clone(),
            core: ManuallyDrop::new(core),
            shut: AtomicBool::new(false),
            origin: Origin::here(),
        }))
    }

    /// Core's handle, to spawn with.
    ///
    /// # Errors
    /// `Shutdown`, `Fork`.
    pub(crate) fn handle(&self) -> Result<&core::Handle, Error> {
        self.origin.check()?;
        if self.shut.load(Ordering::Acquire) {
            Err(Error::Shutdown)
        } else {
            Ok(&self.handle)
        }
    }

    /// Starts a task on the workers.
    ///
    /// # Errors
    /// `Shutdown`, `Fork`.
    pub fn spawn<F>(&self, future: F) -> Result<(), Error>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.handle()?.spawn(future));
        Ok(())
    }

    /// Runs a job that may block on a thread that is there for it.
    ///
    /// # Errors
    /// `Shutdown`, `Fork`.
    pub fn spawn_blocking<F>(&self, job: F) -> Result<(), Error>
    where
        F: FnOnce() + Send + 'static,
    {
        drop(self.handle()?.spawn_blocking(job));
        Ok(())
    }

    /// Runs a future on this thread until it is ready.
    ///
    /// # Errors
    /// `Deadlk` on a worker or inside another `block_on`, `Shutdown`, `Fork`.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        self.handle()?.block_on(future).map_err(|_| Error::Deadlk)
    }

    /// Shuts down: nothing new is accepted, pending tasks are dropped, blocking jobs that have
    /// begun are waited for, for `timeout` at most (`None`: without limit).
    ///
    /// # Errors
    /// `Fork`.
    pub fn shutdown(&self, timeout: Option<Duration>) -> Result<ShutdownReport, Error> {
        self.origin.check()?;
        self.shut.store(true, Ordering::Release);
        Ok(self.core.shutdown(timeout))
    }

    /// A handle for C (`rt_runtime *`), to be given back with `rt_runtime_free`.
    pub fn to_handle(self: &Arc<Runtime>) -> *mut rt_runtime {
        rt_runtime::new(self.clone())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if !self.origin.is_foreign() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.core) };
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

/// A pool of workers that run tasks, each with its own timers and sockets, and that steal from each
/// other; and a pool of threads for jobs that block. Several runtimes in one process share nothing.
/// Its threads leave the process's signals to the other threads.
///
/// Flow: `rt_runtime_new`, `rt_spawn` and so on, `rt_runtime_shutdown` if the end is to have a time
/// limit, `rt_runtime_free`.
pub struct rt_runtime {
    _opaque: [u8; 0],
}

// SAFETY: the tag is this type's alone.
unsafe impl Handle for rt_runtime {
    type Value = Arc<Runtime>;
    const TAG: u64 = tag(b"rtruntim");
}

/// Is called on a thread of a runtime, when it starts or before it ends.
pub type rt_thread_fn = Option<unsafe extern "C-unwind" fn(data: *mut c_void)>;

/// Options of a runtime. Set up by `RT_RUNTIME_OPTIONS_INIT`; zero always means the default.
#[repr(C)]
pub struct rt_runtime_options {
    /// `sizeof(rt_runtime_options)`.
    pub size: usize,
    /// Workers; 0 for one for each core that this process may use.
    pub worker_threads: u32,
    /// Threads for blocking jobs at most; 0 for 512.
    pub max_blocking_threads: u32,
    /// How long a thread stays that has no blocking job, in nanoseconds; 0 for ten seconds.
    pub thread_keep_alive_ns: u64,
    /// The size of each thread's stack in bytes; 0 for the default of two megabytes.
    pub thread_stack_size: usize,
    /// The name of the threads, of which Linux shows 15 bytes; NULL for "libruntime".
    pub thread_name: *const c_char,
    /// Called first on each thread, with `thread_data`.
    pub on_thread_start: rt_thread_fn,
    /// Called last on each thread, with `thread_data`.
    pub on_thread_stop: rt_thread_fn,
    /// For the two functions above.
    pub thread_data: *mut c_void,
    /// Called with `thread_data` when the last thread has ended, or `rt_runtime_new` has failed.
    pub thread_data_drop: rt_drop_fn,
}

// SAFETY: `repr(C)`, begins with its size, and zeros are valid everywhere.
unsafe impl Options for rt_runtime_options {}

fn thread_hook(
    function: rt_thread_fn,
    user: &Arc<UserData>,
) -> Option<Arc<dyn Fn() + Send + Sync>> {
    let (function, user) = (function?, user.clone());
    Some(Arc::new(move || {
        // SAFETY: the caller gave the function for this data, which the closure keeps.
        let _ = thread::callback(|| unsafe { function(user.data()) });
    }))
}

/// Starts a runtime. `options` may be NULL.
/// Errors: `RT_EINVAL`, `RT_E2BIG`, `RT_EMFILE`, `RT_EAGAIN` if no thread can be started, and what
/// else the system says. `options->thread_data` is consumed unless the options themselves are
/// refused.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_runtime_new(
    options: *const rt_runtime_options,
    runtime: *mut *mut rt_runtime,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a struct as the header declares it.
        let given = unsafe { self::options(options)? };
        let user = Arc::new(UserData::new(given.thread_data, given.thread_data_drop));
        let options = RuntimeOptions {
            worker_threads: given.worker_threads as usize,
            max_blocking_threads: given.max_blocking_threads as usize,
            thread_keep_alive: Duration::from_nanos(given.thread_keep_alive_ns),
            thread_stack_size: given.thread_stack_size,
            thread_name: if given.thread_name.is_null() {
                None
            } else {
                // SAFETY: the caller passes a string.
                Some(unsafe { string(given.thread_name)? }.to_owned())
            },
            on_thread_start: thread_hook(given.on_thread_start, &user),
            on_thread_stop: thread_hook(given.on_thread_stop, &user),
        };
        // SAFETY: the caller passes a place for the result, or NULL.
        let runtime = unsafe { out(runtime)? };
        runtime.write(rt_runtime::new(Runtime::new(&options)?));
        Ok(RT_OK)
    })
}

/// Another handle for the same runtime.
/// Errors: `RT_EINVAL`.
///
/// @threads any
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_runtime_clone(
    runtime: *mut rt_runtime,
    clone: *mut *mut rt_runtime,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a runtime, and a place for the result, or what is refused.
        let (this, clone) = unsafe { (rt_runtime::get(runtime)?, out(clone)?) };
        clone.write(rt_runtime::new(this.clone()));
        Ok(RT_OK)
    })
}

/// Gives the handle back. With the last one, and when no loop has the runtime attached any more, it
/// is shut down without a time limit: nothing of it runs after this call has returned, unless it
/// was called on one of the runtime's own threads.
///
/// @threads any @blocking @consumes runtime
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_runtime_free(runtime: *mut rt_runtime) {
    boundary_void(|| {
        // SAFETY: the caller passes a runtime that it owns, or what is refused.
        drop(unsafe { rt_runtime::take(runtime) });
    });
}

/// What a shutdown did. Set up by `RT_SHUTDOWN_REPORT_INIT`.
#[repr(C)]
pub struct rt_shutdown_report {
    /// `sizeof(rt_shutdown_report)`.
    pub size: usize,
    /// Tasks that were dropped before they had finished.
    pub tasks_dropped: u64,
    /// Workers that were still inside a poll when the time was over.
    pub workers_left: u64,
    /// Threads that were still inside a blocking job when the time was over; if there was none, threads
    /// of the pool for blocking jobs that had not ended, as one inside its `on_thread_stop`.
    pub blocking_left: u64,
}

// SAFETY: `repr(C)`, begins with its size, and zeros are valid everywhere.
unsafe impl Options for rt_shutdown_report {}

/// Shuts the runtime down: nothing new is accepted (`RT_ESHUTDOWN`), a poll that is under way ends,
/// pending tasks get `drop` without another poll and then `RT_ECANCELED`, blocking jobs that have
/// begun are waited for and others cancelled. Waits at most `timeout_ns` (`RT_FOREVER`: without
/// limit); threads that are left then end by themselves later. `report` may be NULL. Called again,
/// it waits again. On a thread of the runtime's own nothing is waited for.
/// Returns `RT_OK` if all has ended. Errors: `RT_ETIMEDOUT` if something is left (`report` is written),
/// `RT_EINVAL`, `RT_EFORK`.
///
/// @threads any @blocking
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_runtime_shutdown(
    runtime: *mut rt_runtime,
    timeout_ns: u64,
    report: *mut rt_shutdown_report,
) -> c_int {
    boundary(|| {
        // SAFETY: the caller passes a runtime, or what is refused. The clone keeps it.
        let this = unsafe { rt_runtime::get(runtime)?.clone() };
        if !report.is_null() {
            // SAFETY: the caller passes a struct as the header declares it.
            unsafe { options(report)? };
        }
        let timeout = (timeout_ns != u64::MAX).then(|| Duration::from_nanos(timeout_ns));
        let done = this.shutdown(timeout)?;
        if !report.is_null() {
            // SAFETY: as above; a caller with a smaller struct gets the part that it knows.
            unsafe { write_report(report, &done) };
        }
        if done.is_complete() {
            Ok(RT_OK)
        } else {
            Err(Error::TimedOut)
        }
    })
}

/// # Safety
/// `report` begins with its size and is writable for it.
unsafe fn write_report(report: *mut rt_shutdown_report, done: &ShutdownReport) {
    // SAFETY: passed on from the caller.
    unsafe {
        let size = report
            .cast::<usize>()
            .read()
            .min(size_of::<rt_shutdown_report>());
        let full = rt_shutdown_report {
            size: report.cast::<usize>().read(),
            tasks_dropped: done.tasks_dropped as u64,
            workers_left: done.workers_left as u64,
            blocking_left: done.blocking_left as u64,
        };
        std::ptr::copy_nonoverlapping((&raw const full).cast::<u8>(), report.cast::<u8>(), size);
    }
}
