//! Timers: set and cancelled, set and fired, a million of them, and how late a short
//! sleep ends.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_lite::future;

use super::Countdown;
use crate::candidate::Candidate;
use crate::measure::{Settings, cpu_time, nanos, repeat, report, report_percentiles, resident};

const HELD: usize = 10_000;
const FIRED: usize = 10_000;

/// 10,000 timers set (polled once) and held, then all dropped before they are due.
pub(super) fn cancel<C: Candidate>(runtime: &C, settings: &Settings) {
    repeat(settings, HELD, || {
        runtime.run_inside(async {
            let mut held = Vec::with_capacity(HELD);
            for number in 0..HELD {
                let mut sleep = Box::pin(C::sleep(
                    Duration::from_secs(60) + Duration::from_micros(number as u64 * 700),
                ));
                assert!(
                    future::poll_once(&mut sleep).await.is_none(),
                    "a minute has not passed"
                );
                held.push(sleep);
            }
        });
    });
}

/// 10,000 tasks sleep, their deadlines 1 microsecond apart: CPU time for one, from its spawn to its end.
pub(super) fn fire<C: Candidate>(runtime: &C, settings: &Settings) {
    let rounds = if settings.quick { 1 } else { 10 };
    let mut cpu = Duration::ZERO;
    for _ in 0..rounds {
        let before = cpu_time();
        runtime.run_inside(async {
            let (countdown, ended) = Countdown::new(FIRED);
            for number in 0..FIRED {
                let countdown = Arc::clone(&countdown);
                C::detach(C::spawn(async move {
                    C::sleep(Duration::from_millis(5) + Duration::from_micros(number as u64)).await;
                    countdown.done();
                }));
            }
            ended.await.expect("all tasks end");
        });
        cpu += cpu_time() - before;
    }
    report("cpu", nanos(cpu) / (rounds * FIRED) as f64, "ns");
}

/// How long after its deadline a task that sleeps half a millisecond runs again. Early would be an error.
pub(super) fn lateness<C: Candidate>(runtime: &C, settings: &Settings) {
    let sleeps = if settings.quick { 20 } else { 400 };
    let mut late = runtime.run_inside(async move {
        let mut late = Vec::with_capacity(sleeps);
        for _ in 0..sleeps {
            let deadline = Instant::now() + Duration::from_micros(500);
            C::sleep(Duration::from_micros(500)).await;
            late.push(
                Instant::now()
                    .checked_duration_since(deadline)
                    .expect("a sleep does not end early"),
            );
        }
        late
    });
    report_percentiles(&mut late);
}

/// A million sleeps in one array, each polled once: time to make and arm one, and its memory. Their
/// deadlines are spread over a second; then all are awaited: the CPU time that one takes, and how
/// long after the last deadline the last one is seen to be over.
pub(super) fn million<C: Candidate>(runtime: &C, settings: &Settings) {
    let count = many(settings);
    // The first deadline comes when all are armed, on the slowest of the candidates.
    let lead = Duration::from_secs(if settings.quick { 1 } else { 3 });
    runtime.run_inside(async move {
        let before = resident();
        let start = Instant::now();
        let step = SPREAD / count as u32;
        let mut sleeps = Sleeps::new(count, |number| C::sleep(lead + step * number as u32));
        // When the last one was made, which is the last to be due.
        let made = Instant::now();
        sleeps.arm().await;
        report("set", nanos(start.elapsed()) / count as f64, "ns");
        report("bytes", (resident() - before) / count as f64, "bytes");
        let cpu = cpu_time();
        sleeps.over().await;
        let late = made.elapsed().saturating_sub(lead + SPREAD);
        report("fire", nanos(cpu_time() - cpu) / count as f64, "ns");
        report("late", nanos(late) / 1e6, "ms");
    });
}

/// A million sleeps, by as many tasks as there are workers: time until all are made and armed.
pub(super) fn million_by_all<C: Candidate>(runtime: &C, settings: &Settings) {
    let workers = settings.workers;
    let share = many(settings) / workers;
    let start = Instant::now();
    runtime.run_inside(async move {
        let setters: Vec<_> = (0..workers)
            .map(|_| {
                C::spawn(async move {
                    let mut sleeps = Sleeps::new(share, |number| {
                        C::sleep(Duration::from_secs(60) + Duration::from_micros(number as u64))
                    });
                    sleeps.arm().await;
                    sleeps
                })
            })
            .collect();
        let mut all = Vec::new();
        for setter in setters {
            all.push(C::join(setter).await);
        }
        report("set", nanos(start.elapsed()) / 1e6, "ms");
    });
}

/// The time over which the deadlines of many are spread.
const SPREAD: Duration = Duration::from_secs(1);

fn many(settings: &Settings) -> usize {
    if settings.quick { 50_000 } else { 1_000_000 }
}

/// Many sleeps, pinned in one array.
struct Sleeps<S>(Pin<Box<[S]>>);

impl<S: Future<Output = ()>> Sleeps<S> {
    fn new(count: usize, sleep: impl FnMut(usize) -> S) -> Self {
        Self(Box::into_pin((0..count).map(sleep).collect()))
    }

    fn get(&mut self, index: usize) -> Pin<&mut S> {
        // SAFETY: what stands in a pinned slice is pinned.
        unsafe {
            self.0
                .as_mut()
                .map_unchecked_mut(|sleeps| &mut sleeps[index])
        }
    }

    /// Polls each of them once.
    async fn arm(&mut self) {
        poll_fn(|cx| {
            for index in 0..self.0.len() {
                assert!(
                    self.get(index).poll(cx).is_pending(),
                    "all are armed before the first is due"
                );
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Waits for all of them.
    async fn over(&mut self) {
        for index in 0..self.0.len() {
            self.get(index).await;
        }
    }
}
