//! The runtimes under test, behind one trait that says no more than the workloads need.

mod async_std;
mod family;
mod ours;
mod smol;
mod tokio;

pub(crate) use async_std::AsyncStd;
pub(crate) use family::{Family, Neutral};
pub(crate) use ours::Ours;
pub(crate) use smol::Smol;
pub(crate) use tokio::Tokio;

use std::future::Future;
use std::net::TcpListener;
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How a runtime is started.
pub(crate) struct Options {
    pub(crate) workers: usize,
    /// With what is meant for tasks that block their worker, where it is a setting: tokio's unstable ones.
    pub(crate) blocks: bool,
    /// With the tuner that fits how many workers take part, where there is one.
    pub(crate) tuner: bool,
}

/// A runtime, used as its users use it.
pub(crate) trait Candidate: Sized + Send + Sync + 'static {
    /// What a spawn returns.
    type Join<T: Send + 'static>: Send + 'static;

    /// The mutexes and channels that its users would take.
    type Own: Family;

    fn start(options: Options) -> Self;

    /// Runs a future on the calling thread, which is no worker.
    fn block_on<F: Future>(&self, future: F) -> F::Output;

    /// Spawns from a thread that is no worker.
    fn spawn_outside<F>(&self, future: F) -> Self::Join<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static;

    /// Spawns from inside a task.
    fn spawn<F>(future: F) -> Self::Join<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static;

    /// Waits for a task's result.
    fn join<T: Send + 'static>(handle: Self::Join<T>) -> impl Future<Output = T> + Send;

    /// Lets a task run on without a handle.
    fn detach<T: Send + 'static>(handle: Self::Join<T>);

    fn yield_now() -> impl Future<Output = ()> + Send;

    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send;

    /// Runs a job that may block on the runtime's pool; called from inside a task.
    fn spawn_blocking<F, T>(job: F) -> impl Future<Output = T> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static;

    /// Accepts and echoes for ever, a task with a buffer of that many bytes for each connection.
    fn serve_echo(&self, listener: TcpListener, buffer: usize);

    /// How often workers went to sleep so far, and how often one woke and found nothing to do, if the runtime counts.
    fn parks(&self) -> Option<(u64, u64)> {
        None
    }

    /// Runs a future as a task, on a worker, and waits for it.
    fn run_inside<F>(&self, future: F) -> F::Output
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let handle = self.spawn_outside(future);
        self.block_on(Self::join(handle))
    }
}

/// The echo of one connection, for the runtimes whose streams implement futures-io's traits.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin, buffer: usize) {
    let mut buffer = vec![0; buffer];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => {
                if stream.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}
