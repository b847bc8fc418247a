//! What a busy worker does for a peer that stands still: it takes over what waits there.
//!
//! Where other programs want the processors too, the system takes a worker off its core for some
//! milliseconds, and what is in its queue waits as long. Nobody searches as long as the others have enough to do,
//! and the [watch](super::watch), which wakes a sleeper for such a queue, finds none. So a worker that
//! looks around keeps an eye on one peer. If a look finds it in the turn that it was in [`PATIENCE`] ago,
//! or longer, the worker takes its queue, half by half. If the peer has moved it looks at the next one.
//!
//! It takes nothing that may come sooner to its turn where it is: what the worker has to do itself must be less, by
//! the mean length of its polls, than the time for which the peer has stood.
//!
//! A look costs a comparison. Each [`PATIENCE`] it reads the line that a peer writes in each of its turns.
//!
//! A peer in a long poll looks the same. To it the same is done, for the same reason.

use super::front::Sight;
use super::state::WorkerState;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long a peer has to stand still: several times the length of a turn that says little, a fraction of the
/// slice for which the system runs somebody else.
const PATIENCE: Duration = Duration::from_micros(50);

/// What a worker knows of the peer that it keeps an eye on.
#[derive(Debug)]
pub(super) struct Relief {
    peer: Cell<usize>,
    /// How it stood, and since when at least.
    stood: Cell<Option<(Sight, Instant)>>,
}

impl Relief {
    /// For the worker `own`.
    pub(super) fn new(own: usize) -> Relief {
        Relief {
            peer: Cell::new(own),
            stood: Cell::new(None),
        }
    }

    /// Looks, as worker `own` of `workers`. The peer that stands still, and for how long.
    #[inline]
    pub(super) fn look(
        &self,
        now: Instant,
        own: usize,
        workers: usize,
        see: impl Fn(usize) -> Sight,
    ) -> Option<(usize, Duration)> {
        let peer = self.peer.get();
        if let Some((sight, since)) = self.stood.get() {
            let stood = now.saturating_duration_since(since);
            if stood < PATIENCE {
                return None;
            }
            if sight.state.state() == WorkerState::Running && see(peer) == sight {
                return Some((peer, stood));
            }
        } else if workers == 1 {
            return None;
        }
        let mut next = (peer + 1) % workers;
        if next == own {
            next = (next + 1) % workers;
        }
        self.peer.set(next);
        self.stood.set(Some((see(next), now)));
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::executor::front::OwnFront;
    use std::cell::RefCell;

    /// Peers that have begun to run, by their numbers.
    fn peers(count: usize) -> Vec<OwnFront> {
        let peers: Vec<_> = (0..count).map(|_| OwnFront::new(false)).collect();
        peers.iter().for_each(|peer| peer.state().start());
        peers
    }

    #[test]
    fn peer_that_stands_is_told_with_the_time_until_it_moves() {
        let (relief, peers, start) = (Relief::new(0), peers(2), Instant::now());
        let look = |after: Duration| {
            relief.look(start + after, 0, peers.len(), |peer| {
                peers[peer].shown().see()
            })
        };
        assert_eq!(look(Duration::ZERO), None, "the first look");
        assert_eq!(look(PATIENCE / 2), None);
        assert_eq!(look(PATIENCE), Some((1, PATIENCE)));
        assert_eq!(look(3 * PATIENCE), Some((1, 3 * PATIENCE)));
        peers[1].next_tick();
        assert_eq!(look(4 * PATIENCE), None, "it moved");
        assert_eq!(look(5 * PATIENCE), Some((1, PATIENCE)));
    }

    #[test]
    fn peer_that_waits_does_not_stand_still() {
        let (relief, peers, start) = (Relief::new(1), peers(2), Instant::now());
        let see = |peer: usize| peers[peer].shown().see();
        peers[0].state().park(false);
        for looks in 0..4 {
            assert_eq!(relief.look(start + looks * PATIENCE, 1, 2, see), None);
        }
    }

    #[test]
    fn peers_that_move_are_looked_at_in_turn() {
        let (relief, peers, start) = (Relief::new(1), peers(4), Instant::now());
        let seen = RefCell::new(Vec::new());
        for looks in 0..6 {
            let see = |peer: usize| {
                seen.borrow_mut().push(peer);
                peers[peer].next_tick();
                peers[peer].shown().see()
            };
            assert_eq!(relief.look(start + looks * PATIENCE, 1, 4, see), None);
        }
        // Each but the first is looked at a second time before the next one.
        assert_eq!(*seen.borrow(), [2, 2, 3, 3, 0, 0, 2, 2, 3, 3, 0]);
    }

    #[test]
    fn lone_worker_looks_at_nobody() {
        let (relief, start) = (Relief::new(0), Instant::now());
        for looks in 0..3 {
            let nobody = |_| panic!("there is no peer");
            assert_eq!(relief.look(start + looks * PATIENCE, 0, 1, nobody), None);
        }
    }
}
