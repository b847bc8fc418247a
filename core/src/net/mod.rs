//! Sockets and pipes, of the system and of any other descriptor.
//!
//! | | |
//! |---|---|
//! | TCP | [`TcpListener`], [`TcpStream`]; [`TcpSocket`] to set one up before |
//! | UDP | [`UdpSocket`], with batches of [`Incoming`] and [`Outgoing`] datagrams |
//! | one machine | [`UnixListener`], [`UnixStream`], [`UnixDatagram`], [`unix::pipe`] |
//! | anything that can be polled | [`AsyncFd`] |
//! | names | [`lookup_host`], and whatever takes [`ToSocketAddrs`] |
//!
//! A socket is registered with the reactor of whoever polls it when it would block for the first
//! time; one that never does costs no registration, and one that is closed need not be taken out. From
//! then on it stays with that reactor, on whatever thread it is used. A socket works on a worker, in
//! `block_on`, inside [`Handle::enter`](crate::runtime::Handle::enter), and in a task of an
//! [`EventLoop`](crate::event_loop::EventLoop); elsewhere an operation that would block is an error.
//!
//! A connection that is accepted, read once, written and closed changes the system's set once, or not
//! at all if its data was there. (While a closed socket's descriptor has a duplicate, in a forked child for
//! instance, the system goes on reporting it; a reactor that notices makes itself a new set.)
//!
//! Every operation takes `&self`, so a stream can be read by one task and written by another;
//! references to a stream, and the halves of `split` and `into_split`, do that for what wants an owner.
//! One task at a time waits in a `poll_` function, in each direction: of two that do, the last that
//! polled is woken. The `async` functions may be awaited by any number; of those that wait to accept or
//! to receive, news wake one at a time.
//!
//! What reads or sets an address or an option asks the system at once, and fails with what that says:
//! `NotConnected` for the peer of a socket that has none, `InvalidInput` for a value that is too large.
//!
//! No operation raises `SIGPIPE`, and no descriptor is inherited by a program that is executed.
//!
//! Streams implement `AsyncRead` and `AsyncWrite` of `futures-io`, vectored operations included
//! (`readv`, `writev`). What is built on these comes from elsewhere: `read_exact`, `copy`, buffers and
//! lines from `futures-lite` or `futures-util`, codecs from `asynchronous-codec`, TLS from
//! `futures-rustls`.
//!
//! ```
//! use futures_lite::{AsyncReadExt, AsyncWriteExt};
//! use libruntime_core::net::{TcpListener, TcpStream};
//!
//! let runtime = libruntime_core::runtime::Runtime::new()?;
//! runtime.block_on(async {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let address = listener.local_addr()?;
//!     let server = libruntime_core::spawn(async move {
//!         let (mut stream, _peer) = listener.accept().await?;
//!         stream.write_all(b"hello").await
//!     });
//!     let mut stream = TcpStream::connect(address).await?;
//!     let mut text = String::new();
//!     stream.read_to_string(&mut text).await?;
//!     assert_eq!(text, "hello");
//!     server.await.expect("the server's task")
//! })??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accept;
mod addr;
mod async_fd;
mod batch;
mod byte_stream;
mod listener;
mod lookup;
mod parse;
mod race;
mod socket;
mod splice;
mod split;
mod stream;
mod sys;
mod tcp_socket;
mod udp;
pub mod unix;

pub use addr::{ToSocketAddrs, lookup_host};
pub use async_fd::{AsyncFd, ReadPlace, ReadyGuard, TryNewError};
pub use batch::{Incoming, Outgoing};
pub use listener::TcpListener;
pub use lookup::LookupError;
pub(crate) use splice::{Attempt, Source, Target, is_ready};
pub use splice::{SendTarget, SpliceSource, splice};
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use stream::TcpStream;
pub use tcp_socket::TcpSocket;
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixListener, UnixStream};
