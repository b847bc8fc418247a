//! The pipes to a child and from it.

use crate::net::{AsyncFd, Attempt, SendTarget, Source, SpliceSource, Target};
use crate::thread::without_sigpipe;
use futures_io::{AsyncRead, AsyncWrite};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

/// Whether operations on an open file wait. It is a property of the open file, which a child may share.
fn set_blocking(fd: BorrowedFd<'_>, blocking: bool) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    let wanted = if blocking {
        flags & !libc::O_NONBLOCK
    } else {
        flags | libc::O_NONBLOCK
    };
    // SAFETY: as above.
    if flags < 0 || unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, wanted) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn non_blocking(fd: OwnedFd) -> io::Result<AsyncFd<File>> {
    set_blocking(fd.as_fd(), false)?;
    Ok(AsyncFd::new(File::from(fd)))
}

fn blocking(pipe: AsyncFd<File>) -> io::Result<OwnedFd> {
    let file = pipe.into_inner();
    set_blocking(file.as_fd(), true)?;
    Ok(file.into())
}

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
pub struct ChildStdin(Option<AsyncFd<File>>);

conversions!(ChildStdin, ChildStdin);

impl ChildStdin {
    fn from_fd(fd: OwnedFd) -> io::Result<ChildStdin> {
        non_blocking(fd).map(|pipe| ChildStdin(Some(pipe)))
    }

    /// The descriptor, blocking again.
    ///
    /// # Errors
    /// `BrokenPipe` if it was closed; what the system says.
    pub fn into_owned_fd(self) -> io::Result<OwnedFd> {
        blocking(self.0.ok_or(io::ErrorKind::BrokenPipe)?)
    }

    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        wanted: usize,
        mut attempt: impl FnMut(&File) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        match &self.0 {
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Some(pipe) => pipe.poll_send_with(cx, wanted, |file| without_sigpipe(|| attempt(file))),
        }
    }
}

impl SendTarget for ChildStdin {}
impl Target for ChildStdin {
    fn target(&self) -> io::Result<BorrowedFd<'_>> {
        let pipe = self.0.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(pipe.get_ref().as_fd())
    }

    fn poll_target(&self, cx: &mut Context<'_>, attempt: Attempt<'_>) -> Poll<io::Result<usize>> {
        match &self.0 {
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Some(pipe) => pipe.poll_target(cx, attempt),
        }
    }
}

impl AsyncWrite for ChildStdin {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, data.len(), |mut file| file.write(data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = data.iter().map(|part| part.len()).sum();
        self.poll_write_with(cx, wanted, |mut file| file.write_vectored(data))
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
        pub struct $name(AsyncFd<File>);

        conversions!($name, $name);

        impl $name {
            fn from_fd(fd: OwnedFd) -> io::Result<$name> {
                non_blocking(fd).map($name)
            }

            /// The descriptor, blocking again.
            ///
            /// # Errors
            /// What the system says.
            pub fn into_owned_fd(self) -> io::Result<OwnedFd> {
                blocking(self.0)
            }
        }

        impl AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                let wanted = buffer.len();
                self.0
                    .poll_receive_with(cx, wanted, |mut file| file.read(buffer))
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
                self.0
                    .poll_receive_with(cx, wanted, |mut file| file.read_vectored(buffers))
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
                self.0.get_ref().as_fd()
            }
        }

        impl AsRawFd for $name {
            fn as_raw_fd(&self) -> RawFd {
                self.0.get_ref().as_raw_fd()
            }
        }
    };
}

output!(ChildStdout, "output");
output!(ChildStderr, "error output");
