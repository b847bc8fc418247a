//! What has happened to a handle.

use std::cell::Cell;

/// One fact.
#[derive(Clone, Copy)]
pub(super) struct Flag(u8);

impl Flag {
    pub(super) const CANCELLED: Flag = Flag(1);
    /// The callback is being called right now.
    pub(super) const RUNNING: Flag = Flag(2);
    /// The first argument slot holds a tuple with all the arguments.
    pub(super) const TUPLE: Flag = Flag(4);
    /// The timer heap holds this handle.
    pub(super) const IN_HEAP: Flag = Flag(8);
    /// Cancelled in debug mode: the first argument slot holds the `repr` from before.
    pub(super) const OLD_REPR: Flag = Flag(16);
}

/// A set of them.
pub(super) struct Flags(Cell<u8>);

impl Flags {
    pub(super) const fn none() -> Flags {
        Flags(Cell::new(0))
    }

    #[inline]
    pub(super) fn has(&self, flag: Flag) -> bool {
        self.0.get() & flag.0 != 0
    }

    #[inline]
    pub(super) fn set(&self, flag: Flag, on: bool) {
        let others = self.0.get() & !flag.0;
        self.0.set(if on { others | flag.0 } else { others });
    }
}
