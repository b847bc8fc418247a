//! Settings for kinds of work, and a tuner that changes one while the runtime runs.
//!
//! A [`Profile`] sets a builder for a kind of work. A *tuner* watches a runtime (monitor), finds out what
//! would suit it better (recommend) and changes that (apply): how many of its workers take part. It is off
//! unless [`Builder::tuner`](crate::runtime::Builder::tuner) or
//! [`Handle::set_tuner`](crate::runtime::Handle::set_tuner) turns it on. The intervals at which workers look at
//! I/O and at what was spawned outside need no tuner: each worker fits them to the length of its polls,
//! always.
//!
//! # Decisions
//! - More workers take part than the process may use processors, and they waited for a processor for half as
//!   long as they ran, or longer: as many as processors do. So with eight workers in a container that has
//!   two processors, also if that changed while it ran. Never fewer than processors, however busy others
//!   keep these.
//! - All that take part were awake for nine tenths of the time, more tasks than workers were waiting, and
//!   hardly anybody waited for a processor, because there are more of them than workers or because polls
//!   waited for something else for a quarter of the time: one worker more does, of those that the
//!   builder made.
//! - A poll [holds up](crate::runtime::Builder::stall_watch) its worker: all workers do.
//!
//! Figures are looked at every 200 ms at most, and not while the runtime sleeps. Two looks must agree and
//! three after each decision decide nothing, so that decisions by figures are a second apart or more, but
//! for the first; one that takes another back needs twice as many looks each time, up to 64 (13 s).
//!
//! ```
//! use libruntime_core::runtime::Builder;
//! use libruntime_core::tune::Profile;
//!
//! let runtime = Builder::new()
//!     .profile(Profile::Io)
//!     .worker_threads(8)
//!     .build()?;
//! let handle = runtime.handle();
//! // `Unsupported` where the system does not tell how long threads wait for processors.
//! if handle.set_tuner(true).is_ok() {
//!     runtime.block_on(async { /* work */ })?;
//!     for decision in handle.tuning().decisions {
//!         println!("{decision}");
//!     }
//!     handle.set_tuner(false)?;
//! }
//! assert_eq!(handle.tuning().active_workers, 8);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod decide;
mod decision;
mod profile;
#[cfg(all(test, not(loom)))]
mod tests;
mod tuner;

pub use decision::{Decision, Reason, Setting};
pub(crate) use profile::CROWDS;
pub use profile::Profile;
pub(crate) use tuner::{Obstacle, Tuner};

/// How a runtime's tuner stands, and what it did: see
/// [`Handle::tuning`](crate::runtime::Handle::tuning).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tuning {
    /// Whether it is on.
    pub on: bool,
    /// How many workers take part.
    pub active_workers: usize,
    /// How many there are.
    pub workers: usize,
    /// The last decisions, the oldest first, 64 at most.
    pub decisions: Vec<Decision>,
}
