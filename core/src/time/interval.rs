//! Something that happens again and again.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::clock;
use super::sleep::{Sleep, sleep_until};

/// Ticks at once, and then each time that `period` has passed.
///
/// # Panics
/// If `period` is zero.
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Ticks at `start`, and then each time that `period` has passed.
///
/// # Panics
/// If `period` is zero.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(
        !period.is_zero(),
        "the period of an interval must not be zero"
    );
    Interval {
        sleep: Box::pin(sleep_until(start)),
        period,
        missed: MissedTickBehavior::default(),
    }
}

/// What an [`Interval`] does when its ticks are not taken in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MissedTickBehavior {
    /// Ticks as often as was missed, without waiting, until it has caught up.
    #[default]
    Burst,
    /// Ticks once, and then a period after that.
    Delay,
    /// Ticks once, and then at the next multiple of the period after the start.
    Skip,
}

impl MissedTickBehavior {
    fn next(self, due: Instant, now: Instant, period: Duration) -> Instant {
        match self {
            MissedTickBehavior::Burst => clock::after(due, period),
            MissedTickBehavior::Delay => clock::after(now, period),
            MissedTickBehavior::Skip => {
                let past = (now - due).as_nanos() % period.as_nanos();
                let past = Duration::from_nanos(u64::try_from(past).unwrap_or(u64::MAX));
                clock::after(now, period.saturating_sub(past))
            }
        }
    }
}

/// See [`interval`] and [`interval_at`].
#[derive(Debug)]
pub struct Interval {
    sleep: Pin<Box<Sleep>>,
    period: Duration,
    missed: MissedTickBehavior,
}

impl Interval {
    /// Waits for the next tick, and returns the moment at which it was due.
    ///
    /// # Cancel safety
    /// A tick is taken only when the future is ready: dropping it loses nothing.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// Polls for the next tick. The last waker that was given is woken.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        ready!(self.sleep.as_mut().poll(cx));
        let due = self.sleep.deadline();
        let now = Instant::now();
        // Five milliseconds of grace, as in tokio: a tick that the system delivered a little late
        // was not missed.
        let next = if now > due + Duration::from_millis(5) {
            self.missed.next(due, now, self.period)
        } else {
            clock::after(due, self.period)
        };
        let ahead = clock::is_ahead(next.saturating_duration_since(now));
        self.sleep.as_mut().reset_to(next, ahead);
        Poll::Ready(due)
    }

    /// Starts anew: the next tick is a period from now.
    pub fn reset(&mut self) {
        self.reset_after(self.period);
    }

    /// The next tick is due at once.
    pub fn reset_immediately(&mut self) {
        self.sleep.as_mut().reset(Instant::now());
    }

    /// The next tick is due `after` from now.
    pub fn reset_after(&mut self, after: Duration) {
        let next = clock::after(Instant::now(), after);
        self.sleep.as_mut().reset_to(next, clock::is_ahead(after));
    }

    /// The next tick is due at `deadline`.
    pub fn reset_at(&mut self, deadline: Instant) {
        self.sleep.as_mut().reset(deadline);
    }

    /// What is done about ticks that are not taken in time.
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// Sets what is done about ticks that are not taken in time.
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_ticks_are_burst_delayed_or_skipped() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let next = |behavior: MissedTickBehavior| behavior.next(start, start + ms(27), ms(10));
        assert_eq!(next(MissedTickBehavior::Burst), start + ms(10));
        assert_eq!(next(MissedTickBehavior::Delay), start + ms(37));
        assert_eq!(next(MissedTickBehavior::Skip), start + ms(30));
    }

    #[test]
    #[should_panic(expected = "the period of an interval must not be zero")]
    fn an_interval_of_nothing_is_refused() {
        let _ = interval(Duration::ZERO);
    }
}
