//! A TCP socket that accepts connections.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::addr::{ToSocketAddrs, resolve};
use super::socket::{Socket, Waiter};
use super::stream::TcpStream;
use super::sys;
use crate::context;
use crate::reactor::Direction;
use crate::time::{Sleep, sleep};

/// How long to wait before the first attempt after descriptors ran out, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What the system is asked to queue; it takes less if it is set up to.
const BACKLOG: i32 = 4096;

/// A TCP socket that accepts connections. See the [module](super).
///
/// # When descriptors run out
/// A connection that can not be accepted for want of a descriptor (`EMFILE`, `ENFILE`) or of memory
/// stays in the system's queue. Accepting pauses, for 5 ms at first and up to 500 ms, and tries again:
/// it neither spins nor fails, and serves the connection when there is room.
/// [`stalls`](Self::stalls) counts the pauses. (The other way, to keep a descriptor in reserve for
/// closing such connections, costs each listener a descriptor, and its clients their connections.) A
/// connection that was gone before it was accepted is passed over.
pub struct TcpListener {
    socket: Socket<mio::net::TcpListener>,
    stalls: AtomicU64,
    /// Of [`poll_accept`](Self::poll_accept); a future has its own.
    pause: Mutex<Option<Pause>>,
}

struct Pause {
    sleep: Pin<Box<Sleep>>,
    length: Duration,
}

impl TcpListener {
    /// Listens on the first of the target's addresses that can be bound. Port 0 lets the system
    /// choose. The address can be bound again at once when a listener is gone (`SO_REUSEADDR`).
    ///
    /// # Errors
    /// The last address's error: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied` for instance.
    /// `InvalidInput` if the target is none; what the look-up of a name says, or `Unsupported` if
    /// there is no runtime to do it.
    pub async fn bind(to: impl ToSocketAddrs) -> io::Result<TcpListener> {
        let mut last = None;
        for address in resolve(to).await? {
            match TcpListener::bind_addr(address, BACKLOG) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there was an address"))
    }

    /// Listens on `address`, with up to `backlog` connections that wait to be accepted.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_addr(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        Ok(TcpListener::of(mio::net::TcpListener::from_std(
            socket.into(),
        )))
    }

    /// Takes over a listener from the standard library, and makes it non-blocking.
    ///
    /// # Errors
    /// What the system says.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        Ok(TcpListener::of(mio::net::TcpListener::from_std(listener)))
    }

    /// Gives the listener to the standard library; it stays non-blocking.
    pub fn into_std(self) -> std::net::TcpListener {
        OwnedFd::from(self.socket.into_io()).into()
    }

    fn of(io: mio::net::TcpListener) -> TcpListener {
        TcpListener {
            socket: Socket::new(io),
            stalls: AtomicU64::new(0),
            pause: Mutex::new(None),
        }
    }

    /// Accepts a connection. Any number of tasks may.
    ///
    /// # Errors
    /// Only what concerns the listener itself; see above.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let mut pause = FIRST_PAUSE;
        loop {
            let contender = self.socket.contender(Direction::Read);
            let attempt = poll_fn(|cx| self.poll_attempt(cx, contender.waiter())).await;
            match attempt {
                Err(error) if self.can_pause(&error) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                result => return result,
            }
        }
    }

    /// Polls for a connection, for one task: the last waker that was given is woken.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        if self.poll_pause(cx).is_pending() {
            return Poll::Pending;
        }
        loop {
            match ready!(self.poll_attempt(cx, Waiter::Task)) {
                Err(error) if self.can_pause(&error) => {
                    self.lengthen_pause();
                    ready!(self.poll_pause(cx));
                }
                result => {
                    if self.stalls() > 0 {
                        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    }
                    return Poll::Ready(result);
                }
            }
        }
    }

    /// Accepts a connection that waits already.
    ///
    /// # Errors
    /// `WouldBlock` if none does. Unlike [`accept`](Self::accept) this also tells when descriptors
    /// have run out; the connection waits on.
    pub fn try_accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.socket.try_io(Direction::Read, || self.accept_one())
    }

    /// How often accepting has paused because descriptors or memory had run out.
    pub fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }

    fn accept_one(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            match self.socket.io().accept() {
                Ok((stream, peer)) => return Ok((TcpStream::of(stream), peer)),
                Err(error) if sys::is_of_one_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn poll_attempt(
        &self,
        cx: &mut Context<'_>,
        waiter: Waiter<'_>,
    ) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.socket
            .poll_io(cx, Direction::Read, waiter, || self.accept_one())
    }

    /// Whether `error` is to be slept over. Without timers it can not be.
    fn can_pause(&self, error: &io::Error) -> bool {
        let can = sys::is_exhausted(error) && context::with_driver(|_| ()).is_some();
        if can {
            self.stalls.fetch_add(1, Ordering::Relaxed);
        }
        can
    }

    #[cold]
    fn lengthen_pause(&self) {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        let length = pause
            .as_ref()
            .map_or(FIRST_PAUSE, |last| last.length * 2)
            .min(LONGEST_PAUSE);
        *pause = Some(Pause {
            sleep: Box::pin(sleep(length)),
            length,
        });
    }

    /// Ready when there is no pause, or no more.
    fn poll_pause(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stalls() == 0 {
            return Poll::Ready(());
        }
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *pause {
            Some(pause) => pause.sleep.as_mut().poll(cx),
            None => Poll::Ready(()),
        }
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.io().local_addr()
    }

    /// The error that the system has kept for the socket, which this clears (`SO_ERROR`).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.io().take_error()
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.io().as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.io().as_raw_fd()
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}
