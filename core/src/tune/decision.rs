//! What was decided, and why.

use std::fmt;
use std::time::{Duration, Instant};

/// One change that a tuner made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// When it was made.
    pub at: Instant,
    /// What was changed.
    pub what: Setting,
    /// What it was before.
    pub from: usize,
    /// What it has been since.
    pub to: usize,
    /// Why.
    pub reason: Reason,
}

/// What a tuner changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Setting {
    /// How many workers take part.
    ActiveWorkers,
}

/// Why a tuner changed something, with the figures that it went by. Times are of all workers that took
/// part, added up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// More workers than processors, and they waited for these.
    Contended {
        /// How long they ran.
        ran: Duration,
        /// How long they could have run, and had no processor.
        delayed: Duration,
        /// The time that this was measured in.
        passed: Duration,
        /// Processors that this process may use.
        processors: usize,
    },
    /// All were busy, tasks were waiting, and there were processors to spare.
    HeldUp {
        /// How long they ran.
        ran: Duration,
        /// How long they did not wait for work.
        awake: Duration,
        /// The time that this was measured in.
        passed: Duration,
        /// Tasks that were waiting.
        queued: usize,
    },
    /// A poll was [overdue](crate::runtime::Builder::stall_watch): what waits for its worker may need any
    /// other.
    Stalled,
    /// The tuner was turned off.
    TurnedOff,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::ActiveWorkers => f.write_str("active workers"),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decision {
            what,
            from,
            to,
            reason,
            ..
        } = self;
        write!(f, "{what} from {from} to {to}: {reason}")
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Contended {
                ran,
                delayed,
                passed,
                processors,
            } => write!(
                f,
                "in {} ms they ran for {} ms and waited {} ms for a processor, of which there are {processors}",
                passed.as_millis(),
                ran.as_millis(),
                delayed.as_millis(),
            ),
            Reason::HeldUp {
                ran,
                awake,
                passed,
                queued,
            } => write!(
                f,
                "in {} ms they were awake for {} ms and ran for {} ms, and {queued} tasks were waiting",
                passed.as_millis(),
                awake.as_millis(),
                ran.as_millis(),
            ),
            Reason::Stalled => f.write_str("a poll held up its worker"),
            Reason::TurnedOff => f.write_str("the tuner was turned off"),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn decision_is_told_in_one_sentence() {
        let ms = Duration::from_millis;
        let told = |reason| {
            Decision {
                at: Instant::now(),
                what: Setting::ActiveWorkers,
                from: 8,
                to: 2,
                reason,
            }
            .to_string()
        };
        let contended = Reason::Contended {
            ran: ms(390),
            delayed: ms(1100),
            passed: ms(200),
            processors: 2,
        };
        assert_eq!(
            told(contended),
            "active workers from 8 to 2: in 200 ms they ran for 390 ms and waited 1100 ms for a processor, \
             of which there are 2"
        );
        let held_up = Reason::HeldUp {
            ran: ms(120),
            awake: ms(390),
            passed: ms(200),
            queued: 40,
        };
        assert_eq!(
            told(held_up),
            "active workers from 8 to 2: in 200 ms they were awake for 390 ms and ran for 120 ms, and 40 \
             tasks were waiting"
        );
        for reason in [Reason::Stalled, Reason::TurnedOff] {
            assert!(told(reason).starts_with("active workers from 8 to 2: "));
        }
    }
}
