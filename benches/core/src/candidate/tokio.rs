//! tokio's multi-thread runtime: default settings, or, in a build with `--cfg tokio_unstable`, the unstable ones that
//! are meant to make it quicker.

use std::future::Future;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::family::TokioSync;
use super::{Candidate, Options};

pub(crate) struct Tokio(tokio::runtime::Runtime);

impl Candidate for Tokio {
    type Join<T: Send + 'static> = JoinHandle<T>;
    type Own = TokioSync;

    fn start(options: Options) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(options.workers).enable_all();
        #[cfg(tokio_unstable)]
        {
            builder.enable_alt_timer().enable_sharded_blocking_queue();
            // These two cost a wake-up of another worker for every message of a single connection, and the quickest
            // way from one task to the next, and so are no gain where no task blocks.
            if options.blocks {
                builder.enable_eager_driver_handoff().disable_lifo_slot();
            }
        }
        assert!(
            !options.blocks || cfg!(tokio_unstable),
            "these settings of tokio are unstable"
        );
        Self(builder.build().expect("tokio starts"))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
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
        tokio::spawn(future)
    }

    async fn join<T: Send + 'static>(handle: JoinHandle<T>) -> T {
        handle.await.expect("the task ends")
    }

    fn detach<T: Send + 'static>(handle: JoinHandle<T>) {
        drop(handle);
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        tokio::task::yield_now()
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(duration)
    }

    async fn spawn_blocking<F, T>(job: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        tokio::task::spawn_blocking(job)
            .await
            .expect("the job ends")
    }

    #[cfg(tokio_unstable)]
    fn parks(&self) -> Option<(u64, u64)> {
        let metrics = self.0.metrics();
        let workers = 0..metrics.num_workers();
        let parks = workers
            .clone()
            .map(|worker| metrics.worker_park_count(worker));
        let noops = workers.map(|worker| metrics.worker_noop_count(worker));
        Some((parks.sum(), noops.sum()))
    }

    fn serve_echo(&self, listener: std::net::TcpListener, buffer: usize) {
        self.run_inside(async move {
            let listener =
                tokio::net::TcpListener::from_std(listener).expect("the listener is registered");
            loop {
                let Ok((mut stream, _)) = listener.accept().await else {
                    continue;
                };
                stream.set_nodelay(true).ok();
                tokio::spawn(async move {
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
                });
            }
        })
    }
}
