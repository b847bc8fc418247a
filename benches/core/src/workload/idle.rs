//! What a runtime costs that has next to nothing to do.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;

use crate::candidate::Candidate;
use crate::measure::{Settings, Whose, context_switches, cpu_time, nanos, report, thread_cpu_time};

const START: Duration = Duration::from_millis(100);
const REST: Duration = Duration::from_secs(1);

/// A thread wakes a task `RATE` times per second. Its own switches and CPU time are taken off.
pub(super) fn wakes<C: Candidate, const RATE: u32>(runtime: &C, settings: &Settings) {
    let waker = Arc::new(AtomicWaker::new());
    let polls = Arc::new(AtomicU64::new(0));
    C::detach(runtime.spawn_outside({
        let (waker, polls) = (Arc::clone(&waker), Arc::clone(&polls));
        poll_fn(move |context| {
            waker.register(context.waker());
            polls.fetch_add(1, Ordering::Relaxed);
            Poll::<()>::Pending
        })
    }));
    // What the start of a runtime costs is not part of it, nor what goes on until it has come to rest: a thread
    // that looks after the workers may see only after a while that there is nothing to do.
    std::thread::sleep(if RATE == 0 { REST } else { START });
    let account = Account::open(runtime);
    let polls_before = polls.load(Ordering::Relaxed);
    let window = settings.window();
    let mut wakes = 0;
    let start = Instant::now();
    if RATE == 0 {
        std::thread::sleep(window);
    } else {
        while start.elapsed() < window {
            wakes += 1;
            let due = start + Duration::from_secs(1) / RATE * wakes;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            waker.wake();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // Wakes that come while the last one is still to be served are one wake.
    let served = polls.load(Ordering::Relaxed) - polls_before;
    account.close(runtime, start.elapsed(), served);
}

/// A task sleeps 500 us again and again.
pub(super) fn sleeps<C: Candidate>(runtime: &C, settings: &Settings) {
    let slept = Arc::new(AtomicU64::new(0));
    C::detach(runtime.spawn_outside({
        let slept = Arc::clone(&slept);
        async move {
            loop {
                C::sleep(Duration::from_micros(500)).await;
                slept.fetch_add(1, Ordering::Relaxed);
            }
        }
    }));
    std::thread::sleep(START);
    let before = slept.load(Ordering::Relaxed);
    let account = Account::open(runtime);
    let start = Instant::now();
    std::thread::sleep(settings.window());
    let sleeps = slept.load(Ordering::Relaxed) - before;
    account.close(runtime, start.elapsed(), sleeps);
}

/// What the process has used so far without the calling thread.
struct Account {
    switches: u64,
    cpu: Duration,
    parks: Option<(u64, u64)>,
}

impl Account {
    fn open<C: Candidate>(runtime: &C) -> Self {
        Self {
            switches: context_switches(Whose::Process) - context_switches(Whose::Thread),
            cpu: cpu_time() - thread_cpu_time(),
            parks: runtime.parks(),
        }
    }

    /// Reports for each wake if there were any, else for each second.
    fn close<C: Candidate>(self, runtime: &C, time: Duration, wakes: u64) {
        let now = Self::open(runtime);
        let switches = (now.switches - self.switches) as f64;
        let cpu = nanos(now.cpu.saturating_sub(self.cpu)) / 1e3;
        let seconds = time.as_secs_f64();
        report("switches", switches / seconds, "per s");
        // Less than a microsecond is what reading the accounts takes.
        report("cpu", (cpu / seconds).floor(), "us per s");
        if wakes > 0 {
            report("switches_per_wake", switches / wakes as f64, "per wake");
            report("cpu_per_wake", cpu / wakes as f64, "us");
        }
        if let (Some(before), Some(after)) = (self.parks, now.parks) {
            let (parks, noop) = (after.0 - before.0, after.1 - before.1);
            report("parks", parks as f64 / seconds, "per s");
            report("noop_parks", noop as f64 / parks.max(1) as f64 * 100.0, "%");
        }
    }
}
