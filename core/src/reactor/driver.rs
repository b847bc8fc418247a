//! The reactor and its handles: who waits, who registers, who is told.
//!
//! A registration is known to the system by the index of its place and a generation (see
//! [`Slots`]), and a report that names a generation that has ended is passed over. So a
//! registration may end at any time on any thread, before or after the descriptor was closed.
//!
//! # What closing saves
//!
//! A descriptor that is closed leaves the system's set by itself, so a registration that ends for that
//! reason ([`Leave::ByClosing`]) does not take it out, which would be a call more for each connection.
//! That is so unless the open file has another descriptor (`dup`, a forked child): then the set keeps
//! reporting what happens to it, under a generation that has ended, and it cannot be named any more
//! to be taken out: a ghost (see the system module). It does no harm but to end waits. Each
//! registration that ends accounts for one such report, fetched a moment before; when there are more,
//! the set is replaced by one that has the living registrations alone.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use super::scheduled_io::{Direction, ScheduledIo, Seen};
use super::slots::Slots;
use super::sys::{Bell, Events, Filler, Mode, Poller};
use super::token::{self, Key, MAX_INDICES, Token};
use super::{Interest, Ready};
use crate::shim::sync::Mutex;
use crate::shim::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// How many reports of registrations that have ended make the waiter look for ghosts.
const GHOST_REPORTS: u32 = 64;

/// What can be registered with, from any thread.
#[derive(Clone)]
pub(crate) struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    poller: Poller,
    /// `None` for an event loop, whose own bell does more.
    bell: Option<Bell>,
    slots: Slots,
    registered: Mutex<Registered>,
    /// Reports of registrations that have ended. The waiter's alone.
    late: AtomicU32,
}

#[derive(Default)]
struct Registered {
    /// By index.
    live: Vec<Option<Live>>,
    free: Vec<u32>,
    /// By descriptor number: 1 + the index of the registration that has it, or 0.
    by_fd: Vec<u32>,
    /// How many have ended since the waiter last looked for ghosts.
    ended: u32,
    calls: Calls,
    closed: bool,
}

struct Live {
    fd: RawFd,
    key: Key,
    interest: Interest,
}

/// How often the system's set has been changed (`epoll_ctl`) for the sake of registrations: calls that
/// failed are counted as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) adds: u64,
    pub(crate) modifications: u64,
    pub(crate) removals: u64,
}

impl Registered {
    /// An index that nobody has.
    fn reserve(&mut self) -> io::Result<u32> {
        if let Some(index) = self.free.pop() {
            return Ok(index);
        }
        if self.live.len() == MAX_INDICES {
            return Err(io::Error::other("too many registrations"));
        }
        self.live.push(None);
        Ok((self.live.len() - 1) as u32)
    }

    fn put(&mut self, live: Live) {
        let (fd, index) = (live.fd as usize, live.key.index);
        if fd >= self.by_fd.len() {
            self.by_fd.resize(fd + 1, 0);
        }
        self.by_fd[fd] = index + 1;
        self.live[index as usize] = Some(live);
    }

    /// Takes a registration out of the table, and, unless its descriptor does that by itself or has a
    /// number that somebody else has registered since, out of the set.
    fn take(&mut self, index: u32, leave: Leave, poller: &Poller) {
        let Some(live) = self.live[index as usize].take() else {
            return;
        };
        let owner = &mut self.by_fd[live.fd as usize];
        if *owner != index + 1 {
            return;
        }
        *owner = 0;
        if leave == Leave::Now {
            self.calls.removals += 1;
            // It may have been closed behind our back, and then it has left, or is a ghost.
            let _ = poller.remove(live.fd);
        }
    }
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
        self.handle.inner.poller.wait(&mut self.events, timeout)?;
        let mut haunted = false;
        for index in 0..self.events.len() {
            let event = self.events.get(index);
            if let Some(Token::Registration(key)) = Token::of(event.token) {
                haunted |= self.handle.dispatch(key, event.ready);
            }
        }
        if haunted {
            self.exorcise();
        }
        Ok(self.events.len())
    }

    #[cold]
    fn exorcise(&self) {
        // Without a descriptor to do it with the ghosts report again, and this is tried again.
        let _ = self.handle.replace_set(|filler| {
            if let Some(bell) = &self.handle.inner.bell {
                let _ = bell.refill(filler, token::BELL);
            }
        });
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
                slots: Slots::new(),
                registered: Mutex::new(Registered::default()),
                late: AtomicU32::new(0),
            }),
        }
    }

    pub(crate) fn poller(&self) -> &Poller {
        &self.inner.poller
    }

    /// How often the system's set has been changed.
    pub(crate) fn calls(&self) -> Calls {
        self.inner.registered.lock().calls
    }

    /// Ends the current wait, or the next one.
    pub(crate) fn unpark(&self) {
        if let Some(bell) = &self.inner.bell {
            bell.ring();
        }
    }

    /// The waiter: passes on what was reported for a registration. Whether there are ghosts in the
    /// set, which [`replace_set`](Self::replace_set) drives out.
    #[must_use]
    pub(crate) fn dispatch(&self, key: Key, ready: Ready) -> bool {
        match self.inner.slots.get(key.index) {
            Some(io) if io.set_ready(key.generation, ready) => false,
            _ => self.was_late(),
        }
    }

    #[cold]
    fn was_late(&self) -> bool {
        let late = self.inner.late.load(Ordering::Relaxed) + 1;
        self.inner
            .late
            .store(late % GHOST_REPORTS, Ordering::Relaxed);
        if late < GHOST_REPORTS {
            return false;
        }
        let mut registered = self.inner.registered.lock();
        std::mem::take(&mut registered.ended) < late
    }

    /// The waiter is gone: whoever waits for a registration is woken, to find an error.
    pub(crate) fn close(&self) {
        let live: Vec<u32> = {
            let mut registered = self.inner.registered.lock();
            registered.closed = true;
            let live = registered.live.iter().flatten();
            live.map(|live| live.key.index).collect()
        };
        for index in live {
            if let Some(io) = self.inner.slots.get(index) {
                io.close();
            }
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
                let token = live.key.of_registration();
                let _ = filler.add(live.fd, token, live.interest, Mode::Edge);
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

/// How a descriptor leaves the system's set when its registration ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leave {
    /// It is taken out: it may stay open.
    Now,
    /// Its owner closes it next.
    ByClosing,
}

/// A descriptor in a reactor's set, edge-triggered, until this is dropped.
pub(crate) struct Registration {
    handle: Handle,
    /// In the handle's slots.
    io: NonNull<ScheduledIo>,
    index: u32,
    fd: RawFd,
    leave: Leave,
    /// The bits of the interest that the set has. It only grows, under the handle's lock.
    interest: AtomicU8,
}

// SAFETY: what `io` points to may be used by any thread, and lives as long as the handle.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Sync for Registration {}

impl Registration {
    /// Registers `fd`, and tells the word's state before anything was reported.
    ///
    /// # Errors
    /// [`closed`] if the reactor is gone; `Unsupported` if `fd` is one that never blocks, such as a
    /// file's; what the system says, when it allows no more watches for instance.
    pub(crate) fn new(
        handle: Handle,
        fd: RawFd,
        interest: Interest,
        leave: Leave,
    ) -> io::Result<(Registration, Seen)> {
        let (io, index, seen) = {
            let mut registered = handle.inner.registered.lock();
            if registered.closed {
                return Err(closed());
            }
            let index = registered.reserve()?;
            let slots = &handle.inner.slots;
            let Some(io) = slots.get_or_add(index) else {
                unreachable!("there is room for every index that is dealt out");
            };
            // Before anything can be reported.
            let (generation, seen) = io.begin();
            let key = Key { index, generation };
            let token = key.of_registration();
            registered.calls.adds += 1;
            if let Err(error) = handle.inner.poller.add(fd, token, interest, Mode::Edge) {
                registered.free.push(index);
                return Err(explained(error));
            }
            registered.put(Live { fd, key, interest });
            (NonNull::from(io), index, seen)
        };
        let registration = Registration {
            handle,
            io,
            index,
            fd,
            leave,
            interest: AtomicU8::new(interest.bits()),
        };
        Ok((registration, seen))
    }

    pub(crate) fn io(&self) -> &ScheduledIo {
        // SAFETY: slots neither move nor go while the handle is there.
        unsafe { self.io.as_ref() }
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
        let registered = &mut *self.handle.inner.registered.lock();
        let Some(live) = &mut registered.live[self.index as usize] else {
            return Err(closed());
        };
        let (token, interest) = (live.key.of_registration(), live.interest | more);
        let poller = &self.handle.inner.poller;
        registered.calls.modifications += 1;
        poller.modify(self.fd, token, interest, Mode::Edge)?;
        live.interest = interest;
        self.interest.store(interest.bits(), Ordering::Release);
        Ok(())
    }

    /// Ends, while the descriptor stays open.
    pub(crate) fn end(mut self) {
        self.leave = Leave::Now;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let inner = &self.handle.inner;
        let leftovers = {
            let mut registered = inner.registered.lock();
            registered.take(self.index, self.leave, &inner.poller);
            let leftovers = self.io().end();
            registered.free.push(self.index);
            registered.ended = registered.ended.saturating_add(1);
            leftovers
        };
        drop(leftovers);
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

/// The system's word for a descriptor that is always ready says little.
#[cold]
fn explained(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(libc::EPERM) {
        let message = "this descriptor can not be waited for: it is that of a file or a directory, \
                       which is always ready";
        io::Error::new(io::ErrorKind::Unsupported, message)
    } else {
        error
    }
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
            Registration::new(handle, a.as_raw_fd(), Interest::READ, Leave::Now)
                .expect("registered");
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
    fn places_are_used_again_and_late_reports_passed_over() {
        let (mut reactor, handle) = Reactor::new().expect("a reactor");
        let (a, mut b) = UnixStream::pair().expect("a socket pair");
        for _ in 0..100 {
            let (registration, _) = new(&handle, &a, Leave::Now);
            clear(&registration, Direction::Read);
            b.write_all(b"x").expect("write");
            let key = live_key(&handle);
            drop(registration);
            // As if it had been fetched before.
            assert!(!handle.dispatch(key, Ready::READABLE));
        }
        assert_eq!(handle.inner.registered.lock().live.len(), 1);
        assert_eq!(reactor.turn(Some(Duration::ZERO)).expect("turn"), 0);
    }

    fn new(handle: &Handle, socket: &UnixStream, leave: Leave) -> (Registration, Seen) {
        let fd = socket.as_raw_fd();
        Registration::new(handle.clone(), fd, Interest::READ, leave).expect("registered")
    }

    fn live_key(handle: &Handle) -> Key {
        let registered = handle.inner.registered.lock();
        let mut live = registered.live.iter().flatten();
        live.next().expect("one").key
    }

    #[test]
    fn the_system_is_asked_to_forget_only_what_stays_open() {
        let (mut reactor, handle) = Reactor::new().expect("a reactor");
        let (a, mut b) = UnixStream::pair().expect("a socket pair");
        drop(new(&handle, &a, Leave::Now));
        let mut calls = Calls {
            adds: 1,
            modifications: 0,
            removals: 1,
        };
        assert_eq!(handle.calls(), calls);
        b.write_all(b"x").expect("write");
        assert_eq!(reactor.turn(Some(Duration::ZERO)).expect("turn"), 0);
        let (registration, _) = new(&handle, &a, Leave::ByClosing);
        drop((registration, a));
        calls.adds += 1;
        assert_eq!(handle.calls(), calls);
        assert_eq!(reactor.turn(Some(Duration::ZERO)).expect("turn"), 0);
        let (c, _d) = UnixStream::pair().expect("a socket pair");
        new(&handle, &c, Leave::ByClosing).0.end();
        assert_eq!(handle.calls().removals, 2);
    }

    /// A duplicate keeps the open file in the set.
    #[test]
    #[cfg(all(target_os = "linux", not(libruntime_portable)))]
    fn a_ghost_is_driven_out_and_disturbs_nobody() {
        let (mut reactor, handle) = Reactor::new().expect("a reactor");
        let (a, mut b) = UnixStream::pair().expect("a socket pair");
        let (c, mut d) = UnixStream::pair().expect("a socket pair");
        let (living, _) = new(&handle, &c, Leave::ByClosing);
        clear(&living, Direction::Read);
        let (ghost, _) = new(&handle, &a, Leave::ByClosing);
        let duplicate = a.try_clone().expect("dup");
        drop((ghost, a));
        let mut reports = 0;
        for _ in 0..2 * GHOST_REPORTS {
            b.write_all(b"x").expect("write");
            reports += reactor.turn(Some(Duration::ZERO)).expect("turn");
            assert!(living.io().seen(Direction::Read).is_none());
        }
        assert_eq!(reports, GHOST_REPORTS as usize);
        // What lives is still told, and the bell still rings.
        d.write_all(b"x").expect("write");
        assert_eq!(reactor.turn(None).expect("turn"), 1);
        wait_for(&living, Direction::Read);
        handle.unpark();
        assert_eq!(reactor.turn(None).expect("turn"), 1);
        drop(duplicate);
    }

    /// Registered again under its number before the first registration ends.
    #[test]
    fn a_registration_that_ends_late_leaves_the_next_with_its_number_alone() {
        let (mut reactor, handle) = Reactor::new().expect("a reactor");
        let (a, _b) = UnixStream::pair().expect("a socket pair");
        let (c, d) = UnixStream::pair().expect("a socket pair");
        let (first, _) = new(&handle, &a, Leave::Now);
        // SAFETY: both are open; the number stays `a`'s.
        unsafe { libc::dup2(c.as_raw_fd(), a.as_raw_fd()) };
        let (second, _) = new(&handle, &a, Leave::Now);
        drop(first);
        clear(&second, Direction::Read);
        (&d).write_all(b"x").expect("write");
        assert_eq!(reactor.turn(None).expect("turn"), 1);
        wait_for(&second, Direction::Read);
    }

    #[test]
    fn a_file_can_not_be_waited_for() {
        let (_reactor, handle) = Reactor::new().expect("a reactor");
        let file = std::fs::File::open("/proc/self/exe").expect("opened");
        for _ in 0..2 {
            let fd = file.as_raw_fd();
            let refused = Registration::new(handle.clone(), fd, Interest::READ, Leave::Now);
            let error = refused.expect_err("a file");
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        }
        assert_eq!(handle.inner.registered.lock().live.len(), 1);
    }

    #[test]
    fn what_waits_is_woken_when_the_reactor_goes() {
        let (reactor, handle) = Reactor::new().expect("a reactor");
        let (a, _b) = UnixStream::pair().expect("a socket pair");
        let (registration, _) =
            Registration::new(handle.clone(), a.as_raw_fd(), Interest::READ, Leave::Now)
                .expect("registered");
        clear(&registration, Direction::Read);
        let thread = thread::spawn(move || drop(reactor));
        wait_for(&registration, Direction::Read);
        assert!(registration.io().is_closed());
        thread.join().expect("joined");
        let late = Registration::new(handle, a.as_raw_fd(), Interest::READ, Leave::Now);
        assert!(late.is_err());
        block_on(poll_fn(|cx| {
            match registration.io().poll_ready(cx, Direction::Write) {
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            }
        }));
    }
}
