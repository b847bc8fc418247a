//! How a runtime is set up.

use super::Runtime;
use super::affinity::Affinity;
use super::handle::Handle;
use super::lifecycle::{Alive, Threads};
use super::policy::Policy;
use crate::blocking::{Class, ClassSettings, Pool, Settings};
use crate::executor::{Measured, Plan, Shared, SpareStarter, Starters, WatchStarter};
use crate::task::memory;
use crate::thread::{Hook, ParkHooks, ThreadOptions, wake_on_time};
use crate::topology::unpinned;
use crate::tune::{self, Obstacle, Profile, Tuner};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Settings for a [`Runtime`], which says what it promises whatever they are.
///
/// A setting that can not be is an error of [`build`](Self::build), which starts nothing then. Names, sizes
/// of stacks and the hooks for starts and stops are those of every thread of the runtime: workers, the
/// threads for blocking jobs, and the one that watches for stalls.
#[derive(Clone)]
pub struct Builder {
    workers: Option<usize>,
    policy: Policy,
    affinity: Affinity,
    blocking: Settings,
    name: Arc<dyn Fn() -> String + Send + Sync>,
    stack_size: Option<usize>,
    on_start: Option<Hook>,
    on_stop: Option<Hook>,
    task_memory: usize,
    stall_watch: bool,
    measured: Measured,
    tuner: bool,
    park_hooks: ParkHooks,
}

impl Builder {
    /// Workers that a runtime may have: more would not fit the numbers that tasks keep.
    pub const MAX_WORKERS: usize = 1 << 15;

    /// The defaults: a worker for each core that this process may use, 512 threads at most for
    /// blocking jobs, each kept for 10 s without work.
    pub fn new() -> Builder {
        Builder {
            workers: None,
            policy: Policy::default(),
            affinity: Affinity::None,
            blocking: Settings::default(),
            name: Arc::new(|| "libruntime".to_owned()),
            stack_size: None,
            on_start: None,
            on_stop: None,
            task_memory: memory::KEEP,
            // A model has no time to pass.
            stall_watch: !cfg!(loom),
            measured: Measured::default(),
            tuner: false,
            park_hooks: ParkHooks::default(),
        }
    }

    /// Sets what is measured to help with a kind of work: [`Profile`] has the table. What is set after
    /// this, of the same settings, wins.
    pub fn profile(&mut self, profile: Profile) -> &mut Builder {
        self.task_memory = match profile {
            Profile::Io => tune::CROWDS,
            Profile::Cpu | Profile::Mixed => memory::KEEP,
        };
        let general = &mut self.blocking.classes[Class::GENERAL.index()];
        general.limit = match profile {
            Profile::Cpu => Some(processors()),
            Profile::Io | Profile::Mixed => None,
        };
        self
    }

    /// How many workers; 0 stands for one for each core that this process may use.
    pub fn worker_threads(&mut self, workers: usize) -> &mut Builder {
        self.workers = (workers > 0).then_some(workers);
        self
    }

    /// In which order ready tasks run.
    pub fn policy(&mut self, policy: Policy) -> &mut Builder {
        self.policy = policy;
        self
    }

    /// On which processors workers run: wherever the system likes, unless this is set.
    pub fn affinity(&mut self, affinity: Affinity) -> &mut Builder {
        self.affinity = affinity;
        self
    }

    /// How many threads there may be for blocking jobs. Jobs beyond wait for one; only a
    /// [class](Class) of jobs that has none gets one all the same, beyond this number.
    pub fn max_blocking_threads(&mut self, threads: usize) -> &mut Builder {
        self.blocking.max_threads = threads;
        self
    }

    /// How many threads for blocking jobs stay without one, once there were as many.
    pub fn min_blocking_threads(&mut self, threads: usize) -> &mut Builder {
        self.blocking.min_threads = threads;
        self
    }

    /// How many threads the jobs of a class may have at once. [`Class`] says what the defaults are; a
    /// limit beyond the pool's counts as the pool's. A class that this builder does not know is left
    /// alone.
    pub fn blocking_class_limit(&mut self, class: Class, threads: usize) -> &mut Builder {
        if let Some(class) = self.blocking.classes.get_mut(class.index()) {
            class.limit = Some(threads);
        }
        self
    }

    /// A class of blocking jobs of your own, which may have so many threads at once. It belongs to the
    /// runtimes of this builder; [`build`](Self::build) fails if there are more than [`Class::MAX`].
    pub fn add_blocking_class(&mut self, name: impl Into<String>, threads: usize) -> Class {
        let class = ClassSettings::new(name.into(), Some(threads));
        self.blocking.classes.push(class);
        Class::nth(self.blocking.classes.len() - 1)
    }

    /// How long a thread for blocking jobs stays without one.
    pub fn thread_keep_alive(&mut self, keep_alive: Duration) -> &mut Builder {
        self.blocking.keep_alive = keep_alive;
        self
    }

    /// The name of all threads. Linux shows its first 15 bytes.
    pub fn thread_name(&mut self, name: impl Into<String>) -> &mut Builder {
        let name = name.into();
        self.name = Arc::new(move || name.clone());
        self
    }

    /// A function that names each thread when it is started.
    pub fn thread_name_fn<F>(&mut self, name: F) -> &mut Builder
    where
        F: Fn() -> String + Send + Sync + 'static,
    {
        self.name = Arc::new(name);
        self
    }

    /// The size of each thread's stack, in bytes: at least that, and what the standard library takes
    /// unless set.
    pub fn thread_stack_size(&mut self, bytes: usize) -> &mut Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// A function that each thread calls first, workers and others. A panic in it is ignored.
    pub fn on_thread_start<F>(&mut self, hook: F) -> &mut Builder
    where
        F: Fn() + Send + Sync + 'static,
    {
        self.on_start = Some(Arc::new(hook));
        self
    }

    /// A function that each thread calls last, likewise.
    pub fn on_thread_stop<F>(&mut self, hook: F) -> &mut Builder
    where
        F: Fn() + Send + Sync + 'static,
    {
        self.on_stop = Some(Arc::new(hook));
        self
    }

    /// How much memory of ended tasks the runtime keeps for new ones, in bytes: 2 MiB unless set.
    ///
    /// Each worker keeps some more, at most 32 KiB for each size that tasks have, and so do four racks
    /// that other threads share. Memory comes from the system in pieces of 64 KiB; a piece in which no
    /// task is left, and that is not to be kept, goes back to it at once. One task, or the memory of one
    /// that is kept, holds a whole piece: if tasks that stood apart are the last of a burst, more stays
    /// than was to be kept until the workers, who wait for work then, have given back what they keep.
    /// With 0 nothing is kept, and each task is an allocation of its own, for tools that follow
    /// allocations.
    pub fn keep_task_memory(&mut self, bytes: usize) -> &mut Builder {
        self.task_memory = bytes;
        self
    }

    /// A function that each worker calls before it waits for work. It may find some after all, and not
    /// wait. Tasks that the function spawns or wakes are run before the wait. A panic in it is
    /// ignored.
    pub fn on_thread_park<F>(&mut self, hook: F) -> &mut Builder
    where
        F: Fn() + Send + Sync + 'static,
    {
        self.park_hooks.park = Some(Arc::new(hook));
        self
    }

    /// A function that each worker calls after each of those waits, likewise.
    pub fn on_thread_unpark<F>(&mut self, hook: F) -> &mut Builder
    where
        F: Fn() + Send + Sync + 'static,
    {
        self.park_hooks.unpark = Some(Arc::new(hook));
        self
    }

    /// Whether a thread watches for polls that hold up others; it does by default, if there are two
    /// workers or more.
    ///
    /// A task that blocks or computes for long holds up its worker. With the watch what waits for that
    /// worker (tasks that it made ready, its timers, and I/O if nobody else waits for it) is passed on
    /// to the other workers: after 1 to 20 ms while the workers are busy, and up to 250 ms if they hardly
    /// ever wake. For a second after that it is passed on at once. The watch sleeps while all workers
    /// do, and wakes a few times in a second else; the thread is started when a worker first runs a
    /// task, with this builder's [name](Self::thread_name) and hooks.
    pub fn stall_watch(&mut self, watch: bool) -> &mut Builder {
        self.stall_watch = watch && !cfg!(loom);
        self
    }

    /// Whether the runtime keeps a histogram of how long polls take, for
    /// [`Snapshot::poll_time_histogram`]. Off by default: then it costs a look at a flag, and that under
    /// few policies.
    ///
    /// It takes two looks at the clock for each poll, and 2.2 KB for each worker; see `docs/metrics.md`
    /// for what that costs.
    ///
    /// [`Snapshot::poll_time_histogram`]: crate::metrics::Snapshot::poll_time_histogram
    pub fn poll_time_histogram(&mut self, measure: bool) -> &mut Builder {
        self.measured.poll_time = measure;
        self
    }

    /// Whether the runtime keeps a histogram of how long tasks are ready before they are polled, for
    /// [`Snapshot::schedule_latency_histogram`]. Off by default: then it costs a look at a flag for each task
    /// that comes from outside.
    ///
    /// It takes a look at the clock for each time that a task becomes ready, and one for each poll, which
    /// [`poll_time_histogram`](Self::poll_time_histogram) needs too; a record of 64 bytes for each task, if
    /// it has none for its options; and 2.2 KB for each worker.
    ///
    /// [`Snapshot::schedule_latency_histogram`]: crate::metrics::Snapshot::schedule_latency_histogram
    pub fn schedule_latency_histogram(&mut self, measure: bool) -> &mut Builder {
        self.measured.schedule_latency = measure;
        self
    }

    /// Whether a [tuner](crate::tune) changes how many workers take part while the runtime runs; none does
    /// unless this is set. It can be turned on and off later: see
    /// [`Handle::set_tuner`](crate::runtime::Handle::set_tuner).
    ///
    /// It is part of the [watch for stalls](Self::stall_watch), without which there is none, and there is none
    /// for workers that are [pinned](Self::affinity). With one worker it has nothing to do.
    pub fn tuner(&mut self, tuner: bool) -> &mut Builder {
        self.tuner = tuner;
        self
    }

    /// Starts the runtime.
    ///
    /// # Errors
    /// `InvalidInput` if a setting is out of range, names a processor that can not be used, or asks for a
    /// tuner where there can be none; `Unsupported` if workers are to be pinned where the system can not,
    /// or tuned where it does not tell what they need; else what the system says
    /// when it gives no descriptor for the reactor, or no thread. Threads already started have ended
    /// then.
    pub fn build(&self) -> io::Result<Runtime> {
        let workers = match self.workers {
            Some(workers) => workers,
            None => processors(),
        };
        if workers > Self::MAX_WORKERS {
            return Err(invalid(format!(
                "{workers} workers were asked for; {} are the most",
                Self::MAX_WORKERS
            )));
        }
        self.policy.check()?;
        self.check_blocking()?;
        let mut placement = self.affinity.place(workers)?;
        let options = ThreadOptions {
            name: self.name.clone(),
            stack_size: self.stack_size,
            on_start: self.on_start.clone(),
            on_stop: self.on_stop.clone(),
            family: Arc::new(()),
        };
        crate::time::prepare_fences();
        let pool = Pool::new(options.clone(), self.blocking.clone());
        let threads = Arc::new(Threads::new());
        let watch = (self.stall_watch && workers > 1).then(|| {
            let (options, threads) = (options.clone(), threads.clone());
            let start: WatchStarter = Box::new(move |watch| {
                threads.add(options.spawn(watch)?);
                Ok(())
            });
            start
        });
        let most_spares = if placement.is_pinned() { 0 } else { workers };
        let obstacle = Obstacle::find(workers, self.stall_watch, placement.is_pinned());
        if self.tuner {
            Obstacle::check(obstacle)?;
        }
        let neighbours = placement.neighbours.take();
        let placement = Arc::new(placement);
        let spare = {
            let (options, threads) = (options.clone(), threads.clone());
            let placement = placement.clone();
            let start: SpareStarter = Box::new(move |worker, life| {
                let alive = Alive::new(&threads);
                let life = move || {
                    wake_on_time();
                    life();
                    alive
                };
                threads.add(options.spawn_on(placement.cpu(worker), life)?);
                Ok(())
            });
            start
        };
        let starters = Starters {
            watch,
            spare,
            most_spares,
        };
        let memory = memory::Pool::new(self.task_memory);
        let plan = Plan {
            policy: &self.policy,
            neighbours,
            measured: self.measured,
            tuner: Tuner::new(self.tuner, obstacle),
        };
        let (shared, workers) = Shared::with_workers(
            workers,
            plan,
            pool,
            memory,
            self.park_hooks.clone(),
            starters,
        )?;
        let runtime = Runtime {
            handle: Handle::new(shared),
            threads: threads.clone(),
            workers: workers.len(),
            process: std::process::id(),
        };
        let mut failed = None;
        for (index, worker) in workers.into_iter().enumerate() {
            let alive = Alive::new(&threads);
            // Shared with this thread, so that a worker without a thread can still be ended.
            let slot = Arc::new(std::sync::Mutex::new(Some(worker)));
            let own = slot.clone();
            let life = move || {
                wake_on_time();
                if let Some(worker) = take(&own) {
                    worker.run();
                }
                alive
            };
            match options.spawn_on(placement.cpu(index), life) {
                Ok(handle) => threads.add(handle),
                Err(error) => {
                    // The end of a runtime takes every worker: this one leaves right here.
                    runtime.handle.shared().close();
                    if let Some(worker) = take(&slot) {
                        worker.run();
                    }
                    failed = Some(error);
                }
            }
        }
        match failed {
            None => {
                threads.started();
                Ok(runtime)
            }
            Some(error) => Err(error),
        }
    }

    fn check_blocking(&self) -> io::Result<()> {
        let Settings {
            max_threads,
            min_threads,
            classes,
            ..
        } = &self.blocking;
        if *max_threads == 0 {
            let message = "a runtime needs at least one thread for blocking jobs";
            return Err(invalid(message.into()));
        }
        if min_threads > max_threads {
            return Err(invalid(format!(
                "{min_threads} threads for blocking jobs are to stay, of {max_threads} at most"
            )));
        }
        if classes.len() > Class::MAX {
            return Err(invalid(format!(
                "{} classes of blocking jobs were asked for; {} are the most",
                classes.len(),
                Class::MAX
            )));
        }
        match classes.iter().find(|class| class.limit == Some(0)) {
            None => Ok(()),
            Some(class) => Err(invalid(format!(
                "the class {:?} of blocking jobs needs at least one thread",
                class.name
            ))),
        }
    }
}

/// Processors that this process may use.
fn processors() -> usize {
    unpinned(std::thread::available_parallelism).map_or(1, usize::from)
}

fn take<T>(slot: &std::sync::Mutex<Option<T>>) -> Option<T> {
    slot.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .take()
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("worker_threads", &self.workers)
            .field("policy", &self.policy)
            .field("affinity", &self.affinity)
            .field("blocking", &self.blocking)
            .field("thread_stack_size", &self.stack_size)
            .field("stall_watch", &self.stall_watch)
            .field("tuner", &self.tuner)
            .finish_non_exhaustive()
    }
}
