//! Mutexes, channels and oneshot channels by family. They belong to no executor, so every executor can be measured
//! with the same ones ([`Neutral`]) and with those that its users would take ([`super::Candidate::Own`]).

use std::future::Future;

use futures::channel as neutral;
use futures::{SinkExt, StreamExt};

/// One family of primitives, no more of each than the workloads need.
pub(crate) trait Family: 'static {
    type Mutex: Send + Sync + 'static;
    type Sender: Clone + Send + 'static;
    type Receiver: Send + 'static;
    type OnceSender: Send + 'static;
    type OnceReceiver: Send + 'static;

    fn mutex() -> Self::Mutex;

    /// Locks, adds one while `inside` runs to its end, unlocks.
    fn add_one(
        mutex: &Self::Mutex,
        inside: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = u64> + Send;

    fn channel(capacity: usize) -> (Self::Sender, Self::Receiver);

    fn send(sender: &mut Self::Sender, value: u64) -> impl Future<Output = ()> + Send;

    /// `None` when all senders are gone.
    fn receive(receiver: &mut Self::Receiver) -> impl Future<Output = Option<u64>> + Send;

    fn oneshot() -> (Self::OnceSender, Self::OnceReceiver);

    fn send_once(sender: Self::OnceSender, value: u64);

    fn receive_once(receiver: Self::OnceReceiver) -> impl Future<Output = u64> + Send;
}

const ALIVE: &str = "the other end is alive";

/// The futures crate's: no runtime is built on them.
pub(crate) struct Neutral;

impl Family for Neutral {
    type Mutex = futures::lock::Mutex<u64>;
    type Sender = neutral::mpsc::Sender<u64>;
    type Receiver = neutral::mpsc::Receiver<u64>;
    type OnceSender = neutral::oneshot::Sender<u64>;
    type OnceReceiver = neutral::oneshot::Receiver<u64>;

    fn mutex() -> Self::Mutex {
        futures::lock::Mutex::new(0)
    }

    async fn add_one(mutex: &Self::Mutex, inside: impl Future<Output = ()> + Send) -> u64 {
        let mut value = mutex.lock().await;
        inside.await;
        *value += 1;
        *value
    }

    fn channel(capacity: usize) -> (Self::Sender, Self::Receiver) {
        neutral::mpsc::channel(capacity)
    }

    async fn send(sender: &mut Self::Sender, value: u64) {
        sender.send(value).await.expect(ALIVE);
    }

    async fn receive(receiver: &mut Self::Receiver) -> Option<u64> {
        receiver.next().await
    }

    fn oneshot() -> (Self::OnceSender, Self::OnceReceiver) {
        neutral::oneshot::channel()
    }

    fn send_once(sender: Self::OnceSender, value: u64) {
        sender.send(value).expect(ALIVE);
    }

    async fn receive_once(receiver: Self::OnceReceiver) -> u64 {
        receiver.await.expect(ALIVE)
    }
}

/// tokio's names.
macro_rules! family {
    ($family:ident, $($sync:ident)::+) => {
        impl Family for $family {
            type Mutex = $($sync)::+::Mutex<u64>;
            type Sender = $($sync)::+::mpsc::Sender<u64>;
            type Receiver = $($sync)::+::mpsc::Receiver<u64>;
            type OnceSender = $($sync)::+::oneshot::Sender<u64>;
            type OnceReceiver = $($sync)::+::oneshot::Receiver<u64>;

            fn mutex() -> Self::Mutex {
                $($sync)::+::Mutex::new(0)
            }

            async fn add_one(mutex: &Self::Mutex, inside: impl Future<Output = ()> + Send) -> u64 {
                let mut value = mutex.lock().await;
                inside.await;
                *value += 1;
                *value
            }

            fn channel(capacity: usize) -> (Self::Sender, Self::Receiver) {
                $($sync)::+::mpsc::channel(capacity)
            }

            async fn send(sender: &mut Self::Sender, value: u64) {
                sender.send(value).await.expect(ALIVE);
            }

            async fn receive(receiver: &mut Self::Receiver) -> Option<u64> {
                receiver.recv().await
            }

            fn oneshot() -> (Self::OnceSender, Self::OnceReceiver) {
                $($sync)::+::oneshot::channel()
            }

            fn send_once(sender: Self::OnceSender, value: u64) {
                sender.send(value).expect(ALIVE);
            }

            async fn receive_once(receiver: Self::OnceReceiver) -> u64 {
                receiver.await.expect(ALIVE)
            }
        }
    };
}

/// tokio::sync.
pub(crate) struct TokioSync;

family!(TokioSync, tokio::sync);

/// libruntime_core::sync.
pub(crate) struct OursSync;

family!(OursSync, libruntime_core::sync);

/// smol's and async-std's: async-lock and async-channel, where a channel of one message serves as a oneshot.
pub(crate) struct SmolSync;

impl Family for SmolSync {
    type Mutex = async_lock::Mutex<u64>;
    type Sender = async_channel::Sender<u64>;
    type Receiver = async_channel::Receiver<u64>;
    type OnceSender = async_channel::Sender<u64>;
    type OnceReceiver = async_channel::Receiver<u64>;

    fn mutex() -> Self::Mutex {
        async_lock::Mutex::new(0)
    }

    async fn add_one(mutex: &Self::Mutex, inside: impl Future<Output = ()> + Send) -> u64 {
        let mut value = mutex.lock().await;
        inside.await;
        *value += 1;
        *value
    }

    fn channel(capacity: usize) -> (Self::Sender, Self::Receiver) {
        async_channel::bounded(capacity)
    }

    async fn send(sender: &mut Self::Sender, value: u64) {
        sender.send(value).await.expect(ALIVE);
    }

    async fn receive(receiver: &mut Self::Receiver) -> Option<u64> {
        receiver.recv().await.ok()
    }

    fn oneshot() -> (Self::OnceSender, Self::OnceReceiver) {
        async_channel::bounded(1)
    }

    fn send_once(sender: Self::OnceSender, value: u64) {
        sender.try_send(value).expect(ALIVE);
    }

    async fn receive_once(receiver: Self::OnceReceiver) -> u64 {
        receiver.recv().await.expect(ALIVE)
    }
}
