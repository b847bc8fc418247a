//! Jobs that block: a pool of threads that grows while all are busy, and shrinks when they idle.
//!
//! # Protocol
//!
//! One lock guards the queue and three counts: threads alive, threads idle, and *claims*. Whoever
//! submits a job decides under the lock who will run it:
//!
//! - an idle thread: one is taken off *idle* and added to *claims*, and one thread is notified. A
//!   claim is consumed by whichever idle thread wakes first, for whatever reason; so a thread whose
//!   keep-alive ends at that very moment takes the job instead of leaving with it unrun.
//! - else a new thread, counted as alive before it is started, while the limit allows one;
//! - else a busy one: every thread looks at the queue, under the lock, before it counts itself idle.
//!
//! So a queued job always has a thread that is counted for it or that will look: none is lost at the
//! limit, which is where a protocol that looks outside of the lock goes wrong.

use crate::executor::SharedRef;
use crate::metrics;
use crate::shim::sync::{Condvar, Mutex};
use crate::shim::thread::{self, JoinHandle as ThreadHandle};
use crate::task::{JoinHandle, Notified, Record, Schedule, TaskPtr, coop, new_task};
use crate::thread::ThreadOptions;
use crate::time::clock;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The threads for blocking jobs of one runtime.
#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<State>,
    /// A claim was made, or the pool was closed.
    work: Condvar,
    /// The last thread has left.
    empty: Condvar,
    options: ThreadOptions,
    max_threads: usize,
    keep_alive: Duration,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Notified>,
    threads: usize,
    /// Threads whose handle is not in `handles` yet.
    starting: usize,
    /// Threads that are not counted any more, and have not ended yet.
    leaving: usize,
    idle: usize,
    claims: usize,
    closed: bool,
    /// To join at the end; those that have ended by then are let go when another starts.
    handles: Vec<ThreadHandle<()>>,
}

impl Pool {
    pub(crate) fn new(
        options: ThreadOptions,
        max_threads: usize,
        keep_alive: Duration,
    ) -> Arc<Pool> {
        Arc::new(Pool {
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            empty: Condvar::new(),
            options,
            max_threads: max_threads.max(1),
            keep_alive,
        })
    }

    /// Runs `job` on a thread of the pool, inside `runtime`.
    ///
    /// The handle resolves to a cancelled error if the pool is closed, or closes before the job
    /// begins, or if there is no thread and none can be started.
    pub(crate) fn spawn<F, R>(
        self: &Arc<Self>,
        runtime: SharedRef,
        job: F,
        meta: Record,
    ) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let (job, handle) = new_task(
            Job {
                work: Some((job, runtime)),
            },
            OnPool,
            meta,
        );
        // A job that can not be run is dropped, which cancels it.
        let _ = self.submit(job);
        handle
    }

    /// Queues a job, and sees to it that a thread will run it.
    ///
    /// # Errors
    /// Gives the reason if there is no thread and none could be started. The job is dropped.
    fn submit(self: &Arc<Self>, job: Notified) -> io::Result<()> {
        {
            let mut state = self.state.lock();
            if state.closed {
                drop(state);
                drop(job);
                return Err(io::Error::other("the runtime has been shut down"));
            }
            state.queue.push_back(job);
            if state.idle > 0 {
                state.idle -= 1;
                state.claims += 1;
                self.work.notify_one();
                return Ok(());
            }
            if state.threads == self.max_threads {
                return Ok(());
            }
            state.threads += 1;
            state.starting += 1;
        }
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

    /// A thread could not be started. If there is no other, nobody would run what is queued.
    #[cold]
    fn give_up_thread(&self, error: io::Error) -> io::Result<()> {
        let orphans = {
            let mut state = self.state.lock();
            state.threads -= 1;
            state.starting -= 1;
            if state.threads > 0 {
                return Ok(());
            }
            self.tell_if_empty(&state);
            std::mem::take(&mut state.queue)
        };
        drop(orphans);
        Err(error)
    }

    /// The life of a thread.
    fn work(&self) {
        let mut state = self.state.lock();
        'busy: loop {
            while let Some(job) = state.queue.pop_front() {
                drop(state);
                job.run();
                state = self.state.lock();
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let leave_at = clock::after(Instant::now(), self.keep_alive);
            loop {
                let left = leave_at.saturating_duration_since(Instant::now());
                let (now, wait) = self.work.wait_timeout(state, left);
                state = now;
                if state.claims > 0 {
                    state.claims -= 1;
                    continue 'busy;
                }
                if state.closed || (wait.timed_out() && Instant::now() >= leave_at) {
                    state.idle -= 1;
                    break 'busy;
                }
            }
        }
        state.threads -= 1;
        state.leaving += 1;
    }

    fn tell_if_empty(&self, state: &State) {
        if state.is_empty() {
            self.empty.notify_all();
        }
    }

    /// Refuses new jobs and cancels those that have not begun.
    pub(crate) fn close(&self) {
        let queued = {
            let mut state = self.state.lock();
            state.closed = true;
            self.work.notify_all();
            std::mem::take(&mut state.queue)
        };
        drop(queued);
    }

    /// After [`Pool::close`]: waits for the jobs that run, and for their threads. Returns how many
    /// are still at it at `deadline`.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> usize {
        let mut state = self.state.lock();
        while !state.is_empty() {
            match deadline {
                None => state = self.empty.wait(state),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return state.threads + state.leaving;
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

    pub(crate) fn metrics(&self) -> metrics::Blocking {
        let state = self.state.lock();
        metrics::Blocking {
            threads: state.threads,
            idle: state.idle,
            queued: state.queue.len(),
        }
    }

    /// Whether the calling thread is one of this runtime's, a worker or one of this pool.
    pub(crate) fn is_current(&self) -> bool {
        self.options.started_current()
    }
}

impl State {
    /// Whether there is no thread, and none on its way in or out.
    fn is_empty(&self) -> bool {
        self.threads + self.starting + self.leaving == 0
    }
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

/// A job as a future: its only poll runs it to its end.
struct Job<F> {
    work: Option<(F, SharedRef)>,
}

impl<F> Unpin for Job<F> {}

impl<F: FnOnce() -> R, R> Future for Job<F> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<R> {
        let (work, runtime) = self.work.take().expect("a job is polled once");
        let _entered = crate::context::enter(&runtime);
        Poll::Ready(coop::unlimited(work))
    }
}

/// The scheduler of a job: it never waits, so it is never woken and never linked.
struct OnPool;

impl Schedule for OnPool {
    fn schedule(&self, job: Notified) {
        drop(job);
    }

    fn reschedule(&self, job: Notified) {
        drop(job);
    }

    fn bind(&self, _: TaskPtr) -> bool {
        false
    }

    fn release(&self, _: TaskPtr) -> bool {
        false
    }
}
