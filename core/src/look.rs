//! To look for something for a while before one sleeps: a worker for events, a thread for jobs.

use crate::shim::thread;
use crate::shim::time;
use std::time::{Duration, Instant};

/// How long to look: about what the two sides pay for a sleep and a wake-up where they are dear, 12 us and as much again,
/// so that a look in vain at most doubles that (Karlin et al., "Competitive randomized algorithms for nonuniform
/// problems", 1990). No time passes in a model: there a look is one look.
pub(crate) const LOOK: Duration = Duration::from_micros(if cfg!(loom) { 0 } else { 30 });
/// A wait as short as this lets expect that the next one is short: as a look, and 30 to 50 us more for the wake-up if the
/// thread slept.
pub(crate) const SOON: Duration = Duration::from_micros(80);
/// A yield of the processor that nobody else wanted takes a fraction of this.
const TAKEN: Duration = Duration::from_micros(2);

/// Calls `found` until it finds something or `end` has come, and gives the processor away in between.
///
/// # Errors
/// The time is over, or another thread wanted the processor; as of that moment. The caller sleeps then.
pub(crate) fn until<T>(end: Instant, mut found: impl FnMut() -> Option<T>) -> Result<T, Instant> {
    loop {
        if let Some(found) = found() {
            return Ok(found);
        }
        let before = time::now();
        if before >= end {
            return Err(before);
        }
        thread::yield_now();
        let after = time::now();
        if after.saturating_duration_since(before) > TAKEN {
            return Err(after);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_look_ends_with_what_it_finds_or_its_time() {
        let now = time::now();
        assert_eq!(until(now, || Some(7)), Ok(7));
        assert!(until(now, || None::<()>).is_err_and(|end| end >= now));
        // Unless another thread comes in between.
        let third = (0..1_000).any(|_| {
            let mut looks = 0;
            until(time::now() + 50 * TAKEN, || {
                looks += 1;
                (looks == 3).then_some(())
            })
            .is_ok()
        });
        assert!(third, "nothing was found by a later look");
    }
}
