//! Adapters between libruntime and hyper, whose traits are its own: what an application copies, some
//! hundred lines. TLS (`futures-rustls`) and codecs (`asynchronous-codec`) are written against
//! `futures-io`, and need none.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::{self, ReadBufCursor};
use libruntime_core::time::{self, sleep_until};
use pin_project_lite::pin_project;

pin_project! {
    /// A `futures-io` stream as hyper wants it.
    pub struct HyperIo<S> {
        #[pin]
        stream: S,
    }
}

impl<S> HyperIo<S> {
    /// Wraps a stream.
    pub fn new(stream: S) -> HyperIo<S> {
        HyperIo { stream }
    }
}

impl<S: AsyncRead> rt::Read for HyperIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // hyper's buffer need not be initialised, and `futures-io`'s has to be: a bounded piece of
        // stack lies between.
        let mut piece = [0; 8192];
        let most = buffer.remaining().min(piece.len());
        self.project()
            .stream
            .poll_read(cx, &mut piece[..most])
            .map_ok(|n| buffer.put_slice(&piece[..n]))
    }
}

impl<S: AsyncWrite> rt::Write for HyperIo<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_close(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write_vectored(cx, data)
    }
}

/// Spawns what hyper does in the background (HTTP/2) on the runtime that the thread belongs to.
#[derive(Clone, Copy, Debug)]
pub struct HyperExecutor;

impl<F> rt::Executor<F> for HyperExecutor
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        drop(libruntime_core::spawn(future));
    }
}

/// hyper's timeouts.
#[derive(Clone, Copy, Debug)]
pub struct HyperTimer;

impl rt::Timer for HyperTimer {
    fn sleep(&self, duration: std::time::Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(HyperSleep {
            sleep: time::sleep(duration),
        })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(HyperSleep {
            sleep: sleep_until(deadline),
        })
    }
}

pin_project! {
    struct HyperSleep {
        #[pin]
        sleep: time::Sleep,
    }
}

impl Future for HyperSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.poll(cx)
    }
}

impl rt::Sleep for HyperSleep {}
