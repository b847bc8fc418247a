//! TCP.
//!
//! A socket is registered with the reactor of whoever polls it when it would block for the first
//! time; one that never does costs no registration, and one that is closed need not be taken out. From
//! then on it stays with that reactor, on whatever thread it is used. A socket works on a worker, in `block_on`, inside
//! [`Handle::enter`](crate::runtime::Handle::enter), and in a task of an
//! [`EventLoop`](crate::event_loop::EventLoop); elsewhere an operation that would block is an error.
//!
//! Every operation takes `&self`, so a stream can be read by one task and written by another. One
//! task at a time waits in each direction of a stream: of two that do, the last that polled is woken.
//! [`TcpListener::accept`], [`TcpStream::readable`] and [`TcpStream::writable`] may be awaited by
//! any number.
//!
//! No operation raises `SIGPIPE`, and no descriptor is inherited by a program that is executed.
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

mod addr;
mod async_fd;
mod listener;
mod socket;
mod splice;
mod stream;
mod sys;

pub use addr::ToSocketAddrs;
pub use async_fd::{AsyncFd, ReadPlace};
pub use listener::TcpListener;
pub(crate) use splice::{Attempt, Source, Target, is_ready};
pub use splice::{SendTarget, SpliceSource, splice};
pub use stream::TcpStream;
