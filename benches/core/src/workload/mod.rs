//! The workloads: one function each, generic over the runtime. A new one is a function and a line in [`table`].

mod echo;
mod spawn;
mod switch;
mod timers;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::candidate::Candidate;
use crate::measure::Settings;

pub(crate) type Workload<C> = fn(&C, &Settings);

fn table<C: Candidate>() -> Vec<(&'static str, Workload<C>)> {
    vec![
        ("spawn-outside", spawn::outside),
        ("spawn-inside", spawn::inside),
        ("spawn-join", spawn::join),
        ("spawn-chain", spawn::chain),
        ("yield", switch::yields),
        ("ping-pong", switch::ping_pong),
        ("timer-cancel", timers::cancel),
        ("timer-fire", timers::fire),
        ("sleep-lateness", timers::lateness),
        ("echo", echo::serve),
    ]
}

/// The workload of that name.
pub(crate) fn find<C: Candidate>(name: &str) -> Option<Workload<C>> {
    table::<C>()
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, workload)| workload)
}

/// All names, for the message about an unknown one.
pub(crate) fn names() -> Vec<&'static str> {
    table::<crate::candidate::Tokio>()
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

/// Fires once when as many tasks as it was made for have called [`Countdown::done`].
struct Countdown {
    left: AtomicUsize,
    ended: Mutex<Option<oneshot::Sender<()>>>,
}

impl Countdown {
    fn new(tasks: usize) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let left = AtomicUsize::new(tasks);
        (
            Arc::new(Self {
                left,
                ended: Mutex::new(Some(sender)),
            }),
            receiver,
        )
    }

    fn done(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let sender = self
                .ended
                .lock()
                .expect("nothing panics under this lock")
                .take();
            sender
                .expect("the last task comes once")
                .send(())
                .expect("the receiver waits");
        }
    }
}
