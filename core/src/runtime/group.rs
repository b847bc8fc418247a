//! Groups of tasks that share a runtime by weight.

use crate::executor::{FairLane, GroupKey, MAX_WEIGHT};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Tasks that get a share of the workers' time together, under
/// [`Policy::Fair`](super::Policy::Fair). Made by [`Handle::group`](super::Handle::group); a task
/// joins one by [`task::Builder::group`](crate::task::Builder::group), when it is spawned.
///
/// While it has tasks to run, a group gets time in proportion to its weight among the groups that
/// have any. Time that it does not use goes to the others, and is not saved up.
///
/// A clone is the same group. It ends with the last clone and the last of its tasks.
#[derive(Clone)]
pub struct Group(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    weight: u32,
    /// `None` under the policies that know no groups.
    place: Option<(Arc<FairLane>, GroupKey)>,
}

impl Group {
    /// The most that a group may weigh; 1 is the least.
    pub const MAX_WEIGHT: u32 = MAX_WEIGHT;
    /// What the tasks without a group weigh together, unless
    /// [`FairOptions::default_weight`](super::FairOptions::default_weight) says otherwise.
    pub const DEFAULT_WEIGHT: u32 = 100;

    pub(super) fn new(name: Arc<str>, weight: u32, lane: Option<Arc<FairLane>>) -> Group {
        let place = lane.map(|lane| {
            let key = lane.add_group(weight);
            (lane, key)
        });
        Group(Arc::new(Inner {
            name,
            weight,
            place,
        }))
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The group's weight.
    pub fn weight(&self) -> u32 {
        self.0.weight
    }

    /// How long polls of the group's tasks took so far, all workers together. Zero under other
    /// policies than the fair one.
    pub fn busy_time(&self) -> Duration {
        self.served().0
    }

    /// How many polls these were.
    pub fn poll_count(&self) -> u64 {
        self.served().1
    }

    fn served(&self) -> (Duration, u64) {
        match &self.0.place {
            Some((lane, key)) => lane.served(*key),
            None => (Duration::ZERO, 0),
        }
    }

    /// The group's place in that queue, if it is one of its groups.
    pub(crate) fn key_in(&self, lane: &Arc<FairLane>) -> Option<GroupKey> {
        match &self.0.place {
            Some((own, key)) if Arc::ptr_eq(own, lane) => Some(*key),
            _ => None,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A task in the queue has a clone of its group: there is none.
        if let Some((lane, key)) = &self.place {
            lane.remove_group(*key);
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.name())
            .field("weight", &self.weight())
            .finish_non_exhaustive()
    }
}
