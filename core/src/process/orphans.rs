//! Children whose handles were dropped before their end.

use super::sys;
use crate::context;
use crate::net::AsyncFd;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::{Mutex, PoisonError};

/// Those that no task waits for. Children belong to the process, and so does this list.
static LEFT: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Reaps those of the list that have ended meanwhile.
pub(super) fn reap() {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    left.retain_mut(|child| !has_ended(child));
}

/// Whether a child needs no more waiting for: it was reaped, or is not ours to reap.
fn has_ended(child: &mut Child) -> bool {
    !matches!(child.try_wait(), Ok(None))
}

/// Sees to it that `child` is reaped when it ends.
pub(super) fn adopt(mut child: Child, pidfd: Option<OwnedFd>, killed: bool) {
    reap();
    if has_ended(&mut child) {
        return;
    }
    let orphan = Orphan {
        child: Some(child),
        pidfd: pidfd.map(AsyncFd::new),
        killed,
    };
    // If there is no runtime, or it is closed, the drop of the orphan does what is left to do.
    let Some(runtime) = context::current() else {
        return;
    };
    if orphan.pidfd.is_some() {
        drop(crate::runtime::Handle::new(runtime).spawn(orphan.wait()));
    } else {
        let job = move || orphan.wait_blocking();
        let handle = crate::runtime::Handle::new(runtime);
        drop(handle.spawn_blocking_in(crate::blocking::Class::PROCESSES, job));
    }
}

struct Orphan {
    child: Option<Child>,
    pidfd: Option<AsyncFd<OwnedFd>>,
    killed: bool,
}

impl Orphan {
    async fn wait(mut self) {
        let (Some(child), Some(pidfd)) = (&mut self.child, &self.pidfd) else {
            return;
        };
        let ended = poll_fn(|cx| {
            pidfd.poll_read_with(cx, |_| match child.try_wait() {
                Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            })
        });
        if ended.await.is_ok() {
            self.child = None;
        }
    }

    fn wait_blocking(mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        if let (true, Some(pidfd)) = (self.killed, &self.pidfd) {
            sys::wait_a_moment(pidfd.get_ref().as_fd(), 50);
        }
        if !has_ended(&mut child) {
            let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
            left.push(child);
        }
    }
}
