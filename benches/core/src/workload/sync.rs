//! Tasks that meet at a mutex, a bounded channel or a oneshot channel: once with the neutral family, which compares
//! executors, once with each runtime's own, which compares what its users have.

use std::sync::Arc;

use super::Countdown;
use crate::candidate::{Candidate, Family};
use crate::measure::{Settings, repeat};

const LOCKERS: usize = 100;
const LOCKS: usize = 20;
const SENDERS: usize = 5;
const MESSAGES: usize = 1_000;
const CAPACITY: usize = 100;
const PAIRS: usize = 1_000;

/// 100 tasks lock one mutex 20 times each and hold it across a yield, so that the others have to wait.
pub(super) fn mutex<C: Candidate, F: Family>(runtime: &C, settings: &Settings) {
    repeat(settings, LOCKERS * LOCKS, || {
        runtime.run_inside(async {
            let (countdown, ended) = Countdown::new(LOCKERS);
            let mutex = Arc::new(F::mutex());
            for _ in 0..LOCKERS {
                let (countdown, mutex) = (Arc::clone(&countdown), Arc::clone(&mutex));
                C::detach(C::spawn(async move {
                    for _ in 0..LOCKS {
                        F::add_one(&mutex, C::yield_now()).await;
                    }
                    countdown.done();
                }));
            }
            ended.await.expect("all tasks end");
            let total = F::add_one(&mutex, async {}).await - 1;
            assert_eq!(total as usize, LOCKERS * LOCKS, "no addition is lost");
        });
    });
}

/// 5 tasks send 1,000 messages each to a sixth, through a channel with room for 100; the time is that of one message.
pub(super) fn channel<C: Candidate, F: Family>(runtime: &C, settings: &Settings) {
    repeat(settings, SENDERS * MESSAGES, || {
        runtime.run_inside(async {
            let (sender, mut receiver) = F::channel(CAPACITY);
            for _ in 0..SENDERS {
                let mut sender = sender.clone();
                C::detach(C::spawn(async move {
                    for number in 0..MESSAGES as u64 {
                        F::send(&mut sender, number).await;
                    }
                }));
            }
            drop(sender);
            let mut received = 0;
            while F::receive(&mut receiver).await.is_some() {
                received += 1;
            }
            assert_eq!(received, SENDERS * MESSAGES, "no message is lost");
        });
    });
}

/// 1,000 pairs of tasks: one sends, the other answers, over two oneshot channels.
pub(super) fn ping_pong<C: Candidate, F: Family>(runtime: &C, settings: &Settings) {
    repeat(settings, PAIRS, || {
        runtime.run_inside(async {
            let (countdown, ended) = Countdown::new(PAIRS);
            for number in 0..PAIRS as u64 {
                let countdown = Arc::clone(&countdown);
                C::detach(C::spawn(async move {
                    let (ping, pinged) = F::oneshot();
                    let (pong, ponged) = F::oneshot();
                    C::detach(C::spawn(async move {
                        F::send_once(pong, F::receive_once(pinged).await + 1);
                    }));
                    F::send_once(ping, number);
                    assert_eq!(F::receive_once(ponged).await, number + 1);
                    countdown.done();
                }));
            }
            ended.await.expect("all tasks end");
        });
    });
}
