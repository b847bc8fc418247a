//! What a worker waits for besides tasks: its timers, and the reactor that the workers share.

#[cfg(loom)]
pub(crate) use modelled::*;
#[cfg(not(loom))]
pub(super) use real::*;

#[cfg(not(loom))]
mod real {
    use super::super::lookout::Lookout;
    use super::super::parker::Parker;
    use super::super::worker;
    use crate::reactor;
    use crate::shim::sync::{Mutex, MutexGuard};
    use crate::time::OwnedTimers;
    use std::io;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    pub(in super::super) use crate::context::Driver;
    pub(in super::super) use crate::reactor::{Handle as ReactorHandle, Reactor};

    /// Timers that, fired together, show that a worker has many: its next wait for timers then ends
    /// [`REST`] later at the earliest, so that it serves several again. A wait costs more than a
    /// timer does; fewer timers are served to the microsecond.
    const DENSE: usize = 8;
    const REST: Duration = Duration::from_micros(250);
    /// As many timers cost two waits. Where there are more the rest is twice as long: of a million a
    /// second, 3,500 waits were a third of the time that the timers took.
    const CROWDED: usize = 256;

    /// The reactor, for the one worker at a time that waits in it.
    #[derive(Debug)]
    pub(in super::super) struct ReactorSlot(Mutex<Reactor>);

    impl ReactorSlot {
        pub(in super::super) fn new() -> io::Result<(ReactorSlot, reactor::Handle)> {
            let (reactor, handle) = Reactor::new()?;
            Ok((ReactorSlot(Mutex::new(reactor)), handle))
        }

        pub(in super::super) fn try_lock(&self) -> Option<MutexGuard<'_, Reactor>> {
            self.0.try_lock()
        }
    }

    /// Waits for events for `timeout` at most, and serves them: how many.
    pub(in super::super) fn turn(reactor: &mut Reactor, timeout: Option<Duration>) -> usize {
        // What can fail here is a wait that was interrupted, or a broken epoll descriptor; the
        // first is an early return, the second nothing that a worker could mend.
        reactor.turn(timeout).unwrap_or(0)
    }

    /// Serves the events that there are: how many.
    pub(in super::super) fn poll(reactor: &mut Reactor) -> usize {
        turn(reactor, Some(Duration::ZERO))
    }

    pub(in super::super) fn unpark(reactor: &reactor::Handle) {
        reactor.unpark();
    }

    pub(in super::super) fn close(reactor: &reactor::Handle) {
        reactor.close();
    }

    pub(in super::super) fn calls(reactor: &reactor::Handle) -> reactor::Calls {
        reactor.calls()
    }

    impl Driver {
        /// The timers of the worker that parks in `parker`, beside the shared reactor.
        pub(in super::super) fn new(
            reactor: &reactor::Handle,
            parker: Arc<Parker>,
            lookout: Arc<Lookout>,
        ) -> Driver {
            let handle = reactor.clone();
            let earlier = move || {
                let here = worker::parks_here(&parker);
                lookout.earlier_deadline(&parker, here, &handle);
            };
            Driver {
                reactor: reactor.clone(),
                timers: OwnedTimers::new(earlier),
            }
        }

        pub(in super::super) fn reactor(&self) -> &reactor::Handle {
            &self.reactor
        }

        pub(in super::super) fn next_deadline(&self) -> Option<Instant> {
            self.timers.next_deadline()
        }

        /// Wakes what is due. If that was much, says until when more may wait: see [`DENSE`].
        pub(in super::super) fn fire(&self, now: impl FnOnce() -> Instant) -> Option<Instant> {
            self.timers.next_deadline()?;
            let now = now();
            match self.timers.process(now) {
                0..DENSE => None,
                DENSE..CROWDED => Some(now + REST),
                CROWDED.. => Some(now + 2 * REST),
            }
        }

        /// Whether the worker's own earlier deadlines are for others to hear: see [`Lookout`].
        pub(in super::super) fn tell_own(&self, tell: bool) {
            self.timers.tell_own(tell);
        }

        pub(in super::super) fn close(&self) {
            // SAFETY: the runtime's end, when no worker runs any more.
            unsafe { self.timers.close() };
        }
    }
}

/// In a model there is neither a reactor nor time: workers park on their threads.
#[cfg(loom)]
mod modelled {
    use super::super::lookout::Lookout;
    use super::super::parker::Parker;
    use std::io;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[derive(Debug, Clone)]
    pub(in super::super) struct ReactorHandle;

    pub(in super::super) enum Reactor {}

    #[derive(Debug)]
    pub(in super::super) struct ReactorSlot;

    impl ReactorSlot {
        pub(in super::super) fn new() -> io::Result<(ReactorSlot, ReactorHandle)> {
            Ok((ReactorSlot, ReactorHandle))
        }

        pub(in super::super) fn try_lock(&self) -> Option<Box<Reactor>> {
            None
        }
    }

    pub(in super::super) fn turn(reactor: &mut Reactor, _timeout: Option<Duration>) -> usize {
        match *reactor {}
    }

    pub(in super::super) fn poll(reactor: &mut Reactor) -> usize {
        match *reactor {}
    }

    pub(in super::super) fn unpark(_reactor: &ReactorHandle) {}

    pub(in super::super) fn close(_reactor: &ReactorHandle) {}

    pub(in super::super) fn calls(_reactor: &ReactorHandle) -> crate::reactor::Calls {
        crate::reactor::Calls::default()
    }

    pub(crate) struct Driver(ReactorHandle);

    impl Driver {
        pub(in super::super) fn new(
            reactor: &ReactorHandle,
            _: Arc<Parker>,
            _: Arc<Lookout>,
        ) -> Driver {
            Driver(reactor.clone())
        }

        pub(in super::super) fn reactor(&self) -> &ReactorHandle {
            &self.0
        }

        pub(in super::super) fn next_deadline(&self) -> Option<Instant> {
            None
        }

        pub(in super::super) fn fire(&self, _: impl FnOnce() -> Instant) -> Option<Instant> {
            None
        }

        pub(in super::super) fn tell_own(&self, _: bool) {}

        pub(in super::super) fn close(&self) {}
    }
}
