//! How many workers should take part, by figures alone: no clock, no thread, no system.
//!
//! # What it goes by
//!
//! - *Contended*: more workers take part than there are processors for this process, they waited for a
//!   processor for half as long as they ran, or longer, and they ran enough for that to matter. As many
//!   workers as processors do the same work then, with fewer switches and steals. Never fewer: on a machine
//!   that others use too, each worker that is missing is a share of the processors given away.
//! - *Held up*: all workers were awake nearly all the time, tasks were waiting, and next to nobody waited
//!   for a processor; and either there are more processors than workers, or a quarter of the time awake was
//!   not spent running, so that polls wait for something (a page of memory, a file). One worker more takes
//!   part.
//!
//! # How it keeps from swaying
//!
//! Two looks in a row must agree, and after each decision there are no others for [`REST`] looks. A decision
//! that takes back the one before must be agreed on by twice as many looks as the last that did so, up to
//! [`MOST_AGREE`]; after [`FORGET`] looks without a decision two are enough again. That all workers are let
//! in because of a stall counts as such a decision.

use super::Reason;
use std::time::Duration;

/// Looks in a row that agree before anything is decided.
const AGREE: u32 = 2;
const MOST_AGREE: u32 = 64;
/// Looks after a decision that decide nothing.
const REST: u32 = 3;
/// Looks without a decision after which earlier ones do not count.
const FORGET: u32 = 100;

/// What the active workers did between two looks, all together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Workers that take part.
    pub(crate) active: usize,
    /// Workers that there are.
    pub(crate) workers: usize,
    /// Processors that this process may use.
    pub(crate) processors: usize,
    /// The time between the looks.
    pub(crate) passed: Duration,
    pub(crate) ran: Duration,
    /// For how long they could have run, and had no processor.
    pub(crate) delayed: Duration,
    /// For how long they did not wait for work.
    pub(crate) awake: Duration,
    /// Tasks that wait in queues at the second look.
    pub(crate) queued: usize,
}

impl Figures {
    /// What the figures call for by themselves.
    pub(crate) fn recommend(&self) -> Option<(usize, Reason)> {
        let &Figures {
            active,
            workers,
            processors,
            passed,
            ran,
            delayed,
            awake,
            queued,
        } = self;
        // Saturating, for figures that can not be.
        let times = |time: Duration, n: usize| time.as_nanos().saturating_mul(n as u128);
        if passed.is_zero() || active == 0 || processors == 0 {
            return None;
        }
        let delays_count = times(delayed, 2) >= times(ran, 1);
        let running_counts = times(ran, 4) >= times(passed, processors);
        if active > processors && delays_count && running_counts {
            return Some((
                processors,
                Reason::Contended {
                    ran,
                    delayed,
                    passed,
                    processors,
                },
            ));
        }
        let busy = times(awake, 10) >= times(passed, active.saturating_mul(9));
        let nobody_waits = times(delayed, 8) <= times(ran, 1);
        let room = active < processors || times(ran, 4) <= times(awake, 3);
        if active < workers && busy && nobody_waits && room && queued > active {
            return Some((
                active + 1,
                Reason::HeldUp {
                    ran,
                    awake,
                    passed,
                    queued,
                },
            ));
        }
        None
    }
}

/// Decides by the figures of several looks.
#[derive(Debug)]
pub(crate) struct Governor {
    /// Which way the last looks pointed, and how many of them in a row.
    agreed: Option<(Way, u32)>,
    last: Option<Way>,
    /// Looks that must agree on taking the last decision back.
    to_take_back: u32,
    /// Looks since the last decision.
    since: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Fewer,
    More,
}

impl Governor {
    pub(crate) fn new() -> Governor {
        Governor {
            agreed: None,
            last: None,
            to_take_back: AGREE,
            since: REST,
        }
    }

    /// The figures of one more look. `Some`: how many workers are to take part, and why.
    pub(crate) fn look(&mut self, figures: &Figures) -> Option<(usize, Reason)> {
        self.since = self.since.saturating_add(1);
        if self.since > FORGET {
            self.last = None;
            self.to_take_back = AGREE;
        }
        if self.since <= REST {
            return None;
        }
        let Some((to, reason)) = figures.recommend() else {
            self.agreed = None;
            return None;
        };
        let way = if to < figures.active {
            Way::Fewer
        } else {
            Way::More
        };
        let agreed = match self.agreed {
            Some((before, looks)) if before == way => looks + 1,
            _ => 1,
        };
        self.agreed = Some((way, agreed));
        let takes_back = self.last.is_some_and(|last| last != way);
        let needed = if takes_back {
            (self.to_take_back * 2).min(MOST_AGREE)
        } else {
            AGREE
        };
        if agreed < needed {
            return None;
        }
        if takes_back {
            self.to_take_back = needed;
        }
        self.decided(way);
        Some((to, reason))
    }

    /// All workers were let in, for another reason than figures.
    pub(crate) fn lifted(&mut self) {
        if self.last == Some(Way::Fewer) {
            self.to_take_back = (self.to_take_back * 2).min(MOST_AGREE);
        }
        self.decided(Way::More);
    }

    fn decided(&mut self, way: Way) {
        self.agreed = None;
        self.last = Some(way);
        self.since = 0;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Of 200 ms: workers that take part of 8, processors, then ms run, delayed and awake, and tasks queued.
    fn figures(
        (active, processors): (usize, usize),
        (ran, delayed, awake): (u64, u64, u64),
        queued: usize,
    ) -> Figures {
        Figures {
            active,
            workers: 8,
            processors,
            passed: ms(200),
            ran: ms(ran),
            delayed: ms(delayed),
            awake: ms(awake),
            queued,
        }
    }

    fn contended() -> Figures {
        figures((8, 2), (400, 1200, 1600), 50)
    }

    fn held_up(active: usize) -> Figures {
        let active_ms = 200 * active as u64;
        figures((active, 2), (active_ms / 2, 0, active_ms), 50)
    }

    fn quiet(active: usize) -> Figures {
        figures((active, 2), (10, 1, 12), 0)
    }

    #[test]
    fn recommendations_by_figures() {
        // (active, processors), (ran, delayed, awake), queued, what comes out.
        let table = [
            // As many as processors, where they wait for processors.
            ((8, 2), (400, 1200, 1600), 50, Some(2)),
            ((8, 2), (400, 200, 1600), 0, Some(2)),
            ((3, 2), (400, 200, 600), 0, Some(2)),
            ((8, 1), (200, 1400, 1600), 0, Some(1)),
            // The delay is small beside what they ran.
            ((8, 2), (400, 199, 1600), 0, None),
            // They hardly ran, so it hardly matters.
            ((8, 2), (99, 300, 400), 0, None),
            ((8, 2), (100, 300, 400), 0, Some(2)),
            // No fewer than processors, whoever else uses them.
            ((2, 2), (100, 300, 400), 50, None),
            ((2, 4), (100, 300, 400), 50, None),
            // Processors that nobody uses, and tasks that wait.
            ((2, 4), (390, 10, 395), 50, Some(3)),
            ((8, 16), (1590, 10, 1595), 50, None),
            // Polls that wait for something else.
            ((2, 2), (300, 10, 400), 50, Some(3)),
            ((2, 2), (301, 10, 400), 50, None),
            // Not all are busy; nothing waits; others wait for processors.
            ((2, 4), (350, 10, 359), 50, None),
            ((2, 4), (390, 10, 395), 2, None),
            ((2, 4), (320, 60, 395), 50, None),
        ];
        for (workers, times, queued, expected) in table {
            let figures = figures(workers, times, queued);
            let got = figures.recommend().map(|(to, _)| to);
            assert_eq!(got, expected, "{figures:?}");
        }
    }

    #[test]
    fn figures_of_nothing_call_for_nothing() {
        for empty in [
            Figures {
                passed: Duration::ZERO,
                ..contended()
            },
            Figures {
                active: 0,
                ..contended()
            },
            Figures {
                processors: 0,
                ..contended()
            },
        ] {
            assert_eq!(empty.recommend(), None, "{empty:?}");
        }
        let vast = Figures {
            processors: usize::MAX,
            passed: Duration::MAX,
            ..contended()
        };
        assert_eq!(vast.recommend(), None);
    }

    fn looks_until_decided(governor: &mut Governor, figures: &Figures) -> u32 {
        (1..1000)
            .find(|_| governor.look(figures).is_some())
            .expect("it decides")
    }

    #[test]
    fn two_looks_in_a_row_decide() {
        let mut governor = Governor::new();
        assert_eq!(governor.look(&contended()), None);
        assert_eq!(governor.look(&quiet(8)), None);
        assert_eq!(governor.look(&contended()), None);
        assert_eq!(governor.look(&held_up(2)), None);
        assert_eq!(governor.look(&contended()), None);
        assert!(matches!(
            governor.look(&contended()),
            Some((2, Reason::Contended { processors: 2, .. }))
        ));
    }

    #[test]
    fn decisions_one_way_keep_their_distance() {
        let mut governor = Governor::new();
        assert_eq!(looks_until_decided(&mut governor, &held_up(2)), AGREE);
        for active in 3..7 {
            let looks = looks_until_decided(&mut governor, &held_up(active));
            assert_eq!(looks, REST + AGREE);
        }
    }

    #[test]
    fn each_decision_that_takes_one_back_needs_twice_as_many_looks() {
        let mut governor = Governor::new();
        let mut looks = Vec::new();
        for turn in 0..9 {
            let figures = if turn % 2 == 0 {
                contended()
            } else {
                held_up(2)
            };
            looks.push(looks_until_decided(&mut governor, &figures));
        }
        let most = REST + MOST_AGREE;
        assert_eq!(looks, [2, 7, 11, 19, 35, most, most, most, most]);
    }

    #[test]
    fn stalls_that_come_again_and_again_keep_all_workers_in_for_longer() {
        let mut governor = Governor::new();
        let mut looks = Vec::new();
        for _ in 0..6 {
            looks.push(looks_until_decided(&mut governor, &contended()));
            governor.lifted();
        }
        let most = REST + MOST_AGREE;
        assert_eq!(looks, [2, 11, 35, most, most, most]);
    }

    #[test]
    fn old_decisions_are_forgotten() {
        let mut governor = Governor::new();
        looks_until_decided(&mut governor, &contended());
        looks_until_decided(&mut governor, &held_up(2));
        for _ in 0..FORGET {
            assert_eq!(governor.look(&quiet(3)), None);
        }
        assert_eq!(looks_until_decided(&mut governor, &contended()), AGREE);
    }
}
