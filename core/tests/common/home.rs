//! One interface to every kind of place that tasks can live in, so that each test can run in all.

use libruntime_core::event_loop::{EventLoop, LoopHandle};
use libruntime_core::runtime::{Builder, Handle, Runtime};
use libruntime_core::task::{self, AbortHandle, JoinHandle, JoinSet};
use std::future::Future;
use std::sync::mpsc;
use std::thread;

/// A kind of place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flavour {
    /// An event loop, run by a thread of its own.
    EventLoop,
    /// A runtime with so many workers.
    Workers(usize),
}

pub(crate) const ALL: [Flavour; 4] = [
    Flavour::EventLoop,
    Flavour::Workers(1),
    Flavour::Workers(2),
    Flavour::Workers(4),
];

/// A place where tasks live. When it is dropped its tasks have been, and its threads have ended.
pub(crate) enum Home {
    EventLoop {
        handle: LoopHandle,
        thread: Option<thread::JoinHandle<()>>,
    },
    Runtime(Runtime),
}

impl Home {
    pub(crate) fn new(flavour: Flavour) -> Home {
        match flavour {
            Flavour::EventLoop => {
                let (sender, receiver) = mpsc::channel();
                let thread = thread::spawn(move || {
                    let event_loop = EventLoop::new().unwrap();
                    let _alive = event_loop.handle().keep_alive();
                    sender.send(event_loop.handle()).unwrap();
                    event_loop.run().unwrap();
                });
                Home::EventLoop {
                    handle: receiver.recv().unwrap(),
                    thread: Some(thread),
                }
            }
            Flavour::Workers(workers) => Home::Runtime(
                Builder::new()
                    .worker_threads(workers)
                    .max_blocking_threads(4)
                    .build()
                    .unwrap(),
            ),
        }
    }

    pub(crate) fn spawner(&self) -> Spawner {
        match self {
            Home::EventLoop { handle, .. } => Spawner::EventLoop(handle.clone()),
            Home::Runtime(runtime) => Spawner::Runtime(runtime.handle().clone()),
        }
    }

    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawner().spawn(future)
    }

    /// Blocks the calling thread, which is none of the place's own, on a future.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            Home::EventLoop { .. } => futures_lite::future::block_on(future),
            Home::Runtime(runtime) => runtime.block_on(future).unwrap(),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Home::EventLoop { handle, thread } = self {
            handle.stop();
            let ended = thread.take().map(thread::JoinHandle::join);
            assert!(
                ended.is_some_and(|ended| ended.is_ok()) || thread::panicking(),
                "the loop's thread panicked"
            );
        }
    }
}

/// Starts tasks in a place, from any thread.
#[derive(Clone)]
pub(crate) enum Spawner {
    EventLoop(LoopHandle),
    Runtime(Handle),
}

impl Spawner {
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.build(task::Builder::new(), future)
    }

    pub(crate) fn build<F>(&self, builder: task::Builder, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match self {
            Spawner::EventLoop(handle) => builder.spawn_on_loop(future, handle),
            Spawner::Runtime(handle) => builder.spawn_on(future, handle),
        }
    }

    pub(crate) fn spawn_in<F>(&self, set: &mut JoinSet<F::Output>, future: F) -> AbortHandle
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match self {
            Spawner::EventLoop(handle) => set.spawn_on_loop(future, handle),
            Spawner::Runtime(handle) => set.spawn_on(future, handle),
        }
    }
}

/// Runs each test in every kind of place.
#[allow(unused_macros)]
macro_rules! everywhere {
    ($($(#[$attr:meta])* fn $name:ident($home:ident: Home) $body:block)*) => {
        $(mod $name {
            use super::*;
            use $crate::common::home::Flavour;
            fn run($home: Home) $body
            $(#[$attr])* #[test] fn event_loop() { run(Home::new(Flavour::EventLoop)) }
            $(#[$attr])* #[test] fn one_worker() { run(Home::new(Flavour::Workers(1))) }
            $(#[$attr])* #[test] fn two_workers() { run(Home::new(Flavour::Workers(2))) }
            $(#[$attr])* #[test] fn four_workers() { run(Home::new(Flavour::Workers(4))) }
        })*
    };
}
#[allow(unused_imports)]
pub(crate) use everywhere;
