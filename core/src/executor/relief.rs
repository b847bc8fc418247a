//! What a busy worker does for a peer that stands still: it takes over what waits there.
//!
//! Where other programs want the processors too, the system takes a worker off its core for some
//! milliseconds, and what is in its queue waits as long. Nobody searches as long as the others have enough to do,
//! and the [watch](super::watch), which wakes a sleeper for such a queue, finds none. So a worker that
//! looks around keeps an eye on one peer. If a look finds it in the turn that it was in [`PATIENCE`] ago,
//! or longer, and something in its queue, the worker takes that, [`MOST`] at a time, until the peer moves. Else it
//! looks at the next one.
//!
//! It takes nothing that may come sooner to its turn where it is: what the worker has to do itself must be less, by
//! the mean length of its polls, than the time for which the peer has stood. And nothing if it has stolen meanwhile:
//! then it runs out of tasks often enough, and searches. Where one poll makes many short tasks, two ways to take them
//! cost a third of their rate.
//!
//! A look costs a comparison. Each [`PATIENCE`] at most, unless it takes something, it reads the line that a peer writes
//! in each of its turns, and that of its queue.
//!
//! A peer in a long poll looks the same. To it the same is done, for the same reason. What it would run next, in
//! its LIFO slot, is the watch's to take.
//!
//! With several nodes of memory the peers are those of the own node. Only the policy first in, first out has this:
//! under the others tasks lie elsewhere, or what is taken would bury what is there.

use super::front::Sight;
use super::state::WorkerState;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long a peer has to stand still: several times the length of a turn that says little, a fraction of the
/// slice for which the system runs somebody else, which is some milliseconds.
const PATIENCE: Duration = Duration::from_micros(50);
/// The most tasks that are taken at one look, so that it ends soon although the peer's poll makes more of them.
pub(super) const MOST: u64 = 256;

/// What a worker knows of the peer that it keeps an eye on.
#[derive(Debug)]
pub(super) struct Relief {
    peer: Cell<usize>,
    /// How it stood, since when at least, and how often this worker had stolen then.
    stood: Cell<Option<(Sight, Instant, u64)>>,
}

/// A peer that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) peer: usize,
    /// As long as it is seen so, it has not moved.
    pub(super) sight: Sight,
    /// For how long at least.
    pub(super) stood: Duration,
}

impl Relief {
    /// For the worker `own`.
    pub(super) fn new(own: usize) -> Relief {
        Relief {
            peer: Cell::new(own),
            stood: Cell::new(None),
        }
    }

    /// Looks at the peer at hand at the time `now`, and whether anything `waits` there, or for the first time at the
    /// `next` one, if there is one. `steals`: how often this worker has stolen.
    #[inline]
    pub(super) fn look(
        &self,
        now: Instant,
        steals: u64,
        next: impl FnOnce(usize) -> Option<usize>,
        see: impl Fn(usize) -> Sight,
        waits: impl FnOnce(usize) -> bool,
    ) -> Option<Standing> {
        let peer = self.peer.get();
        if let Some((sight, since, before)) = self.stood.get() {
            let stood = now.saturating_duration_since(since);
            if stood < PATIENCE {
                return None;
            }
            let stands = || sight.state.state() == WorkerState::Running && see(peer) == sight;
            if steals == before && stands() && waits(peer) {
                return Some(Standing { peer, sight, stood });
            }
        }
        let next = next(peer)?;
        self.peer.set(next);
        self.stood.set(Some((see(next), now, steals)));
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::executor::front::OwnFront;
    use std::cell::RefCell;

    /// Peers that have begun to run, and worker 0, which looks at them.
    struct Bench {
        relief: Relief,
        peers: Vec<OwnFront>,
        start: Instant,
        steals: Cell<u64>,
        /// Whom it saw.
        seen: RefCell<Vec<usize>>,
    }

    impl Bench {
        fn new(peers: usize) -> Bench {
            let peers: Vec<_> = (0..=peers).map(|_| OwnFront::new(false)).collect();
            peers.iter().for_each(|peer| peer.state().start());
            Bench {
                relief: Relief::new(0),
                peers,
                start: Instant::now(),
                steals: Cell::default(),
                seen: RefCell::default(),
            }
        }

        fn look(
            &self,
            after: Duration,
            waits: impl FnOnce(usize) -> bool,
        ) -> Option<(usize, Duration)> {
            let next = |peer| Some(peer % (self.peers.len() - 1) + 1);
            let see = |peer: usize| {
                self.seen.borrow_mut().push(peer);
                self.peers[peer].shown().see()
            };
            let steals = self.steals.get();
            let found = self
                .relief
                .look(self.start + after, steals, next, see, waits);
            found.map(|found| (found.peer, found.stood))
        }
    }

    #[test]
    fn peer_that_stands_is_told_with_the_time_until_it_moves() {
        let bench = Bench::new(1);
        let look = |after| bench.look(after, |_| true);
        assert_eq!(look(Duration::ZERO), None, "the first look");
        assert_eq!(look(PATIENCE / 2), None);
        assert_eq!(look(PATIENCE), Some((1, PATIENCE)));
        assert_eq!(look(3 * PATIENCE), Some((1, 3 * PATIENCE)));
        bench.peers[1].next_tick();
        assert_eq!(look(4 * PATIENCE), None, "it moved");
        assert_eq!(look(5 * PATIENCE), Some((1, PATIENCE)));
    }

    #[test]
    fn peer_that_sleeps_does_not_stand_still() {
        let bench = Bench::new(1);
        bench.peers[1].state().park(false);
        for looks in 0..4 {
            assert_eq!(bench.look(looks * PATIENCE, |_| true), None);
        }
    }

    #[test]
    fn peers_that_move_are_looked_at_in_turn() {
        let bench = Bench::new(3);
        for looks in 0..6 {
            assert_eq!(bench.look(looks * PATIENCE, |_| true), None);
            bench.peers.iter().for_each(|peer| _ = peer.next_tick());
        }
        // The second look at a peer goes on to the next one.
        let seen = bench.seen.into_inner();
        assert_eq!(seen, [1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3]);
    }

    #[test]
    fn peer_that_stands_with_nothing_keeps_nobody_from_looking_at_the_others() {
        let bench = Bench::new(2);
        let waits = |peer| peer == 2;
        assert_eq!(bench.look(Duration::ZERO, waits), None);
        assert_eq!(bench.look(PATIENCE, waits), None);
        assert_eq!(bench.look(2 * PATIENCE, waits), Some((2, PATIENCE)));
    }

    #[test]
    fn worker_that_steals_meanwhile_begins_anew() {
        let bench = Bench::new(1);
        let look = |after| bench.look(after, |_| true);
        assert_eq!(look(Duration::ZERO), None);
        bench.steals.set(1);
        assert_eq!(look(PATIENCE), None);
        assert_eq!(look(2 * PATIENCE), Some((1, PATIENCE)));
    }

    #[test]
    fn lone_worker_looks_at_nobody() {
        let relief = Relief::new(0);
        for _ in 0..3 {
            let nobody = |_| panic!("there is no peer");
            assert_eq!(
                relief.look(Instant::now(), 0, |_| None, nobody, |_| true),
                None
            );
        }
    }
}
