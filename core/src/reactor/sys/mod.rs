//! The system's facility for waiting on descriptors: one file for each.
//!
//! Each offers the same four things. A `Poller` is the set that is waited on: descriptors are
//! added to it edge- or level-triggered under a 64-bit token, from any thread, while its owner
//! waits. `Events` is the buffer that a wait fills. A `Bell` makes a wait end, from any thread
//! and from a signal handler. An `Alarm` makes the `Poller`'s own descriptor readable at a point
//! in time, for a host that sleeps on that descriptor.

/// Whether a descriptor reports its state (`Level`) or changes of it (`Edge`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Edge,
    Level,
}

/// One report of a wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) token: u64,
    pub(crate) ready: super::Ready,
}

#[cfg(all(target_os = "linux", not(libruntime_portable)))]
mod linux;
#[cfg(all(target_os = "linux", not(libruntime_portable)))]
pub(crate) use linux::{Alarm, Bell, Events, Filler, Poller};

#[cfg(any(not(target_os = "linux"), libruntime_portable))]
mod portable;
#[cfg(any(not(target_os = "linux"), libruntime_portable))]
pub(crate) use portable::{Alarm, Bell, Events, Filler, Poller};
