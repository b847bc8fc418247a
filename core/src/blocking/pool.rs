//! The threads. See the [module](super) for the protocol.

use super::class::{Class, ClassSettings, Lanes};
use super::job::Job;
use crate::executor::SharedRef;
use crate::look::{self, LOOK, SOON};
use crate::metrics;
use crate::shim::sync::atomic::{AtomicU32, Ordering};
use crate::shim::sync::{Condvar, Mutex, MutexGuard};
use crate::shim::thread::{self, JoinHandle as ThreadHandle, Thread};
use crate::shim::time;
use crate::task::{InOnePoll, JoinHandle, Notified, Record, new_task};
use crate::thread::ThreadOptions;
use crate::time::clock;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a pool is to be.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) max_threads: usize,
    /// Threads that stay once they were needed.
    pub(crate) min_threads: usize,
    pub(crate) keep_alive: Duration,
    pub(crate) classes: Vec<ClassSettings>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_threads: 512,
            min_threads: 0,
            keep_alive: Duration::from_secs(10),
            classes: ClassSettings::built_in(),
        }
    }
}

/// The threads for blocking jobs of one runtime.
#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<State>,
    /// The last thread has left.
    empty: Condvar,
    options: ThreadOptions,
    min_threads: usize,
    keep_alive: Duration,
}

#[derive(Debug)]
struct State {
    lanes: Lanes<Queued>,
    /// Threads that are busy, idle or called.
    threads: usize,
    /// The one that became idle last is called first: the others may reach the end of their
    /// keep-alive.
    idle: Vec<Arc<Sleeper>>,
    /// A thread has been called, and has not come yet.
    called: bool,
    /// Threads whose handle is not in `handles` yet.
    starting: usize,
    /// Threads that are not counted any more, and have not ended yet.
    leaving: usize,
    closed: bool,
    /// To join at the end; those that have ended by then are let go when another starts.
    handles: Vec<ThreadHandle<()>>,
}

#[derive(Debug)]
pub(super) struct Queued {
    pub(super) job: Notified,
    /// It runs even if the pool is closed before its turn.
    pub(super) mandatory: bool,
}

/// An idle thread. What it waits for is written under the pool's lock, by whoever takes it off the
/// idle ones.
#[derive(Debug)]
struct Sleeper {
    thread: Thread,
    news: AtomicU32,
}

const NONE: u32 = 0;
/// It was called to a job.
const CALLED: u32 = 1;
/// The pool was closed.
const RELEASED: u32 = 2;

/// What has to be done, without the lock, for a thread to come.
#[must_use]
enum Call {
    Nobody,
    Wake(Arc<Sleeper>),
    Start,
}

impl State {
    /// Restores the invariant: if a job may run, a thread has been called for it.
    fn call(&mut self) -> Call {
        if self.called || !self.lanes.any_ready() {
            return Call::Nobody;
        }
        self.called = true;
        match self.idle.pop() {
            Some(sleeper) => {
                sleeper.news.store(CALLED, Ordering::Release);
                Call::Wake(sleeper)
            }
            None => {
                self.threads += 1;
                self.starting += 1;
                Call::Start
            }
        }
    }

    /// Whether there is no thread, and none on its way in or out.
    fn is_empty(&self) -> bool {
        self.threads + self.starting + self.leaving == 0
    }

    /// Threads that a job holds; if there is none, those on their way in or out, which may be held by
    /// a hook. One that ended before its handle was stored is among the starting ones alone.
    fn held(&self) -> usize {
        match self.lanes.running() {
            0 => (self.threads + self.leaving).max(self.starting),
            running => running,
        }
    }
}

impl Pool {
    pub(crate) fn new(options: ThreadOptions, settings: Settings) -> Arc<Pool> {
        Arc::new(Pool {
            state: Mutex::new(State {
                lanes: Lanes::new(settings.classes, settings.max_threads.max(1)),
                threads: 0,
                idle: Vec::new(),
                called: false,
                starting: 0,
                leaving: 0,
                closed: false,
                handles: Vec::new(),
            }),
            empty: Condvar::new(),
            options,
            min_threads: settings.min_threads,
            keep_alive: settings.keep_alive,
        })
    }

    /// Runs `job` on a thread of the pool, inside `runtime`.
    ///
    /// The handle resolves to a cancelled error if the pool is closed, or closes before the job
    /// begins, or if there is no thread and none can be started. A mandatory job that was accepted
    /// is run even if the pool closes before its turn.
    pub(crate) fn spawn<F, R>(
        self: &Arc<Self>,
        runtime: SharedRef,
        class: Class,
        mandatory: bool,
        job: F,
        meta: Record,
    ) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let (job, handle) = new_task(Job::new(job, runtime), InOnePoll, meta);
        // A job that can not be run is dropped, which cancels it.
        let _ = self.submit(class, Queued { job, mandatory });
        handle
    }

    /// Queues a job, and sees to it that a thread will run it.
    ///
    /// # Errors
    /// Gives the reason if there is no thread and none could be started. The job is dropped.
    pub(super) fn submit(self: &Arc<Self>, class: Class, job: Queued) -> io::Result<()> {
        let call = {
            let mut state = self.state.lock();
            if state.closed {
                drop(state);
                drop(job);
                return Err(io::Error::other("the runtime has been shut down"));
            }
            state.lanes.push(class, job);
            state.call()
        };
        self.carry_out(call)
    }

    fn carry_out(self: &Arc<Self>, call: Call) -> io::Result<()> {
        match call {
            Call::Nobody => Ok(()),
            Call::Wake(sleeper) => {
                sleeper.thread.unpark();
                Ok(())
            }
            Call::Start => self.start_thread(),
        }
    }

    #[cold]
    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        let pool = self.clone();
        let life = move || {
            pool.work();
            Leaving(pool)
        };
        match self.options.spawn(life) {
            Ok(handle) => {
                let mut state = self.state.lock();
                state.handles.retain(|handle| !thread::is_finished(handle));
                state.handles.push(handle);
                state.starting -= 1;
                self.tell_if_empty(&state);
                Ok(())
            }
            Err(error) => self.give_up_thread(error),
        }
    }

    /// A thread could not be started. The others run what is queued when they come to it; if there is
    /// none, nobody would.
    #[cold]
    fn give_up_thread(&self, error: io::Error) -> io::Result<()> {
        let orphans = {
            let mut state = self.state.lock();
            state.called = false;
            state.threads -= 1;
            state.starting -= 1;
            if state.threads > 0 {
                return Ok(());
            }
            self.tell_if_empty(&state);
            state.lanes.remove(|_| false)
        };
        drop(orphans);
        Err(error)
    }

    /// The life of a thread.
    fn work(self: &Arc<Self>) {
        let me = Arc::new(Sleeper {
            thread: thread::current(),
            news: AtomicU32::new(NONE),
        });
        let mut soon = false;
        let mut state = self.state.lock();
        state.called = false;
        loop {
            while let Some((class, queued)) = state.lanes.take() {
                let call = state.call();
                drop(state);
                // Without one more thread the jobs wait for one of those that there are.
                let _ = self.carry_out(call);
                queued.job.run();
                state = self.state.lock();
                state.lanes.ended(class);
            }
            if state.closed {
                break;
            }
            let stay;
            (state, stay) = self.idle(&me, &mut soon, state);
            if !stay {
                break;
            }
        }
        state.threads -= 1;
        state.leaving += 1;
    }

    /// Waits for a call, which may come `soon`. Whether the thread is to stay.
    fn idle<'a>(
        &'a self,
        me: &Arc<Sleeper>,
        soon: &mut bool,
        mut state: MutexGuard<'a, State>,
    ) -> (MutexGuard<'a, State>, bool) {
        me.news.store(NONE, Ordering::Relaxed);
        state.idle.push(me.clone());
        let began = time::now();
        let mut leave_at = Some(clock::after(began, self.keep_alive));
        drop(state);
        let is_called = || me.news.load(Ordering::Acquire) != NONE;
        if *soon {
            let end = clock::after(began, self.keep_alive.min(LOOK));
            let _ = look::until(end, || is_called().then_some(()));
        }
        loop {
            let mut in_time = true;
            while in_time && !is_called() {
                in_time = park_until(leave_at);
            }
            *soon = time::now().saturating_duration_since(began) <= SOON;
            let mut state = self.state.lock();
            match me.news.load(Ordering::Relaxed) {
                CALLED => {
                    state.called = false;
                    return (state, true);
                }
                RELEASED => return (state, true),
                _ if state.threads > self.min_threads => {
                    state.idle.retain(|sleeper| !Arc::ptr_eq(sleeper, me));
                    return (state, false);
                }
                // One of those that stay: it need not look at the time again.
                _ => leave_at = None,
            }
        }
    }

    fn tell_if_empty(&self, state: &State) {
        if state.is_empty() {
            self.empty.notify_all();
        }
    }

    /// Refuses new jobs, and cancels those that have not begun and are not mandatory.
    pub(crate) fn close(&self) {
        let (cancelled, sleepers) = {
            let mut state = self.state.lock();
            state.closed = true;
            let sleepers = std::mem::take(&mut state.idle);
            for sleeper in &sleepers {
                sleeper.news.store(RELEASED, Ordering::Release);
            }
            (state.lanes.remove(|queued| queued.mandatory), sleepers)
        };
        for sleeper in sleepers {
            sleeper.thread.unpark();
        }
        drop(cancelled);
    }

    /// After [`Pool::close`]: waits for the jobs that run, and for their threads. Returns how many
    /// threads a job holds at `deadline`; if none, how many have not ended.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> usize {
        let mut state = self.state.lock();
        while !state.is_empty() {
            match deadline {
                None => state = self.empty.wait(state),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return state.held();
                    }
                    state = self.empty.wait_timeout(state, left).0;
                }
            }
        }
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        for handle in handles {
            crate::thread::join(handle);
        }
        0
    }

    /// Whether the calling thread is one of this runtime's, a worker or one of this pool.
    pub(crate) fn is_current(&self) -> bool {
        self.options.started_current()
    }

    pub(crate) fn metrics(&self) -> metrics::Blocking {
        let state = self.state.lock();
        metrics::Blocking {
            threads: state.threads,
            idle: state.idle.len(),
            classes: state.lanes.metrics(),
        }
    }
}

/// Parks the calling thread once, until `deadline` at most. Whether that is still to come.
fn park_until(deadline: Option<Instant>) -> bool {
    let Some(deadline) = deadline else {
        thread::park();
        return true;
    };
    let left = deadline.saturating_duration_since(time::now());
    if !left.is_zero() {
        thread::park_timeout(left);
    }
    !left.is_zero()
}

/// The last thing of a thread.
struct Leaving(Arc<Pool>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.leaving -= 1;
        self.0.tell_if_empty(&state);
    }
}
