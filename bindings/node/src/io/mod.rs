//! Sockets, and the back end that drives them.
//!
//! `socket`, `listener`, `out_buffer` and `table` know neither JavaScript nor how readiness arrives.
//! `inline` drives them on JavaScript's own thread through an event loop (`poller`); what it tells
//! JavaScript goes through [`Dispatcher`](crate::dispatch::Dispatcher), which a back end
//! on threads of its own would use as well.

mod connection;
mod inline;
mod listener;
mod out_buffer;
mod poller;
mod socket;
mod sys;
mod table;

pub(crate) use connection::Which;
pub(crate) use inline::Inline;
pub(crate) use poller::Poller;
pub(crate) use socket::{Read, Settings};
pub(crate) use sys::{ListenSetup, parse_address};
pub(crate) use table::Id;
