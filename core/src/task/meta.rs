//! What a task has beyond its future: the options that its [`Builder`](super::Builder) was given.

use super::Priority;
use crate::runtime::Group;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

/// The options of a task. A task that was given none has no record of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meta {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) priority: Priority,
    pub(crate) deadline: Option<Instant>,
    pub(crate) group: Option<Group>,
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
    /// The record for a task with these options.
    pub(super) fn record(self) -> Record {
        let Meta {
            name,
            priority,
            deadline,
            group,
        } = &self;
        let used = name.is_some()
            || *priority != Priority::default()
            || deadline.is_some()
            || group.is_some();
        used.then(|| Box::new(Cold(ManuallyDrop::new(self))))
    }
}
