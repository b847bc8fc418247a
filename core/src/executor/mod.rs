//! The work-stealing executor: workers, their queues, and how they sleep and wake each other.
//!
//! `README.md` beside this file states the sleep protocol and the shutdown, and argues that no
//! wake-up and no task is lost. A worker's life is in [`worker`], what workers share in [`shared`].

mod arming;
mod counters;
mod crew;
mod driver;
#[cfg(all(test, not(loom)))]
mod fairness_tests;
mod front;
mod handover;
mod idle;
mod linger;
mod lookout;
#[cfg(all(test, loom))]
mod loom_crew;
#[cfg(all(test, loom))]
mod loom_queue;
#[cfg(all(test, loom))]
mod loom_tests;
mod ordered;
mod pace;
mod parker;
mod policy;
mod queue;
mod relief;
mod reserve;
mod shared;
mod slot;
mod state;
mod sys;
mod timing;
mod usage;
mod victims;
mod watch;
mod worker;

pub(crate) use counters::Figures;
#[cfg(loom)]
pub(crate) use driver::Driver as ModelDriver;
pub(crate) use handover::{Starter as SpareStarter, Starters, hand_over};
pub(crate) use policy::{FairLane, GroupKey, MAX_WEIGHT};
pub(crate) use shared::{Plan, Shared, SharedRef};
pub(crate) use state::Transitions;
pub use state::WorkerState;
pub(crate) use timing::Measured;
pub(crate) use usage::{WorkerTimes, are_delays_told};
pub(crate) use victims::Neighbours;
pub(crate) use watch::Starter as WatchStarter;
pub(crate) use worker::{is_worker, with_current as with_worker};
