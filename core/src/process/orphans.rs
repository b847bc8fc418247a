//! Children whose handles were dropped before their end.

use super::pauses::Pauses;
use crate::context;
use crate::net::AsyncFd;
use crate::runtime::Handle;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
    drop(Handle::new(runtime).spawn(orphan.wait()));
}

struct Orphan {
    child: Option<Child>,
    pidfd: Option<AsyncFd<OwnedFd>>,
    killed: bool,
}

impl Orphan {
    async fn wait(mut self) {
        let Some(child) = &mut self.child else { return };
        let mut pauses = Pauses::default();
        let ended = poll_fn(|cx| match &self.pidfd {
            Some(pidfd) => pidfd.poll_read_with(cx, |_| match child.try_wait() {
                Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }),
            None => pauses.poll(cx, || Ok(has_ended(child).then_some(()))),
        });
        if ended.await.is_ok() {
            self.child = None;
        }
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let pauses = if self.killed { 50 } else { 0 };
        for _ in 0..pauses {
            if has_ended(&mut child) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if !has_ended(&mut child) {
            let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
            left.push(child);
        }
    }
}
