//! Linux: mio's epoll descriptor, waited on with nanoseconds and used level-triggered as well.
//!
//! mio keeps the descriptor; what mio cannot do is done on it directly. Its wait rounds up to
//! milliseconds (`epoll_pwait2` takes nanoseconds), and its registrations are edge-triggered only.
//!
//! # Ghosts
//!
//! epoll keys a registration by descriptor number *and* open file. If a number is closed while a
//! duplicate of its open file lives on (`dup`, or a forked child), the registration stays, goes on
//! reporting, and cannot be named any more: `EPOLL_CTL_DEL` says `EBADF`. [`Poller::replace_set`]
//! is the way out: a new epoll set is filled by the caller and put under the old number.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Event, Mode};
use crate::reactor::{Interest, Ready};

/// How many reports one wait takes at most. A turn handles all of them before it waits again, so
/// this bounds a turn; 1024 is what libuv takes.
const CAPACITY: usize = 1024;

#[derive(Debug)]
pub(crate) struct Poller {
    poll: mio::Poll,
    /// Whether `epoll_pwait2` (Linux 5.11) may be called. Cleared when the kernel, or a sandbox
    /// in front of it, does not know the call.
    nanoseconds: AtomicBool,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        Ok(Poller {
            poll: mio::Poll::new()?,
            nanoseconds: AtomicBool::new(true),
        })
    }

    /// The descriptor that a host can sleep on.
    pub(crate) fn fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Waits until something is reported, `timeout` has passed (`None`: never) or a signal was
    /// handled. Only the owner of `events` calls this.
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.len = 0;
        let buffer = events.buffer.as_mut_ptr();
        // The older call copies no timespec and no signal mask, a fifth of an empty turn; it will do
        // where no fraction of a millisecond is asked for.
        let exact = timeout.filter(|timeout| !timeout.is_zero());
        let n = if let (Some(exact), true) = (exact, self.nanoseconds.load(Ordering::Relaxed)) {
            let exact = timespec(exact);
            // SAFETY: `buffer` has room for CAPACITY events, the timespec outlives the call, and a
            // null signal mask is allowed.
            unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    self.fd(),
                    buffer,
                    CAPACITY as libc::c_int,
                    &raw const exact,
                    std::ptr::null::<libc::sigset_t>(),
                    0usize,
                )
            }
        } else {
            let timeout = timeout.map_or(-1, milliseconds);
            // SAFETY: `buffer` has room for CAPACITY events.
            unsafe {
                libc::c_long::from(libc::epoll_wait(
                    self.fd(),
                    buffer,
                    CAPACITY as libc::c_int,
                    timeout,
                ))
            }
        };
        if n >= 0 {
            events.len = n as usize;
            return Ok(());
        }
        self.wait_failed(io::Error::last_os_error(), events, timeout)
    }

    #[cold]
    fn wait_failed(
        &self,
        error: io::Error,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        match error.raw_os_error() {
            Some(libc::EINTR) => Ok(()),
            Some(libc::ENOSYS | libc::EPERM) if self.nanoseconds.swap(false, Ordering::Relaxed) => {
                self.wait(events, timeout)
            }
            _ => Err(error),
        }
    }

    /// Adds `fd` under `token`.
    ///
    /// # Errors
    /// `EEXIST` if it is in the set, `EPERM` if it can never block (a regular file), `EBADF`.
    pub(crate) fn add(
        &self,
        fd: RawFd,
        token: u64,
        interest: Interest,
        mode: Mode,
    ) -> io::Result<()> {
        control(self.fd(), libc::EPOLL_CTL_ADD, fd, token, interest, mode)
    }

    /// Asks for something else; what is ready already is reported again.
    pub(crate) fn modify(
        &self,
        fd: RawFd,
        token: u64,
        interest: Interest,
        mode: Mode,
    ) -> io::Result<()> {
        control(self.fd(), libc::EPOLL_CTL_MOD, fd, token, interest, mode)
    }

    /// Takes `fd` out of the set: no wait that begins later reports it.
    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        control(
            self.fd(),
            libc::EPOLL_CTL_DEL,
            fd,
            0,
            Interest::NONE,
            Mode::Level,
        )
    }

    /// To be called after the owner of a level-triggered descriptor has been told. epoll keeps
    /// the level by itself.
    pub(crate) fn rearm(&self, _fd: RawFd, _token: u64, _interest: Interest) {}

    /// Puts a new set, filled by `fill`, under the number of the old one, which is the only way
    /// to be rid of a ghost. A host that watches the number with an epoll of its own has to add
    /// it again; one that uses `poll(2)` notices nothing. Whether the set is another
    /// one now.
    pub(crate) fn replace_set(&self, fill: impl FnOnce(&Filler)) -> io::Result<bool> {
        // SAFETY: no memory is involved.
        let new = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if new < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let new = unsafe { OwnedFd::from_raw_fd(new) };
        fill(&Filler(new.as_raw_fd()));
        // SAFETY: no memory is involved; the number `self.fd()` stays mio's.
        if unsafe { libc::dup3(new.as_raw_fd(), self.fd(), libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(true)
    }
}

/// A set that is being filled by [`Poller::replace_set`].
pub(crate) struct Filler(RawFd);

impl Filler {
    pub(crate) fn add(
        &self,
        fd: RawFd,
        token: u64,
        interest: Interest,
        mode: Mode,
    ) -> io::Result<()> {
        control(self.0, libc::EPOLL_CTL_ADD, fd, token, interest, mode)
    }
}

fn control(
    epoll: RawFd,
    operation: libc::c_int,
    fd: RawFd,
    token: u64,
    interest: Interest,
    mode: Mode,
) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: epoll_bits(interest, mode),
        u64: token,
    };
    // SAFETY: `event` is valid for the duration of the call.
    if unsafe { libc::epoll_ctl(epoll, operation, fd, &mut event) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn epoll_bits(interest: Interest, mode: Mode) -> u32 {
    let mut bits = 0;
    if interest.contains(Interest::READ) {
        // RDHUP only for readers: a writer that is told of it level-triggered could do nothing
        // to make it go away.
        bits |= libc::EPOLLIN | libc::EPOLLRDHUP;
    }
    if interest.contains(Interest::WRITE) {
        bits |= libc::EPOLLOUT;
    }
    if interest.contains(Interest::PRIORITY) {
        bits |= libc::EPOLLPRI;
    }
    if mode == Mode::Edge {
        bits |= libc::EPOLLET;
    }
    bits as u32
}

fn ready_of(bits: u32) -> Ready {
    let bits = bits as libc::c_int;
    let mut ready = Ready::NONE;
    if bits & libc::EPOLLIN != 0 {
        ready |= Ready::READABLE;
    }
    if bits & libc::EPOLLOUT != 0 {
        ready |= Ready::WRITABLE;
    }
    if bits & (libc::EPOLLPRI | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) == 0 {
        return ready;
    }
    if bits & libc::EPOLLPRI != 0 {
        ready |= Ready::PRIORITY;
    }
    if bits & libc::EPOLLRDHUP != 0 {
        ready |= Ready::READ_CLOSED | Ready::READABLE;
    }
    if bits & libc::EPOLLHUP != 0 {
        ready |= Ready::HANGUP | Ready::READ_CLOSED | Ready::READABLE | Ready::WRITABLE;
    }
    if bits & libc::EPOLLERR != 0 {
        ready |= Ready::ERROR | Ready::READABLE | Ready::WRITABLE;
    }
    ready
}

fn timespec(timeout: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos() as _,
    }
}

/// Rounds up, so that a wait never ends early.
fn milliseconds(timeout: Duration) -> libc::c_int {
    let up = timeout.saturating_add(Duration::from_nanos(999_999));
    libc::c_int::try_from(up.as_millis()).unwrap_or(libc::c_int::MAX)
}

/// What a wait reported.
pub(crate) struct Events {
    buffer: Box<[libc::epoll_event]>,
    len: usize,
}

impl Events {
    pub(crate) fn new() -> Events {
        let none = libc::epoll_event { events: 0, u64: 0 };
        Events {
            buffer: vec![none; CAPACITY].into_boxed_slice(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether the wait may have left something behind.
    pub(crate) fn is_full(&self) -> bool {
        self.len == CAPACITY
    }

    pub(crate) fn get(&self, index: usize) -> Event {
        let event = self.buffer[..self.len][index];
        Event {
            token: event.u64,
            ready: ready_of(event.events),
        }
    }
}

/// An eventfd in the set, edge-triggered: each write is one report, and the counter need not be
/// read.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new(poller: &Poller, token: u64) -> io::Result<Bell> {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        poller.add(fd.as_raw_fd(), token, Interest::READ, Mode::Edge)?;
        Ok(Bell(fd))
    }

    pub(crate) fn refill(&self, filler: &Filler, token: u64) -> io::Result<()> {
        filler.add(self.0.as_raw_fd(), token, Interest::READ, Mode::Edge)
    }

    /// In a forked child: a descriptor of its own under the same number. The inherited one is the
    /// parent's as well, and would wake it.
    pub(crate) fn renew(&self) -> io::Result<()> {
        // SAFETY: no memory is involved.
        let new = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        put_under(new, &self.0)
    }

    /// Ends the current wait, or the next one. Async-signal-safe, `errno` included.
    pub(crate) fn ring(&self) {
        // SAFETY: the location of this thread's errno is always valid.
        let errno = unsafe { *libc::__errno_location() };
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes are valid to read.
        let n = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        if n < 0 {
            self.reset();
        }
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = errno };
    }

    /// The counter is full, after 2^64 - 2 rings that nobody read: empty it and ring again.
    #[cold]
    fn reset(&self) {
        let mut count = [0u8; 8];
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes are valid to write, then eight to read.
        unsafe {
            libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len());
            libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len());
        }
    }
}

/// Puts the descriptor that a call has just returned under the number of `old`.
fn put_under(new: libc::c_int, old: &OwnedFd) -> io::Result<()> {
    if new < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let new = unsafe { OwnedFd::from_raw_fd(new) };
    // SAFETY: no memory is involved; the number stays its owner's.
    if unsafe { libc::dup3(new.as_raw_fd(), old.as_raw_fd(), libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A timerfd in the set, edge-triggered: an expiry is one report and need not be read.
#[derive(Debug)]
pub(crate) struct Alarm(OwnedFd);

impl Alarm {
    /// `None` where the system has no such thing.
    pub(crate) fn new(poller: &Poller, token: u64) -> io::Result<Option<Alarm>> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        poller.add(fd.as_raw_fd(), token, Interest::READ, Mode::Edge)?;
        Ok(Some(Alarm(fd)))
    }

    pub(crate) fn refill(&self, filler: &Filler, token: u64) -> io::Result<()> {
        filler.add(self.0.as_raw_fd(), token, Interest::READ, Mode::Edge)
    }

    /// As [`Bell::renew`].
    pub(crate) fn renew(&self) -> io::Result<()> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: no memory is involved.
        let new = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        put_under(new, &self.0)
    }

    /// Makes the set readable once, `after` from now.
    pub(crate) fn set(&self, after: Duration) -> io::Result<()> {
        // Zero would disarm it.
        let after = timespec(after.max(Duration::from_nanos(1)));
        let never = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let spec = libc::itimerspec {
            it_interval: never,
            it_value: after,
        };
        // SAFETY: `spec` is valid for the duration of the call; no old value is asked for.
        let result =
            unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &spec, std::ptr::null_mut()) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}
