//! Classes of blocking jobs, and whose turn it is. A pure structure: it knows no threads and no lock.

use std::collections::VecDeque;
use std::sync::Arc;

/// A kind of blocking job, with a queue and a limit of threads of its own.
///
/// A class that runs nothing may always run one job, whatever the others do; so none starves. More of
/// its jobs run at once as long as its own limit and the pool's allow. When a thread has ended a job it
/// takes the next from the classes in turn.
///
/// [`Builder::add_blocking_class`](crate::runtime::Builder::add_blocking_class) makes more of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Class(u8);

impl Class {
    /// What [`spawn_blocking`](crate::spawn_blocking) runs. Its limit is the pool's.
    pub const GENERAL: Class = Class(0);
    /// Operations on files. By default half of the pool's threads at most.
    pub const FILES: Class = Class(1);
    /// Looking up names. By default an eighth of the pool's threads at most.
    pub const DNS: Class = Class(2);
    /// Starting processes. By default half of the pool's threads at most.
    pub const PROCESSES: Class = Class(3);

    /// Classes that a pool may have, the four above included.
    pub const MAX: usize = 32;

    pub(crate) fn nth(index: usize) -> Class {
        Class(u8::try_from(index).unwrap_or(u8::MAX))
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What a pool is told about a class.
#[derive(Clone, Debug)]
pub(crate) struct ClassSettings {
    pub(crate) name: Arc<str>,
    /// Jobs that may run at once; `None` for the class's share of the pool's limit.
    pub(crate) limit: Option<usize>,
    /// The default is the pool's limit divided by this.
    share: usize,
}

impl ClassSettings {
    pub(crate) fn new(name: impl Into<Arc<str>>, limit: Option<usize>) -> ClassSettings {
        ClassSettings {
            name: name.into(),
            limit,
            share: 1,
        }
    }

    /// Those that every pool has.
    pub(crate) fn built_in() -> Vec<ClassSettings> {
        [("general", 1), ("files", 2), ("dns", 8), ("processes", 2)]
            .map(|(name, share)| ClassSettings {
                name: name.into(),
                limit: None,
                share,
            })
            .to_vec()
    }
}

/// How the jobs of one class stand.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassMetrics {
    /// The class's name.
    pub name: Arc<str>,
    /// Jobs that wait for a thread.
    pub queued: usize,
    /// Jobs that run.
    pub running: usize,
    /// Jobs that may run at once.
    pub limit: usize,
    /// Jobs that have ended, panics included, since the pool was made. A job is counted a moment after
    /// its handle resolves.
    pub done: u64,
}

/// The queues of all classes.
#[derive(Debug)]
pub(super) struct Lanes<J> {
    lanes: Box<[Lane<J>]>,
    max: usize,
    busy: usize,
    /// Whose turn it is.
    next: usize,
}

#[derive(Debug)]
struct Lane<J> {
    name: Arc<str>,
    queue: VecDeque<J>,
    running: usize,
    limit: usize,
    done: u64,
}

impl<J> Lanes<J> {
    pub(super) fn new(classes: Vec<ClassSettings>, max: usize) -> Lanes<J> {
        let lane = |class: ClassSettings| Lane {
            name: class.name,
            queue: VecDeque::new(),
            running: 0,
            limit: class.limit.unwrap_or(max / class.share).clamp(1, max),
            done: 0,
        };
        Lanes {
            lanes: classes.into_iter().map(lane).collect(),
            max,
            busy: 0,
            next: 0,
        }
    }

    /// Queues a job. A class that this pool does not have counts as the general one.
    pub(super) fn push(&mut self, class: Class, job: J) {
        let index = class.index();
        let index = if index < self.lanes.len() { index } else { 0 };
        self.lanes[index].queue.push_back(job);
    }

    fn is_ready(&self, index: usize) -> bool {
        let lane = &self.lanes[index];
        !lane.queue.is_empty()
            && (lane.running == 0 || (self.busy < self.max && lane.running < lane.limit))
    }

    /// Whether there is a job that may run now.
    pub(super) fn any_ready(&self) -> bool {
        (0..self.lanes.len()).any(|index| self.is_ready(index))
    }

    /// Takes the next job that may run, and counts it as running.
    pub(super) fn take(&mut self) -> Option<(Class, J)> {
        let count = self.lanes.len();
        for step in 0..count {
            let index = (self.next + step) % count;
            if self.is_ready(index) {
                self.next = (index + 1) % count;
                self.busy += 1;
                let lane = &mut self.lanes[index];
                lane.running += 1;
                let job = lane.queue.pop_front()?;
                return Some((Class::nth(index), job));
            }
        }
        None
    }

    /// Jobs of all classes that were taken and have not ended.
    pub(super) fn running(&self) -> usize {
        self.busy
    }

    /// A job that was taken has ended.
    pub(super) fn ended(&mut self, class: Class) {
        let lane = &mut self.lanes[class.index()];
        lane.running -= 1;
        lane.done += 1;
        self.busy -= 1;
    }

    /// Takes out every queued job that `keep` does not hold on to.
    pub(super) fn remove(&mut self, keep: impl Fn(&J) -> bool) -> Vec<J> {
        let mut removed = Vec::new();
        for lane in &mut self.lanes {
            for job in std::mem::take(&mut lane.queue) {
                if keep(&job) {
                    lane.queue.push_back(job);
                } else {
                    removed.push(job);
                }
            }
        }
        removed
    }

    pub(super) fn metrics(&self) -> Vec<ClassMetrics> {
        let metrics = |lane: &Lane<J>| ClassMetrics {
            name: lane.name.clone(),
            queued: lane.queue.len(),
            running: lane.running,
            limit: lane.limit,
            done: lane.done,
        };
        self.lanes.iter().map(metrics).collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn lanes(max: usize, limits: &[usize]) -> Lanes<u32> {
        let class = |&limit: &usize| ClassSettings::new("", Some(limit));
        Lanes::new(limits.iter().map(class).collect(), max)
    }

    fn taken(lanes: &mut Lanes<u32>) -> Vec<u32> {
        std::iter::from_fn(|| lanes.take())
            .map(|(_, job)| job)
            .collect()
    }

    #[test]
    fn classes_take_turns() {
        let mut lanes = lanes(100, &[100, 100, 100]);
        for job in 0..6 {
            lanes.push(Class::nth(0), job);
        }
        lanes.push(Class::nth(1), 10);
        lanes.push(Class::nth(1), 11);
        lanes.push(Class::nth(2), 20);
        assert_eq!(taken(&mut lanes), [0, 10, 20, 1, 11, 2, 3, 4, 5]);
    }

    #[test]
    fn class_keeps_to_its_limit_and_all_to_the_pool_s() {
        let mut lanes = lanes(3, &[3, 2]);
        for job in 0..4 {
            lanes.push(Class::nth(0), job);
            lanes.push(Class::nth(1), 10 + job);
        }
        assert_eq!(taken(&mut lanes), [0, 10, 1]);
        assert!(!lanes.any_ready());
        lanes.ended(Class::nth(0));
        assert_eq!(taken(&mut lanes), [11]);
        lanes.ended(Class::nth(0));
        assert_eq!(taken(&mut lanes), [2], "the second class is at its limit");
    }

    #[test]
    fn class_that_runs_nothing_may_always_run_one_job() {
        let mut lanes = lanes(2, &[2, 2]);
        for job in 0..4 {
            lanes.push(Class::nth(0), job);
        }
        assert_eq!(taken(&mut lanes), [0, 1]);
        lanes.push(Class::nth(1), 10);
        lanes.push(Class::nth(1), 11);
        assert_eq!(
            taken(&mut lanes),
            [10],
            "beyond the limit of all, but one only"
        );
        lanes.ended(Class::nth(1));
        assert_eq!(taken(&mut lanes), [11]);
    }

    #[test]
    fn unknown_class_counts_as_general() {
        let mut lanes = lanes(2, &[2, 2]);
        lanes.push(Class::nth(7), 1);
        assert_eq!(lanes.take(), Some((Class::GENERAL, 1)));
    }

    #[test]
    fn limits_default_to_a_share_and_are_never_zero() {
        let limits = |max| -> Vec<usize> {
            let lanes = Lanes::<u32>::new(ClassSettings::built_in(), max);
            lanes.metrics().iter().map(|class| class.limit).collect()
        };
        assert_eq!(limits(512), [512, 256, 64, 256]);
        assert_eq!(limits(1), [1, 1, 1, 1]);
    }

    #[test]
    fn removal_keeps_what_is_to_be_kept_in_order() {
        let mut lanes = lanes(9, &[9, 9]);
        for job in 0..6 {
            lanes.push(Class::nth(0), job);
        }
        assert_eq!(lanes.remove(|job| job % 2 == 0), [1, 3, 5]);
        assert_eq!(taken(&mut lanes), [0, 2, 4]);
    }
}
