//! Workers stay on their processors, and what they start does not.
#![cfg(all(target_os = "linux", not(libruntime_portable)))]

use libruntime_core::process::Command;
use libruntime_core::runtime::{Affinity, Builder};
use libruntime_core::topology::Topology;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

/// The processors that the calling thread may use, by the system's own words.
fn here() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    listed(&status)
}

fn listed(status: &str) -> Vec<usize> {
    let mut lines = status.lines();
    let list = lines
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap();
    let range = |part: &str| {
        let number = |text: &str| text.trim().parse::<usize>().unwrap();
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        number(first)..=number(last)
    };
    list.split(',').flat_map(range).collect()
}

fn restrict_this_thread(cpu: usize) {
    // SAFETY: the set is on this stack, and all zeroes are an empty one.
    let done = unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set)
    };
    assert_eq!(done, 0);
}

/// Where the threads of a runtime are when their hook is called, in the order in which they were
/// named: workers first.
#[derive(Clone, Default)]
struct Starts(Arc<Mutex<BTreeMap<usize, Vec<usize>>>>);

impl Starts {
    fn builder(&self) -> Builder {
        let (starts, named) = (self.0.clone(), AtomicUsize::new(0));
        let mut builder = Builder::new();
        builder
            .thread_name_fn(move || named.fetch_add(1, Ordering::SeqCst).to_string())
            .on_thread_start(move || {
                let number = thread::current().name().unwrap().parse().unwrap();
                starts.lock().unwrap().insert(number, here());
            });
        builder
    }

    /// Waits for the hook of each of `threads`.
    fn wait(&self, threads: usize) -> Vec<Vec<usize>> {
        loop {
            let starts = self.0.lock().unwrap().clone();
            if starts.len() >= threads {
                return starts.into_values().collect();
            }
            thread::yield_now();
        }
    }
}

#[test]
fn a_worker_that_is_handed_over_stays_on_its_processor() {
    let own = here()[0];
    let runtime = Builder::new()
        .worker_threads(1)
        .affinity(Affinity::Pin(vec![own]))
        .build()
        .unwrap();
    for _ in 0..3 {
        let task = runtime.spawn(async {
            let other = libruntime_core::spawn(async { (here(), thread::current().id()) });
            let runtime = libruntime_core::runtime::Handle::current();
            let other = libruntime_core::task::block_in_place(|| runtime.block_on(other));
            let (processors, thread) = other.unwrap().unwrap();
            assert_ne!(thread, thread::current().id());
            processors
        });
        assert_eq!(runtime.block_on(task).unwrap().unwrap(), [own]);
    }
}

#[test]
fn workers_are_pinned_before_their_hook_and_take_processors_in_turn() {
    let allowed = here();
    let (first, last) = (allowed[0], allowed[allowed.len() - 1]);
    let starts = Starts::default();
    let runtime = starts
        .builder()
        .worker_threads(3)
        .affinity(Affinity::Pin(vec![last, first]))
        .build()
        .unwrap();
    assert_eq!(starts.wait(3), [[last], [first], [last]]);
    let task = runtime.spawn(async { here() });
    assert_eq!(runtime.block_on(task).unwrap().unwrap().len(), 1);
    assert_eq!(here(), allowed, "the builder's thread is as it was");
}

#[test]
fn spread_and_pack_give_each_worker_a_processor_and_begin_again() {
    let allowed = here();
    for affinity in [Affinity::Spread, Affinity::Pack] {
        let starts = Starts::default();
        let workers = allowed.len() + 1;
        let runtime = starts
            .builder()
            .worker_threads(workers)
            .affinity(affinity)
            .build()
            .unwrap();
        let mut cpus = starts.wait(workers).concat();
        assert_eq!(cpus.len(), workers);
        assert_eq!(cpus.pop().unwrap(), cpus[0]);
        cpus.sort_unstable();
        assert_eq!(cpus, allowed);
        drop(runtime);
    }
}

#[test]
fn nothing_that_a_pinned_worker_starts_is_pinned() {
    let allowed = here();
    let starts = Starts::default();
    let runtime = starts
        .builder()
        .worker_threads(2)
        .affinity(Affinity::Pin(vec![allowed[0]]))
        .build()
        .unwrap();
    let task = runtime.spawn(async {
        let job = libruntime_core::spawn_blocking(here).await.unwrap();
        let status = Command::new("cat").arg("/proc/self/status").output().await;
        let child = listed(&String::from_utf8(status.unwrap().stdout).unwrap());
        let inner = Starts::default();
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let topology = Topology::current();
        let runtime = inner.builder().build().unwrap();
        let workers = (workers, runtime.metrics().num_workers());
        let inner = inner.wait(workers.1);
        drop(runtime);
        (job, child, topology, workers, inner, here())
    });
    let (job, child, topology, workers, inner, after) = runtime.block_on(task).unwrap().unwrap();
    assert_eq!(job, allowed, "a job on a thread that the worker started");
    assert_eq!(child, allowed, "a program");
    let seen = topology.cpus().iter().filter(|cpu| cpu.allowed);
    assert_eq!(seen.map(|cpu| cpu.id).collect::<Vec<_>>(), allowed);
    let all = thread::available_parallelism().map_or(1, usize::from);
    assert_eq!(
        workers,
        (1, all),
        "what the worker has, and its inner runtime"
    );
    assert!(inner.iter().all(|cpus| *cpus == allowed), "{inner:?}");
    assert_eq!(after, [allowed[0]], "the worker itself stays");
    // The watch is started by the worker that first finds a task, so before the job's thread or after.
    let all = starts.wait(4);
    assert_eq!(all[..2], [[allowed[0]], [allowed[0]]]);
    assert!(all[2..].iter().all(|cpus| *cpus == allowed), "{all:?}");
}

#[test]
fn threads_have_the_processors_of_the_thread_that_built_the_runtime() {
    let cpu = here()[0];
    let narrow = thread::spawn(move || {
        restrict_this_thread(cpu);
        Builder::new()
            .worker_threads(1)
            .affinity(Affinity::Spread)
            .build()
            .unwrap()
    });
    let runtime = narrow.join().unwrap();
    let task =
        runtime.spawn(async { (here(), libruntime_core::spawn_blocking(here).await.unwrap()) });
    assert_eq!(
        runtime.block_on(task).unwrap().unwrap(),
        (vec![cpu], vec![cpu])
    );
}

#[test]
fn processors_that_can_not_be_used_are_refused_by_name() {
    let refuse = |cpus: Vec<usize>| {
        let error = Builder::new()
            .affinity(Affinity::Pin(cpus))
            .build()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.to_string()
    };
    let allowed = here();
    assert!(refuse(vec![]).contains("empty"));
    assert!(refuse(vec![allowed[0], 54_321]).contains("54321"));
    assert!(refuse(vec![usize::MAX]).contains(&usize::MAX.to_string()));
    assert_eq!(here(), allowed);
    let &[first, second, ..] = &allowed[..] else {
        return;
    };
    let (told, refused) = mpsc::channel();
    let narrow = thread::spawn(move || {
        restrict_this_thread(first);
        told.send(refuse(vec![second])).unwrap();
    });
    narrow.join().unwrap();
    assert!(
        refused
            .recv()
            .unwrap()
            .contains(&format!("may not use processor {second}"))
    );
}
