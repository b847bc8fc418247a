//! The orders in which a runtime may run what is ready.

use std::io;

/// In which order a runtime's workers run the tasks that are ready. Chosen with
/// [`Builder::policy`](super::Builder::policy).
///
/// No policy interrupts a poll: whatever is more urgent waits for the end of the polls at hand. What
/// each policy promises is in `docs/policies.md`, with the tests that show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// First in, first out on each worker, except that the task woken last runs next (three times in
    /// a row at most). Workers without tasks steal the oldest half of another's. The quickest;
    /// that there are other policies costs it nothing.
    #[default]
    Fifo,
    /// Last in, first out on each worker: what was woken or spawned last runs first, while its data
    /// is in the core's cache. Workers without tasks steal the oldest of another's. A task that
    /// yields goes behind all others. What waits while newer tasks keep coming has its turn now and
    /// then.
    Lifo,
    /// By [`Priority`](crate::task::Priority), and by deadline inside a class, over all workers.
    Priority(PriorityOptions),
    /// Groups share the workers' time by weight: see [`Handle::group`](super::Handle::group). Inside
    /// a group: first in, first out.
    Fair(FairOptions),
}

impl Policy {
    /// By priority, with default options.
    pub fn priority() -> Policy {
        Policy::Priority(PriorityOptions::new())
    }

    /// By weight, with default options.
    pub fn fair() -> Policy {
        Policy::Fair(FairOptions::new())
    }

    pub(super) fn check(&self) -> io::Result<()> {
        match self {
            Policy::Fifo | Policy::Lifo => Ok(()),
            Policy::Priority(options) if options.ageing < 2 => Err(invalid(format!(
                "an ageing of {} leaves no pick to priorities; 2 is the least",
                options.ageing
            ))),
            Policy::Priority(_) => Ok(()),
            Policy::Fair(options) => check_weight(options.weight),
        }
    }
}

/// Options of [`Policy::Priority`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriorityOptions {
    pub(crate) ageing: u32,
}

impl PriorityOptions {
    /// What [`ageing`](Self::ageing) is unless it is set: a thirty-second of the picks, 3%, is what
    /// the best class gives up for the others.
    pub const DEFAULT_AGEING: u32 = 32;

    /// The defaults.
    pub fn new() -> PriorityOptions {
        PriorityOptions {
            ageing: Self::DEFAULT_AGEING,
        }
    }

    /// One in so many picks of a worker goes to a task for its age rather than its priority and
    /// deadline; 2 is the least. The classes, and in them the workers' queues, have these picks in
    /// turn. So a task of any class, with `p` older ones of its class in its queue, runs within
    /// `interval * 5 * queues * (p + 1)` picks of any one worker, however much of other classes
    /// comes; `queues` counts those that hold tasks of its class: one for each worker at most, and
    /// one for all tasks with deadlines.
    pub fn ageing(mut self, interval: u32) -> PriorityOptions {
        self.ageing = interval;
        self
    }
}

impl Default for PriorityOptions {
    fn default() -> PriorityOptions {
        PriorityOptions::new()
    }
}

/// Options of [`Policy::Fair`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FairOptions {
    pub(crate) weight: u32,
}

impl FairOptions {
    /// The defaults.
    pub fn new() -> FairOptions {
        FairOptions {
            weight: super::Group::DEFAULT_WEIGHT,
        }
    }

    /// What the tasks that are in no group weigh together, as a group of their own.
    pub fn default_weight(mut self, weight: u32) -> FairOptions {
        self.weight = weight;
        self
    }
}

impl Default for FairOptions {
    fn default() -> FairOptions {
        FairOptions::new()
    }
}

pub(super) fn check_weight(weight: u32) -> io::Result<()> {
    let most = super::Group::MAX_WEIGHT;
    if (1..=most).contains(&weight) {
        Ok(())
    } else {
        Err(invalid(format!(
            "a group weighs from 1 to {most}, not {weight}"
        )))
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
