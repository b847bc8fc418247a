//! What streams of bytes over a socket have in common, TCP's and Unix's.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::task::{Context, Poll};

use socket2::SockRef;

use super::socket::{Socket, Waiter};
use super::sys;
use crate::reactor::Direction;

/// How many buffers one call takes: `IOV_MAX` of every system that is supported.
pub(super) const MAX_PARTS: usize = 1024;

impl<S: AsRawFd + AsFd> Socket<S> {
    pub(super) fn options(&self) -> SockRef<'_> {
        SockRef::from(self.io())
    }

    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.options()).read(buffer)
    }

    pub(super) fn receive_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let most = buffers.len().min(MAX_PARTS);
        (&*self.options()).read_vectored(&mut buffers[..most])
    }

    pub(super) fn look(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the system writes bytes, and never uninitialised ones.
        let buffer =
            unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [std::mem::MaybeUninit<u8>]) };
        self.options().peek(buffer)
    }

    pub(super) fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.options().send_with_flags(data, sys::NO_SIGNAL)
    }

    pub(super) fn send_vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        // More than the system takes at once would be refused, rather than shortened.
        let data = &data[..data.len().min(MAX_PARTS)];
        self.options()
            .send_vectored_with_flags(data, sys::NO_SIGNAL)
    }

    pub(super) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let wanted = buffer.len();
        self.poll_transfer(cx, Direction::Read, wanted, || self.receive(buffer))
    }

    pub(super) fn poll_receive_vectored(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
        self.poll_transfer(cx, Direction::Read, wanted, || {
            self.receive_vectored(buffers)
        })
    }

    pub(super) fn poll_look(
        &self,
        cx: &mut Context<'_>,
        waiter: Waiter<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_io(cx, Direction::Read, waiter, || self.look(buffer))
    }

    pub(super) fn poll_send(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_transfer(cx, Direction::Write, data.len(), || self.send(data))
    }

    pub(super) fn poll_send_vectored(
        &self,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = data.iter().map(|part| part.len()).sum();
        self.poll_transfer(cx, Direction::Write, wanted, || self.send_vectored(data))
    }
}

/// Waiting for readiness, for a type whose `socket` is a [`Socket`].
macro_rules! readiness {
    ($stream:ty) => {
        impl $stream {
            /// Waits until something asked for is worth trying, and tells what; the attempt may still
            /// find that it would block. Any number of tasks may wait.
            ///
            /// # Errors
            /// `InvalidInput` if neither `READ` nor `WRITE` is asked for; `Other` if the runtime or
            /// event loop that it waits with is gone.
            pub async fn ready(
                &self,
                interest: $crate::reactor::Interest,
            ) -> std::io::Result<$crate::reactor::Ready> {
                self.socket.ready(interest).await
            }

            /// As [`ready`](Self::ready), for reading.
            ///
            /// # Errors
            /// `Other` if the runtime or event loop that it waits with is gone.
            pub async fn readable(&self) -> std::io::Result<()> {
                self.socket.ready($crate::reactor::Interest::READ).await?;
                Ok(())
            }

            /// As [`ready`](Self::ready), for writing.
            ///
            /// # Errors
            /// `Other` if the runtime or event loop that it waits with is gone.
            pub async fn writable(&self) -> std::io::Result<()> {
                self.socket.ready($crate::reactor::Interest::WRITE).await?;
                Ok(())
            }

            /// As [`readable`](Self::readable), for the one task that reads.
            pub fn poll_read_ready(
                &self,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                self.socket
                    .poll_ready(cx, $crate::reactor::Direction::Read, Waiter::Task)
                    .map_ok(drop)
            }

            /// As [`writable`](Self::writable), for the one task that writes.
            pub fn poll_write_ready(
                &self,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                self.socket
                    .poll_ready(cx, $crate::reactor::Direction::Write, Waiter::Task)
                    .map_ok(drop)
            }

            /// Attempts an operation of the caller's own on the descriptor. One that answers
            /// `WouldBlock` is remembered, so that [`ready`](Self::ready) waits for news.
            ///
            /// # Errors
            /// Those of the attempt; `WouldBlock` without one where it is known; `InvalidInput` unless
            /// `interest` is either `READ` or `WRITE`.
            pub fn try_io<R>(
                &self,
                interest: $crate::reactor::Interest,
                attempt: impl FnMut() -> std::io::Result<R>,
            ) -> std::io::Result<R> {
                let direction = $crate::net::socket::direction(interest)?;
                self.socket.try_io(direction, attempt)
            }
        }

        impl std::os::fd::AsFd for $stream {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.socket.io().as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $stream {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.socket.io().as_raw_fd()
            }
        }

        impl std::fmt::Debug for $stream {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.socket.fmt(f)
            }
        }
    };
}
pub(super) use readiness;

/// Reading and writing through the stream or a reference to it, from one text.
macro_rules! transfers {
    ($stream:ty) => {
        impl AsyncRead for $stream {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.socket.poll_receive(cx, buffer)
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                self.socket.poll_receive_vectored(cx, buffers)
            }
        }

        impl AsyncWrite for $stream {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.socket.poll_send(cx, data)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.socket.poll_send_vectored(cx, data)
            }

            /// Nothing is kept back.
            fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            /// Closes the writing direction.
            fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                use split::Halved as _;
                Poll::Ready(self.end_writing())
            }
        }
    };
}
pub(super) use transfers;

/// Reading and writing, for a type whose `socket` is a [`Socket`].
macro_rules! byte_stream {
    ($stream:ty) => {
        impl $stream {
            /// Reads what has come, up to the buffer's length. `Ok(0)` is the end of the stream, unless
            /// `buffer` is empty.
            pub fn poll_read(
                &self,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.socket.poll_receive(cx, buffer)
            }

            /// As [`poll_read`](Self::poll_read), into several buffers with one call (`readv`).
            pub fn poll_read_vectored(
                &self,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                self.socket.poll_receive_vectored(cx, buffers)
            }

            /// Reads without taking it out.
            pub fn poll_peek(
                &self,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.socket.poll_look(cx, Waiter::Task, buffer)
            }

            /// Waits until there is something, or the end, and reads it without taking it out. Any
            /// number of tasks may.
            ///
            /// # Errors
            /// As reading: what the system says, and `Other` if the runtime or event loop that it waits
            /// with is gone.
            ///
            /// # Cancel safety
            /// Nothing is taken out in any case.
            pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
                let watcher = self.socket.watcher(Direction::Read);
                poll_fn(|cx| self.socket.poll_look(cx, watcher.waiter(), buffer)).await
            }

            /// Writes as much as there is room for.
            pub fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
                self.socket.poll_send(cx, data)
            }

            /// As [`poll_write`](Self::poll_write), from several buffers with one call (`writev`), of
            /// which it takes 1024 at most.
            pub fn poll_write_vectored(
                &self,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.socket.poll_send_vectored(cx, data)
            }

            /// Reads what has come already.
            ///
            /// # Errors
            /// `WouldBlock` if nothing has.
            pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                self.socket
                    .try_io(Direction::Read, || self.socket.receive(buffer))
            }

            /// As [`try_read`](Self::try_read), into several buffers.
            ///
            /// # Errors
            /// As [`try_read`](Self::try_read).
            pub fn try_read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.socket
                    .try_io(Direction::Read, || self.socket.receive_vectored(buffers))
            }

            /// Writes what there is room for.
            ///
            /// # Errors
            /// `WouldBlock` if there is none.
            pub fn try_write(&self, data: &[u8]) -> io::Result<usize> {
                self.socket
                    .try_io(Direction::Write, || self.socket.send(data))
            }

            /// As [`try_write`](Self::try_write), from several buffers.
            ///
            /// # Errors
            /// As [`try_write`](Self::try_write).
            pub fn try_write_vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
                self.socket
                    .try_io(Direction::Write, || self.socket.send_vectored(data))
            }

            /// Closes one direction, or both, for every holder of the connection. What was written
            /// before is sent, and then the peer reads the end of the stream.
            ///
            /// # Errors
            /// `NotConnected`.
            pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                self.socket.options().shutdown(how)
            }

            /// The error that the system has kept for the connection, which this clears (`SO_ERROR`).
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.socket.options().take_error()
            }

            /// Attempts something that reads until it does not answer `WouldBlock`.
            pub(crate) fn poll_read_attempt<R>(
                &self,
                cx: &mut Context<'_>,
                attempt: impl FnMut() -> io::Result<R>,
            ) -> Poll<io::Result<R>> {
                self.socket
                    .poll_io(cx, Direction::Read, Waiter::Task, attempt)
            }

            /// Attempts something that writes, likewise.
            pub(crate) fn poll_write_attempt<R>(
                &self,
                cx: &mut Context<'_>,
                attempt: impl FnMut() -> io::Result<R>,
            ) -> Poll<io::Result<R>> {
                self.socket
                    .poll_io(cx, Direction::Write, Waiter::Task, attempt)
            }

            /// A reader and a writer that borrow the stream. References to it do as well, for it is
            /// read and written by `&self`.
            pub fn split(&mut self) -> (ReadHalf<'_, Self>, WriteHalf<'_, Self>) {
                split::borrowed(self)
            }

            /// A reader and a writer for two tasks. Dropping the writer closes its direction.
            pub fn into_split(self) -> (OwnedReadHalf<Self>, OwnedWriteHalf<Self>) {
                split::owned(self)
            }
        }

        impl split::Halved for $stream {
            fn end_writing(&self) -> io::Result<()> {
                match self.shutdown(Shutdown::Write) {
                    // The peer was quicker.
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                    result => result,
                }
            }
        }

        transfers!(&$stream);
        transfers!($stream);
    };
}
pub(super) use byte_stream;
