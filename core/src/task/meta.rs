//! What a task has beyond its future: the options that its [`Builder`](super::Builder) was given, and
//! the time at which it became ready, if its runtime measures that.

use super::Priority;
use crate::runtime::Group;
use crate::shim::figures::AtomicU64;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// The options of a task. A task that was given none has no record of them, unless it is stamped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meta {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) priority: Priority,
    pub(crate) deadline: Option<Instant>,
    pub(crate) group: Option<Group>,
    pub(crate) ready_at: Stamp,
}

/// When a task became ready last, in nanoseconds of its runtime's clock; zero if nobody measures that. Who
/// writes it when is in `executor/timing.rs`.
#[derive(Debug, Default)]
pub(crate) struct Stamp(AtomicU64);

impl Stamp {
    pub(super) fn set(&self, nanos: u64) {
        self.0.store(nanos.max(1), Relaxed);
    }

    pub(super) fn get(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|nanos| *nanos > 0)
    }
}

/// Another task is not ready.
impl Clone for Stamp {
    fn clone(&self) -> Stamp {
        Stamp::default()
    }
}

/// The record of a task, if it has one.
pub(crate) type Record = Option<Box<Cold<Meta>>>;

/// Something whose drop is out of the way of those that have none: inlined, and with a way out for a
/// panic, it costs the end of every task a hundredth.
#[derive(Debug)]
pub(crate) struct Cold<T>(ManuallyDrop<T>);

impl<T> Deref for Cold<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Cold<T> {
    #[inline]
    fn drop(&mut self) {
        free(&mut self.0);
    }
}

/// Not Rust's ABI, so that the caller need not be ready for a panic: no foreign code runs here.
#[cold]
#[inline(never)]
extern "C" fn free<T>(slot: &mut ManuallyDrop<T>) {
    // SAFETY: called by the drop of what the slot is in, once.
    unsafe { ManuallyDrop::drop(slot) }
}

impl Meta {
    /// A record, whether there are options or not.
    pub(super) fn always(self) -> Box<Cold<Meta>> {
        Box::new(Cold(ManuallyDrop::new(self)))
    }

    /// The record for a task with these options.
    pub(super) fn record(self) -> Record {
        let Meta {
            name,
            priority,
            deadline,
            group,
            ready_at: _,
        } = &self;
        let used = name.is_some()
            || *priority != Priority::default()
            || deadline.is_some()
            || group.is_some();
        used.then(|| self.always())
    }
}
