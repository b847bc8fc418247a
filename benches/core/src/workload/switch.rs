//! What it costs to go from one task to another.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Countdown;
use crate::candidate::Candidate;
use crate::measure::{Settings, repeat};

const TASKS: usize = 200;
const YIELDS: usize = 500;
const PAIRS: usize = 1_000;

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

/// 1,000 pairs of tasks: one sends, the other answers, over two oneshot channels (tokio's, for every candidate).
pub(super) fn ping_pong<C: Candidate>(runtime: &C, settings: &Settings) {
    repeat(settings, PAIRS, || {
        runtime.run_inside(async {
            let (countdown, ended) = Countdown::new(PAIRS);
            for _ in 0..PAIRS {
                let countdown = Arc::clone(&countdown);
                C::detach(C::spawn(async move {
                    let (ping, pinged) = oneshot::channel();
                    let (pong, ponged) = oneshot::channel();
                    C::detach(C::spawn(async move {
                        pinged.await.expect("a ping comes");
                        pong.send(()).expect("the pong is awaited");
                    }));
                    ping.send(()).expect("the ping is awaited");
                    ponged.await.expect("a pong comes");
                    countdown.done();
                }));
            }
            ended.await.expect("all tasks end");
        });
    });
}
