//! A stream as a reader and a writer.

use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

/// What can be split. Public in a private module, for the halves to name it.
pub trait Halved {
    fn end_writing(&self) -> io::Result<()>;
}

/// The reader of [`split`](super::TcpStream::split).
#[derive(Debug)]
pub struct ReadHalf<'a, S>(&'a S);

/// The writer of [`split`](super::TcpStream::split). Closing it closes its direction; dropping it
/// does nothing.
#[derive(Debug)]
pub struct WriteHalf<'a, S>(&'a S);

/// The reader of [`into_split`](super::TcpStream::into_split).
#[derive(Debug)]
pub struct OwnedReadHalf<S>(Arc<S>);

/// The writer of [`into_split`](super::TcpStream::into_split). Dropping it closes its direction: the
/// peer reads what was written, and then the end of the stream.
#[derive(Debug)]
pub struct OwnedWriteHalf<S: Halved> {
    stream: Arc<S>,
    ends: bool,
}

pub(super) fn borrowed<S>(stream: &mut S) -> (ReadHalf<'_, S>, WriteHalf<'_, S>) {
    (ReadHalf(stream), WriteHalf(stream))
}

pub(super) fn owned<S: Halved>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let stream = Arc::new(stream);
    let writer = OwnedWriteHalf {
        stream: stream.clone(),
        ends: true,
    };
    (OwnedReadHalf(stream), writer)
}

/// Makes a stream of two halves again.
///
/// # Errors
/// Gives them back if they are not those of one stream.
pub(super) fn reunite<S: Halved>(
    reader: OwnedReadHalf<S>,
    mut writer: OwnedWriteHalf<S>,
) -> Result<S, ReuniteError<S>> {
    if !Arc::ptr_eq(&reader.0, &writer.stream) {
        return Err(ReuniteError(reader, writer));
    }
    writer.ends = false;
    drop(writer);
    match Arc::try_unwrap(reader.0) {
        Ok(stream) => Ok(stream),
        Err(_) => unreachable!("a stream has two halves"),
    }
}

/// The halves that were to be [reunited](OwnedReadHalf::reunite) belong to two streams.
pub struct ReuniteError<S: Halved>(pub OwnedReadHalf<S>, pub OwnedWriteHalf<S>);

impl<S: Halved> fmt::Debug for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReuniteError")
    }
}

impl<S: Halved> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the two halves are not those of one stream")
    }
}

impl<S: Halved> Error for ReuniteError<S> {}

impl<S: Halved> OwnedReadHalf<S> {
    /// The stream, for its addresses and options.
    pub fn stream(&self) -> &S {
        &self.0
    }

    /// Makes a stream of the two halves again.
    ///
    /// # Errors
    /// Gives them back if they are not those of one stream.
    pub fn reunite(self, writer: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        reunite(self, writer)
    }
}

impl<S: Halved> OwnedWriteHalf<S> {
    /// The stream, for its addresses and options.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// As [`OwnedReadHalf::reunite`].
    ///
    /// # Errors
    /// As there.
    pub fn reunite(self, reader: OwnedReadHalf<S>) -> Result<S, ReuniteError<S>> {
        reunite(reader, self)
    }

    /// Gives the writer up without closing its direction, which is closed with the reader then.
    pub fn forget(mut self) {
        self.ends = false;
    }
}

impl<S: Halved> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if self.ends {
            // If that fails there is no connection any more.
            let _ = self.stream.end_writing();
        }
    }
}

impl<S> ReadHalf<'_, S> {
    /// The stream, for its addresses and options.
    pub fn stream(&self) -> &S {
        self.0
    }
}

impl<S> WriteHalf<'_, S> {
    /// The stream, for its addresses and options.
    pub fn stream(&self) -> &S {
        self.0
    }
}

macro_rules! reader {
    ([$($generics:tt)*] $half:ty, $stream:ident) => {
        impl<$($generics)*> AsyncRead for $half
        where
            for<'s> &'s S: AsyncRead,
        {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.$stream()).poll_read(cx, buffer)
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.$stream()).poll_read_vectored(cx, buffers)
            }
        }
    };
}

macro_rules! writer {
    ([$($generics:tt)*] $half:ty, $stream:ident) => {
        impl<$($generics)*> AsyncWrite for $half
        where
            for<'s> &'s S: AsyncWrite,
        {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.$stream()).poll_write(cx, data)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.$stream()).poll_write_vectored(cx, data)
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.$stream()).poll_flush(cx)
            }

            fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.$stream()).poll_close(cx)
            }
        }
    };
}

reader!(['a, S] ReadHalf<'a, S>, stream);
reader!([S: Halved] OwnedReadHalf<S>, stream);
writer!(['a, S] WriteHalf<'a, S>, stream);
writer!([S: Halved] OwnedWriteHalf<S>, stream);
