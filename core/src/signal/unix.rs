//! The signals of Unix.

use super::registry::Listener;
use crate::net::AsyncFd;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll};

/// Which signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignalKind(libc::c_int);

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $signal:ident,)*) => {
        impl SignalKind {
            $($(#[$doc])* pub const fn $name() -> SignalKind {
                SignalKind(libc::$signal)
            })*
        }
    };
}

kinds! {
    /// `SIGALRM`: a timer of the process has gone off.
    alarm = SIGALRM,
    /// `SIGCHLD`: a child has ended, stopped or gone on.
    child = SIGCHLD,
    /// `SIGHUP`: the terminal is gone; for daemons by custom: read the configuration again.
    hangup = SIGHUP,
    /// `SIGINT`: Ctrl-C.
    interrupt = SIGINT,
    /// `SIGIO`: a descriptor is ready.
    io = SIGIO,
    /// `SIGPIPE`: a write to a pipe that nobody reads.
    pipe = SIGPIPE,
    /// `SIGQUIT`: Ctrl-\.
    quit = SIGQUIT,
    /// `SIGTERM`: a request to end.
    terminate = SIGTERM,
    /// `SIGUSR1`.
    user_defined1 = SIGUSR1,
    /// `SIGUSR2`.
    user_defined2 = SIGUSR2,
    /// `SIGWINCH`: the terminal has another size.
    window_change = SIGWINCH,
}

impl SignalKind {
    /// The signal of that number, which [`signal`] judges.
    pub const fn from_raw(number: i32) -> SignalKind {
        SignalKind(number)
    }

    /// Its number.
    pub const fn as_raw_value(self) -> i32 {
        self.0
    }
}

impl From<i32> for SignalKind {
    fn from(number: i32) -> SignalKind {
        SignalKind(number)
    }
}

impl From<SignalKind> for i32 {
    fn from(kind: SignalKind) -> i32 {
        kind.0
    }
}

/// Listens to a signal from now on. It takes two descriptors.
///
/// # Errors
/// `InvalidInput` for a number that is no signal's, for `SIGKILL` and `SIGSTOP`, and for those by which
/// the system ends a thread that goes wrong: `SIGSEGV`, `SIGBUS`, `SIGFPE`, `SIGILL`. What the
/// system says when it has no descriptors left.
pub fn signal(kind: SignalKind) -> io::Result<Signal> {
    let (bell, told) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    told.set_nonblocking(true)?;
    Ok(Signal {
        kind,
        told: AsyncFd::new(told),
        _listener: Listener::new(kind.0, bell)?,
    })
}

/// A listener. See the [module](super).
pub struct Signal {
    kind: SignalKind,
    told: AsyncFd<UnixStream>,
    _listener: Listener,
}

impl Signal {
    /// Waits until the signal has come since the last time, or since the listener was made.
    ///
    /// # Errors
    /// Outside of any runtime and event loop, and when the one that it waited in first has ended.
    ///
    /// # Cancel safety
    /// A signal is not lost when the future is dropped: the next call tells of it.
    pub async fn recv(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv).
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.told.poll_read_with(cx, |mut told| {
            let mut news = [0; 64];
            let mut any = false;
            loop {
                match told.read(&mut news) {
                    // The bell is ours, and lives as long: there is no end.
                    Ok(length) if length == news.len() => any = true,
                    Ok(_) => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && any => {
                        return Ok(());
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        })
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signal").field(&self.kind.0).finish()
    }
}
