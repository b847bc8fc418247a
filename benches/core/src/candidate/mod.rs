//! The runtimes under test, behind one trait that says no more than the workloads need.

mod async_std;
mod ours;
mod smol;
mod tokio;

pub(crate) use async_std::AsyncStd;
pub(crate) use ours::Ours;
pub(crate) use smol::Smol;
pub(crate) use tokio::Tokio;

use std::future::Future;
use std::net::TcpListener;
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes that an echo server reads at once.
pub(crate) const ECHO_BUFFER: usize = 16 * 1024;

/// A runtime, used as its users use it.
pub(crate) trait Candidate: Sized + Send + Sync + 'static {
    /// What a spawn returns.
    type Join<T: Send + 'static>: Send + 'static;

    /// Starts the runtime with a number of workers.
    fn start(workers: usize) -> Self;

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

    /// Accepts and echoes for ever, a task for each connection.
    fn serve_echo(&self, listener: TcpListener);

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
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = vec![0; ECHO_BUFFER];
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
