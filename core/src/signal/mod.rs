//! Signals, as something to wait for.
//!
//! ```no_run
//! # async fn run() -> std::io::Result<()> {
//! use libruntime_core::signal::{self, unix::{SignalKind, signal}};
//!
//! let mut hangup = signal(SignalKind::hangup())?;
//! hangup.recv().await?;
//! // The next Ctrl-C does not end the process, the one after it does.
//! signal::ctrl_c().await?;
//! # Ok(()) }
//! ```
//!
//! Listeners work on a worker, in `block_on`, and on an
//! [`EventLoop`](crate::event_loop::EventLoop), any number of them for each signal; each is told.
//!
//! # The process is a guest's house
//!
//! As long as a signal has a listener its handler is ours, which tells the listeners and then calls the
//! handler that was there before. The system's default action does not happen meanwhile. With the last
//! listener the disposition that was there before comes back, unless somebody else has set another one
//! in the meantime: that one stays, and as it may call ours, ours stays able to pass the signal on. A
//! handler that is set after ours and does not call it makes the listeners deaf. Of the flags and the mask
//! that the former handler was set with none is kept while it is called by ours.
//!
//! The runtime's own threads block signals: it is the host's threads that are interrupted. A signal
//! that all of them block is not delivered.
//!
//! # Coalescing
//!
//! Signals are not counted: all those that come between two
//! [`recv`](unix::Signal::recv)s make one, as the system itself makes one of several that are pending.

mod registry;
#[cfg(test)]
mod tests;
pub mod unix;

use std::io;

/// Waits for the next `SIGINT`, which Ctrl-C in a terminal sends, from the first poll on.
///
/// # Errors
/// As [`unix::signal`] and [`unix::Signal::recv`].
///
/// # Cancel safety
/// Dropping the future gives the signal back its former meaning, so a Ctrl-C between two calls ends the
/// process, as it did before the first. A loop that waits for other things too therefore makes one
/// [`unix::signal`] before it begins, and asks that each time; or it keeps one of these futures, pinned.
pub async fn ctrl_c() -> io::Result<()> {
    unix::signal(unix::SignalKind::interrupt())?.recv().await
}
