//! Many senders, one receiver: [`channel`], [`unbounded_channel`].

use std::task::{Context, Poll, ready};

use tokio::sync::mpsc as inner;
pub use tokio::sync::mpsc::{
    OwnedPermit, Permit, PermitIterator, UnboundedSender, WeakUnboundedSender, error,
};

use super::wraps_whole;
use crate::task::coop::{cooperative, poll_proceed};
use error::SendError;

/// A channel with room for `capacity` messages; when it is full, senders wait.
///
/// # Panics
/// If `capacity` is zero, or more than [`Semaphore::MAX_PERMITS`](tokio::sync::Semaphore::MAX_PERMITS).
#[track_caller]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = inner::channel(capacity);
    (Sender(sender), Receiver(receiver))
}

/// A channel without a limit: senders never wait, and what is not received takes memory.
pub fn unbounded_channel<T>() -> (UnboundedSender<T>, UnboundedReceiver<T>) {
    let (sender, receiver) = inner::unbounded_channel();
    (sender, UnboundedReceiver(receiver))
}

/// The sending end of a [`channel`], to clone.
#[derive(Debug)]
pub struct Sender<T>(inner::Sender<T>);

wraps_whole!(Sender<T> inner::Sender<T>);

impl<T> Sender<T> {
    /// Sends `value`, once there is room.
    ///
    /// # Errors
    /// With the value, if the receiver is closed or gone.
    ///
    /// # Cancel safety
    /// Dropped before it is ready it has sent nothing; the value is gone.
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        cooperative(self.0.send(value)).await
    }

    /// Waits for room for a message, and keeps it for the permit.
    ///
    /// # Errors
    /// If the receiver is closed or gone.
    ///
    /// # Cancel safety
    /// Dropped before it is ready it only gives up its place in the line.
    pub async fn reserve(&self) -> Result<Permit<'_, T>, SendError<()>> {
        cooperative(self.0.reserve()).await
    }

    /// As [`reserve`](Self::reserve), for `n` messages.
    ///
    /// # Errors
    /// If the receiver is closed or gone, or if there never is so much room.
    pub async fn reserve_many(&self, n: usize) -> Result<PermitIterator<'_, T>, SendError<()>> {
        cooperative(self.0.reserve_many(n)).await
    }

    /// As [`reserve`](Self::reserve); the permit holds the sender.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve); the sender is gone then.
    pub async fn reserve_owned(self) -> Result<OwnedPermit<T>, SendError<()>> {
        cooperative(self.0.reserve_owned()).await
    }

    /// Whether both send to the same receiver.
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        self.0.same_channel(&other.0)
    }

    /// A sender that does not keep the channel open.
    pub fn downgrade(&self) -> WeakSender<T> {
        WeakSender(self.0.downgrade())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender(self.0.clone())
    }
}

/// A sender that does not keep its channel open.
#[derive(Debug)]
pub struct WeakSender<T>(inner::WeakSender<T>);

wraps_whole!(WeakSender<T> inner::WeakSender<T>);

impl<T> WeakSender<T> {
    /// A sender, if there still is one.
    pub fn upgrade(&self) -> Option<Sender<T>> {
        self.0.upgrade().map(Sender)
    }
}

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> WeakSender<T> {
        WeakSender(self.0.clone())
    }
}

/// The receiving end of a [`channel`].
#[derive(Debug)]
pub struct Receiver<T>(inner::Receiver<T>);

/// The receiving end of an [`unbounded_channel`].
#[derive(Debug)]
pub struct UnboundedReceiver<T>(inner::UnboundedReceiver<T>);

wraps_whole!(Receiver<T> inner::Receiver<T>);
wraps_whole!(UnboundedReceiver<T> inner::UnboundedReceiver<T>);

macro_rules! receiver {
    ($receiver:ident) => {
        impl<T> $receiver<T> {
            /// The next message; `None` when no sender is left, or the channel was closed, and
            /// nothing remains.
            ///
            /// # Cancel safety
            /// Cancel-safe: dropped before it is ready it has received nothing.
            pub async fn recv(&mut self) -> Option<T> {
                cooperative(self.0.recv()).await
            }

            /// Appends up to `limit` messages to `buffer`, once there is one, and counts them. Zero
            /// stands for the end, or for a `limit` of zero. All of them together are one unit of budget.
            ///
            /// # Cancel safety
            /// Cancel-safe: dropped before it is ready it has received nothing.
            pub async fn recv_many(&mut self, buffer: &mut Vec<T>, limit: usize) -> usize {
                cooperative(self.0.recv_many(buffer, limit)).await
            }

            /// Polls for the next message. The last waker that was given is woken.
            pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
                let permit = ready!(poll_proceed(cx));
                let received = ready!(self.0.poll_recv(cx));
                permit.made_progress();
                Poll::Ready(received)
            }

            /// Polls as [`recv_many`](Self::recv_many) does.
            pub fn poll_recv_many(
                &mut self,
                cx: &mut Context<'_>,
                buffer: &mut Vec<T>,
                limit: usize,
            ) -> Poll<usize> {
                let permit = ready!(poll_proceed(cx));
                let count = ready!(self.0.poll_recv_many(cx, buffer, limit));
                permit.made_progress();
                Poll::Ready(count)
            }
        }
    };
}

receiver!(Receiver);
receiver!(UnboundedReceiver);
