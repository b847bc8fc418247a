//! Every receiver gets every value: [`channel`].

use tokio::sync::broadcast as inner;
pub use tokio::sync::broadcast::error;

use super::wraps_whole;
use crate::task::coop::cooperative;
use error::RecvError;

/// A channel that keeps the last `capacity` values, rounded up to a power of two, for receivers that
/// are slower.
///
/// # Panics
/// If `capacity` is zero, or more than `usize::MAX / 2`.
#[track_caller]
pub fn channel<T: Clone>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = inner::channel(capacity);
    (Sender(sender), Receiver(receiver))
}

/// The sending end, to clone.
#[derive(Debug)]
pub struct Sender<T>(inner::Sender<T>);

wraps_whole!(Sender<T> inner::Sender<T>);

impl<T> Sender<T> {
    /// Another receiver, of the values sent from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver(self.0.subscribe())
    }

    /// Whether both send to the same receivers.
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

/// A receiving end.
#[derive(Debug)]
pub struct Receiver<T>(inner::Receiver<T>);

wraps_whole!(Receiver<T> inner::Receiver<T>);

impl<T: Clone> Receiver<T> {
    /// The next value.
    ///
    /// # Errors
    /// `Lagged` with the number of values that were lost because this receiver was too slow; the next
    /// call goes on with the oldest that is left. `Closed` when no sender is left and all is received.
    ///
    /// # Cancel safety
    /// Cancel-safe: dropped before it is ready it has received nothing.
    pub async fn recv(&mut self) -> Result<T, RecvError> {
        cooperative(self.0.recv()).await
    }

    /// Another receiver, of the values sent from now on.
    pub fn resubscribe(&self) -> Receiver<T> {
        Receiver(self.0.resubscribe())
    }
}

impl<T> Receiver<T> {
    /// Whether both receive from the same senders.
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        self.0.same_channel(&other.0)
    }
}
