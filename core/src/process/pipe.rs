//! The pipes to a child and from it.

use crate::net::unix::pipe::{Receiver, Sender};
use crate::net::{Attempt, SendTarget, Source, SpliceSource, Target};
use futures_io::{AsyncRead, AsyncWrite};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

macro_rules! conversions {
    ($name:ident, $std:ident) => {
        impl $name {
            /// Takes over a pipe of the standard library's, and makes it non-blocking.
            ///
            /// # Errors
            /// What the system says.
            pub fn from_std(pipe: std::process::$std) -> io::Result<$name> {
                $name::from_fd(pipe.into())
            }
        }

        impl TryFrom<$name> for Stdio {
            type Error = io::Error;

            /// The pipe as another child's, blocking again, as programs expect.
            fn try_from(pipe: $name) -> io::Result<Stdio> {
                pipe.into_owned_fd().map(Stdio::from)
            }
        }
    };
}

/// A child's standard input, to write to.
///
/// The child reads its end when this is closed or dropped. A write to a child that reads no more is an
/// error of the kind `BrokenPipe`; no `SIGPIPE` is raised.
///
/// # Cancel safety
/// A write that is dropped before it is ready has written nothing.
#[derive(Debug)]
pub struct ChildStdin(Option<Sender>);

conversions!(ChildStdin, ChildStdin);

impl ChildStdin {
    fn from_fd(fd: OwnedFd) -> io::Result<ChildStdin> {
        Sender::from_owned_fd_unchecked(fd).map(|pipe| ChildStdin(Some(pipe)))
    }

    /// The descriptor, blocking again.
    ///
    /// # Errors
    /// `BrokenPipe` if it was closed; what the system says.
    pub fn into_owned_fd(self) -> io::Result<OwnedFd> {
        self.0.ok_or(io::ErrorKind::BrokenPipe)?.into_blocking_fd()
    }

    /// The pipe, unless it was closed.
    fn open(&self) -> io::Result<&Sender> {
        self.0
            .as_ref()
            .ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl SendTarget for ChildStdin {}
impl Target for ChildStdin {
    fn target(&self) -> io::Result<BorrowedFd<'_>> {
        self.open()?.target()
    }

    fn poll_target(&self, cx: &mut Context<'_>, attempt: Attempt<'_>) -> Poll<io::Result<usize>> {
        self.open()?.poll_target(cx, attempt)
    }
}

impl AsyncWrite for ChildStdin {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.open()?).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.open()?).poll_write_vectored(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Closes the pipe: the child reads its end after what was written.
    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

macro_rules! output {
    ($name:ident, $what:literal) => {
        #[doc = concat!("A child's standard ", $what, ", to read from. It ends when the child, and whoever inherited it there,")]
        /// has closed it.
        ///
        /// # Cancel safety
        /// A read that is dropped before it is ready has read nothing.
        #[derive(Debug)]
        pub struct $name(Receiver);

        conversions!($name, $name);

        impl $name {
            fn from_fd(fd: OwnedFd) -> io::Result<$name> {
                Receiver::from_owned_fd_unchecked(fd).map($name)
            }

            /// The descriptor, blocking again.
            ///
            /// # Errors
            /// What the system says.
            pub fn into_owned_fd(self) -> io::Result<OwnedFd> {
                self.0.into_blocking_fd()
            }
        }

        impl AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &self.0).poll_read(cx, buffer)
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &self.0).poll_read_vectored(cx, buffers)
            }
        }

        impl SpliceSource for $name {}
        impl Source for $name {
            fn source(&self) -> BorrowedFd<'_> {
                self.as_fd()
            }

            fn poll_source(
                &self,
                cx: &mut Context<'_>,
                attempt: Attempt<'_>,
            ) -> Poll<io::Result<usize>> {
                self.0.poll_source(cx, attempt)
            }
        }

        impl AsFd for $name {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }

        impl AsRawFd for $name {
            fn as_raw_fd(&self) -> RawFd {
                self.0.as_raw_fd()
            }
        }
    };
}

output!(ChildStdout, "output");
output!(ChildStderr, "error output");
