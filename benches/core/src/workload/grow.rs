//! One item's cost when there are few of them and when there are many (`--size`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Countdown;
use super::memory::{Gate, armed};
use crate::candidate::Candidate;
use crate::measure::{Settings, cpu_time, nanos, report, resident};

/// After a first round, which alone has to get its memory from the kernel, sizes are repeated until so much time has
/// passed.
const AT_LEAST: Duration = Duration::from_millis(200);

/// Tasks that wait at the same time, from their spawn to the last one's wait, and from their wakes to the last end.
pub(super) fn tasks<C: Candidate>(runtime: &C, settings: &Settings) {
    let size = settings.size;
    let (mut create, mut end, mut bytes, mut rounds) = (Duration::ZERO, Duration::ZERO, None, 0);
    while rounds == 0 || create + end < AT_LEAST {
        let gate = Gate::new(size);
        let (created, ended, weight) = runtime.run_inside(async move {
            let (before, start) = (resident(), Instant::now());
            gate.fill::<C>().await;
            let (created, weight) = (start.elapsed(), resident() - before);
            let start = Instant::now();
            gate.release().await;
            (created, start.elapsed(), weight)
        });
        if bytes.is_none() {
            bytes = Some(weight / size as f64);
            continue;
        }
        create += created;
        end += ended;
        rounds += 1;
    }
    let items = (rounds * size) as f64;
    report("create", nanos(create) / items, "ns");
    report("end", nanos(end) / items, "ns");
    report("bytes", bytes.unwrap_or_default(), "bytes");
}

/// Timers that are armed at the same time: to arm one, to drop one.
pub(super) fn timers<C: Candidate>(runtime: &C, settings: &Settings) {
    let size = settings.size;
    let (mut arm, mut cancel, mut bytes, mut rounds) = (Duration::ZERO, Duration::ZERO, None, 0);
    while rounds == 0 || arm + cancel < AT_LEAST {
        let one = armed::<C>(runtime, size);
        if bytes.is_none() {
            bytes = Some(one.bytes);
            continue;
        }
        arm += one.arm;
        cancel += one.cancel;
        rounds += 1;
    }
    let items = (rounds * size) as f64;
    report("arm", nanos(arm) / items, "ns");
    report("cancel", nanos(cancel) / items, "ns");
    report("bytes", bytes.unwrap_or_default(), "bytes");
}

/// Tasks asleep at the same time, due within a second: CPU time of one from its spawn to its end.
pub(super) fn sleeps<C: Candidate>(runtime: &C, settings: &Settings) {
    let size = settings.size;
    let apart = Duration::from_secs(1)
        .div_f64(size as f64)
        .min(Duration::from_micros(1));
    let (mut cpu, mut rounds, mut warm) = (Duration::ZERO, 0, false);
    while rounds == 0 || cpu < AT_LEAST {
        let before = cpu_time();
        runtime.run_inside(async move {
            let (countdown, ended) = Countdown::new(size);
            for number in 0..size {
                let countdown = Arc::clone(&countdown);
                C::detach(C::spawn(async move {
                    C::sleep(Duration::from_millis(5) + apart.mul_f64(number as f64)).await;
                    countdown.done();
                }));
            }
            ended.await.expect("all tasks end");
        });
        if !warm {
            warm = true;
            continue;
        }
        cpu += cpu_time() - before;
        rounds += 1;
    }
    report("cpu", nanos(cpu) / (rounds * size) as f64, "ns");
}
