//! Connecting inside a task, or on workers: happy eyeballs as in `loop_connect`.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use libruntime_core::net::AsyncFd;
use libruntime_core::runtime::Handle;
use libruntime_core::task::AbortHandle;
use libruntime_core::time::{Sleep, sleep};

use super::loop_connect::HEAD_START;
use super::{address, sys};
use crate::ffi::Origin;
use crate::status::Error;
use crate::task::{Completion, rt_result};

/// A connection in the making.
struct Race {
    queue: VecDeque<SocketAddr>,
    attempts: Vec<AsyncFd<OwnedFd>>,
    head_start: Option<Pin<Box<Sleep>>>,
    error: Error,
}

impl Race {
    fn new(addresses: Vec<SocketAddr>) -> Race {
        Race {
            queue: address::interleave(addresses).into(),
            attempts: Vec::new(),
            head_start: None,
            error: Error::Resolve(crate::status::RT_EAI_NONAME),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<OwnedFd, Error>> {
        loop {
            if let Some(index) = self.poll_attempts(cx) {
                return Poll::Ready(Ok(self.attempts.swap_remove(index).into_inner()));
            }
            let waiting = match &mut self.head_start {
                Some(sleep) if !self.attempts.is_empty() => sleep.as_mut().poll(cx).is_pending(),
                _ => !self.attempts.is_empty() && self.queue.is_empty(),
            };
            if waiting {
                return Poll::Pending;
            }
            let Some(address) = self.queue.pop_front() else {
                if self.attempts.is_empty() {
                    return Poll::Ready(Err(self.error));
                }
                self.head_start = None;
                return Poll::Pending;
            };
            match sys::connect(address) {
                Ok((socket, true)) => return Poll::Ready(Ok(socket)),
                Ok((socket, false)) => self.attempts.push(AsyncFd::new(socket)),
                Err(error) => self.error = Error::from(error),
            }
            self.head_start = (!self.queue.is_empty()).then(|| Box::pin(sleep(HEAD_START)));
        }
    }

    /// The attempt that is connected. Those that have failed are forgotten.
    fn poll_attempts(&mut self, cx: &mut Context<'_>) -> Option<usize> {
        let mut index = 0;
        while index < self.attempts.len() {
            let polled = self.attempts[index].poll_write_with(cx, connected);
            match polled {
                Poll::Pending => index += 1,
                Poll::Ready(Ok(())) => return Some(index),
                Poll::Ready(Err(error)) => {
                    self.error = Error::from(error);
                    self.attempts.swap_remove(index);
                    self.head_start = None;
                }
            }
        }
        None
    }
}

/// `WouldBlock` while it is being connected.
fn connected(socket: &OwnedFd) -> io::Result<()> {
    sys::connect_error(socket.as_fd())?;
    match sys::address(socket.as_fd(), true) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {
            Err(io::Error::from(io::ErrorKind::WouldBlock))
        }
        Err(error) => Err(error),
    }
}

async fn connect(runtime: Option<Handle>, host: String, port: u16) -> Result<OwnedFd, Error> {
    let addresses = match (address::literal(&host, port), runtime) {
        (Some(address), _) => vec![address],
        (None, Some(runtime)) => {
            let resolved = runtime.spawn_blocking(move || address::resolve(&host, port));
            resolved.await.map_err(|_| Error::Shutdown)??
        }
        (None, None) => return Err(Error::NoRuntime),
    };
    let mut race = Race::new(addresses);
    poll_fn(|cx| race.poll(cx)).await
}

/// A connection that a task makes by polling.
pub(crate) struct TaskConnect {
    origin: Origin,
    /// `None` once it has ended.
    future: Mutex<Option<Connecting>>,
}

type Connecting = Pin<Box<dyn Future<Output = Result<OwnedFd, Error>> + Send>>;

impl TaskConnect {
    /// # Errors
    /// `NoRuntime` if a name has to be looked up and there is no runtime.
    pub(crate) fn new(
        runtime: Option<Handle>,
        host: &str,
        port: u16,
    ) -> Result<TaskConnect, Error> {
        if runtime.is_none() && address::literal(host, port).is_none() {
            return Err(Error::NoRuntime);
        }
        let future: Connecting = Box::pin(connect(runtime, host.to_owned(), port));
        Ok(TaskConnect {
            origin: Origin::here(),
            future: Mutex::new(Some(future)),
        })
    }

    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Result<OwnedFd, Error>> {
        self.origin.check()?;
        let mut slot = self.future.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(future) = &mut *slot else {
            return Poll::Ready(Err(Error::Inval));
        };
        let polled = future.as_mut().poll(&mut Context::from_waker(waker));
        if polled.is_ready() {
            *slot = None;
        }
        polled
    }
}

/// A connection that is being made on workers.
pub(crate) struct Started {
    task: AbortHandle,
    origin: Origin,
}

impl Started {
    pub(crate) fn cancel(&self) -> Result<(), Error> {
        self.origin.check()?;
        self.task.abort();
        Ok(())
    }
}

/// Connects, and calls `done` with what `finish` makes of the connection, on a worker.
pub(crate) fn start(
    runtime: &Handle,
    host: &str,
    port: u16,
    done: Completion,
    finish: impl FnOnce(OwnedFd) -> rt_result + Send + 'static,
) -> Started {
    let connecting = connect(Some(runtime.clone()), host.to_owned(), port);
    let task = runtime.spawn(async move {
        // Before the connection, so that a task which is dropped closes that first.
        let done = done;
        match connecting.await {
            Ok(socket) => done.fire(&finish(socket)),
            Err(error) => done.fire(&rt_result::of(error.code())),
        }
    });
    Started {
        task: task.abort_handle(),
        origin: Origin::here(),
    }
}
