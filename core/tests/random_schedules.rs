//! Random programs against a shadow model.
//!
//! Each run makes a place for tasks and does random things with it from several threads and from
//! the tasks themselves: spawn, wake, yield, sleep, give timers up, abort, join, detach, block,
//! panic, and, in every other run, shut down in the middle of it. The model knows of each task what
//! may come of it, and sees that it is polled by one thread at a time and never again after its
//! end, that its future and its output are dropped exactly once, that its end is reported as it
//! was, and that its memory is given back.
//!
//! A seed fixes what is done, not when the threads do it. On failure the seed is printed:
//! `LIBRUNTIME_SEED=n cargo test --test random_schedules` does the same things, a hundred times.
//! `LIBRUNTIME_SECONDS=n` runs other seeds for so long.

mod common;

use common::home::{ALL, Home, Spawner};
use libruntime_core::task::{
    AbortHandle, Builder, JoinError, JoinHandle, JoinSet, coop, yield_now,
};
use libruntime_core::time::{sleep, timeout};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Runs without any of the variables.
const RUNS: u64 = 150;
/// Tasks of a run, so that it ends.
const TASKS: usize = 300;
/// A run takes milliseconds, or a second on a machine that is busy with much else; seconds under a tool
/// that looks at every access.
const PATIENCE: Duration = if cfg!(any(libruntime_tsan, libruntime_plain_alloc)) {
    Duration::from_secs(600)
} else {
    Duration::from_secs(60)
};

/// What the model knows of a task.
struct Record {
    name: Arc<str>,
    polling: AtomicBool,
    fate: Mutex<Fate>,
}

#[derive(Default, Debug)]
struct Fate {
    polls: usize,
    ready: bool,
    panicked: bool,
    /// Somebody asked for it to be aborted.
    aborted: bool,
    future_drops: usize,
    output_drops: usize,
    /// What its handle said.
    reported: Vec<End>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    Output,
    Panic,
    Cancelled,
}

impl Record {
    fn update<R>(&self, f: impl FnOnce(&mut Fate) -> R) -> R {
        f(&mut self.fate.lock().unwrap())
    }

    fn will_abort(&self) {
        self.update(|fate| fate.aborted = true);
    }

    fn report(&self, ended: Result<Token, JoinError>) {
        let end = match &ended {
            Ok(token) => {
                assert!(std::ptr::eq(&*token.0, self), "the output of another task");
                End::Output
            }
            Err(error) if error.is_cancelled() => End::Cancelled,
            Err(_) => End::Panic,
        };
        drop(ended);
        self.update(|fate| fate.reported.push(end));
    }
}

/// A task's output.
struct Token(Arc<Record>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.update(|fate| fate.output_drops += 1);
    }
}

/// A task's future: the program, watched.
struct Watched {
    record: Arc<Record>,
    world: Arc<World>,
    program: Program,
}

type Program = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Future for Watched {
    type Output = Token;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Token> {
        let record = self.record.clone();
        if record.polling.swap(true, Ordering::AcqRel) {
            self.world.violated("two threads poll one task");
        }
        if record.update(|fate| {
            fate.polls += 1;
            fate.ready || fate.panicked || fate.future_drops > 0
        }) {
            self.world.violated("a task is polled after its end");
        }
        let polled = catch_unwind(AssertUnwindSafe(|| self.program.as_mut().poll(cx)));
        record.update(|fate| match &polled {
            Ok(polled) => fate.ready = polled.is_ready(),
            Err(_) => fate.panicked = true,
        });
        record.polling.store(false, Ordering::Release);
        match polled {
            Ok(polled) => polled.map(|()| Token(record)),
            Err(payload) => resume_unwind(payload),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.record.polling.load(Ordering::Acquire) {
            self.world
                .violated("a future is dropped while it is polled");
        }
        self.record.update(|fate| fate.future_drops += 1);
        self.world.task_ended();
    }
}

/// What the tasks and threads of a run share.
struct World {
    spawner: Spawner,
    records: Mutex<Vec<Arc<Record>>>,
    /// Tasks that wait for a wake, each for one.
    parked: Mutex<Vec<Parked>>,
    aborts: Mutex<Vec<(AbortHandle, Arc<Record>)>>,
    kept: Mutex<Vec<(JoinHandle<Token>, Arc<Record>)>>,
    violations: Mutex<Vec<String>>,
    alive: Mutex<usize>,
    changed: Condvar,
    spawned: AtomicUsize,
}

struct Parked {
    waker: Waker,
    woken: Arc<AtomicBool>,
}

impl World {
    fn new(spawner: Spawner) -> Arc<World> {
        Arc::new(World {
            spawner,
            records: Mutex::default(),
            parked: Mutex::default(),
            aborts: Mutex::default(),
            kept: Mutex::default(),
            violations: Mutex::default(),
            alive: Mutex::default(),
            changed: Condvar::new(),
            spawned: AtomicUsize::new(0),
        })
    }

    fn violated(&self, what: &str) {
        self.violations.lock().unwrap().push(what.to_owned());
    }

    fn task_ended(&self) {
        *self.alive.lock().unwrap() -= 1;
        self.changed.notify_all();
    }

    /// A task with a program of its own. `None`: there have been enough.
    fn task(self: &Arc<Self>, rng: &mut fastrand::Rng) -> Option<(Watched, Arc<Record>)> {
        if self.spawned.fetch_add(1, Ordering::Relaxed) >= TASKS {
            return None;
        }
        *self.alive.lock().unwrap() += 1;
        let record = Arc::new(Record {
            name: Arc::from("task"),
            polling: AtomicBool::new(false),
            fate: Mutex::default(),
        });
        self.records.lock().unwrap().push(record.clone());
        let watched = Watched {
            record: record.clone(),
            world: self.clone(),
            program: program(self.clone(), record.clone(), rng.fork()),
        };
        Some((watched, record))
    }

    fn spawn(
        self: &Arc<Self>,
        rng: &mut fastrand::Rng,
    ) -> Option<(JoinHandle<Token>, Arc<Record>)> {
        let (task, record) = self.task(rng)?;
        // The record of the options is freed with the task: its name tells of a leak.
        let builder = Builder::new().name(record.name.clone());
        let handle = self.spawner.build(builder, task);
        if rng.u32(..3) == 0 {
            let abort = (handle.abort_handle(), record.clone());
            self.aborts.lock().unwrap().push(abort);
        }
        Some((handle, record))
    }

    fn wake_one(&self, rng: &mut fastrand::Rng) -> bool {
        let parked = {
            let mut parked = self.parked.lock().unwrap();
            match parked.len() {
                0 => return false,
                len => parked.swap_remove(rng.usize(..len)),
            }
        };
        parked.woken.store(true, Ordering::Release);
        match rng.u32(..4) {
            0 => parked.waker.wake_by_ref(),
            1 => {
                let clone = parked.waker.clone();
                drop(parked.waker);
                clone.wake();
            }
            2 => {
                parked.waker.wake_by_ref();
                parked.waker.wake();
            }
            _ => parked.waker.wake(),
        }
        true
    }

    fn abort_one(&self, rng: &mut fastrand::Rng) {
        let mut aborts = self.aborts.lock().unwrap();
        if !aborts.is_empty() {
            let at = rng.usize(..aborts.len());
            let (handle, record) = aborts.swap_remove(at);
            drop(aborts);
            record.will_abort();
            handle.abort();
        }
    }

    /// Waits until it is woken, by whoever takes it from the list.
    async fn park(self: &Arc<Self>) {
        let woken = Arc::new(AtomicBool::new(false));
        let mut listed = false;
        poll_fn(|cx| {
            if woken.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut listed, true) {
                self.parked.lock().unwrap().push(Parked {
                    waker: cx.waker().clone(),
                    woken: woken.clone(),
                });
            }
            Poll::Pending
        })
        .await;
    }
}

/// A set whose tasks the model knows, and aborts with it.
struct Set {
    set: JoinSet<Token>,
    records: Vec<(libruntime_core::task::Id, Arc<Record>)>,
}

impl Set {
    async fn join_next(&mut self) -> bool {
        let Some(ended) = self.set.join_next_with_id().await else {
            return false;
        };
        let (id, ended) = match ended {
            Ok((id, token)) => (id, Ok(token)),
            Err(error) => (error.id(), Err(error)),
        };
        let at = self.records.iter().position(|(known, _)| *known == id);
        let (_, record) = self.records.swap_remove(at.expect("a task of this set"));
        record.report(ended);
        true
    }

    fn will_abort(&self) {
        for (_, record) in &self.records {
            record.will_abort();
        }
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        self.will_abort();
    }
}

/// What a task does.
fn program(world: Arc<World>, own: Arc<Record>, mut rng: fastrand::Rng) -> Program {
    Box::pin(async move {
        let mut children = Vec::new();
        for _ in 0..rng.u32(..10) {
            match rng.u32(..24) {
                0..4 => yield_now().await,
                4..7 => world.park().await,
                7 => sleep(Duration::from_micros(rng.u64(..1500))).await,
                8 => {
                    let mut long = Box::pin(sleep(Duration::from_secs(100)));
                    poll_fn(|cx| Poll::Ready(long.as_mut().poll(cx).is_pending())).await;
                }
                9 => drop(timeout(Duration::from_micros(rng.u64(..300)), world.park()).await),
                10..14 => children.extend(world.spawn(&mut rng)),
                14 => {
                    if let Some((handle, record)) = children.pop() {
                        record.report(handle.await);
                    }
                }
                15 => drop(children.pop()),
                16 => world.kept.lock().unwrap().extend(children.pop()),
                17 => world.abort_one(&mut rng),
                18 => drop(world.wake_one(&mut rng)),
                19 => {
                    for _ in 0..300 {
                        coop::consume_budget().await;
                    }
                }
                20 => {
                    if let Spawner::Runtime(handle) = &world.spawner {
                        let (inner, mut rng) = (world.clone(), rng.fork());
                        let job = handle.spawn_blocking(move || inner.wake_one(&mut rng));
                        // At shutdown it is cancelled.
                        let _ = job.await;
                    }
                }
                21 => join_a_set(&world, &mut rng).await,
                22 => {
                    if let Some((handle, record)) = children.last() {
                        record.will_abort();
                        handle.abort();
                    }
                }
                _ => match rng.u32(..4) {
                    // Without the hook, which would print.
                    0 => resume_unwind(Box::new("on purpose")),
                    1 => thread::sleep(Duration::from_micros(rng.u64(..200))),
                    2 => {
                        own.will_abort();
                        let aborts = world.aborts.lock().unwrap();
                        for (handle, record) in &*aborts {
                            if Arc::ptr_eq(record, &own) {
                                handle.abort();
                            }
                        }
                    }
                    _ => {}
                },
            }
        }
    })
}

async fn join_a_set(world: &Arc<World>, rng: &mut fastrand::Rng) {
    let mut set = Set {
        set: JoinSet::new(),
        records: Vec::new(),
    };
    for _ in 0..rng.u32(..6) {
        if let Some((task, record)) = world.task(rng) {
            let abort = world.spawner.spawn_in(&mut set.set, task);
            set.records.push((abort.id(), record));
        }
    }
    for _ in 0..rng.u32(..4) {
        set.join_next().await;
    }
    match rng.u32(..3) {
        // Dropped, with what is left in it.
        0 => {}
        1 => {
            set.will_abort();
            set.set.abort_all();
            while set.join_next().await {}
        }
        _ => {
            set.set.detach_all();
            set.records.clear();
        }
    }
}

fn run(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let home = Home::new(ALL[rng.usize(..ALL.len())]);
    let world = World::new(home.spawner());
    let stop = Arc::new(AtomicBool::new(false));
    // Two threads wake, so that whatever another one waits for goes on.
    let wakers: Vec<_> = (0..2)
        .map(|_| {
            let (world, stop, mut rng) = (world.clone(), stop.clone(), rng.fork());
            thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    if !world.wake_one(&mut rng) {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    // And one spawns and aborts, also during the shutdown.
    let spawning = {
        let (world, mut rng) = (world.clone(), rng.fork());
        thread::spawn(move || {
            for _ in 0..rng.u32(..60) {
                match rng.u32(..4) {
                    0 => world.abort_one(&mut rng),
                    1 => thread::yield_now(),
                    _ => world.kept.lock().unwrap().extend(world.spawn(&mut rng)),
                }
            }
        })
    };
    for _ in 0..rng.u32(..40) {
        match rng.u32(..8) {
            0 => world.abort_one(&mut rng),
            1 => drop(world.spawn(&mut rng)),
            2 => {
                if let Some((handle, record)) = world.spawn(&mut rng) {
                    record.report(home.block_on(handle));
                }
            }
            3 => home.block_on(join_a_set(&world, &mut rng)),
            4 => {
                let kept = world.kept.lock().unwrap().pop();
                if let Some((handle, record)) = kept {
                    record.report(home.block_on(handle));
                }
            }
            _ => world.kept.lock().unwrap().extend(world.spawn(&mut rng)),
        }
    }
    let is_shut_down = rng.bool();
    if !is_shut_down {
        spawning.join().unwrap();
        wait_for_all(&world);
        drop(home);
    } else {
        drop(home);
        spawning.join().unwrap();
    }
    stop.store(true, Ordering::Release);
    for thread in wakers {
        thread.join().unwrap();
    }
    check(world, is_shut_down);
}

/// A wake that was lost is seen here.
fn wait_for_all(world: &World) {
    let alive = world.alive.lock().unwrap();
    let (alive, waited) = world
        .changed
        .wait_timeout_while(alive, PATIENCE / 2, |alive| *alive > 0)
        .unwrap();
    assert!(!waited.timed_out(), "{} tasks are stuck", *alive);
}

/// Everything has ended.
fn check(world: Arc<World>, is_shut_down: bool) {
    world.parked.lock().unwrap().clear();
    world.aborts.lock().unwrap().clear();
    let kept = std::mem::take(&mut *world.kept.lock().unwrap());
    for (handle, record) in kept {
        assert!(handle.is_finished(), "a task outlived its place");
        record.report(futures_lite::future::block_on(handle));
    }
    let records = std::mem::take(&mut *world.records.lock().unwrap());
    let violations = std::mem::take(&mut *world.violations.lock().unwrap());
    assert!(violations.is_empty(), "{violations:?}");
    assert_eq!(*world.alive.lock().unwrap(), 0);
    for record in records {
        let fate = record.fate.lock().unwrap();
        let end = match &*fate {
            Fate { ready: true, .. } => End::Output,
            Fate { panicked: true, .. } => End::Panic,
            _ => End::Cancelled,
        };
        assert_eq!(fate.future_drops, 1, "{fate:?}");
        assert_eq!(fate.output_drops, usize::from(fate.ready), "{fate:?}");
        assert!(fate.reported.len() <= 1, "{fate:?}");
        assert!(
            fate.reported.iter().all(|reported| *reported == end),
            "{fate:?}"
        );
        let may_be_cancelled = fate.aborted || is_shut_down;
        assert!(end != End::Cancelled || may_be_cancelled, "{fate:?}");
        drop(fate);
        assert_eq!(
            Arc::strong_count(&record),
            1,
            "a future or output was leaked"
        );
        assert_eq!(Arc::strong_count(&record.name), 1, "a task was leaked");
    }
    assert_eq!(Arc::strong_count(&world), 1);
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={value} is no number")),
    )
}

fn run_or_tell(seed: u64) {
    // On a thread of its own: a run that hangs is a failure like another.
    let (ended, has_ended) = mpsc::channel();
    thread::spawn(move || {
        // Nobody hears of it after the deadline.
        let _ = ended.send(catch_unwind(|| run(seed)));
    });
    match has_ended.recv_timeout(PATIENCE) {
        Ok(Ok(())) => {}
        Ok(Err(_)) => panic!("LIBRUNTIME_SEED={seed}: see above"),
        Err(_) => panic!("LIBRUNTIME_SEED={seed} hangs"),
    }
}

#[test]
fn random_programs_keep_the_promises() {
    if let Some(seed) = number("LIBRUNTIME_SEED") {
        for _ in 0..100 {
            run_or_tell(seed);
        }
    } else if let Some(seconds) = number("LIBRUNTIME_SECONDS") {
        let end = Instant::now() + Duration::from_secs(seconds);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut seed = now.as_nanos() as u64;
        while Instant::now() < end {
            run_or_tell(seed);
            seed += 1;
        }
    } else {
        for seed in 0..RUNS {
            run_or_tell(seed);
        }
    }
}
