//! Accepting connections inside tasks, and on workers.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use libruntime_core::net::{AsyncFd, ReadPlace};
use libruntime_core::runtime::Handle;
use libruntime_core::task::AbortHandle;
use libruntime_core::time::sleep;

use super::loop_listener::PAUSE;
use super::{Subscription, sys};
use crate::status::Error;
use crate::task::rt_result;

/// A listening socket, for any number of tasks.
pub(crate) type TaskListener = Arc<AsyncFd<Arc<OwnedFd>>>;

pub(crate) fn new(socket: Arc<OwnedFd>) -> TaskListener {
    Arc::new(AsyncFd::new(socket))
}

fn poll_accept(place: &ReadPlace<Arc<OwnedFd>>, waker: &Waker) -> Poll<io::Result<OwnedFd>> {
    place.poll_read_with(&mut Context::from_waker(waker), |socket| {
        loop {
            match sys::accept(socket.as_raw_fd()) {
                Err(error) if sys::is_of_one_connection(&error) => {}
                accepted => return accepted,
            }
        }
    })
}

/// Where a task waits, or whoever polls with a context of its own: the listeners forget it when this is
/// dropped, whatever it was interested in last.
#[derive(Default)]
pub(crate) struct Places(Mutex<Vec<ReadPlace<Arc<OwnedFd>>>>);

impl Places {
    /// The next connection.
    pub(crate) fn poll_accept(
        &self,
        listener: &TaskListener,
        waker: &Waker,
    ) -> Poll<io::Result<OwnedFd>> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = places.iter().position(|place| place.is_of(listener));
        let place = match index {
            Some(index) => places.swap_remove(index),
            None => ReadPlace::new(listener),
        };
        let accepted = poll_accept(&place, waker);
        if accepted.is_pending() {
            places.push(place);
        }
        accepted
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
    listener: TaskListener,
    subscription: Subscription,
    accept: impl Fn(OwnedFd) -> rt_result + Send + 'static,
) -> Started {
    let accepting = runtime.spawn(async move {
        let place = ReadPlace::new(&listener);
        loop {
            match poll_fn(|cx| poll_accept(&place, cx.waker())).await {
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
