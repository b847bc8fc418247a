//! What a runtime did, and what it has to do: figures for a moment.
//!
//! ```
//! let runtime = libruntime_core::runtime::Builder::new().worker_threads(1).build()?;
//! runtime.block_on(runtime.spawn(async {}))?.unwrap();
//! let metrics = runtime.metrics();
//! assert_eq!(metrics.num_workers(), 1);
//! assert_eq!(metrics.spawned_tasks_count(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How old the figures are
//!
//! A worker counts for itself, and shows its counters to others when it waits for work and once in
//! 64 turns at least while it has some. So its counters are as of its last wait, or up to 64 polls old; those of a
//! worker that is inside a long poll are as of some poll before that one. Two workers' counters may
//! be of different moments: a total may be short of a task that one has spawned and count what
//! another did after. Of a runtime at rest every figure is exact.
//!
//! Queue depths, threads, states and their transitions, histograms and the time awake are read when the
//! snapshot is taken.

mod export;
mod histogram;
mod otlp;
mod prometheus;

use crate::blocking::ClassMetrics;
pub use crate::executor::WorkerState;
use crate::executor::{Figures, Transitions};
use crate::reactor::Calls;
pub(crate) use histogram::Recorder;
pub use histogram::{Bucket, Histogram};
use std::time::{Duration, SystemTime};

/// A runtime's figures, as [`Handle::metrics`](crate::runtime::Handle::metrics) has read them.
///
/// Names are tokio's where the figure is the same. Counters begin at zero with the runtime and never
/// fall.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) started: SystemTime,
    pub(crate) taken: SystemTime,
    /// Nanoseconds.
    pub(crate) uptime: u64,
    pub(crate) workers: Box<[Figures]>,
    pub(crate) stands: Box<[Stand]>,
    pub(crate) hand_overs: u64,
    pub(crate) global_queue_depth: usize,
    pub(crate) spawned_outside: u64,
    pub(crate) completed_outside: u64,
    pub(crate) blocking: Blocking,
    pub(crate) task_bytes: (usize, usize),
    pub(crate) reactor: Calls,
}

/// How a worker looks from outside.
#[derive(Clone, Debug)]
pub(crate) struct Stand {
    pub(crate) state: WorkerState,
    pub(crate) transitions: Transitions,
    pub(crate) stalls: u64,
    pub(crate) poll_time: Option<Histogram>,
    pub(crate) schedule_latency: Option<Histogram>,
}

/// The state of the threads for blocking jobs.
#[derive(Clone, Debug)]
pub(crate) struct Blocking {
    pub(crate) threads: usize,
    pub(crate) idle: usize,
    pub(crate) classes: Vec<ClassMetrics>,
}

impl Snapshot {
    /// When the runtime was made, by the system's clock.
    pub fn started_at(&self) -> SystemTime {
        self.started
    }

    /// When this snapshot was taken, by the system's clock, which may be set: what lies between two
    /// snapshots is better told by [`uptime`](Snapshot::uptime).
    pub fn taken_at(&self) -> SystemTime {
        self.taken
    }

    /// The time from the making of the runtime to that of the snapshot, by a clock that goes on evenly.
    /// What counters have grown by between two snapshots, divided by what this has, is a rate.
    pub fn uptime(&self) -> Duration {
        Duration::from_nanos(self.uptime)
    }

    /// How many workers the runtime has.
    pub fn num_workers(&self) -> usize {
        self.workers.len()
    }

    /// Tasks that were spawned and have not ended. Jobs on the blocking pool are not among them.
    pub fn num_alive_tasks(&self) -> usize {
        let completed = self.completed_tasks_count();
        self.spawned_tasks_count().saturating_sub(completed) as usize
    }

    /// Tasks that were ever spawned, on workers and elsewhere.
    pub fn spawned_tasks_count(&self) -> u64 {
        self.spawned_outside + self.total(|worker| worker.spawned)
    }

    /// Tasks that have ended: run to completion, panicked, or were cancelled.
    pub fn completed_tasks_count(&self) -> u64 {
        self.completed_outside + self.total(|worker| worker.completed)
    }

    /// Tasks that were spawned on threads that are none of the workers.
    pub fn spawned_outside_count(&self) -> u64 {
        self.spawned_outside
    }

    /// Tasks that wait in the queue for work from outside of the workers.
    pub fn global_queue_depth(&self) -> usize {
        self.global_queue_depth
    }

    /// Tasks that wait in the worker's own queue. The one that it will run next may be missing:
    /// a task woken last is kept apart.
    ///
    /// # Panics
    /// If `worker` is not below [`num_workers`](Snapshot::num_workers), as with all figures of one
    /// worker.
    pub fn worker_local_queue_depth(&self, worker: usize) -> usize {
        self.workers[worker].queued
    }

    /// How long the worker has been awake in all: polling tasks, or looking for them. A wait, and
    /// the events of the reactor that ended it, do not count.
    ///
    /// # Panics
    /// As [`Snapshot::worker_local_queue_depth`].
    pub fn worker_total_busy_duration(&self, worker: usize) -> Duration {
        self.workers[worker].busy
    }

    /// Where the worker stands.
    ///
    /// # Panics
    /// As [`Snapshot::worker_local_queue_depth`].
    pub fn worker_state(&self, worker: usize) -> WorkerState {
        self.stands[worker].state
    }

    /// How often the worker has gone from one state to another, for each transition that there is. As
    /// of now, not as of the worker's last wait; a transition that is just being made may be missing.
    ///
    /// # Panics
    /// As [`Snapshot::worker_local_queue_depth`].
    pub fn worker_transitions(
        &self,
        worker: usize,
    ) -> impl Iterator<Item = (WorkerState, WorkerState, u64)> {
        self.stands[worker].transitions.iter()
    }

    /// How often the worker has gone from `from` to `to`: zero for what is not among
    /// [`worker_transitions`](Snapshot::worker_transitions).
    ///
    /// # Panics
    /// As [`Snapshot::worker_local_queue_depth`].
    pub fn worker_transition_count(
        &self,
        worker: usize,
        from: WorkerState,
        to: WorkerState,
    ) -> u64 {
        self.worker_transitions(worker)
            .find(|step| (step.0, step.1) == (from, to))
            .map_or(0, |step| step.2)
    }

    /// Polls of the worker that were found to hold up others: see
    /// [`Builder::stall_watch`](crate::runtime::Builder::stall_watch). Those that ended soon may have
    /// been missed.
    ///
    /// # Panics
    /// As [`Snapshot::worker_local_queue_depth`].
    pub fn worker_stall_count(&self, worker: usize) -> u64 {
        self.stands[worker].stalls
    }

    /// How often a worker was woken to wait for I/O because a poll held up the one that did. What
    /// workers do so by themselves after a stall is in
    /// [`worker_hand_over_count`](Snapshot::worker_hand_over_count).
    pub fn stall_hand_over_count(&self) -> u64 {
        self.hand_overs
    }

    /// How long the polls of the worker took, each from its beginning to its end, if the runtime
    /// [measures](crate::runtime::Builder::poll_time_histogram) that.
    ///
    /// Each run of a task counts as a poll here, as in
    /// [`worker_poll_count`](Snapshot::worker_poll_count), also one that only drops the future of a task
    /// that was aborted. A poll that has handed its worker over, in
    /// [`block_in_place`](crate::task::block_in_place), is missing: it holds up no worker.
    ///
    /// # Panics
    /// As [`Snapshot::worker_local_queue_depth`].
    pub fn worker_poll_time_histogram(&self, worker: usize) -> Option<&Histogram> {
        self.stands[worker].poll_time.as_ref()
    }

    /// How long tasks that the worker polled had been ready before, if the runtime
    /// [measures](crate::runtime::Builder::schedule_latency_histogram) that: from the spawn or the wake
    /// that made the task ready, or, if it was woken while it was polled, from the end of that poll, to the
    /// beginning of the next, wherever the task was meanwhile. A task that is woken again while it is ready
    /// has been so since the first time.
    ///
    /// # Panics
    /// As [`Snapshot::worker_local_queue_depth`].
    pub fn worker_schedule_latency_histogram(&self, worker: usize) -> Option<&Histogram> {
        self.stands[worker].schedule_latency.as_ref()
    }

    /// [`worker_poll_time_histogram`](Snapshot::worker_poll_time_histogram) of all workers together.
    pub fn poll_time_histogram(&self) -> Option<Histogram> {
        merged(self.stands.iter().map(|stand| stand.poll_time.as_ref()))
    }

    /// [`worker_schedule_latency_histogram`](Snapshot::worker_schedule_latency_histogram) of all workers
    /// together.
    pub fn schedule_latency_histogram(&self) -> Option<Histogram> {
        let stands = self.stands.iter();
        merged(stands.map(|stand| stand.schedule_latency.as_ref()))
    }

    /// Threads of the blocking pool.
    pub fn num_blocking_threads(&self) -> usize {
        self.blocking.threads
    }

    /// Threads of the blocking pool that wait for a job.
    pub fn num_idle_blocking_threads(&self) -> usize {
        self.blocking.idle
    }

    /// Jobs that wait for a thread of the blocking pool.
    pub fn blocking_queue_depth(&self) -> usize {
        self.blocking.classes.iter().map(|class| class.queued).sum()
    }

    /// The jobs of each class on the blocking pool: those of [`Class`](crate::blocking::Class) in
    /// their order, and then those that the builder added.
    pub fn blocking_classes(&self) -> &[ClassMetrics] {
        &self.blocking.classes
    }

    /// Bytes that the runtime has for tasks: of those that are alive, of ended ones whose handles are,
    /// and what is [kept](crate::runtime::Builder::keep_task_memory) for new ones, in pieces of 64 KiB
    /// that the system gave. Tasks of more than 2 KiB have memory of the allocator's; of that a worker
    /// tells in portions of 64 KiB, and when it waits.
    pub fn task_memory_bytes(&self) -> usize {
        self.task_bytes.0
    }

    /// The most that [`task_memory_bytes`](Snapshot::task_memory_bytes) has been.
    pub fn task_memory_peak_bytes(&self) -> usize {
        self.task_bytes.1
    }

    /// Sockets and other descriptors that the reactor was asked to watch, since the runtime began. One
    /// that never had to wait is not among them.
    pub fn io_driver_fd_registered_count(&self) -> u64 {
        self.reactor.adds
    }

    /// System calls (`epoll_ctl` on Linux) that were made to begin to watch descriptors, to watch them
    /// for more, and to cease to: one at most for most connections, as closing a descriptor makes none.
    pub fn io_driver_call_count(&self) -> u64 {
        self.reactor.adds + self.reactor.modifications + self.reactor.removals
    }

    fn total(&self, figure: impl Fn(&Figures) -> u64) -> u64 {
        self.workers.iter().map(figure).sum()
    }
}

/// All in one. `None`: they are off.
fn merged<'a>(parts: impl Iterator<Item = Option<&'a Histogram>>) -> Option<Histogram> {
    parts.fold(None, |all, part| {
        let mut all = all.unwrap_or_default();
        all.merge(part?);
        Some(all)
    })
}
