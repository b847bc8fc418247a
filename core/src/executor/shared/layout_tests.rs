//! Which words share a line of memory: what `SCALING.md` says is written by different threads, and
//! what others read all the time beside it, lie apart.
//!
//! A line is 128 bytes here (on x86-64), though caches have lines of 64: processors fetch them in pairs.

use super::*;
use std::mem::{align_of, offset_of, size_of};
use std::ops::RangeInclusive;

const LINE: usize = align_of::<CachePadded<u8>>();

/// A field by its name, and the lines that it lies on, in a struct that begins with one.
type Place = (&'static str, RangeInclusive<usize>);

macro_rules! places {
    ($type:ident: $($field:ident: $of:ty),* $(,)?) => {
        [$((
            stringify!($field),
            offset_of!($type, $field) / LINE
                ..=(offset_of!($type, $field) + size_of::<$of>() - 1) / LINE,
        )),*]
    };
}

/// None of the first lies on a line of another one's, or of those that are read.
fn assert_apart(written: &[Place], read: &[Place]) {
    for (at, (name, lines)) in written.iter().enumerate() {
        for (other, theirs) in written[at + 1..].iter().chain(read) {
            let apart = lines.end() < theirs.start() || theirs.end() < lines.start();
            assert!(
                apart,
                "{name} ({lines:?}) and {other} ({theirs:?}) share a line"
            );
        }
    }
}

#[test]
fn what_all_workers_write_lies_apart_from_what_they_read() {
    assert_eq!(align_of::<Shared>() % LINE, 0);
    let written = places! { Shared:
        refs: CachePadded<AtomicUsize>,
        foreign: CachePadded<Foreign>,
        injector: CachePadded<Injector>,
        reactor: CachePadded<driver::ReactorSlot>,
        memory: CachePadded<Pool>,
        next_foreign: CachePadded<AtomicUsize>,
        tuner: CachePadded<Tuner>,
    };
    // At each push, pop, steal or turn.
    let read = places! { Shared:
        clock: BusyClock,
        stamps: bool,
        idle: Idle,
        crew: Crew,
        ordered: Option<Ordered>,
        remotes: Box<[CachePadded<Remote>]>,
        neighbours: Option<Neighbours>,
        closed: AtomicBool,
        phase: AtomicU32,
        lookout: Arc<Lookout>,
        hooks: ParkHooks,
        blocking: Arc<blocking::Pool>,
    };
    assert_apart(&written, &read);
}

#[test]
fn what_a_worker_shows_lies_apart_from_what_thieves_read() {
    assert_eq!(align_of::<Remote>() % LINE, 0);
    let written = places! { Remote:
        released: CachePadded<Released>,
        counters: CachePadded<Published>,
    };
    let read = places! { Remote:
        thief: LocalThief,
        parker: Arc<Parker>,
        driver: Driver,
        front: Arc<CachePadded<Front>>,
    };
    assert_apart(&written, &read);
    // One line, which only its worker writes; and each of these has its own.
    assert_eq!(size_of::<CachePadded<Front>>(), LINE);
    assert_eq!(size_of::<CachePadded<Published>>(), LINE);
    assert_eq!(align_of::<Parker>() % LINE, 0);
}

/// No two workers' words are on one line, wherever the allocator puts them.
#[test]
fn no_two_workers_write_one_line() {
    let parkers = [Parker::new(), Parker::new()];
    let lines = parkers
        .each_ref()
        .map(|parker| std::ptr::from_ref(parker).addr() / LINE);
    assert_ne!(lines[0], lines[1]);
}
