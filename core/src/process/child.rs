//! A child that was started.

use super::pauses::Pauses;
use super::pipe::{ChildStderr, ChildStdin, ChildStdout};
use super::{orphans, sys};
use crate::net::AsyncFd;
use futures_io::AsyncRead;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::process::{ExitStatus, Output};
use std::task::{Context, Poll, ready};

/// A child process. See the [module](super) for what becomes of one that is dropped.
pub struct Child {
    /// `None` only while it is dropped.
    child: Option<std::process::Child>,
    end: End,
    kill_on_drop: bool,
    /// The pipe to the child's standard input, if it has one.
    pub stdin: Option<ChildStdin>,
    /// The pipe from the child's standard output, if it has one.
    pub stdout: Option<ChildStdout>,
    /// The pipe from the child's standard error, if it has one.
    pub stderr: Option<ChildStderr>,
}

/// How the child's end is waited for.
enum End {
    Pidfd(AsyncFd<OwnedFd>),
    Asked(Pauses),
    Over(ExitStatus),
}

impl Child {
    pub(super) fn new(mut child: std::process::Child, kill_on_drop: bool) -> io::Result<Child> {
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let end = match sys::pidfd(child.id()) {
            Some(pidfd) => End::Pidfd(AsyncFd::new(pidfd)),
            None => End::Asked(Pauses::default()),
        };
        let mut child = Child {
            child: Some(child),
            end,
            // Until all is done: without its pipes nobody could talk to it.
            kill_on_drop: true,
            stdin: None,
            stdout: None,
            stderr: None,
        };
        child.stdin = stdin.map(ChildStdin::from_std).transpose()?;
        child.stdout = stdout.map(ChildStdout::from_std).transpose()?;
        child.stderr = stderr.map(ChildStderr::from_std).transpose()?;
        child.kill_on_drop = kill_on_drop;
        Ok(child)
    }

    fn std(&mut self) -> &mut std::process::Child {
        self.child.as_mut().expect("taken by the drop only")
    }

    /// The child's number, as long as it was not waited for to its end: after that the system may
    /// give the number to another process.
    pub fn id(&self) -> Option<u32> {
        match self.end {
            End::Over(_) => None,
            _ => self.child.as_ref().map(std::process::Child::id),
        }
    }

    /// How the child has ended, if it has.
    ///
    /// # Errors
    /// What the system says: `ECHILD` if somebody else in this process has waited for it.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if let End::Over(status) = self.end {
            return Ok(Some(status));
        }
        let status = self.std().try_wait()?;
        if let Some(status) = status {
            self.end = End::Over(status);
        }
        Ok(status)
    }

    /// Closes the pipe to the child's standard input, which it may be waiting for the end of, and waits
    /// until the child has ended.
    ///
    /// # Errors
    /// As [`try_wait`](Self::try_wait). Outside of any runtime and event loop, and when the one that
    /// waited has ended.
    ///
    /// # Cancel safety
    /// It can be called again, also after the end, which it tells each time.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        poll_fn(|cx| self.poll_wait(cx)).await
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<ExitStatus>> {
        let child = self.child.as_mut().expect("taken by the drop only");
        let status = match &mut self.end {
            End::Over(status) => return Poll::Ready(Ok(*status)),
            End::Pidfd(pidfd) => ready!(pidfd.poll_read_with(cx, |_| {
                child.try_wait()?.ok_or(io::ErrorKind::WouldBlock.into())
            }))?,
            End::Asked(pauses) => ready!(pauses.poll(cx, || child.try_wait()))?,
        };
        self.end = End::Over(status);
        Poll::Ready(Ok(status))
    }

    /// Sends `SIGKILL`, without waiting for the end.
    ///
    /// # Errors
    /// `InvalidInput` if the child was waited for to its end already; what the system says: a child that
    /// runs as another user may not be killed.
    pub fn start_kill(&mut self) -> io::Result<()> {
        if let End::Over(_) = self.end {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the child has ended",
            ));
        }
        self.std().kill()
    }

    /// Sends `SIGKILL` and waits for the end.
    ///
    /// # Errors
    /// As [`start_kill`](Self::start_kill) and [`wait`](Self::wait).
    pub async fn kill(&mut self) -> io::Result<()> {
        self.start_kill()?;
        self.wait().await.map(drop)
    }

    /// Reads what the child writes to the pipes that it has, to their ends, and waits for its own.
    ///
    /// # Errors
    /// Those of [`wait`](Self::wait) and of reading. The child is dropped.
    ///
    /// # Cancel safety
    /// What was read is lost when the future is dropped, and the child is dropped with it.
    pub async fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let mut stdout = Reading::new(self.stdout.take());
        let mut stderr = Reading::new(self.stderr.take());
        let mut waiting = pin!(self.wait());
        let mut status = None;
        let status = poll_fn(|cx| {
            // Each of them each time: the child may wait for any pipe to be emptied.
            let read = [stdout.poll(cx)?, stderr.poll(cx)?];
            if status.is_none()
                && let Poll::Ready(ended) = waiting.as_mut().poll(cx)?
            {
                status = Some(ended);
            }
            match status {
                Some(status) if read.iter().all(Poll::is_ready) => {
                    Poll::Ready(io::Result::Ok(status))
                }
                _ => Poll::Pending,
            }
        })
        .await?;
        Ok(Output {
            status,
            stdout: stdout.data,
            stderr: stderr.data,
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let end = std::mem::replace(&mut self.end, End::Asked(Pauses::default()));
        let Some(mut child) = self.child.take() else {
            return;
        };
        let pidfd = match end {
            End::Over(_) => return,
            End::Pidfd(pidfd) => Some(pidfd.into_inner()),
            End::Asked(_) => None,
        };
        let killed = self.kill_on_drop && child.kill().is_ok();
        orphans::adopt(child, pidfd, killed);
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("id", &self.id())
            .field("stdin", &self.stdin)
            .field("stdout", &self.stdout)
            .field("stderr", &self.stderr)
            .finish_non_exhaustive()
    }
}

/// A pipe that is being read to its end.
struct Reading<P> {
    pipe: Option<P>,
    data: Vec<u8>,
}

impl<P: AsyncRead + Unpin> Reading<P> {
    fn new(pipe: Option<P>) -> Reading<P> {
        Reading {
            pipe,
            data: Vec::new(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        const ROOM: usize = 8 * 1024;
        while let Some(pipe) = &mut self.pipe {
            let length = self.data.len();
            self.data.resize(length + ROOM.max(length / 2), 0);
            let read = Pin::new(pipe).poll_read(cx, &mut self.data[length..]);
            let count = match &read {
                Poll::Ready(Ok(count)) => *count,
                _ => 0,
            };
            self.data.truncate(length + count);
            match read {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(0)) => self.pipe = None,
                Poll::Ready(Ok(_)) => {}
            }
        }
        Ok(Poll::Ready(()))
    }
}
