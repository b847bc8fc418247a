//! libruntime-core.

use std::future::Future;
use std::time::Duration;

use libruntime_core::metrics::Snapshot;
use libruntime_core::net::TcpListener;
use libruntime_core::runtime::{Builder, Runtime};
use libruntime_core::task::{self, JoinHandle};

use super::family::OursSync;
use super::{Candidate, Options, echo};

pub(crate) struct Ours(Runtime);

impl Candidate for Ours {
    type Join<T: Send + 'static> = JoinHandle<T>;
    type Own = OursSync;

    fn start(options: Options) -> Self {
        Self(
            Builder::new()
                .worker_threads(options.workers)
                .tuner(options.tuner)
                .build()
                .expect("the runtime starts"),
        )
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0
            .block_on(future)
            .expect("the main thread is no worker")
    }

    fn spawn_outside<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.0.spawn(future)
    }

    fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        libruntime_core::spawn(future)
    }

    async fn join<T: Send + 'static>(handle: JoinHandle<T>) -> T {
        handle.await.expect("the task ends")
    }

    fn detach<T: Send + 'static>(handle: JoinHandle<T>) {
        drop(handle);
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        task::yield_now()
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send {
        libruntime_core::time::sleep(duration)
    }

    async fn spawn_blocking<F, T>(job: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        libruntime_core::spawn_blocking(job)
            .await
            .expect("the job ends")
    }

    fn parks(&self) -> Option<(u64, u64)> {
        let metrics = self.0.metrics();
        let total = |count: fn(&Snapshot, usize) -> u64| -> u64 {
            (0..metrics.num_workers())
                .map(|worker| count(&metrics, worker))
                .sum()
        };
        Some((
            total(Snapshot::worker_park_count),
            total(Snapshot::worker_noop_count),
        ))
    }

    fn serve_echo(&self, listener: std::net::TcpListener, buffer: usize) {
        self.run_inside(async move {
            let listener = TcpListener::from_std(listener).expect("the listener is taken over");
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                stream.set_nodelay(true).ok();
                drop(libruntime_core::spawn(echo(stream, buffer)));
            }
        })
    }
}
