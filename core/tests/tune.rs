//! The tuner and the profiles, from outside.

#[cfg(not(libruntime_plain_alloc))]
mod common;

use libruntime_core::blocking::Class;
use libruntime_core::runtime::{Affinity, Builder, Runtime};
use libruntime_core::tune::Profile;
use std::io::ErrorKind;
use std::thread::available_parallelism;

fn limit_of_general_jobs(runtime: &Runtime) -> usize {
    runtime.metrics().blocking_classes()[0].limit
}

/// What the builder's methods make of it.
fn built(set: impl Fn(&mut Builder) -> &mut Builder) -> Runtime {
    set(Builder::new().worker_threads(1).max_blocking_threads(64))
        .build()
        .unwrap()
}

#[test]
fn tuner_where_there_can_be_none_is_refused() {
    let refused = |builder: &mut Builder| builder.tuner(true).build().unwrap_err();
    let unwatched = refused(Builder::new().worker_threads(2).stall_watch(false));
    assert_eq!(unwatched.kind(), ErrorKind::InvalidInput);
    assert!(unwatched.to_string().contains("stalls"), "{unwatched}");
    let runtime = Builder::new()
        .worker_threads(2)
        .stall_watch(false)
        .build()
        .unwrap();
    let later = runtime.handle().set_tuner(true).unwrap_err();
    assert_eq!(later.to_string(), unwatched.to_string());
    assert!(!runtime.handle().tuning().on);
    runtime.handle().set_tuner(false).unwrap();
    if let Ok(pinned) = Builder::new()
        .worker_threads(2)
        .affinity(Affinity::Spread)
        .build()
    {
        drop(pinned);
        let refused = refused(Builder::new().worker_threads(2).affinity(Affinity::Spread));
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert!(refused.to_string().contains("pinned"), "{refused}");
    }
}

#[test]
fn tuner_is_off_until_it_is_turned_on() {
    for workers in [1, 2] {
        let runtime = Builder::new().worker_threads(workers).build().unwrap();
        let handle = runtime.handle();
        let tuning = handle.tuning();
        assert!(!tuning.on);
        assert_eq!((tuning.active_workers, tuning.workers), (workers, workers));
        match handle.set_tuner(true) {
            Ok(()) => assert!(handle.tuning().on),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
        }
        handle.set_tuner(false).unwrap();
        assert!(!handle.tuning().on);
        assert!(handle.tuning().decisions.is_empty());
    }
}

#[test]
fn profile_for_computing_lets_no_more_jobs_run_than_there_are_processors() {
    let processors = available_parallelism().unwrap().get();
    let computing = built(|builder| builder.profile(Profile::Cpu));
    assert_eq!(limit_of_general_jobs(&computing), processors.min(64));
    for profile in [Profile::Io, Profile::Mixed, Profile::default()] {
        let other = built(|builder| builder.profile(Profile::Cpu).profile(profile));
        assert_eq!(limit_of_general_jobs(&other), 64, "{profile:?}");
    }
}

#[test]
fn what_is_set_after_a_profile_wins() {
    let runtime = built(|builder| {
        builder
            .profile(Profile::Cpu)
            .blocking_class_limit(Class::GENERAL, 7)
    });
    assert_eq!(limit_of_general_jobs(&runtime), 7);
}

/// A runtime that a crowd of tasks has gone through.
#[cfg(not(libruntime_plain_alloc))]
fn after_a_crowd(set: impl Fn(&mut Builder) -> &mut Builder) -> Runtime {
    let runtime = built(set);
    let crowd: Vec<_> = (0..60_000).map(|_| runtime.spawn(async {})).collect();
    runtime
        .block_on(async {
            for task in crowd {
                task.await.unwrap();
            }
        })
        .unwrap();
    runtime
}

/// Where tasks' memory is the allocator's, as under tools, none is kept.
#[cfg(not(libruntime_plain_alloc))]
#[test]
fn profile_for_io_keeps_the_memory_of_a_crowd() {
    use common::until;

    const SLABS: usize = 4 * (64 << 10);
    let kept = |runtime: &Runtime| runtime.metrics().task_memory_bytes();
    let io = after_a_crowd(|builder| builder.profile(Profile::Io));
    assert!(kept(&io) > 4 << 20, "{} bytes", kept(&io));
    let mixed = after_a_crowd(|builder| builder.profile(Profile::Mixed));
    // Beside what is kept, a few slabs are in use.
    until("what is kept by default", || {
        kept(&mixed) <= (2 << 20) + SLABS
    });
    let by_hand = after_a_crowd(|builder| builder.profile(Profile::Io).keep_task_memory(1 << 20));
    until("what was set after the profile", || {
        kept(&by_hand) <= (1 << 20) + SLABS
    });
}
