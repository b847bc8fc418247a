//! Clocks, repetition and output.

use std::time::{Duration, Instant};

/// What the command line chose.
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) quick: bool,
}

impl Settings {
    /// How long a workload repeats its batch.
    fn window(&self) -> Duration {
        Duration::from_millis(if self.quick { 30 } else { 400 })
    }
}

/// Repeats `batch`, which does `operations` operations, and reports the median wall time and the mean CPU time of one.
/// The first batch warms up and does not count.
pub(crate) fn repeat(settings: &Settings, operations: usize, mut batch: impl FnMut()) {
    batch();
    let mut times = Vec::new();
    let cpu = cpu_time();
    let start = Instant::now();
    while start.elapsed() < settings.window() || times.is_empty() {
        let began = Instant::now();
        batch();
        times.push(began.elapsed());
    }
    let cpu = cpu_time() - cpu;
    let count = times.len() as f64;
    report(
        "time",
        nanos(percentile(&mut times, 0.5)) / operations as f64,
        "ns",
    );
    report("cpu", nanos(cpu) / count / operations as f64, "ns");
}

/// Prints one result in the harness's form.
pub(crate) fn report(metric: &str, value: f64, unit: &str) {
    println!(r#"{{"metric": "{metric}", "value": {value:.6}, "unit": "{unit}"}}"#);
}

/// The given fraction (0 to 1) of the durations, which it sorts.
pub(crate) fn percentile(durations: &mut [Duration], fraction: f64) -> Duration {
    durations.sort_unstable();
    durations[((durations.len() - 1) as f64 * fraction) as usize]
}

pub(crate) fn nanos(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// CPU time of all threads of this process.
pub(crate) fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec to write to.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "the clock of the process is always there");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
