//! Accepting connections inside tasks, and on workers.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use libruntime_core::net::AsyncFd;
use libruntime_core::runtime::Handle;
use libruntime_core::task::AbortHandle;
use libruntime_core::time::sleep;

use super::loop_listener::PAUSE;
use super::{Subscription, sys};
use crate::status::Error;
use crate::task::rt_result;

/// A listening socket, for any number of tasks.
pub(crate) struct TaskListener(AsyncFd<Arc<OwnedFd>>);

impl TaskListener {
    pub(crate) fn new(socket: Arc<OwnedFd>) -> Arc<TaskListener> {
        Arc::new(TaskListener(AsyncFd::new(socket)))
    }

    /// The next connection.
    pub(crate) fn poll_accept(&self, waker: &Waker) -> Poll<io::Result<OwnedFd>> {
        let cx = &mut Context::from_waker(waker);
        self.0.poll_read_with_in_crowd(cx, |socket| {
            loop {
                match sys::accept(socket.as_raw_fd()) {
                    Err(error) if sys::is_of_one_connection(&error) => {}
                    accepted => return accepted,
                }
            }
        })
    }
}

/// A listener that accepts on workers; stopped when dropped.
pub(crate) struct Started(AbortHandle);

impl Drop for Started {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Calls `subscription` with what `accept` makes of each connection, or with an error.
pub(crate) fn start(
    runtime: &Handle,
    listener: Arc<TaskListener>,
    subscription: Subscription,
    accept: impl Fn(OwnedFd) -> rt_result + Send + 'static,
) -> Started {
    let accepting = runtime.spawn(async move {
        loop {
            match poll_fn(|cx| listener.poll_accept(cx.waker())).await {
                Ok(connection) => subscription.call(&accept(connection)),
                Err(error) if sys::is_exhausted(&error) => {
                    subscription.call(&rt_result::of(Error::from(error).code()));
                    sleep(PAUSE).await;
                }
                Err(error) => {
                    // The socket cannot accept any more, or the runtime is ending.
                    return subscription.call(&rt_result::of(Error::from(error).code()));
                }
            }
        }
    });
    Started(accepting.abort_handle())
}
