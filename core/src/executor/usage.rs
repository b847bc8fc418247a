//! What the tuner reads of the workers: their use of processors.

use super::shared::{Remote, Shared};
use super::sys;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

impl Shared {
    /// What each worker that takes part has used so far.
    pub(crate) fn worker_times(&self) -> Vec<WorkerTimes> {
        let times = |remote: &Remote| {
            let thread = remote.thread.load(Relaxed);
            let awake = remote.counters.read(&self.clock, 0).busy;
            let (thread, ran, delayed) = match sys::processor_times(thread) {
                Some((ran, delayed)) => (thread, ran, delayed),
                None => (0, Duration::ZERO, Duration::ZERO),
            };
            WorkerTimes {
                thread,
                ran,
                delayed,
                awake,
            }
        };
        let active = self.remotes.iter().take(self.active_workers());
        active.map(|remote| times(remote)).collect()
    }
}

/// Whether the system tells how long a thread waited for a processor.
pub(crate) fn are_delays_told() -> bool {
    // Has the system bring up to date what it says of this thread, which may have begun just now.
    let _ = sys::own_cpu_time();
    sys::processor_times(sys::thread_id()).is_some()
}

/// What a worker has used so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerTimes {
    /// Which thread this is of. 0: none has begun, or the system does not tell.
    thread: i32,
    pub(crate) ran: Duration,
    /// Able to run, and without a processor.
    pub(crate) delayed: Duration,
    /// Not waiting for work.
    pub(crate) awake: Duration,
}

impl WorkerTimes {
    /// What it used since `before`. `None` if there is no telling.
    pub(crate) fn since(&self, before: &WorkerTimes) -> Option<WorkerTimes> {
        (self.thread != 0 && self.thread == before.thread).then(|| WorkerTimes {
            thread: self.thread,
            ran: self.ran.saturating_sub(before.ran),
            delayed: self.delayed.saturating_sub(before.delayed),
            awake: self.awake.saturating_sub(before.awake),
        })
    }
}
