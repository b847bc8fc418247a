//! Every receiver sees the last value: [`channel`].

use tokio::sync::watch as inner;
pub use tokio::sync::watch::{Ref, error};

use super::wraps_whole;
use crate::task::coop::cooperative;
use error::RecvError;

/// A channel that begins with `value`, which counts as seen.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = inner::channel(value);
    (Sender(sender), Receiver(receiver))
}

/// The sending end, to clone.
#[derive(Debug)]
pub struct Sender<T>(inner::Sender<T>);

wraps_whole!(Sender<T> inner::Sender<T>);

impl<T> Sender<T> {
    /// A channel that begins with `value` and without a receiver.
    pub fn new(value: T) -> Sender<T> {
        Sender(inner::Sender::new(value))
    }

    /// Another receiver, which has seen the value of now.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver(self.0.subscribe())
    }

    /// Whether both send to the same receivers.
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        self.0.same_channel(&other.0)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender(self.0.clone())
    }
}

impl<T: Default> Default for Sender<T> {
    fn default() -> Sender<T> {
        Sender::new(T::default())
    }
}

/// A receiving end, to clone.
#[derive(Debug)]
pub struct Receiver<T>(inner::Receiver<T>);

wraps_whole!(Receiver<T> inner::Receiver<T>);

impl<T> Receiver<T> {
    /// Waits for a value that this receiver has not seen, and marks it as seen.
    ///
    /// # Errors
    /// When no sender is left.
    ///
    /// # Cancel safety
    /// Cancel-safe: dropped before it is ready it has marked nothing.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        cooperative(self.0.changed()).await
    }

    /// Waits until `condition` holds for the value, and marks it as seen. The value is locked as long as
    /// what is returned lives.
    ///
    /// # Errors
    /// When no sender is left, and it does not hold.
    ///
    /// # Cancel safety
    /// Cancel-safe: dropped before it is ready it may have marked values for which the condition does
    /// not hold.
    pub async fn wait_for(
        &mut self,
        condition: impl FnMut(&T) -> bool,
    ) -> Result<Ref<'_, T>, RecvError> {
        cooperative(self.0.wait_for(condition)).await
    }

    /// Whether both receive from the same senders.
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        self.0.same_channel(&other.0)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        Receiver(self.0.clone())
    }
}
