//! Timers: set and cancelled, set and fired, and how late a short sleep ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::future;

use super::Countdown;
use crate::candidate::Candidate;
use crate::measure::{Settings, cpu_time, nanos, repeat, report, report_percentiles};

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
