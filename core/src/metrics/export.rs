//! What exporters make of a [`Snapshot`]: its figures as families of named and labelled points.
//!
//! A family's name is written as OpenTelemetry writes them, `libruntime.task.memory` in `By`. The name
//! for Prometheus follows by OpenTelemetry's own rules, `libruntime_task_memory_bytes`, so that a
//! collector that translates the one finds what the other says.

use super::{Histogram, Snapshot, WorkerState};
use std::collections::BTreeMap;
use std::time::Duration;

/// Figures of one meaning.
pub(super) struct Family {
    pub(super) name: String,
    pub(super) help: &'static str,
    /// As UCUM writes it; an annotation in braces counts things.
    pub(super) unit: &'static str,
    pub(super) data: Data,
}

pub(super) enum Data {
    /// Begins at zero with the runtime and never falls.
    Counter(Vec<Point>),
    Gauge(Vec<Point>),
    Histogram(Histogram),
}

/// A figure and what it is of.
pub(super) struct Point {
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: Value,
}

#[derive(Clone, Copy)]
pub(super) enum Value {
    Count(u64),
    Seconds(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Value {
        Value::Count(count)
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Value {
        Value::Count(count as u64)
    }
}

impl From<Duration> for Value {
    fn from(duration: Duration) -> Value {
        Value::Seconds(duration.as_secs_f64())
    }
}

/// Nanoseconds in the exporters' unit. Both numbers are exact, so that the quotient is the nearest there is.
pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

impl Family {
    fn counter(name: &str, unit: &'static str, help: &'static str, points: Vec<Point>) -> Family {
        Family::new(name, unit, help, Data::Counter(points))
    }

    fn gauge(name: &str, unit: &'static str, help: &'static str, points: Vec<Point>) -> Family {
        Family::new(name, unit, help, Data::Gauge(points))
    }

    fn new(name: &str, unit: &'static str, help: &'static str, data: Data) -> Family {
        Family {
            name: format!("libruntime.{name}"),
            help,
            unit,
            data,
        }
    }
}

fn one(value: impl Into<Value>) -> Vec<Point> {
    vec![Point {
        labels: Vec::new(),
        value: value.into(),
    }]
}

/// In the metrics' words.
fn name_of(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Starting => "starting",
        WorkerState::Running => "running",
        WorkerState::Searching => "searching",
        WorkerState::Parked => "parked",
        WorkerState::InReactor => "in_reactor",
        WorkerState::Draining => "draining",
        WorkerState::Terminated => "terminated",
    }
}

impl Snapshot {
    /// All figures. A histogram that is off is not among them.
    pub(super) fn families(&self) -> Vec<Family> {
        let mut families = self.of_the_runtime();
        families.extend(self.of_the_workers());
        families.extend(self.of_the_blocking_pool());
        let histograms = [
            (
                "poll_time",
                "How long polls of tasks took.",
                self.poll_time_histogram(),
            ),
            (
                "schedule_latency",
                "How long tasks were ready before they were polled.",
                self.schedule_latency_histogram(),
            ),
        ];
        families.extend(
            histograms
                .into_iter()
                .filter_map(|(name, help, histogram)| {
                    Some(Family::new(name, "s", help, Data::Histogram(histogram?)))
                }),
        );
        families
    }

    fn of_the_runtime(&self) -> Vec<Family> {
        vec![
            Family::gauge(
                "uptime",
                "s",
                "Time since the runtime was made.",
                one(self.uptime()),
            ),
            Family::gauge("workers", "{worker}", "Workers.", one(self.num_workers())),
            Family::gauge(
                "tasks.alive",
                "{task}",
                "Tasks that were spawned and have not ended.",
                one(self.num_alive_tasks()),
            ),
            Family::counter(
                "tasks.spawned",
                "{task}",
                "Tasks that were ever spawned.",
                one(self.spawned_tasks_count()),
            ),
            Family::counter(
                "tasks.spawned_outside",
                "{task}",
                "Tasks that were spawned on threads that are none of the workers.",
                one(self.spawned_outside_count()),
            ),
            Family::counter(
                "tasks.completed",
                "{task}",
                "Tasks that have ended: run to completion, panicked, or were cancelled.",
                one(self.completed_tasks_count()),
            ),
            Family::gauge(
                "global_queue.depth",
                "{task}",
                "Tasks that wait in the queue for work from outside of the workers.",
                one(self.global_queue_depth()),
            ),
            Family::gauge(
                "task.memory",
                "By",
                "Memory that the runtime has for tasks.",
                one(self.task_memory_bytes()),
            ),
            Family::gauge(
                "task.memory_peak",
                "By",
                "The most memory that the runtime has had for tasks.",
                one(self.task_memory_peak_bytes()),
            ),
            Family::counter(
                "stall_hand_overs",
                "{wake}",
                "How often a worker was woken to wait for I/O because a poll held up the one that did.",
                one(self.stall_hand_over_count()),
            ),
            Family::counter(
                "io_driver.fd_registered",
                "{descriptor}",
                "Descriptors that the reactor was asked to watch.",
                one(self.io_driver_fd_registered_count()),
            ),
            Family::counter(
                "io_driver.calls",
                "{call}",
                "System calls that were made to change what the reactor watches.",
                one(self.io_driver_call_count()),
            ),
        ]
    }

    /// A point for each worker.
    fn each_worker<V: Into<Value>>(&self, value: impl Fn(usize) -> V) -> Vec<Point> {
        let point = |worker: usize| Point {
            labels: vec![("worker", worker.to_string())],
            value: value(worker).into(),
        };
        (0..self.num_workers()).map(point).collect()
    }

    fn of_the_workers(&self) -> Vec<Family> {
        let mut families = vec![
            Family::counter(
                "worker.busy",
                "s",
                "How long the worker has been awake: polling tasks, or looking for them.",
                self.each_worker(|worker| self.worker_total_busy_duration(worker)),
            ),
            Family::gauge(
                "worker.queue.depth",
                "{task}",
                "Tasks that wait in the worker's own queue.",
                self.each_worker(|worker| self.worker_local_queue_depth(worker)),
            ),
            Family::counter(
                "worker.stalls",
                "{poll}",
                "Polls of the worker that were found to hold up others.",
                self.each_worker(|worker| self.worker_stall_count(worker)),
            ),
            Family::gauge(
                "worker.state",
                "",
                "One for the state that the worker is in, and zero for the others.",
                self.worker_states(),
            ),
            Family::counter(
                "worker.transitions",
                "{transition}",
                "How often the worker has gone from one state to another.",
                self.all_transitions(),
            ),
        ];
        for (n, (name, help)) in Snapshot::WORKER_COUNTERS.iter().enumerate() {
            let name = name.strip_prefix("worker_").unwrap_or(name);
            let name = name.strip_suffix("_count").unwrap_or(name);
            let value = |worker: usize| self.worker_counters(worker).nth(n).map_or(0, |(_, v)| v);
            families.push(Family::counter(
                &format!("worker.{name}"),
                "",
                help.trim(),
                self.each_worker(value),
            ));
        }
        families
    }

    fn worker_states(&self) -> Vec<Point> {
        let mut points = Vec::new();
        for worker in 0..self.num_workers() {
            points.extend(WorkerState::ALL.map(|state| Point {
                labels: vec![
                    ("worker", worker.to_string()),
                    ("state", name_of(state).to_owned()),
                ],
                value: u64::from(self.worker_state(worker) == state).into(),
            }));
        }
        points
    }

    fn all_transitions(&self) -> Vec<Point> {
        let mut points = Vec::new();
        for worker in 0..self.num_workers() {
            let steps = self.worker_transitions(worker);
            points.extend(steps.map(|(from, to, count)| Point {
                labels: vec![
                    ("worker", worker.to_string()),
                    ("from", name_of(from).to_owned()),
                    ("to", name_of(to).to_owned()),
                ],
                value: count.into(),
            }));
        }
        points
    }

    fn of_the_blocking_pool(&self) -> Vec<Family> {
        // Classes of one name count as one: a point's labels must be its own.
        let mut classes = BTreeMap::<&str, [u64; 4]>::new();
        for class in self.blocking_classes() {
            let figures = [
                class.queued as u64,
                class.running as u64,
                class.limit as u64,
                class.done,
            ];
            let sums = classes.entry(&class.name).or_default();
            sums.iter_mut().zip(figures).for_each(|(sum, n)| *sum += n);
        }
        let each_class = |n: usize| {
            let point = |(name, figures): (&&str, &[u64; 4])| Point {
                labels: vec![("class", (*name).to_owned())],
                value: figures[n].into(),
            };
            classes.iter().map(point).collect()
        };
        vec![
            Family::gauge(
                "blocking.threads",
                "{thread}",
                "Threads of the blocking pool.",
                one(self.num_blocking_threads()),
            ),
            Family::gauge(
                "blocking.idle_threads",
                "{thread}",
                "Threads of the blocking pool that wait for a job.",
                one(self.num_idle_blocking_threads()),
            ),
            Family::gauge(
                "blocking.queue.depth",
                "{job}",
                "Jobs that wait for a thread of the blocking pool.",
                each_class(0),
            ),
            Family::gauge(
                "blocking.running",
                "{job}",
                "Jobs that run on the blocking pool.",
                each_class(1),
            ),
            Family::gauge(
                "blocking.limit",
                "{job}",
                "Jobs that may run on the blocking pool at once.",
                each_class(2),
            ),
            Family::counter(
                "blocking.done",
                "{job}",
                "Jobs that have ended on the blocking pool.",
                each_class(3),
            ),
        ]
    }
}
