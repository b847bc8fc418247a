//! async-std's global runtime; `ASYNC_STD_THREAD_COUNT` is its way to choose the number of workers.

use std::future::Future;
use std::time::Duration;

use async_std::task::{self, JoinHandle};

use super::family::SmolSync;
use super::{Candidate, Options, echo};

pub(crate) struct AsyncStd;

impl Candidate for AsyncStd {
    type Join<T: Send + 'static> = JoinHandle<T>;
    type Own = SmolSync;

    fn start(options: Options) -> Self {
        // SAFETY: no other thread of this process exists yet that could read the environment.
        unsafe { std::env::set_var("ASYNC_STD_THREAD_COUNT", options.workers.to_string()) };
        Self
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        task::block_on(future)
    }

    fn spawn_outside<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        task::spawn(future)
    }

    fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        task::spawn(future)
    }

    fn join<T: Send + 'static>(handle: JoinHandle<T>) -> impl Future<Output = T> + Send {
        handle
    }

    fn detach<T: Send + 'static>(handle: JoinHandle<T>) {
        drop(handle);
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        task::yield_now()
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send {
        task::sleep(duration)
    }

    fn spawn_blocking<F, T>(job: F) -> impl Future<Output = T> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        task::spawn_blocking(job)
    }

    fn serve_echo(&self, listener: std::net::TcpListener, buffer: usize) {
        self.run_inside(async move {
            let listener = async_std::net::TcpListener::from(listener);
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                stream.set_nodelay(true).ok();
                task::spawn(echo(stream, buffer));
            }
        })
    }
}
