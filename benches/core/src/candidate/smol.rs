//! smol's global executor; `SMOL_THREADS` is its way to choose the number of workers.

use std::future::Future;
use std::time::Duration;

use smol::Task;

use super::family::SmolSync;
use super::{Candidate, Options, echo};

pub(crate) struct Smol;

impl Candidate for Smol {
    type Join<T: Send + 'static> = Task<T>;
    type Own = SmolSync;

    fn start(options: Options) -> Self {
        // SAFETY: no other thread of this process exists yet that could read the environment.
        unsafe { std::env::set_var("SMOL_THREADS", options.workers.to_string()) };
        Self
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        smol::block_on(future)
    }

    fn spawn_outside<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        smol::spawn(future)
    }

    fn spawn<F>(future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        smol::spawn(future)
    }

    fn join<T: Send + 'static>(handle: Task<T>) -> impl Future<Output = T> + Send {
        handle
    }

    fn detach<T: Send + 'static>(handle: Task<T>) {
        handle.detach();
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        smol::future::yield_now()
    }

    async fn sleep(duration: Duration) {
        smol::Timer::after(duration).await;
    }

    fn spawn_blocking<F, T>(job: F) -> impl Future<Output = T> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        smol::unblock(job)
    }

    fn serve_echo(&self, listener: std::net::TcpListener, buffer: usize) {
        self.run_inside(async move {
            let listener =
                smol::net::TcpListener::try_from(listener).expect("the listener is registered");
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                stream.set_nodelay(true).ok();
                smol::spawn(echo(stream, buffer)).detach();
            }
        })
    }
}
