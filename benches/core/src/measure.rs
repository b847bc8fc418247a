//! Clocks, repetition, counters and output.

use std::time::{Duration, Instant};

use crate::allocator;

/// What the command line chose.
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) quick: bool,
    pub(crate) count: bool,
    /// How many batches are counted.
    pub(crate) batches: usize,
    pub(crate) window_ms: u64,
    pub(crate) size: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: 2,
            quick: false,
            count: false,
            batches: 8,
            window_ms: 400,
            size: 1_000,
        }
    }
}

impl Settings {
    /// How long a workload repeats its batch.
    pub(crate) fn window(&self) -> Duration {
        Duration::from_millis(if self.quick { 20 } else { self.window_ms })
    }
}

/// Repeats `batch`, which does `operations` operations, and reports the median wall time and the mean CPU time of one.
/// The first batch warms up and does not count.
pub(crate) fn repeat(settings: &Settings, operations: usize, mut batch: impl FnMut()) {
    if settings.count {
        return count(settings.batches, operations, batch);
    }
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

/// Runs `batch` a fixed number of times and reports what one operation asked of the allocator and the scheduler, and
/// how many operations the process did in all, for whoever traces its system calls.
fn count(batches: usize, operations: usize, mut batch: impl FnMut()) {
    const WARM_UP: usize = 2;
    for _ in 0..WARM_UP {
        batch();
    }
    let switches = context_switches(Whose::Process);
    let (allocations, bytes) = allocator::count(|| {
        for _ in 0..batches {
            batch();
        }
    });
    let switches = context_switches(Whose::Process) - switches;
    let counted = (batches * operations) as f64;
    report("allocations", allocations as f64 / counted, "per op");
    report("allocated", bytes as f64 / counted, "bytes per op");
    report("switches", switches as f64 / counted, "per op");
    report(
        "operations",
        ((WARM_UP + batches) * operations) as f64,
        "ops",
    );
}

/// Prints one result in the harness's form.
pub(crate) fn report(metric: &str, value: f64, unit: &str) {
    println!(r#"{{"metric": "{metric}", "value": {value:.6}, "unit": "{unit}"}}"#);
}

/// Reports the median and the 99th percentile in microseconds.
pub(crate) fn report_percentiles(durations: &mut [Duration]) {
    report("p50", nanos(percentile(durations, 0.5)) / 1e3, "us");
    report("p99", nanos(percentile(durations, 0.99)) / 1e3, "us");
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
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time of the calling thread.
pub(crate) fn thread_cpu_time() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec to write to.
    let status = unsafe { libc::clock_gettime(id, &mut time) };
    assert_eq!(status, 0, "the CPU clocks are always there");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub(crate) enum Whose {
    Process,
    Thread,
}

/// Voluntary and involuntary context switches so far.
pub(crate) fn context_switches(whose: Whose) -> u64 {
    let who = match whose {
        Whose::Process => libc::RUSAGE_SELF,
        Whose::Thread => libc::RUSAGE_THREAD,
    };
    // SAFETY: all-zero bytes are a valid rusage, which is plain numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is valid to write to.
    let status = unsafe { libc::getrusage(who, &mut usage) };
    assert_eq!(status, 0, "both accounts are always there");
    (usage.ru_nvcsw + usage.ru_nivcsw) as u64
}

/// Bytes of this process that are in memory.
pub(crate) fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs is mounted");
    let pages: f64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|field| field.parse().ok())
        .expect("the second field is the number of resident pages");
    // SAFETY: no arguments beyond the name.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as f64
}
