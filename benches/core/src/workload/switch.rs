//! What it costs to go from one task to another.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Countdown;
use crate::candidate::Candidate;
use crate::measure::{Settings, repeat};

const TASKS: usize = 200;
const YIELDS: usize = 500;
const FIB: u32 = 16;

/// 200 tasks yield 500 times each; the time is that of one yield.
pub(super) fn yields<C: Candidate>(runtime: &C, settings: &Settings) {
    repeat(settings, TASKS * YIELDS, || {
        runtime.run_inside(async {
            let (countdown, ended) = Countdown::new(TASKS);
            for _ in 0..TASKS {
                let countdown = Arc::clone(&countdown);
                C::detach(C::spawn(async move {
                    for _ in 0..YIELDS {
                        C::yield_now().await;
                    }
                    countdown.done();
                }));
            }
            ended.await.expect("all tasks end");
        });
    });
}

/// The 16th Fibonacci number by fork and join: each call spawns one half, does the other itself and awaits the first.
/// The time is that of one fork.
pub(super) fn fib<C: Candidate>(runtime: &C, settings: &Settings) {
    fn fork<C: Candidate>(n: u32) -> Pin<Box<dyn Future<Output = u64> + Send>> {
        Box::pin(async move {
            if n < 2 {
                return u64::from(n);
            }
            let other = C::spawn(fork::<C>(n - 1));
            let own = fork::<C>(n - 2).await;
            own + C::join(other).await
        })
    }
    fn forks(n: u32) -> usize {
        if n < 2 {
            0
        } else {
            1 + forks(n - 1) + forks(n - 2)
        }
    }
    repeat(settings, forks(FIB), || {
        assert_eq!(runtime.run_inside(fork::<C>(FIB)), 987);
    });
}
