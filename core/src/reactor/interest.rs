//! What is asked of a descriptor ([`Interest`]) and what it answered ([`Ready`]).

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub};

/// What to be told about a file descriptor. Combine with `|`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Interest(u8);

impl Interest {
    /// Nothing: the watch is paused, and even a hang-up is not reported.
    pub const NONE: Interest = Interest(0);
    /// Reading would not block: there is data, the end of the stream, or an error to collect.
    pub const READ: Interest = Interest(1);
    /// Writing would not block: there is room, or an error to collect.
    pub const WRITE: Interest = Interest(2);
    /// Exceptional data, such as TCP's urgent data (`POLLPRI`).
    pub const PRIORITY: Interest = Interest(4);

    const ALL: u8 = 7;

    /// Whether every part of `other` is part of `self`.
    pub const fn contains(self, other: Interest) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is asked for.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set as a number: `READ` is 1, `WRITE` 2, `PRIORITY` 4. These values are stable.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set that `bits` names, or `None` if it has a bit that means nothing.
    pub const fn from_bits(bits: u8) -> Option<Interest> {
        if bits & !Self::ALL == 0 {
            Some(Interest(bits))
        } else {
            None
        }
    }
}

impl BitOr for Interest {
    type Output = Interest;
    fn bitor(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}

impl BitOrAssign for Interest {
    fn bitor_assign(&mut self, other: Interest) {
        self.0 |= other.0;
    }
}

impl Sub for Interest {
    type Output = Interest;
    fn sub(self, other: Interest) -> Interest {
        Interest(self.0 & !other.0)
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(u8, &str); 3] = [(1, "READ"), (2, "WRITE"), (4, "PRIORITY")];
        names(f, self.0, &NAMES)
    }
}

/// What a file descriptor is ready for.
///
/// An error or a hang-up also counts as readable and writable, because the read or the write is
/// what collects it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ready(u8);

impl Ready {
    /// Nothing.
    pub const NONE: Ready = Ready(0);
    /// A read would not block.
    pub const READABLE: Ready = Ready(1);
    /// A write would not block.
    pub const WRITABLE: Ready = Ready(2);
    /// Exceptional data has come.
    pub const PRIORITY: Ready = Ready(4);
    /// The peer will send no more: after what is left comes the end of the stream.
    pub const READ_CLOSED: Ready = Ready(8);
    /// Both directions are closed (`POLLHUP`).
    pub const HANGUP: Ready = Ready(16);
    /// An error is pending (`POLLERR`).
    pub const ERROR: Ready = Ready(32);

    /// Whether every part of `other` is part of `self`.
    pub const fn contains(self, other: Ready) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether `self` and `other` share a part.
    pub const fn intersects(self, other: Ready) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is ready.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a read would not block.
    pub const fn is_readable(self) -> bool {
        self.contains(Ready::READABLE)
    }

    /// Whether a write would not block.
    pub const fn is_writable(self) -> bool {
        self.contains(Ready::WRITABLE)
    }

    /// Whether an error or a hang-up is part of it.
    pub const fn is_failure(self) -> bool {
        self.intersects(Ready(Ready::HANGUP.0 | Ready::ERROR.0))
    }

    /// The set as a number; each constant's value is stable.
    pub const fn bits(self) -> u8 {
        self.0
    }

    pub(crate) const fn from_bits_truncate(bits: u8) -> Ready {
        Ready(bits & 63)
    }

    /// What is left for an owner who asked for `interest`: failures always, the rest if asked for.
    pub(crate) const fn masked(self, interest: Interest) -> Ready {
        const ALWAYS: u8 = Ready::READ_CLOSED.0 | Ready::HANGUP.0 | Ready::ERROR.0;
        Ready(self.0 & (interest.0 | ALWAYS))
    }
}

impl BitOr for Ready {
    type Output = Ready;
    fn bitor(self, other: Ready) -> Ready {
        Ready(self.0 | other.0)
    }
}

impl BitOrAssign for Ready {
    fn bitor_assign(&mut self, other: Ready) {
        self.0 |= other.0;
    }
}

impl BitAnd for Ready {
    type Output = Ready;
    fn bitand(self, other: Ready) -> Ready {
        Ready(self.0 & other.0)
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(u8, &str); 6] = [
            (1, "READABLE"),
            (2, "WRITABLE"),
            (4, "PRIORITY"),
            (8, "READ_CLOSED"),
            (16, "HANGUP"),
            (32, "ERROR"),
        ];
        names(f, self.0, &NAMES)
    }
}

fn names(f: &mut fmt::Formatter<'_>, bits: u8, table: &[(u8, &str)]) -> fmt::Result {
    let mut first = true;
    for (bit, name) in table {
        if bits & bit != 0 {
            if !first {
                f.write_str(" | ")?;
            }
            f.write_str(name)?;
            first = false;
        }
    }
    if first { f.write_str("NONE") } else { Ok(()) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn failures_pass_every_mask() {
        let all = Ready(63);
        assert_eq!(
            all.masked(Interest::READ),
            Ready::READABLE | Ready::READ_CLOSED | Ready::HANGUP | Ready::ERROR
        );
        assert!(!all.masked(Interest::NONE).is_readable());
    }

    #[test]
    fn unknown_interest_bits_are_refused() {
        assert_eq!(
            Interest::from_bits(3),
            Some(Interest::READ | Interest::WRITE)
        );
        assert_eq!(Interest::from_bits(8), None);
    }

    #[test]
    fn sets_print_their_names() {
        assert_eq!(
            format!("{:?}", Interest::READ | Interest::WRITE),
            "READ | WRITE"
        );
        assert_eq!(format!("{:?}", Ready::NONE), "NONE");
    }
}
