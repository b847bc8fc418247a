//! A non-blocking socket that registers itself when it first has to.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use crate::context;
use crate::reactor::scheduled_io::{Kind, Place, ScheduledIo, Seen};
use crate::reactor::{Direction, Interest, Leave, Ready, Registration, closed};
use crate::task::coop;

/// Who waits.
#[derive(Clone, Copy)]
pub(super) enum Waiter<'a> {
    /// The one task of a direction.
    Task,
    /// One of any number.
    Member(&'a Place),
}

impl Waiter<'_> {
    fn poll_ready(
        self,
        io: &ScheduledIo,
        cx: &mut Context<'_>,
        direction: Direction,
    ) -> Poll<Seen> {
        match self {
            Waiter::Task => io.poll_ready(cx, direction),
            Waiter::Member(place) => io.poll_ready_in_crowd(cx, place),
        }
    }
}

/// A future that waits as one of any number, as long as this lives.
pub(super) struct Membership<'a> {
    place: Place,
    registration: &'a OnceLock<Registration>,
}

impl Membership<'_> {
    pub(super) fn waiter(&self) -> Waiter<'_> {
        Waiter::Member(&self.place)
    }
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        if let Some(registration) = self.registration.get() {
            registration.io().leave_crowd(&self.place);
        }
    }
}

pub(super) struct Socket<S> {
    /// Before `io`: it has to end before the descriptor is closed.
    registration: OnceLock<Registration>,
    /// Held while registering, for reader and writer may both be the first.
    registering: Mutex<()>,
    leave: Leave,
    io: S,
}

impl<S: AsRawFd> Socket<S> {
    /// `io` is non-blocking, and closes its descriptor when it is dropped.
    pub(super) fn new(io: S) -> Socket<S> {
        Socket::leaving(io, Leave::ByClosing)
    }

    /// `io` is non-blocking, and may not be the only owner of its descriptor.
    pub(super) fn shared(io: S) -> Socket<S> {
        Socket::leaving(io, Leave::Now)
    }

    fn leaving(io: S, leave: Leave) -> Socket<S> {
        Socket {
            registration: OnceLock::new(),
            registering: Mutex::new(()),
            leave,
            io,
        }
    }

    pub(super) fn io(&self) -> &S {
        &self.io
    }

    /// Waits with others until something is worth trying.
    pub(super) fn watcher(&self, direction: Direction) -> Membership<'_> {
        self.member(Place::new(direction, Kind::Watcher))
    }

    /// Waits for something that only one can take. The one that is woken has to try, or to drop this.
    pub(super) fn contender(&self, direction: Direction) -> Membership<'_> {
        self.member(Place::new(direction, Kind::Contender))
    }

    fn member(&self, place: Place) -> Membership<'_> {
        Membership {
            place,
            registration: &self.registration,
        }
    }

    /// For a place that is kept apart from the socket.
    pub(super) fn leave(&self, place: &Place) {
        if let Some(registration) = self.registration.get() {
            registration.io().leave_crowd(place);
        }
    }

    /// Whether both directions are known to be closed.
    pub(super) fn is_hung_up(&self) -> bool {
        let registration = self.registration.get();
        registration.is_some_and(|registration| registration.io().is_hung_up())
    }

    pub(super) fn into_io(self) -> S {
        if let Some(registration) = self.registration.into_inner() {
            registration.end();
        }
        self.io
    }

    /// Registers; the state of the word before anything was reported. `None` if somebody else has
    /// registered in the meantime.
    #[cold]
    fn register(&self, interest: Interest) -> io::Result<Option<(&Registration, Seen)>> {
        let _first = self
            .registering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.registration.get().is_some() {
            return Ok(None);
        }
        let reactor =
            context::with_driver(|driver| driver.reactor.clone()).ok_or_else(no_reactor)?;
        let (registration, seen) =
            Registration::new(reactor, self.io.as_raw_fd(), interest, self.leave)?;
        Ok(Some((self.registration.get_or_init(|| registration), seen)))
    }

    /// `attempt` said that it would block.
    fn blocked(&self, seen: Option<Seen>, direction: Direction, both: bool) -> io::Result<()> {
        let direct = direction.interest();
        match (self.registration.get(), seen) {
            (Some(registration), Some(seen)) => {
                let io = registration.io();
                if io.is_closed() {
                    return Err(closed());
                }
                registration.want(direction)?;
                io.clear(seen, direction);
            }
            // Registered by another task since the attempt, which has to be repeated.
            (Some(_), None) => {}
            (None, _) => {
                let interest = if both {
                    Interest::READ | Interest::WRITE
                } else {
                    direct
                };
                if let Some((registration, seen)) = self.register(interest)? {
                    registration.io().clear(seen, direction);
                }
            }
        }
        Ok(())
    }

    /// Attempts until it succeeds, fails, or would block; in the last case the task is woken when it
    /// is worth another attempt. `drained` tells from a result that the next attempt would block.
    #[inline]
    fn poll_attempts<R>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        waiter: Waiter<'_>,
        both: bool,
        mut attempt: impl FnMut() -> io::Result<R>,
        drained: impl FnOnce(&R) -> bool,
    ) -> Poll<io::Result<R>> {
        let permit = ready!(coop::poll_proceed(cx));
        loop {
            let seen = match self.registration.get() {
                None => None,
                Some(registration) => {
                    Some(ready!(waiter.poll_ready(registration.io(), cx, direction)))
                }
            };
            match attempt() {
                Ok(result) => {
                    permit.made_progress();
                    if let Some(seen) = seen
                        && !seen.is_final()
                        && drained(&result)
                        && let Some(registration) = self.registration.get()
                        && registration.has(direction)
                    {
                        registration.io().clear(seen, direction);
                    }
                    return Poll::Ready(Ok(result));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = self.blocked(seen, direction, both) {
                        return Poll::Ready(Err(error));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    permit.made_progress();
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    #[inline]
    pub(super) fn poll_io<R>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        waiter: Waiter<'_>,
        attempt: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.poll_attempts(cx, direction, waiter, false, attempt, |_| false)
    }

    /// A transfer of up to `wanted` bytes. One that was shorter has emptied, or filled, the socket's
    /// buffer: the system reports the next change, so the attempt that would block is saved. Not if
    /// the end was reported already, for that is reported once.
    #[inline]
    pub(super) fn poll_transfer(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        wanted: usize,
        attempt: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let drained = |&n: &usize| SHORT_IS_DRAINED && n > 0 && n < wanted;
        self.poll_attempts(cx, direction, Waiter::Task, false, attempt, drained)
    }

    /// Waits for the outcome of a connect, and asks for both directions, since both will be needed.
    pub(super) fn poll_connected(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnMut() -> io::Result<()>,
    ) -> Poll<io::Result<()>> {
        self.poll_attempts(cx, Direction::Write, Waiter::Task, true, attempt, |()| {
            false
        })
    }

    /// One attempt; an error of the kind `WouldBlock` is remembered for
    /// [`poll_ready`](Self::poll_ready).
    pub(super) fn try_io<R>(
        &self,
        direction: Direction,
        mut attempt: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        let seen = match self.registration.get() {
            None => None,
            Some(registration) => match registration.io().seen(direction) {
                None => return Err(io::ErrorKind::WouldBlock.into()),
                seen => seen,
            },
        };
        loop {
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Where there is no reactor there is nobody to wait for it either.
                    if seen.is_some() || context::with_driver(|_| ()).is_some() {
                        self.blocked(seen, direction, false)?;
                    }
                    return Err(error);
                }
                result => return result,
            }
        }
    }

    /// A batch of up to `wanted` datagrams. As with [`poll_transfer`](Self::poll_transfer), fewer mean
    /// that there are no more; an error that cut it short is reported anew.
    #[inline]
    pub(super) fn poll_batch(
        &self,
        cx: &mut Context<'_>,
        waiter: Waiter<'_>,
        wanted: usize,
        attempt: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let drained = |&n: &usize| SHORT_IS_DRAINED && n < wanted;
        self.poll_attempts(cx, Direction::Read, waiter, false, attempt, drained)
    }

    /// Whether it is worth an attempt. A socket that never would have blocked always is.
    pub(super) fn poll_ready(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        waiter: Waiter<'_>,
    ) -> Poll<io::Result<Found>> {
        let Some(registration) = self.registration.get() else {
            return Poll::Ready(Ok(Found {
                seen: None,
                direction,
            }));
        };
        // It may have been found ready by the other direction's event only.
        if let Err(error) = registration.want(direction) {
            return Poll::Ready(Err(error));
        }
        let io = registration.io();
        let seen = Some(ready!(waiter.poll_ready(io, cx, direction)));
        Poll::Ready(if io.is_closed() {
            Err(closed())
        } else {
            Ok(Found { seen, direction })
        })
    }

    /// Waits until something that was asked for is worth an attempt.
    pub(super) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        let found = self.found(interest).await?;
        Ok(found
            .into_iter()
            .flatten()
            .fold(Ready::NONE, |ready, found| ready | found.ready()))
    }

    /// As [`ready`](Self::ready), in each direction.
    pub(super) async fn found(&self, interest: Interest) -> io::Result<[Option<Found>; 2]> {
        let watcher = |direction: Direction| {
            interest
                .contains(direction.interest())
                .then(|| (direction, self.watcher(direction)))
        };
        let watchers = [watcher(Direction::Read), watcher(Direction::Write)];
        if watchers.iter().all(Option::is_none) || interest.contains(Interest::PRIORITY) {
            let message = "readiness to read, to write, or both can be waited for";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        poll_fn(|cx| {
            let mut all = [None, None];
            for (found, watcher) in all.iter_mut().zip(&watchers) {
                if let Some((direction, watcher)) = watcher
                    && let Poll::Ready(result) = self.poll_ready(cx, *direction, watcher.waiter())
                {
                    *found = Some(result?);
                }
            }
            if all.iter().all(Option::is_none) {
                Poll::Pending
            } else {
                Poll::Ready(Ok(all))
            }
        })
        .await
    }

    /// An attempt after `found` would have blocked.
    pub(super) fn not_ready(&self, found: Found) -> io::Result<()> {
        self.blocked(found.seen, found.direction, false)
    }
}

/// What made an attempt worth it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// `None` if nothing is known to speak against it.
    seen: Option<Seen>,
    direction: Direction,
}

impl Found {
    pub(super) fn direction(self) -> Direction {
        self.direction
    }

    pub(super) fn ready(self) -> Ready {
        match (self.seen, self.direction) {
            (Some(seen), direction) => seen.ready(direction),
            (None, Direction::Read) => Ready::READABLE,
            (None, Direction::Write) => Ready::WRITABLE,
        }
    }
}

/// The one direction that `interest` names.
pub(super) fn direction(interest: Interest) -> io::Result<Direction> {
    match interest {
        Interest::READ => Ok(Direction::Read),
        Interest::WRITE => Ok(Direction::Write),
        _ => {
            let message = "either reading or writing has to be named";
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}

/// Whether a short transfer proves that the next would block: so on epoll and kqueue.
const SHORT_IS_DRAINED: bool = cfg!(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_vendor = "apple",
));

#[cold]
fn no_reactor() -> io::Error {
    io::Error::other(
        "a socket would block on a thread that belongs to no runtime and no event loop: use it in \
         a task, in block_on, or inside Handle::enter",
    )
}

impl<S: fmt::Debug> fmt::Debug for Socket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.io.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use crate::event_loop::EventLoop;
    use crate::net::{TcpListener, TcpStream};
    use crate::runtime::Runtime;
    use crate::task::yield_now;
    use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
    use std::net::SocketAddr;

    /// How often the system's set was changed so far: additions, modifications, removals.
    fn calls() -> (u64, u64, u64) {
        let calls = crate::context::with_driver(|driver| driver.reactor.calls());
        let calls = calls.expect("inside of a runtime or loop");
        (calls.adds, calls.modifications, calls.removals)
    }

    fn on_a_runtime_and_a_loop(test: impl AsyncFn()) {
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(test()).expect("entered");
        let event_loop = EventLoop::new().expect("a loop");
        event_loop.block_on(test()).expect("entered");
    }

    async fn listening() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    #[test]
    fn a_short_connection_costs_one_call_at_most() {
        on_a_runtime_and_a_loop(async || {
            let (listener, address) = listening().await;
            let (client, first) = future::zip(TcpStream::connect(address), listener.accept()).await;
            drop((client, first));
            let (adds, ..) = calls();
            let serve = async |mut stream: TcpStream| {
                let mut request = [0; 4];
                stream.read_exact(&mut request).await.expect("read");
                stream.write_all(&request).await.expect("written");
            };
            // Its request is there when it is accepted.
            let mut client = std::net::TcpStream::connect(address).expect("connected");
            std::io::Write::write_all(&mut client, b"ping").expect("written");
            let (stream, _) = listener.accept().await.expect("accepted");
            serve(stream).await;
            assert_eq!(calls(), (adds, 0, 0));
            // It has to wait for its request.
            let mut client = std::net::TcpStream::connect(address).expect("connected");
            let (stream, _) = listener.accept().await.expect("accepted");
            let request = async {
                std::io::Write::write_all(&mut client, b"ping").expect("written");
            };
            future::zip(serve(stream), request).await;
            assert_eq!(calls(), (adds + 1, 0, 0));
        });
    }

    /// Both ends of connections, from beginning to end; where each is added and taken out (tokio), that
    /// makes four calls.
    #[test]
    fn a_connection_and_its_peer_cost_one_call_each() {
        const MANY: u64 = 10;
        on_a_runtime_and_a_loop(async || {
            let (listener, address) = listening().await;
            // The listener is added when it first has to wait.
            assert!(future::poll_once(listener.accept()).await.is_none());
            assert_eq!(calls(), (1, 0, 0));
            for _ in 0..MANY {
                let serve = async {
                    let (mut stream, _) = listener.accept().await.expect("accepted");
                    let mut request = [0; 4];
                    stream.read_exact(&mut request).await.expect("read");
                    stream.write_all(&request).await.expect("written");
                };
                let ask = async {
                    let mut stream = TcpStream::connect(address).await.expect("connected");
                    // The other waits for it meanwhile.
                    yield_now().await;
                    stream.write_all(b"ping").await.expect("written");
                    let mut answer = Vec::new();
                    stream.read_to_end(&mut answer).await.expect("read");
                    assert_eq!(answer, b"ping");
                };
                future::zip(serve, ask).await;
            }
            let (adds, modifications, removals) = calls();
            assert!(adds <= 1 + 2 * MANY, "{adds}");
            assert_eq!((modifications, removals), (0, 0));
        });
    }
}
