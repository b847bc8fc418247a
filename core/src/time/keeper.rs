//! The thread that serves the timers of a queue whose waiter has gone.
//!
//! It is started, under the queue's lock, when there is a timer and no such thread, and it leaves,
//! under the lock, when there is no timer: so there is a keeper whenever there is a timer. It says
//! whom to wake under the lock too, before it looks for the first deadline; whoever sets an earlier
//! deadline before that has nobody to wake, and need not. Without a thread to be had, the queue is
//! abandoned: see there.

#[cfg(not(loom))]
use std::thread::Thread;
#[cfg(not(loom))]
use std::time::Instant;

use super::queue::TimerQueue;
#[cfg(not(loom))]
use super::reference::TimerRef;

/// Part of a closed queue's state, under its lock.
pub(super) struct Keeper {
    running: bool,
    #[cfg(not(loom))]
    thread: Option<Thread>,
}

/// Wakes a keeper, outside of the lock.
pub(super) struct KeeperWaker(#[cfg(not(loom))] Option<Thread>);

impl Keeper {
    pub(super) fn new() -> Keeper {
        Keeper {
            running: false,
            #[cfg(not(loom))]
            thread: None,
        }
    }

    /// Sees to it that there is one; `false` if the system has no thread left.
    pub(super) fn start(&mut self, queue: &TimerQueue) -> bool {
        if !self.running {
            self.running = begin(queue);
        }
        self.running
    }

    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    pub(super) fn waker(&self) -> KeeperWaker {
        KeeperWaker(
            #[cfg(not(loom))]
            self.thread.clone(),
        )
    }
}

impl KeeperWaker {
    pub(super) fn wake(self) {
        #[cfg(not(loom))]
        if let Some(thread) = self.0 {
            thread.unpark();
        }
    }
}

#[cfg(not(loom))]
fn begin(queue: &TimerQueue) -> bool {
    // SAFETY: never wrong.
    let queue = unsafe { TimerRef::to(queue, false) };
    crate::thread::spawn_helper("libruntime-timers", move || keep(&queue))
}

/// In a model nobody comes, and the model looks at what was asked for.
#[cfg(loom)]
fn begin(_queue: &TimerQueue) -> bool {
    true
}

#[cfg(not(loom))]
fn keep(queue: &TimerQueue) {
    {
        // SAFETY: never wrong.
        let mut state = unsafe { queue.lock(false) };
        if let Some(keeper) = &mut state.keeper {
            keeper.thread = Some(std::thread::current());
        }
    }
    loop {
        queue.process(Instant::now());
        {
            // SAFETY: never wrong.
            let mut state = unsafe { queue.lock(false) };
            if state.wheel.len() == 0 {
                state.keeper = Some(Keeper::new());
                return;
            }
        }
        match queue.next_deadline() {
            Some(deadline) => {
                std::thread::park_timeout(deadline.saturating_duration_since(Instant::now()));
            }
            None => std::thread::park(),
        }
    }
}
