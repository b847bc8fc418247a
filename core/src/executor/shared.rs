//! What the workers of one runtime share, and the counted pointer to it.

use super::counters::{BusyClock, Foreign, Published};
use super::crew::Crew;
use super::driver::{self, Driver, ReactorHandle};
use super::front::{Front, OwnFront};
use super::handover::{Spares, Starters};
use super::idle::Idle;
use super::lookout::Lookout;
use super::parker::Parker;
use super::policy::{FairLane, Ordered};
use super::queue::{InjectQueue, Injector, Local, LocalThief, RunQueue, Thief};
use super::timing::{Measured, Timing};
use super::victims::Neighbours;
use super::watch::Watch;
use super::worker::{self, RELEASES, RELEASES_SCATTERED, Worker};
use crate::blocking;
use crate::metrics::{Snapshot, Stand};
use crate::runtime::Policy;
use crate::shim::sync::Mutex;
use crate::shim::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
use crate::shim::thread::Thread;
use crate::task::memory::{Block, Pool, Slot};
use crate::task::{JoinHandle, Notified, Record, Released, Schedule, TaskPtr, new_task, owner_of};
use crate::thread::ParkHooks;
use crate::tune::Tuner;
use crossbeam_utils::CachePadded;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64};
use std::time::SystemTime;

/// The common ground of one runtime's workers.
pub(crate) struct Shared {
    /// How many [`SharedRef`]s there are, counting those in the workers' banks.
    refs: CachePadded<AtomicUsize>,
    pub(super) foreign: CachePadded<Foreign>,
    pub(super) clock: BusyClock,
    /// Where that begins, for people.
    started: SystemTime,
    /// Tasks are stamped when they become ready: see [`super::timing`].
    pub(super) stamps: bool,
    pub(super) idle: Idle,
    pub(super) crew: Crew,
    pub(crate) tuner: CachePadded<Tuner>,
    pub(super) injector: CachePadded<Injector>,
    /// Where ready tasks are instead of in the workers' queues and the injector, under a policy that
    /// has an order of its own.
    pub(super) ordered: Option<Ordered>,
    pub(super) remotes: Box<[CachePadded<Remote>]>,
    /// Whom workers try first when they look for work; anybody, if there is nothing to choose by.
    pub(super) neighbours: Option<Neighbours>,
    /// Set first at shutdown: no task may be spawned, every worker leaves its loop.
    closed: AtomicBool,
    /// [`OPEN`], then [`DRAINING`], then [`DONE`]: see the README.
    phase: AtomicU32,
    drainer: Mutex<Option<Thread>>,
    /// What the workers that have left their loop leave behind.
    pub(super) remains: Mutex<Workers>,
    pub(super) reactor: CachePadded<driver::ReactorSlot>,
    pub(super) lookout: Arc<Lookout>,
    pub(super) watch: Watch,
    pub(super) spares: Spares,
    pub(super) hooks: ParkHooks,
    /// Tasks that the shutdown dropped.
    pub(super) dropped: AtomicUsize,
    next_foreign: CachePadded<AtomicUsize>,
    pub(crate) blocking: Arc<blocking::Pool>,
    /// The memory of tasks.
    pub(super) memory: CachePadded<Pool>,
}

/// How workers choose what they run, what they measure of it, and who changes how many do.
pub(crate) struct Plan<'a> {
    pub(crate) policy: &'a Policy,
    /// See [`Shared::neighbours`].
    pub(crate) neighbours: Option<Neighbours>,
    pub(crate) measured: Measured,
    pub(crate) tuner: Tuner,
}

/// Workers that no thread runs at the moment.
pub(crate) type Workers = Vec<Box<Worker>>;

/// What a worker shows to others.
pub(super) struct Remote {
    pub(super) thief: LocalThief,
    pub(super) parker: Arc<Parker>,
    pub(super) released: CachePadded<Released>,
    pub(super) driver: Driver,
    pub(super) front: Arc<CachePadded<Front>>,
    /// The system's number of the worker's thread, once there is one.
    pub(super) thread: AtomicI32,
    /// Polls that the watch found overdue.
    pub(super) stalls: AtomicU64,
    /// `None`: nothing is measured.
    pub(super) timing: Option<Box<Timing>>,
    pub(super) counters: CachePadded<Published>,
}

impl Remote {
    /// Whether the queue is longer than the worker's reserve.
    pub(super) fn can_spare(&self) -> bool {
        let queued = self.thief.len();
        queued > 0 && queued > self.front.reserve.get()
    }
}

pub(super) const OPEN: u32 = 0;
pub(super) const DRAINING: u32 = 1;
pub(super) const DONE: u32 = 2;

impl Shared {
    /// Makes the common ground, and the workers to run on it.
    pub(crate) fn with_workers(
        workers: usize,
        plan: Plan<'_>,
        blocking: Arc<blocking::Pool>,
        memory: Pool,
        hooks: ParkHooks,
        starters: Starters,
    ) -> std::io::Result<(SharedRef, Workers)> {
        let Plan {
            policy,
            neighbours,
            measured,
            tuner,
        } = plan;
        let (reactor, handle) = driver::ReactorSlot::new()?;
        let newest_first = *policy == Policy::Lifo;
        let watched = starters.watch.is_some();
        let ends: Vec<_> = (0..workers)
            .map(|_| (Local::new(newest_first), OwnFront::new(watched)))
            .collect();
        let parkers: Box<[_]> = (0..workers).map(|_| Arc::new(Parker::new())).collect();
        let lookout = Arc::new(Lookout::new(parkers.clone()));
        let remotes = ends
            .iter()
            .zip(parkers)
            .map(|((queue, front), parker)| {
                CachePadded::new(Remote {
                    thief: queue.thief(),
                    driver: Driver::new(&handle, parker.clone(), lookout.clone()),
                    front: front.shown(),
                    thread: AtomicI32::new(0),
                    stalls: AtomicU64::new(0),
                    timing: Timing::new(measured),
                    parker,
                    released: CachePadded::new(Released::new()),
                    counters: CachePadded::default(),
                })
            })
            .collect();
        let shared = SharedRef::new(Shared {
            refs: CachePadded::new(AtomicUsize::new(1)),
            foreign: CachePadded::default(),
            clock: BusyClock::new(),
            started: SystemTime::now(),
            stamps: measured.schedule_latency,
            idle: Idle::new(workers),
            crew: Crew::new(workers),
            tuner: CachePadded::new(tuner),
            injector: CachePadded::new(InjectQueue::new()),
            ordered: Ordered::new(policy, workers),
            remotes,
            neighbours,
            closed: AtomicBool::new(false),
            phase: AtomicU32::new(OPEN),
            drainer: Mutex::new(None),
            remains: Mutex::new(Vec::with_capacity(workers)),
            reactor: CachePadded::new(reactor),
            lookout,
            watch: Watch::new(starters.watch),
            spares: Spares::new(starters.most_spares, starters.spare),
            hooks,
            dropped: AtomicUsize::new(0),
            next_foreign: CachePadded::new(AtomicUsize::new(0)),
            blocking,
            memory: CachePadded::new(memory),
        });
        let workers = ends
            .into_iter()
            .enumerate()
            .map(|(index, (queue, front))| {
                Box::new(Worker::new(shared.clone(), index, queue, front, policy))
            })
            .collect();
        Ok((shared, workers))
    }

    pub(super) fn reactor_handle(&self) -> &ReactorHandle {
        self.remotes[0].driver.reactor()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// How many tasks the shutdown has dropped so far.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A driver for a thread that is none of the workers; each call may name another one's, which
    /// spreads the timers of foreign threads.
    pub(crate) fn foreign_driver(&self) -> &Driver {
        let turn = self.next_foreign.fetch_add(1, Ordering::Relaxed);
        &self.remotes[turn % self.remotes.len()].driver
    }

    /// Begins the shutdown: see the README. Returns whether this call was the one that began it.
    pub(crate) fn close(&self) -> bool {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        if first {
            for remote in &self.remotes {
                remote.parker.unpark(self.reactor_handle());
            }
            self.watch.close();
            self.spares.close();
        }
        first
    }

    pub(super) fn unpark(&self, worker: usize) {
        self.remotes[worker].parker.unpark(self.reactor_handle());
    }

    /// Work has been published in some queue: wakes a worker for it, if that is called for.
    #[inline]
    pub(super) fn notify(&self, near: usize) {
        if let Some(worker) = self.idle.claim_sleeper(near) {
            self.unpark(worker);
        }
    }

    /// So many tasks have completed on other threads than their list's, or outside of all workers.
    #[inline]
    pub(super) fn count_release(&self, released: usize) {
        const { assert!(RELEASES.is_multiple_of(RELEASES_SCATTERED)) }
        if released.is_multiple_of(RELEASES_SCATTERED)
            && (released.is_multiple_of(RELEASES) || self.memory.is_scattered())
        {
            self.wake_to_reap();
        }
    }

    /// Wakes the sleepers in whose lists completed tasks are. Without that those would hold their
    /// memory for as long as the sleep lasts, however many others complete meanwhile.
    #[cold]
    fn wake_to_reap(&self) {
        if self.idle.sleepers() == 0 {
            return;
        }
        for (worker, remote) in self.remotes.iter().enumerate() {
            if self.idle.is_asleep(worker) && !remote.released.is_empty() {
                self.unpark(worker);
            }
        }
    }

    /// A burst of tasks has ended, and `first` has given back what it kept of it: every other worker waits
    /// anew, and does so too. See [`memory`](crate::task::memory).
    #[cold]
    pub(super) fn have_others_give_back(&self, first: usize) {
        for worker in (0..self.num_workers()).filter(|&worker| worker != first) {
            self.unpark(worker);
        }
    }

    /// A burst of tasks has ended, as a thread finds that is none of the workers: if one of them sleeps, it
    /// waits anew, and is the first to give back. See [`memory`](crate::task::memory).
    #[cold]
    fn have_one_give_back(&self) {
        // Between the mark, which is set by now, and the look for sleepers.
        fence(Ordering::SeqCst);
        if let Some(sleeper) = (0..self.num_workers()).find(|&worker| self.idle.is_asleep(worker)) {
            self.unpark(sleeper);
        }
    }

    /// Whether any queue holds a task that a searcher may take without a claim: see
    /// [`reserve`](super::reserve).
    pub(super) fn has_work_to_spare(&self) -> bool {
        self.has_work_by(Remote::can_spare)
    }

    /// Whether any queue holds a task.
    pub(super) fn has_work(&self) -> bool {
        self.has_work_by(|remote| !remote.thief.is_empty())
    }

    #[inline]
    fn has_work_by(&self, counts: impl Fn(&Remote) -> bool) -> bool {
        match &self.ordered {
            None => !self.injector.is_empty() || self.remotes.iter().any(|remote| counts(remote)),
            Some(ordered) => !ordered.is_empty(),
        }
    }

    /// The queue of the fair policy, if that is the runtime's.
    pub(crate) fn fair_lane(&self) -> Option<Arc<FairLane>> {
        match &self.ordered {
            Some(Ordered::Fair(lane)) => Some(lane.clone()),
            _ => None,
        }
    }

    pub(crate) fn num_workers(&self) -> usize {
        self.remotes.len()
    }

    /// How many tasks wait in queues.
    pub(crate) fn queued(&self) -> usize {
        let own = |worker| self.local_queue_depth(worker);
        self.global_queue_depth() + (0..self.remotes.len()).map(own).sum::<usize>()
    }

    /// How many tasks wait in the queue of `worker`.
    fn local_queue_depth(&self, worker: usize) -> usize {
        match &self.ordered {
            None => self.remotes[worker].thief.len(),
            Some(ordered) => ordered.len(worker),
        }
    }

    /// How many tasks wait in no worker's queue.
    fn global_queue_depth(&self) -> usize {
        match &self.ordered {
            None => self.injector.len(),
            Some(ordered) => ordered.shared_len(),
        }
    }

    /// What [`Handle::metrics`](crate::runtime::Handle::metrics) answers.
    pub(crate) fn metrics(&self) -> Snapshot {
        // Ends before beginnings, so that of two figures read one after the other the tasks between
        // them count as alive rather than as less than nothing.
        let completed_outside = self.foreign.completed.load(Ordering::Relaxed);
        let figures = |(index, remote): (usize, &CachePadded<Remote>)| {
            let queued = self.local_queue_depth(index);
            remote.counters.read(&self.clock, queued)
        };
        let stand = |remote: &CachePadded<Remote>| Stand {
            state: remote.front.see().state.state(),
            transitions: remote.front.transitions(),
            stalls: remote.stalls.load(Ordering::Relaxed),
            poll_time: remote.timing.as_ref().and_then(|timing| timing.poll_time()),
            schedule_latency: remote
                .timing
                .as_ref()
                .and_then(|timing| timing.schedule_latency()),
        };
        Snapshot {
            started: self.started,
            // A clock that was set back has seen no runtime begin later than now.
            taken: SystemTime::now().max(self.started),
            uptime: self.clock.now(),
            completed_outside,
            workers: self.remotes.iter().enumerate().map(figures).collect(),
            stands: self.remotes.iter().map(stand).collect(),
            hand_overs: self.watch.hand_overs.load(Ordering::Relaxed),
            spawned_outside: self.foreign.spawned.load(Ordering::Relaxed),
            global_queue_depth: self.global_queue_depth(),
            blocking: self.blocking.metrics(),
            task_bytes: self.memory.held(),
            reactor: driver::calls(self.reactor_handle()),
        }
    }

    /// A reference to what this is.
    pub(super) fn share(&self) -> SharedRef {
        SharedRef::add_refs(self, 1);
        // SAFETY: counted just now.
        unsafe { SharedRef::adopt(self) }
    }

    /// Says of a task that is about to be queued that it is ready from now on. The task goes in and out
    /// by value, which keeps it in a register where nothing is to be said.
    #[inline]
    pub(super) fn stamp(&self, task: Notified) -> Notified {
        if self.stamps {
            self.stamp_now(task)
        } else {
            task
        }
    }

    #[cold]
    #[inline(never)]
    fn stamp_now(&self, task: Notified) -> Notified {
        task.stamp(self.clock.now());
        task
    }

    /// As [`Shared::stamp`], for a task that was just made.
    ///
    /// # Safety
    /// As for [`Notified::add_record`].
    #[inline]
    pub(super) unsafe fn stamp_new(&self, task: Notified) -> Notified {
        if self.stamps {
            // SAFETY: passed on from the caller.
            unsafe { self.stamp_new_now(task) }
        } else {
            task
        }
    }

    /// # Safety
    /// As for [`Notified::add_record`].
    #[cold]
    #[inline(never)]
    unsafe fn stamp_new_now(&self, task: Notified) -> Notified {
        // SAFETY: passed on from the caller.
        unsafe { task.add_record() };
        self.stamp_now(task)
    }

    /// Takes a task from a thread that is none of the workers.
    pub(super) fn inject(&self, task: Notified) {
        let near = match &self.ordered {
            None => {
                self.injector.push(task);
                0
            }
            Some(ordered) => ordered.push_outside(task),
        };
        self.notify(near);
        // `notify` fenced after the push: either the drainer sees the task, or this the phase.
        match self.phase.load(Ordering::SeqCst) {
            OPEN => {}
            DRAINING => self.unpark_drainer(),
            _ => self.drain_injector(),
        }
    }

    fn unpark_drainer(&self) {
        if let Some(drainer) = &*self.drainer.lock() {
            drainer.unpark();
        }
    }

    /// A task completed on a thread that is none of the workers: it goes back to its list.
    #[cold]
    #[inline(never)]
    fn release_outside(&self, task: TaskPtr) {
        let completed = self.foreign.complete() as usize;
        let Some(owner) = owner_of(task) else {
            return self.count_release(completed);
        };
        // SAFETY: the task completed in our hands and is in that worker's list.
        unsafe { self.remotes[owner as usize].released.push(task) };
        self.count_release(completed);
        // Either the drainer sees the task among the released ones, or this the phase.
        fence(Ordering::SeqCst);
        if self.phase.load(Ordering::SeqCst) == DRAINING {
            self.unpark_drainer();
        }
    }

    /// Queues a task that was woken on a thread that is none of the workers, or in a poll that has handed
    /// its worker over.
    #[inline(never)]
    fn schedule_outside(&self, task: Notified) {
        let task = self.stamp(task);
        // The task keeps `self` alive, but only until it is queued.
        let shared = self.share();
        shared.inject(task);
    }

    /// Cancels what the injector holds, or the policy's queue.
    pub(super) fn drain_injector(&self) {
        let next = || match &self.ordered {
            None => self.injector.pop(),
            Some(ordered) => ordered.drain(),
        };
        while let Some(task) = next() {
            drop(task);
        }
    }

    /// Enters a phase of the shutdown, on the drainer's thread.
    pub(super) fn enter_phase(&self, phase: u32) {
        if phase == DRAINING {
            *self.drainer.lock() = Some(crate::shim::thread::current());
        }
        self.phase.store(phase, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
}

/// A counted pointer to [`Shared`].
///
/// Every task holds one. A worker keeps a bank of them, so that neither a spawn nor a completion
/// on a worker touches the count, except once for [`worker::BANK`] of either.
pub(crate) struct SharedRef(NonNull<Shared>);

// SAFETY: Shared is Sync (asserted below), and the count is atomic.
unsafe impl Send for SharedRef {}
// SAFETY: as above.
unsafe impl Sync for SharedRef {}

const _: () = {
    const fn sync<T: Sync>() {}
    // The remains are workers, which are Send but not Sync: hence the mutex around them.
    sync::<Shared>();
};

impl SharedRef {
    fn new(shared: Shared) -> SharedRef {
        SharedRef(NonNull::from(Box::leak(Box::new(shared))))
    }

    /// Adds `n` references that the caller turns into `SharedRef`s by [`SharedRef::adopt`].
    pub(super) fn add_refs(shared: &Shared, n: usize) {
        let before = shared.refs.fetch_add(n, Ordering::Relaxed);
        if before > isize::MAX as usize {
            std::process::abort();
        }
    }

    /// Makes a `SharedRef` of a reference counted before.
    ///
    /// # Safety
    /// The caller owns such a reference, and gives it up.
    pub(super) unsafe fn adopt(shared: &Shared) -> SharedRef {
        SharedRef(NonNull::from(shared))
    }

    /// Gives back `n` references.
    ///
    /// # Safety
    /// The caller owns them, and they are not the last ones: it has another `SharedRef`.
    pub(super) unsafe fn remove_refs(shared: &Shared, n: usize) {
        let before = shared.refs.fetch_sub(n, Ordering::Release);
        debug_assert!(before > n);
    }

    pub(super) fn address(&self) -> usize {
        self.0.as_ptr().addr()
    }

    pub(crate) fn same(&self, other: &SharedRef) -> bool {
        self.0 == other.0
    }

    /// Starts a task. After shutdown it is cancelled at once.
    pub(crate) fn spawn<F>(&self, future: F, meta: Record) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        worker::with_current(|current| match current {
            Some(worker) if worker.shared.same(self) => worker.spawn(future, meta),
            _ => self.spawn_outside(future, meta),
        })
    }

    /// As [`SharedRef::spawn`], on a thread that is none of the workers.
    pub(crate) fn spawn_outside<F>(&self, future: F, meta: Record) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (task, handle) = new_task(future, self.clone(), meta);
        // SAFETY: it was made just now.
        let task = unsafe { self.stamp_new(task) };
        self.foreign.spawn();
        if self.is_closed() {
            drop(task);
        } else {
            self.inject(task);
        }
        handle
    }

    /// Runs a job on the pool for blocking ones; a mandatory one also if the pool is closed before
    /// its turn.
    pub(crate) fn spawn_blocking<F, R>(
        &self,
        class: blocking::Class,
        mandatory: bool,
        job: F,
        meta: Record,
    ) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.blocking
            .spawn(self.clone(), class, mandatory, job, meta)
    }
}

impl Deref for SharedRef {
    type Target = Shared;

    #[inline]
    fn deref(&self) -> &Shared {
        // SAFETY: the reference counted for this pointer keeps the pointee alive.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for SharedRef {
    fn clone(&self) -> SharedRef {
        self.share()
    }
}

impl Drop for SharedRef {
    fn drop(&mut self) {
        let banked = worker::with_current(|current| match current {
            Some(worker) if worker.shared.same(self) => {
                worker.bank_ref();
                true
            }
            _ => false,
        });
        if banked || self.refs.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // A load where a fence would do: ThreadSanitizer understands it.
        self.refs.load(Ordering::Acquire);
        // SAFETY: that was the last reference, and the pointer came from a Box.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Schedule for SharedRef {
    fn schedule(&self, task: Notified) {
        worker::with_current(|current| match current {
            Some(worker) if worker.shared.same(self) => worker.push(task),
            _ => self.schedule_outside(task),
        });
    }

    fn reschedule(&self, task: Notified) {
        worker::with_current(|current| match current {
            Some(worker) if worker.takes_back(self) => worker.push_back(task),
            Some(worker) => worker.reschedule_by_policy(task),
            None => self.schedule_outside(task),
        });
    }

    fn bind(&self, task: TaskPtr) -> bool {
        worker::with_current(|current| match current {
            Some(worker) if worker.shared.same(self) => worker.bind(task),
            // A poll that hands its worker over has the task linked before.
            _ => unreachable!("a task of a runtime is polled by its workers only"),
        });
        true
    }

    #[inline]
    fn release(&self, task: TaskPtr) -> bool {
        worker::with_current(|current| match current {
            Some(worker) if worker.shared.same(self) => {
                worker.counters.completed.inc();
                let Some(owner) = owner_of(task) else {
                    return false;
                };
                let unlinked = worker.unbind(task, owner);
                if !unlinked {
                    // SAFETY: the task completed in our hands and is in that worker's list.
                    unsafe { self.remotes[owner as usize].released.push(task) };
                    worker.count_release();
                }
                unlinked
            }
            _ => {
                // The reference of the completion keeps the task, and so `self`, until this returns.
                self.release_outside(task);
                false
            }
        })
    }

    #[inline]
    fn allocate(&self, slot: Slot) -> Block {
        worker::with_current(|current| match current {
            Some(worker) if worker.shared.same(self) => worker.allocate(slot),
            _ => self.memory.allocate(slot),
        })
    }

    #[inline(always)]
    unsafe fn free(self, slot: Slot, block: Block) {
        // SAFETY: not kept beyond this call.
        match unsafe { worker::current() } {
            Some(worker) if worker.shared.same(&self) => {
                // SAFETY: passed on from the caller.
                unsafe { worker.free(slot, block) };
                worker.bank_ref();
                std::mem::forget(self);
            }
            // SAFETY: as above.
            _ => unsafe { free_outside(self, slot, block) },
        }
    }

    fn cancelled(&self) {
        // Here and not where queues and lists are emptied: the worker that polls a task at that
        // moment drops it afterwards.
        if self.is_closed() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Takes back a task's memory on a thread that is none of the workers.
///
/// # Safety
/// As for [`Slot::free`].
#[inline(never)]
unsafe fn free_outside(shared: SharedRef, slot: Slot, block: Block) {
    // SAFETY: passed on from the caller.
    if unsafe { shared.memory.free(slot, block) } {
        shared.have_one_give_back();
    }
}

impl fmt::Debug for SharedRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("workers", &self.remotes.len())
            .field("sleeping", &self.idle.sleepers())
            .field("injected", &self.global_queue_depth())
            .field("closed", &self.is_closed())
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod layout_tests;
