//! How long a woken task waits for its turn: woken by another thread, or by a task that then blocks its worker.

use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::channel::mpsc;
use futures::task::AtomicWaker;
use futures::{SinkExt, StreamExt};

use crate::candidate::Candidate;
use crate::measure::{Settings, report_percentiles};

/// Long enough for every worker to fall asleep between two wakes.
const PAUSE: Duration = Duration::from_micros(300);
const BLOCK: Duration = Duration::from_millis(10);

/// A task that notes how late it was polled after each wake.
pub(super) struct Sleeper {
    waker: AtomicWaker,
    base: Instant,
    /// When the wake was made, in ns since `base`; 0 once the task has seen it.
    woken_at: AtomicU64,
    ended: AtomicBool,
    late: Mutex<Vec<Duration>>,
}

impl Sleeper {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            waker: AtomicWaker::new(),
            base: Instant::now(),
            woken_at: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            late: Mutex::default(),
        })
    }

    fn now(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }

    pub(super) fn sleep(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        poll_fn(move |context| {
            self.waker.register(context.waker());
            let woken_at = self.woken_at.swap(0, Ordering::AcqRel);
            if woken_at != 0 {
                let late = Duration::from_nanos(self.now() - woken_at);
                self.late
                    .lock()
                    .expect("nothing panics under this lock")
                    .push(late);
            }
            if self.ended.load(Ordering::Acquire) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    }

    /// Wakes again and again for the settings' window, each time after a pause, then lets the task end.
    pub(super) fn keep_waking(&self, settings: &Settings) {
        let start = Instant::now();
        while start.elapsed() < settings.window() {
            std::thread::sleep(PAUSE);
            self.wake_once();
        }
        self.end();
    }

    /// Wakes the task if it has seen the wake before. For one thread at a time.
    pub(super) fn wake_once(&self) {
        if self.woken_at.load(Ordering::Acquire) == 0 {
            self.woken_at.store(self.now(), Ordering::Release);
            self.waker.wake();
        }
    }

    /// Lets the task end.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// How late the task was each time.
    pub(super) fn late(&self) -> Vec<Duration> {
        let mut late = self.late.lock().expect("nothing panics under this lock");
        std::mem::take(&mut late)
    }
}

/// A thread wakes a task while all workers sleep. Which of them wakes up, and whether it slept on a futex or in the
/// reactor, is the runtime's choice; with one worker it slept in the reactor, and an eventfd woke it.
pub(super) fn task<C: Candidate>(runtime: &C, settings: &Settings) {
    let sleeper = Sleeper::new();
    let handle = runtime.spawn_outside(Arc::clone(&sleeper).sleep());
    sleeper.keep_waking(settings);
    runtime.block_on(C::join(handle));
    report_percentiles(&mut sleeper.late());
}

/// A thread wakes the future that another thread, no worker, runs with `block_on`: a futex for those whose `block_on`
/// leaves the reactor to the workers.
pub(super) fn block_on<C: Candidate>(runtime: &C, settings: &Settings) {
    let sleeper = Sleeper::new();
    std::thread::scope(|scope| {
        scope.spawn(|| sleeper.keep_waking(settings));
        runtime.block_on(Arc::clone(&sleeper).sleep());
    });
    report_percentiles(&mut sleeper.late());
}

/// A task wakes another and then blocks its worker for 10 ms: how long the other one waits, with a second worker idle.
pub(super) fn behind_blocked<C: Candidate>(runtime: &C, settings: &Settings) {
    // Enough for a 99th percentile that is not the second of the first rounds, which all have cold code.
    let rounds = if settings.quick { 4 } else { 200 };
    let mut late = runtime.run_inside(async move {
        let (mut wake, mut woken) = mpsc::channel::<Instant>(1);
        let (mut answer, mut answered) = mpsc::channel(1);
        let other = C::spawn(async move {
            let mut late = Vec::new();
            while let Some(woken_at) = woken.next().await {
                late.push(woken_at.elapsed());
                answer.send(()).await.expect("the first task waits");
            }
            late
        });
        for _ in 0..rounds {
            wake.send(Instant::now()).await.expect("the other waits");
            std::thread::sleep(BLOCK);
            answered.next().await.expect("the other answers");
        }
        drop(wake);
        C::join(other).await
    });
    report_percentiles(&mut late);
}

/// A task sleeps 1 ms again and again while others block a worker for 20 ms, one after the other: how late it runs.
pub(super) fn timer_behind_blocked<C: Candidate>(runtime: &C, settings: &Settings) {
    const LONG: Duration = Duration::from_millis(20);
    let window = settings.window();
    let mut late = runtime.run_inside(async move {
        let ended = Arc::new(AtomicBool::new(false));
        let blocker = C::spawn({
            let ended = Arc::clone(&ended);
            async move {
                while !ended.load(Ordering::Relaxed) {
                    std::thread::sleep(LONG);
                    C::sleep(Duration::from_millis(5)).await;
                }
            }
        });
        let sleeper = C::spawn(async move {
            let start = Instant::now();
            let mut late = Vec::new();
            while start.elapsed() < window {
                let deadline = Instant::now() + Duration::from_millis(1);
                C::sleep(Duration::from_millis(1)).await;
                late.push(Instant::now().saturating_duration_since(deadline));
            }
            late
        });
        let late = C::join(sleeper).await;
        ended.store(true, Ordering::Relaxed);
        C::join(blocker).await;
        late
    });
    report_percentiles(&mut late);
}
