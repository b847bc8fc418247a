//! The workloads: one function each, generic over the runtime. A new one is a function and a line in [`table`], or in
//! [`ours`] if no peer has the like.

mod blocking;
mod echo;
mod grow;
mod idle;
mod memory;
mod policy;
mod remote;
mod spawn;
mod switch;
mod sync;
mod timers;
mod wake;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::channel::oneshot;

use crate::candidate::{Candidate, Neutral, Ours};
use crate::measure::Settings;

pub(crate) type Workload<C> = fn(&C, &Settings);

fn table<C: Candidate>() -> Vec<(&'static str, Workload<C>)> {
    vec![
        ("spawn-outside", spawn::outside),
        ("spawn-inside", spawn::inside),
        ("spawn-join-all", spawn::join_all),
        ("spawn-join", spawn::join),
        ("spawn-chain", spawn::chain),
        ("remote-spawn-1", remote::spawn::<C, 1>),
        ("remote-spawn-2", remote::spawn::<C, 2>),
        ("remote-spawn-4", remote::spawn::<C, 4>),
        ("remote-spawn-8", remote::spawn::<C, 8>),
        ("remote-busy-yield", remote::busy_yielding),
        ("remote-busy-spawn", remote::busy_spawning),
        ("yield", switch::yields),
        ("fork-join", switch::fib),
        ("ping-pong", sync::ping_pong::<C, Neutral>),
        ("mutex", sync::mutex::<C, Neutral>),
        ("channel", sync::channel::<C, Neutral>),
        ("ping-pong-own", sync::ping_pong::<C, C::Own>),
        ("mutex-own", sync::mutex::<C, C::Own>),
        ("channel-own", sync::channel::<C, C::Own>),
        ("timer-cancel", timers::cancel),
        ("timer-fire", timers::fire),
        ("timers-million", timers::million),
        ("timers-million-by-all", timers::million_by_all),
        ("sleep-lateness", timers::lateness),
        ("blocking-jobs", blocking::jobs),
        ("blocking-burst", blocking::burst),
        ("wake-task", wake::task),
        ("wake-block-on", wake::block_on),
        ("behind-blocked", wake::behind_blocked),
        ("timer-behind-blocked", wake::timer_behind_blocked),
        ("idle-0", idle::wakes::<C, 0>),
        ("idle-100", idle::wakes::<C, 100>),
        ("idle-2000", idle::wakes::<C, 2_000>),
        ("idle-sleeps", idle::sleeps),
        ("idle-tasks", memory::idle_tasks),
        ("idle-timers", memory::idle_timers),
        ("burst", memory::burst),
        ("echo", echo::serve),
        ("echo-small", echo::serve_small),
        ("grow-tasks", grow::tasks),
        ("grow-timers", grow::timers),
        ("grow-sleeps", grow::sleeps),
        ("grow-work", spawn::working),
    ]
}

/// Workloads for what only this project's runtime has.
fn ours() -> Vec<(&'static str, Workload<Ours>)> {
    use libruntime_core::runtime::Policy;
    use policy::By;
    vec![
        ("critical-queue-fifo", |_, settings| {
            policy::critical(By::Queue, Policy::Fifo, settings)
        }),
        ("critical-queue-priority", |_, settings| {
            policy::critical(By::Queue, Policy::priority(), settings)
        }),
        ("critical-thread-fifo", |_, settings| {
            policy::critical(By::Thread, Policy::Fifo, settings)
        }),
        ("critical-thread-priority", |_, settings| {
            policy::critical(By::Thread, Policy::priority(), settings)
        }),
        ("critical-timer-fifo", |_, settings| {
            policy::critical(By::Timer, Policy::Fifo, settings)
        }),
        ("critical-timer-priority", |_, settings| {
            policy::critical(By::Timer, Policy::priority(), settings)
        }),
        ("critical-socket-fifo", |_, settings| {
            policy::critical(By::Socket, Policy::Fifo, settings)
        }),
        ("critical-socket-priority", |_, settings| {
            policy::critical(By::Socket, Policy::priority(), settings)
        }),
        ("share-fifo", |_, settings| {
            policy::share(Policy::Fifo, settings)
        }),
        ("share-fair", |_, settings| {
            policy::share(Policy::fair(), settings)
        }),
        ("yield-fifo", |_, settings| {
            policy::yields(Policy::Fifo, settings)
        }),
        ("yield-lifo", |_, settings| {
            policy::yields(Policy::Lifo, settings)
        }),
        ("yield-priority", |_, settings| {
            policy::yields(Policy::priority(), settings)
        }),
        ("yield-fair", |_, settings| {
            policy::yields(Policy::fair(), settings)
        }),
        ("join-fifo", |_, settings| {
            policy::joins(Policy::Fifo, settings)
        }),
        ("join-lifo", |_, settings| {
            policy::joins(Policy::Lifo, settings)
        }),
        ("join-priority", |_, settings| {
            policy::joins(Policy::priority(), settings)
        }),
        ("join-fair", |_, settings| {
            policy::joins(Policy::fair(), settings)
        }),
    ]
}

/// The workload of that name.
pub(crate) fn find<C: Candidate>(name: &str) -> Option<Workload<C>> {
    find_in(table(), name)
}

/// Likewise, among those of our own as well.
pub(crate) fn find_ours(name: &str) -> Option<Workload<Ours>> {
    find(name).or_else(|| find_in(ours(), name))
}

fn find_in<C: Candidate>(table: Vec<(&str, Workload<C>)>, name: &str) -> Option<Workload<C>> {
    table
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, workload)| workload)
}

/// All names, for the message about an unknown one.
pub(crate) fn names() -> Vec<&'static str> {
    let common = table::<Ours>().into_iter().map(|(name, _)| name);
    common
        .chain(ours().into_iter().map(|(name, _)| name))
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
