//! The pool for jobs that block.

use crate::candidate::Candidate;
use crate::measure::{Settings, repeat};

const SPAWNERS: usize = 16;
const JOBS: usize = 64;

/// 16 tasks run 64 empty jobs each, one after the other; the time is that of one job.
pub(super) fn jobs<C: Candidate>(runtime: &C, settings: &Settings) {
    repeat(settings, SPAWNERS * JOBS, || {
        runtime.run_inside(async {
            let spawners: Vec<_> = (0..SPAWNERS)
                .map(|_| {
                    C::spawn(async {
                        for number in 0..JOBS {
                            assert_eq!(C::spawn_blocking(move || number).await, number);
                        }
                    })
                })
                .collect();
            for spawner in spawners {
                C::join(spawner).await;
            }
        });
    });
}

/// A task hands over 1,000 empty jobs at once and awaits them all.
pub(super) fn burst<C: Candidate>(runtime: &C, settings: &Settings) {
    const BURST: usize = 1_000;
    repeat(settings, BURST, || {
        runtime.run_inside(async {
            let jobs: futures::stream::FuturesUnordered<_> = (0..BURST)
                .map(|number| C::spawn_blocking(move || number))
                .collect();
            let sum = futures::StreamExt::fold(jobs, 0, |sum, number| async move { sum + number });
            assert_eq!(sum.await, BURST * (BURST - 1) / 2);
        });
    });
}
