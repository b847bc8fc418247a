//! The reactor and its handles: who waits, who registers, who frees.
//!
//! A registration is known to the system by the address of its [`ScheduledIo`], so the address has
//! to stay valid as long as the system may report it. A registration that ends is taken out of the
//! system's set first, and then put on the list of the dead, with its memory. The waiter frees the
//! dead before it waits: whatever is on the list then left the set before the wait began, which
//! can therefore not report it, and the reports of the wait before have all been handled.
//!
//! That rests on the descriptor still being open when its registration ends. If it is not, the system
//! may go on reporting the address (see the system module on ghosts). Two things give that away: the
//! set does not know the number any more, or the number has been registered again in the meantime.
//! Then the memory is kept for as long as the reactor is there.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use super::scheduled_io::{Direction, ScheduledIo, Seen};
use super::sys::{Bell, Events, Filler, Mode, Poller};
use super::token::{self, Token};
use super::{Interest, Ready};
use crate::shim::sync::Mutex;

/// How many dead registrations may wait for their memory to be freed before the waiter is woken for
/// it. A busy reactor frees them in passing; this bounds what an idle one keeps.
const DEAD_LIMIT: usize = 64;

/// What can be registered with, from any thread.
#[derive(Clone)]
pub(crate) struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    poller: Poller,
    /// `None` for an event loop, whose own bell does more.
    bell: Option<Bell>,
    registered: Mutex<Registered>,
    /// Whether somebody is among the dead, so that a waiter takes the lock only then. It may be seen
    /// late, which keeps memory for a turn longer.
    any_dead: AtomicBool,
}

#[derive(Default)]
struct Registered {
    live: Vec<Option<Live>>,
    free: Vec<u32>,
    dead: Vec<Arc<ScheduledIo>>,
    /// Those that the system may still report.
    haunting: Vec<Arc<ScheduledIo>>,
    /// By descriptor number: 1 + the index of the registration that has it, or 0.
    by_fd: Vec<u32>,
    closed: bool,
}

impl Registered {
    fn put(&mut self, live: Live) -> u32 {
        let fd = live.fd as usize;
        let index = if let Some(index) = self.free.pop() {
            self.live[index as usize] = Some(live);
            index
        } else {
            self.live.push(Some(live));
            (self.live.len() - 1) as u32
        };
        if fd >= self.by_fd.len() {
            self.by_fd.resize(fd + 1, 0);
        }
        self.by_fd[fd] = index + 1;
        index
    }

    /// Takes a registration out of the tables and, if its number is still its own, out of the set.
    /// Whether the system has certainly forgotten it.
    fn take(&mut self, index: u32, poller: &Poller) -> (Option<Live>, bool) {
        let Some(live) = self.live[index as usize].take() else {
            return (None, true);
        };
        self.free.push(index);
        let owner = &mut self.by_fd[live.fd as usize];
        let forgotten = *owner == index + 1 && {
            *owner = 0;
            poller.remove(live.fd).is_ok()
        };
        (Some(live), forgotten)
    }
}

struct Live {
    io: Arc<ScheduledIo>,
    fd: RawFd,
    interest: Interest,
}

/// The one that waits.
pub(crate) struct Reactor {
    handle: Handle,
    events: Events,
}

impl Reactor {
    /// # Errors
    /// What the system says, when it has no descriptors left for instance.
    pub(crate) fn new() -> io::Result<(Reactor, Handle)> {
        let poller = Poller::new()?;
        let bell = Bell::new(&poller, token::BELL)?;
        let handle = Handle::of(poller, Some(bell));
        Ok((
            Reactor {
                handle: handle.clone(),
                events: Events::new(),
            },
            handle,
        ))
    }

    /// Waits until something is ready, an [`unpark`](Handle::unpark) comes, `timeout` has passed
    /// (`None`: never) or a signal was handled, and wakes whoever waits for what is ready. The
    /// number of reports. No lock is held while waking.
    ///
    /// # Errors
    /// What the system says about the wait.
    pub(crate) fn turn(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.handle.free_dead();
        self.handle.inner.poller.wait(&mut self.events, timeout)?;
        for index in 0..self.events.len() {
            let event = self.events.get(index);
            if let Some(Token::Registration(address)) = Token::of(event.token) {
                // SAFETY: this wait reported the address, and the dead are freed by us alone.
                unsafe { self.handle.dispatch(address, event.ready) };
            }
        }
        Ok(self.events.len())
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        self.handle.close();
    }
}

impl Handle {
    pub(crate) fn of(poller: Poller, bell: Option<Bell>) -> Handle {
        Handle {
            inner: Arc::new(Inner {
                poller,
                bell,
                registered: Mutex::new(Registered::default()),
                any_dead: AtomicBool::new(false),
            }),
        }
    }

    pub(crate) fn poller(&self) -> &Poller {
        &self.inner.poller
    }

    /// Ends the current wait, or the next one.
    pub(crate) fn unpark(&self) {
        if let Some(bell) = &self.inner.bell {
            bell.ring();
        }
    }

    /// The waiter, before it waits.
    pub(crate) fn free_dead(&self) {
        if self.inner.any_dead.load(Ordering::Relaxed) {
            let dead = {
                let mut registered = self.inner.registered.lock();
                self.inner.any_dead.store(false, Ordering::Relaxed);
                std::mem::take(&mut registered.dead)
            };
            drop(dead);
        }
    }

    /// The waiter: passes on what was reported for a registration.
    ///
    /// # Safety
    /// `address` was reported by a wait on this handle's poller, and `free_dead` has not been called
    /// since that wait began.
    pub(crate) unsafe fn dispatch(&self, address: usize, ready: Ready) {
        // SAFETY: the address was that of a live registration when the wait reported it, and its
        // memory is kept at least until `free_dead`, as the module explains.
        let io = unsafe { &*std::ptr::with_exposed_provenance::<ScheduledIo>(address) };
        io.set_ready(ready);
    }

    /// The waiter is gone: whoever waits for a registration is woken, to find an error.
    pub(crate) fn close(&self) {
        let (live, dead, haunting): (Vec<_>, _, _) = {
            let mut registered = self.inner.registered.lock();
            registered.closed = true;
            let live = registered
                .live
                .iter()
                .flatten()
                .map(|live| live.io.clone())
                .collect();
            let dead = std::mem::take(&mut registered.dead);
            (live, dead, std::mem::take(&mut registered.haunting))
        };
        drop((dead, haunting));
        for io in live {
            io.close();
        }
    }

    /// Puts a new set under the old one's number, with every registration in it and what `fill`
    /// adds; see the system module on ghosts.
    #[cold]
    pub(crate) fn replace_set(&self, fill: impl FnOnce(&Filler)) -> io::Result<bool> {
        // Held all the while, lest a registration goes into the set that is given up.
        let registered = self.inner.registered.lock();
        self.inner.poller.replace_set(|filler| {
            fill(filler);
            for live in registered.live.iter().flatten() {
                // Its owner keeps the descriptor open.
                let _ = filler.add(live.fd, address_of(&live.io), live.interest, Mode::Edge);
            }
        })
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("poller", &self.inner.poller)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

fn address_of(io: &Arc<ScheduledIo>) -> u64 {
    Arc::as_ptr(io).expose_provenance() as u64
}

/// A descriptor in a reactor's set, edge-triggered. It leaves the set when this is dropped, which
/// has to be before the descriptor is closed.
pub(crate) struct Registration {
    handle: Handle,
    io: Arc<ScheduledIo>,
    index: u32,
    fd: RawFd,
    /// The bits of the interest that the set has. It only grows, under the handle's lock.
    interest: AtomicU8,
}

impl Registration {
    /// Registers `fd`, and tells the word's state before anything was reported.
    ///
    /// # Errors
    /// [`closed`] if the reactor is gone; what the system says, when it
    /// allows no more watches for instance.
    pub(crate) fn new(
        handle: Handle,
        fd: RawFd,
        interest: Interest,
    ) -> io::Result<(Registration, Seen)> {
        let io = Arc::new(ScheduledIo::new());
        // Before anything can be reported.
        let seen = io.seen_at_first();
        let index = {
            let mut registered = handle.inner.registered.lock();
            if registered.closed {
                return Err(closed());
            }
            handle
                .inner
                .poller
                .add(fd, address_of(&io), interest, Mode::Edge)?;
            registered.put(Live {
                io: io.clone(),
                fd,
                interest,
            })
        };
        let interest = AtomicU8::new(interest.bits());
        Ok((
            Registration {
                handle,
                io,
                index,
                fd,
                interest,
            },
            seen,
        ))
    }

    pub(crate) fn io(&self) -> &ScheduledIo {
        &self.io
    }

    /// Whether the system tells of this direction.
    pub(crate) fn has(&self, direction: Direction) -> bool {
        self.interest.load(Ordering::Acquire) & direction.interest().bits() != 0
    }

    /// Sees to it that the system tells of this direction; what is ready already is told at once.
    pub(crate) fn want(&self, direction: Direction) -> io::Result<()> {
        if self.has(direction) {
            return Ok(());
        }
        self.widen(direction.interest())
    }

    #[cold]
    fn widen(&self, more: Interest) -> io::Result<()> {
        let mut registered = self.handle.inner.registered.lock();
        let Some(live) = &mut registered.live[self.index as usize] else {
            return Err(closed());
        };
        let interest = live.interest | more;
        self.handle
            .inner
            .poller
            .modify(self.fd, address_of(&self.io), interest, Mode::Edge)?;
        live.interest = interest;
        self.interest.store(interest.bits(), Ordering::Release);
        Ok(())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let inner = &self.handle.inner;
        let (live, many) = {
            let mut registered = inner.registered.lock();
            let (live, forgotten) = registered.take(self.index, &inner.poller);
            if registered.closed {
                (live, false)
            } else if forgotten {
                registered.dead.extend(live.map(|live| live.io));
                inner.any_dead.store(true, Ordering::Relaxed);
                (None, registered.dead.len() == DEAD_LIMIT)
            } else {
                registered.haunting.extend(live.map(|live| live.io));
                (None, false)
            }
        };
        drop(live);
        if many {
            self.handle.unpark();
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("fd", &self.fd)
            .finish_non_exhaustive()
    }
}

/// What a registration says whose reactor is gone.
#[cold]
pub(crate) fn closed() -> io::Error {
    io::Error::other("the runtime or event loop that this was registered with is gone")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_fn};
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::task::Poll;
    use std::thread;

    fn wait_for(registration: &Registration, direction: Direction) {
        block_on(poll_fn(|cx| {
            registration.io().poll_ready(cx, direction).map(drop)
        }));
    }

    fn clear(registration: &Registration, direction: Direction) {
        let io = registration.io();
        io.clear(io.seen(direction).expect("ready"), direction);
    }

    #[test]
    fn an_unpark_ends_a_wait_even_if_it_came_first() {
        let (mut reactor, handle) = Reactor::new().expect("a reactor");
        handle.unpark();
        assert_eq!(reactor.turn(None).expect("turn"), 1);
        let thread = thread::spawn(move || handle.unpark());
        assert_eq!(reactor.turn(None).expect("turn"), 1);
        thread.join().expect("joined");
        assert_eq!(reactor.turn(Some(Duration::ZERO)).expect("turn"), 0);
    }

    #[test]
    fn a_direction_is_reported_once_it_is_wanted() {
        let (mut reactor, handle) = Reactor::new().expect("a reactor");
        let (a, mut b) = UnixStream::pair().expect("a socket pair");
        let (registration, _) =
            Registration::new(handle, a.as_raw_fd(), Interest::READ).expect("registered");
        clear(&registration, Direction::Read);
        clear(&registration, Direction::Write);
        // Writable, and nobody asked.
        assert_eq!(reactor.turn(Some(Duration::ZERO)).expect("turn"), 0);
        b.write_all(b"x").expect("write");
        assert_eq!(reactor.turn(None).expect("turn"), 1);
        wait_for(&registration, Direction::Read);
        assert!(!registration.has(Direction::Write));
        registration.want(Direction::Write).expect("modified");
        assert_eq!(reactor.turn(None).expect("turn"), 1);
        wait_for(&registration, Direction::Write);
    }

    #[test]
    fn the_dead_are_freed_by_the_next_turn_and_woken_for_when_many() {
        let (mut reactor, handle) = Reactor::new().expect("a reactor");
        let mut ios = Vec::new();
        for _ in 0..DEAD_LIMIT {
            let (a, _b) = UnixStream::pair().expect("a socket pair");
            let registration = Registration::new(handle.clone(), a.as_raw_fd(), Interest::READ);
            let (registration, _) = registration.expect("registered");
            ios.push(Arc::downgrade(&registration.io));
        }
        assert!(ios.iter().all(|io| io.strong_count() == 1));
        // It was unparked; the wait frees them first.
        reactor.turn(None).expect("turn");
        assert!(ios.iter().all(|io| io.strong_count() == 0));
        assert_eq!(
            handle.inner.registered.lock().live.len(),
            1,
            "places are used again"
        );
    }

    #[test]
    fn what_the_system_may_still_report_is_kept() {
        let (mut reactor, handle) = Reactor::new().expect("a reactor");
        let (a, mut b) = UnixStream::pair().expect("a socket pair");
        let number = a.as_raw_fd();
        let new = |fd| {
            Registration::new(handle.clone(), fd, Interest::READ)
                .expect("registered")
                .0
        };
        // Closed, while a duplicate keeps the open file, before its registration ends.
        let registration = new(number);
        let ghost = Arc::downgrade(&registration.io);
        let duplicate = a.try_clone().expect("dup");
        drop(a);
        drop(registration);
        b.write_all(b"x").expect("write");
        assert_eq!(reactor.turn(None).expect("turn"), 1, "the ghost reports");
        reactor.turn(Some(Duration::ZERO)).expect("turn");
        assert_eq!(ghost.strong_count(), 1);
        // Registered again under its number before the first registration ends.
        let first = new(duplicate.as_raw_fd());
        let ghost = Arc::downgrade(&first.io);
        let (c, d) = UnixStream::pair().expect("a socket pair");
        let kept = duplicate.try_clone().expect("dup");
        // SAFETY: both are open; the number stays `duplicate`'s.
        unsafe { libc::dup2(c.as_raw_fd(), duplicate.as_raw_fd()) };
        let second = new(duplicate.as_raw_fd());
        drop(first);
        reactor.turn(Some(Duration::ZERO)).expect("turn");
        assert_eq!(ghost.strong_count(), 1);
        (&d).write_all(b"x").expect("write");
        clear(&second, Direction::Read);
        assert!(reactor.turn(None).expect("turn") > 0);
        assert!(
            second.io().seen(Direction::Read).is_some(),
            "the second is not disturbed"
        );
        drop((second, kept, reactor));
        assert_eq!(ghost.strong_count(), 0);
    }

    #[test]
    fn what_waits_is_woken_when_the_reactor_goes() {
        let (reactor, handle) = Reactor::new().expect("a reactor");
        let (a, _b) = UnixStream::pair().expect("a socket pair");
        let (registration, _) =
            Registration::new(handle.clone(), a.as_raw_fd(), Interest::READ).expect("registered");
        clear(&registration, Direction::Read);
        let thread = thread::spawn(move || drop(reactor));
        wait_for(&registration, Direction::Read);
        assert!(registration.io().is_closed());
        thread.join().expect("joined");
        let late = Registration::new(handle, a.as_raw_fd(), Interest::READ);
        assert!(late.is_err());
        block_on(poll_fn(|cx| {
            match registration.io().poll_ready(cx, Direction::Write) {
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            }
        }));
    }
}
