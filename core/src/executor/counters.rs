//! What a worker counts.
//!
//! A worker counts in plain cells of its own, and copies them at each park and at each look around
//! ([`publish`](Counters::publish)) to atomics on cache lines that it alone writes. So counting is
//! one addition in memory that the worker holds in its cache already, and no figure is ever
//! contended: whoever wants a total adds up all workers'. What is read may be old by one poll, or
//! by as many as lie between two looks around.
//!
//! Nothing synchronises through these atomics: they are the standard library's in models too.

use crate::metrics::Snapshot;
use crate::shim::figures::AtomicU64;
use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Declares the counters: the name in the worker, that of the public method, and its documentation.
macro_rules! counters {
    ($($(#[doc = $help:literal])* $name:ident => $method:ident;)*) => {
        /// The counters as the worker keeps them.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Count,)*
        }

        /// The counters as others see them.
        #[derive(Debug, Default)]
        pub(crate) struct Published {
            busy: AtomicU64,
            $($name: AtomicU64,)*
        }

        /// The counters at one moment.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Figures {
            pub(crate) busy: Duration,
            pub(crate) queued: usize,
            $(pub(crate) $name: u64,)*
        }

        impl Counters {
            /// Shows the figures to others. Only the counters' worker calls it.
            pub(super) fn publish(&self, to: &Published) {
                $(to.$name.store(self.$name.0.get(), Relaxed);)*
            }
        }

        impl Published {
            pub(super) fn read(&self, clock: &BusyClock, queued: usize) -> Figures {
                Figures {
                    busy: clock.busy(self.busy.load(Relaxed)),
                    queued,
                    $($name: self.$name.load(Relaxed),)*
                }
            }
        }

        /// The counters of one worker.
        ///
        /// # Panics
        /// If `worker` is not below [`num_workers`](Snapshot::num_workers).
        impl Snapshot {
            $(
                $(#[doc = $help])*
                pub fn $method(&self, worker: usize) -> u64 {
                    self.workers[worker].$name
                }
            )*

            /// What [`worker_counters`](Snapshot::worker_counters) are, in its order: their names, and
            /// what is said of them.
            pub(crate) const WORKER_COUNTERS: &[(&str, &str)] =
                &[$((stringify!($method), concat!($($help),*)),)*];

            /// Every counter's name and its figure, for exporters. The names are those of the
            /// methods.
            ///
            /// # Panics
            /// If `worker` is not below [`num_workers`](Snapshot::num_workers).
            pub fn worker_counters(&self, worker: usize) -> impl Iterator<Item = (&'static str, u64)> {
                let figures = &self.workers[worker];
                [$((stringify!($method), figures.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Tasks that were spawned on this worker.
    spawned => worker_spawned_count;
    /// Tasks that ended on this worker, in whichever way.
    completed => worker_completed_count;
    /// Polls of tasks.
    polls => worker_poll_count;
    /// How often the worker waited for work.
    parks => worker_park_count;
    /// How often another thread ended the worker's wait, or had it not begin.
    unparks => worker_unpark_count;
    /// How often the worker waited again without having polled a task in between.
    noops => worker_noop_count;
    /// How often the worker looked for tasks elsewhere than in its own queue.
    searches => worker_search_count;
    /// Tasks that ran next on the worker because it had woken or spawned them last.
    lifo => worker_lifo_poll_count;
    /// How often the worker took tasks from the queue for work from outside of the workers.
    injected => worker_injector_take_count;
    /// How often the worker, after a stall, woke another one to wait for I/O in its stead.
    hand_overs => worker_hand_over_count;
    /// Tasks that the worker took from others' queues.
    stolen => worker_steal_count;
    /// How often the worker found tasks in another one's queue when it searched.
    steals => worker_steal_operations;
}

/// One counter, in the hands of one thread.
#[derive(Debug, Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    #[inline]
    pub(crate) fn inc(&self) {
        self.add(1);
    }

    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}

/// The clock of [`Busy`]: nanoseconds since the runtime was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BusyClock(Instant);

impl BusyClock {
    pub(super) fn new() -> BusyClock {
        BusyClock(Instant::now())
    }

    /// The time by this clock.
    #[inline]
    pub(super) fn now(self) -> u64 {
        self.at(crate::shim::time::now())
    }

    #[inline]
    pub(super) fn at(self, now: Instant) -> u64 {
        // 63 bits of nanoseconds last 292 years.
        now.saturating_duration_since(self.0).as_nanos() as u64
    }

    /// The time that a worker has been awake in all, from the word that it publishes.
    fn busy(self, word: u64) -> Duration {
        let nanos = word >> 1;
        Duration::from_nanos(if word & AWAKE == 0 {
            nanos
        } else {
            self.at(Instant::now()).saturating_sub(nanos)
        })
    }
}

impl Published {
    pub(super) fn parks(&self) -> u64 {
        self.parks.load(Relaxed)
    }
}

const AWAKE: u64 = 1;

/// How long a worker has been awake, by the two readings of the clock around each wait.
///
/// One word is published, so that a reader sees one moment: of a worker that waits the time it was
/// awake, of one that is awake (marked by the lowest bit) the time it was not. The reader subtracts
/// that from the time that has gone by, and so sees a worker's time grow that never waits.
#[derive(Debug)]
pub(super) struct Busy {
    clock: BusyClock,
    /// Nanoseconds spent waiting.
    idle: Cell<u64>,
    parked_at: Cell<u64>,
}

impl Busy {
    pub(super) fn new(clock: BusyClock) -> Busy {
        Busy {
            clock,
            idle: Cell::new(0),
            parked_at: Cell::new(0),
        }
    }

    /// The worker begins to wait, or ends.
    pub(super) fn park(&self, now: Instant, to: &Published) {
        let now = self.clock.at(now);
        self.parked_at.set(now);
        let busy = now.saturating_sub(self.idle.get());
        to.busy.store(busy << 1, Relaxed);
    }

    /// The worker is awake; its life counts as a wait until it begins.
    pub(super) fn wake(&self, now: Instant, to: &Published) {
        let waited = self.clock.at(now).saturating_sub(self.parked_at.get());
        let idle = self.idle.get() + waited;
        self.idle.set(idle);
        to.busy.store(idle << 1 | AWAKE, Relaxed);
    }
}

/// What threads count that are none of the workers. Rare enough to be shared.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    pub(super) spawned: AtomicU64,
    pub(super) completed: AtomicU64,
}

impl Foreign {
    pub(super) fn spawn(&self) {
        self.spawned.fetch_add(1, Relaxed);
    }

    /// Returns how many have completed, this one included.
    pub(super) fn complete(&self) -> u64 {
        self.completed.fetch_add(1, Relaxed) + 1
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn time_awake_grows_while_a_worker_is_awake_and_rests_while_it_waits() {
        let clock = BusyClock(Instant::now() - Duration::from_secs(100));
        let at = |secs| clock.0 + Duration::from_secs(secs);
        let published = Published::default();
        let read = || published.read(&clock, 0).busy;
        let busy = Busy::new(clock);
        assert_eq!(read(), Duration::ZERO, "a worker that has not begun");
        busy.wake(at(10), &published);
        assert!(read() >= Duration::from_secs(90), "awake since second 10");
        busy.park(at(15), &published);
        assert_eq!(read(), Duration::from_secs(5));
        busy.wake(at(40), &published);
        busy.park(at(41), &published);
        assert_eq!(read(), Duration::from_secs(6));
    }

    #[test]
    fn counters_are_seen_once_they_are_published() {
        let counters = Counters::default();
        let published = Published::default();
        counters.spawned.inc();
        counters.stolen.add(16);
        let read = || published.read(&BusyClock::new(), 0);
        assert_eq!((read().spawned, read().stolen), (0, 0));
        counters.publish(&published);
        assert_eq!((read().spawned, read().stolen), (1, 16));
    }
}
