//! Histograms of durations: how many were of which length, with a bounded relative error.
//!
//! The buckets are log-linear, as in Gil Tene's HdrHistogram: each power of two of nanoseconds, from
//! 64 ns to 2^40 ns (18 minutes), is cut into eight parts of one width. So a bucket is at most an eighth as
//! wide as what it holds is long, and which one a duration belongs to is a shift and a mask away. Below
//! that and above it there is one bucket each. A bound belongs to the bucket below it, as Prometheus and
//! OpenTelemetry want theirs.
//!
//! A [`Recorder`] has one writer, which adds by a load and a store: nothing is read, modified and written
//! in one step, and nobody waits. Others read it at any time; what they see may be short of the newest
//! duration, or have it in the buckets and not yet in the sum.

use crate::shim::figures::AtomicU64;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A power of two is cut into `1 << PARTS` parts.
const PARTS: u32 = 3;
/// The first bucket is for all up to this power of two, in nanoseconds.
const LEAST: u32 = 6;
/// The last bucket is for all beyond this one.
const MOST: u32 = 40;
const BUCKETS: usize = 2 + ((MOST - LEAST) << PARTS) as usize;

/// The bucket for a duration.
#[inline]
fn bucket_of(nanos: u64) -> usize {
    // The bound itself is in the bucket below.
    let below = nanos.saturating_sub(1);
    if below >> LEAST == 0 {
        return 0;
    }
    let power = below.ilog2();
    if power >= MOST {
        return BUCKETS - 1;
    }
    let part = (below >> (power - PARTS)) as usize & ((1 << PARTS) - 1);
    1 + ((power - LEAST) << PARTS) as usize + part
}

/// The longest duration that belongs to a bucket; the last one has none.
fn upper_bound(bucket: usize) -> u64 {
    match bucket.checked_sub(1) {
        None => 1 << LEAST,
        Some(n) if n + 2 == BUCKETS => u64::MAX,
        Some(n) => {
            let (power, part) = (n >> PARTS, n & ((1 << PARTS) - 1));
            ((1 << PARTS) + part as u64 + 1) << (LEAST - PARTS) << power
        }
    }
}

/// What is shorter than all that belongs to a bucket.
fn lower_bound(bucket: usize) -> u64 {
    match bucket {
        0 => 0,
        _ => upper_bound(bucket - 1),
    }
}

/// The writer's end of a histogram.
#[derive(Debug)]
pub(crate) struct Recorder {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Recorder {
    pub(crate) fn new() -> Recorder {
        Recorder {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }

    /// Adds a duration. One thread at a time does: what two add at once may count as one.
    #[inline]
    pub(crate) fn record(&self, nanos: u64) {
        let add = |to: &AtomicU64, n: u64| to.store(to.load(Relaxed).wrapping_add(n), Relaxed);
        add(&self.buckets[bucket_of(nanos)], 1);
        add(&self.sum, nanos);
        if nanos > self.max.load(Relaxed) {
            self.max.store(nanos, Relaxed);
        }
    }

    /// What has been added so far.
    pub(crate) fn read(&self) -> Histogram {
        let buckets: Box<[u64]> = self.buckets.iter().map(|n| n.load(Relaxed)).collect();
        // The longest one may be in its bucket and not yet known as such.
        let longest = buckets.iter().rposition(|count| *count > 0);
        let least = longest.map_or(0, |bucket| match bucket {
            0 => 0,
            _ => lower_bound(bucket) + 1,
        });
        Histogram {
            buckets,
            sum: self.sum.load(Relaxed),
            max: self.max.load(Relaxed).max(least),
        }
    }
}

/// How many durations there were of which length.
///
/// What it says of a length is too long by 12.5% at most, or by 64 ns of what is shorter than that: see
/// [`quantile`](Histogram::quantile). Counts, [`sum`](Histogram::sum) and [`max`](Histogram::max) are exact.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: Box<[u64]>,
    /// Nanoseconds, as the next.
    sum: u64,
    max: u64,
}

/// Some of the durations in a [`Histogram`], of about one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    /// They are all longer than this; in the bucket for the shortest this is zero, and one may be zero.
    pub above: Duration,
    /// They are no longer than this. `None` in the bucket for what is longer than 18 minutes.
    pub up_to: Option<Duration>,
    /// How many there are.
    pub count: u64,
}

impl Histogram {
    /// A histogram of nothing, to [`merge`](Histogram::merge) others into.
    pub fn new() -> Histogram {
        Histogram {
            buckets: vec![0; BUCKETS].into(),
            sum: 0,
            max: 0,
        }
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// The longest, and zero if there is none.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The arithmetic mean. `None` if there is nothing.
    pub fn mean(&self) -> Option<Duration> {
        let mean = self.sum.checked_div(self.count())?;
        Some(Duration::from_nanos(mean))
    }

    /// A duration that the part `q` of all does not exceed: 0.5 asks for the median, 0.99 for what is
    /// exceeded once in a hundred times. `None` if there is nothing. What is not from 0 to 1 counts as the
    /// nearer of the two.
    ///
    /// If the durations were sorted, the one at that place would be `d`, and the answer is from `d` to
    /// `d` + 12.5%, or to 64 ns if that is more. It is never more than [`max`](Histogram::max).
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        let place = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut before = 0;
        let bucket = self.buckets.iter().position(|count| {
            before += count;
            before >= place
        })?;
        Some(Duration::from_nanos(upper_bound(bucket).min(self.max)))
    }

    /// Adds what is in `other`: of several workers, or runtimes.
    pub fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// The buckets that are not empty, the shortest durations first.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> {
        let filled = self.buckets.iter().enumerate().filter(|(_, n)| **n > 0);
        filled.map(|(bucket, count)| Bucket {
            above: Duration::from_nanos(lower_bound(bucket)),
            up_to: (bucket < BUCKETS - 1).then(|| Duration::from_nanos(upper_bound(bucket))),
            count: *count,
        })
    }

    /// The counts by powers of two: how many are no longer than so many nanoseconds and longer than the
    /// power before. What is longer than the last one is not among them.
    pub(super) fn powers(&self) -> impl Iterator<Item = (u64, u64)> {
        let first = (1 << LEAST, self.buckets[0]);
        let powers = self.buckets[1..BUCKETS - 1].chunks(1 << PARTS);
        let powers = powers.map(|parts| parts.iter().sum());
        std::iter::once(first).chain((LEAST + 1..).map(|power| 1 << power).zip(powers))
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .field("mean", &self.mean())
            .field("median", &self.quantile(0.5))
            .field("max", &self.max())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let recorder = Recorder::new();
        values.iter().for_each(|nanos| recorder.record(*nanos));
        recorder.read()
    }

    /// As long as anything from a nanosecond to an hour, each length as likely in its power of two.
    fn any(random: &mut fastrand::Rng) -> u64 {
        let power = random.u32(1..42);
        random.u64(..1 << power)
    }

    #[test]
    fn says_what_a_sorted_list_says_within_an_eighth() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut values: Vec<u64> = (0..random.usize(1..500))
                .map(|_| any(&mut random))
                .collect();
            let histogram = of(&values);
            values.sort_unstable();
            assert_eq!(histogram.count(), values.len() as u64);
            assert_eq!(histogram.sum().as_nanos() as u64, values.iter().sum());
            assert_eq!(histogram.max().as_nanos() as u64, *values.last().unwrap());
            let mean = values.iter().sum::<u64>() / values.len() as u64;
            assert_eq!(histogram.mean(), Some(Duration::from_nanos(mean)));
            for q in [0.0, 0.001, 0.5, 0.9, 0.99, 1.0, random.f64()] {
                let place = (q * values.len() as f64).ceil() as usize;
                let naive = values[place.max(1) - 1];
                let said = histogram.quantile(q).unwrap().as_nanos() as u64;
                let most = (naive + naive / 8).max(64);
                let said_or_longest = naive > 1 << MOST || (naive..=most).contains(&said);
                assert!(said_or_longest, "seed {seed}, {q}: {said} for {naive}");
                assert!(said >= naive);
            }
        }
    }

    #[test]
    fn buckets_are_side_by_side_and_narrow() {
        let mut random = fastrand::Rng::with_seed(7);
        for bucket in 0..BUCKETS - 1 {
            let (above, up_to) = (lower_bound(bucket), upper_bound(bucket));
            assert_eq!(lower_bound(bucket + 1), up_to);
            assert_eq!(bucket_of(up_to), bucket);
            assert_eq!(bucket_of(above + 1), bucket);
            assert_eq!(bucket_of(up_to + 1), bucket + 1);
            assert_eq!(bucket_of(random.u64(above + 1..=up_to)), bucket);
            if bucket > 0 {
                assert!((up_to - above) * 8 <= above, "{above} to {up_to}");
            }
        }
        assert_eq!((lower_bound(0), upper_bound(0), bucket_of(0)), (0, 64, 0));
        assert_eq!(lower_bound(BUCKETS - 1), 1 << MOST);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn histogram_of_nothing_has_no_quantile_and_no_mean() {
        for nothing in [Histogram::new(), of(&[])] {
            assert_eq!((nothing.count(), nothing.max()), (0, Duration::ZERO));
            assert_eq!((nothing.quantile(0.5), nothing.mean()), (None, None));
            assert_eq!(nothing.buckets().next(), None);
        }
    }

    #[test]
    fn quantile_of_no_part_of_one_is_that_of_the_nearer_end() {
        let histogram = of(&[100, 1_000, 10_000]);
        assert_eq!(histogram.quantile(-1.0), histogram.quantile(0.0));
        assert_eq!(histogram.quantile(f64::NAN), histogram.quantile(0.0));
        assert_eq!(histogram.quantile(2.0), Some(Duration::from_nanos(10_000)));
    }

    #[test]
    fn what_is_longer_than_all_bounds_is_known_by_the_longest() {
        let hours = 10 * 3_600 * 1_000_000_000;
        let histogram = of(&[100, hours]);
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_nanos(hours)));
        let last = histogram.buckets().last().unwrap();
        assert_eq!((last.up_to, last.count), (None, 1));
    }

    #[test]
    fn merged_histograms_are_that_of_all_values() {
        let mut random = fastrand::Rng::with_seed(3);
        let parts: Vec<Vec<u64>> = (0..5)
            .map(|_| (0..100).map(|_| any(&mut random)).collect())
            .collect();
        let mut merged = Histogram::new();
        parts.iter().for_each(|part| merged.merge(&of(part)));
        assert_eq!(merged, of(&parts.concat()));
    }

    #[test]
    fn powers_of_two_hold_what_is_no_longer_than_they_are() {
        let mut random = fastrand::Rng::with_seed(4);
        let mut values: Vec<u64> = (0..1_000).map(|_| any(&mut random)).collect();
        values.extend([64, 65, 128, 129, 1 << MOST, (1 << MOST) + 1]);
        let histogram = of(&values);
        let mut so_far = 0;
        let mut last = 0;
        for (bound, count) in histogram.powers() {
            so_far += count;
            let naive = values.iter().filter(|nanos| **nanos <= bound).count();
            assert_eq!(so_far, naive as u64, "up to {bound}");
            last = bound;
        }
        assert_eq!(last, 1 << MOST);
    }

    #[test]
    fn longest_is_no_shorter_than_the_last_bucket_that_is_not_empty() {
        let recorder = Recorder::new();
        recorder.record(1_000);
        recorder.max.store(0, Relaxed);
        let histogram = recorder.read();
        assert_eq!(histogram.max(), Duration::from_nanos(961));
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_nanos(961)));
    }
}
