//! The run queues, behind traits of a few methods: crossbeam-deque in earnest, a locked ring where
//! loom has to see every access.

use crate::task::Notified;

/// What a thief came away with.
#[derive(Debug)]
pub(super) enum Stolen {
    /// A task to run; there may be more in the thief's own queue now.
    Task(Notified),
    Nothing,
    /// Somebody interfered: there may be something.
    Retry,
}

/// A worker's own queue: first in, first out, or last in, first out. Only its worker pushes and pops.
pub(super) trait RunQueue: Sized {
    type Thief: Thief<Self>;

    fn new(newest_first: bool) -> Self;
    fn push(&self, task: Notified);
    fn pop(&self) -> Option<Notified>;
    fn len(&self) -> usize;
    fn thief(&self) -> Self::Thief;
}

/// The end of a run queue that peers take from.
pub(super) trait Thief<Q> {
    fn is_empty(&self) -> bool;
    fn len(&self) -> usize;
    /// Takes the one that has been there longest.
    fn take_oldest(&self) -> Option<Notified>;
    /// Moves up to half of what is there, the oldest, to `into`, and takes one of them out.
    fn steal_half(&self, into: &Q) -> Stolen;
}

/// The queue for tasks that come from no worker of the runtime.
pub(super) trait InjectQueue<Q>: Sized {
    fn new() -> Self;
    fn push(&self, task: Notified);
    fn pop(&self) -> Option<Notified>;
    fn is_empty(&self) -> bool;
    fn len(&self) -> usize;
    /// Moves a batch to `into`, and takes one task out of it.
    fn take_batch(&self, into: &Q) -> Stolen;
}

#[cfg(not(loom))]
pub(super) use crossbeam::{Injector, Local};
#[cfg(loom)]
pub(super) use ring::{Injector, Local};

pub(super) type LocalThief = <Local as RunQueue>::Thief;

#[cfg(not(loom))]
mod crossbeam {
    use super::{InjectQueue, RunQueue, Stolen, Thief};
    use crate::task::Notified;
    use crossbeam_deque::Steal;

    pub(in super::super) struct Local(crossbeam_deque::Worker<Notified>);
    pub(in super::super) struct LocalThief(crossbeam_deque::Stealer<Notified>);
    pub(in super::super) struct Injector(crossbeam_deque::Injector<Notified>);

    fn stolen(steal: Steal<Notified>) -> Stolen {
        match steal {
            Steal::Success(task) => Stolen::Task(task),
            Steal::Empty => Stolen::Nothing,
            Steal::Retry => Stolen::Retry,
        }
    }

    impl RunQueue for Local {
        type Thief = LocalThief;

        fn new(newest_first: bool) -> Self {
            Local(if newest_first {
                crossbeam_deque::Worker::new_lifo()
            } else {
                crossbeam_deque::Worker::new_fifo()
            })
        }

        #[inline]
        fn push(&self, task: Notified) {
            self.0.push(task);
        }

        #[inline]
        fn pop(&self) -> Option<Notified> {
            self.0.pop()
        }

        #[inline]
        fn len(&self) -> usize {
            self.0.len()
        }

        fn thief(&self) -> LocalThief {
            LocalThief(self.0.stealer())
        }
    }

    impl Thief<Local> for LocalThief {
        fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        fn len(&self) -> usize {
            self.0.len()
        }

        fn take_oldest(&self) -> Option<Notified> {
            loop {
                match self.0.steal() {
                    Steal::Success(task) => return Some(task),
                    Steal::Empty => return None,
                    Steal::Retry => {}
                }
            }
        }

        fn steal_half(&self, into: &Local) -> Stolen {
            // Looking is a fence and two loads; stealing pins an epoch.
            if self.is_empty() {
                Stolen::Nothing
            } else {
                stolen(self.0.steal_batch_and_pop(&into.0))
            }
        }
    }

    impl InjectQueue<Local> for Injector {
        fn new() -> Self {
            Injector(crossbeam_deque::Injector::new())
        }

        fn push(&self, task: Notified) {
            self.0.push(task);
        }

        fn pop(&self) -> Option<Notified> {
            loop {
                match self.0.steal() {
                    Steal::Success(task) => return Some(task),
                    Steal::Empty => return None,
                    Steal::Retry => {}
                }
            }
        }

        #[inline]
        fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        fn len(&self) -> usize {
            self.0.len()
        }

        fn take_batch(&self, into: &Local) -> Stolen {
            if self.is_empty() {
                Stolen::Nothing
            } else {
                stolen(self.0.steal_batch_and_pop(&into.0))
            }
        }
    }
}

#[cfg(loom)]
mod ring {
    use super::{InjectQueue, RunQueue, Stolen, Thief};
    use crate::shim::sync::{Arc, Mutex};
    use crate::task::Notified;
    use std::collections::VecDeque;

    type Ring = Mutex<VecDeque<Notified>>;

    pub(in super::super) struct Local {
        ring: Arc<Ring>,
        newest_first: bool,
    }
    pub(in super::super) struct LocalThief(Arc<Ring>);
    pub(in super::super) struct Injector(Ring);

    fn take_half(ring: &Ring, into: &Local) -> Stolen {
        let mut batch: VecDeque<_> = {
            let mut ring = ring.lock();
            let half = ring.len().div_ceil(2);
            ring.drain(..half).collect()
        };
        let Some(first) = batch.pop_front() else {
            return Stolen::Nothing;
        };
        if !batch.is_empty() {
            into.ring.lock().extend(batch);
        }
        Stolen::Task(first)
    }

    impl RunQueue for Local {
        type Thief = LocalThief;

        fn new(newest_first: bool) -> Self {
            Local {
                ring: Arc::new(Mutex::new(VecDeque::new())),
                newest_first,
            }
        }

        fn push(&self, task: Notified) {
            self.ring.lock().push_back(task);
        }

        fn pop(&self) -> Option<Notified> {
            let mut ring = self.ring.lock();
            if self.newest_first {
                ring.pop_back()
            } else {
                ring.pop_front()
            }
        }

        fn len(&self) -> usize {
            self.ring.lock().len()
        }

        fn thief(&self) -> LocalThief {
            LocalThief(self.ring.clone())
        }
    }

    impl Thief<Local> for LocalThief {
        fn is_empty(&self) -> bool {
            self.0.lock().is_empty()
        }

        fn len(&self) -> usize {
            self.0.lock().len()
        }

        fn take_oldest(&self) -> Option<Notified> {
            self.0.lock().pop_front()
        }

        fn steal_half(&self, into: &Local) -> Stolen {
            take_half(&self.0, into)
        }
    }

    impl InjectQueue<Local> for Injector {
        fn new() -> Self {
            Injector(Mutex::new(VecDeque::new()))
        }

        fn push(&self, task: Notified) {
            self.0.lock().push_back(task);
        }

        fn pop(&self) -> Option<Notified> {
            self.0.lock().pop_front()
        }

        fn is_empty(&self) -> bool {
            self.0.lock().is_empty()
        }

        fn len(&self) -> usize {
            self.0.lock().len()
        }

        fn take_batch(&self, into: &Local) -> Stolen {
            take_half(&self.0, into)
        }
    }
}
