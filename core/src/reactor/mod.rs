//! Readiness of file descriptors: what is asked ([`Interest`]), and what is answered ([`Ready`]).
//!
//! Inside, a `Reactor` waits, and its `Handle`s register with it from any thread. A `Registration` has
//! a word that says what its descriptor is ready for and wakes the tasks that wait for it
//! (`scheduled_io`); the way from a report to the word takes no lock and no allocation. An
//! [`EventLoop`](crate::event_loop::EventLoop) is its own waiter: it keeps what is reported for its
//! watches, and passes on the rest.

mod driver;
mod interest;
pub(crate) mod scheduled_io;
mod slots;
pub(crate) mod sys;
pub(crate) mod token;
pub(crate) mod wake_state;
mod waker_slot;

pub(crate) use driver::{Calls, Handle, Leave, Reactor, Registration, closed};
pub use interest::{Interest, Ready};
pub(crate) use scheduled_io::Direction;
pub(crate) use waker_slot::wake;
