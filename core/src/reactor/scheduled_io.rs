//! The readiness of one descriptor, and who waits for it.
//!
//! # The word
//!
//! `readiness` packs what the descriptor is ready for (the low 8 bits, as in [`Ready`]), a flag, and
//! the *tick*, which is one higher after each event. The descriptor is edge-triggered: the system
//! tells of a change once, so a readiness that is lost is lost for ever.
//!
//! - The reactor, when an event comes: adds the event's bits and one tick, with one
//!   read-modify-write (release); then wakes the waiters.
//! - A task, before it tries: loads the word (acquire). If its direction is not ready, it registers
//!   its waker and loads again; only then is it pending.
//! - A task that was told "would block": clears its direction, but only if the tick is still the
//!   one that it loaded before it tried.
//!
//! **The first race to prevent**: a task tries and would block; data comes, the reactor sets the
//! bit; the task clears the bit, and waits for an edge that has been. The tick is what prevents
//! it: the clear is a compare-and-swap that fails if an event came in between.
//!
//! **The second**: the task registers while the event comes, and neither sees the other. See
//! [`WakerSlot`]: either the reactor takes the waker, or the registration acquires the reactor's
//! release, and the second load sees the bit. So one step each of acquire and release suffices; no
//! fence is needed, because the waker's word orders both.
//!
//! # Who waits
//!
//! One task in each direction waits in a slot: the last that polled. Futures such as
//! [`accept`](crate::net::TcpListener::accept) may wait in any number; they are in a list under a
//! lock, which is looked at only if the word's flag says that somebody is in it. An event wakes all
//! of them.

use std::task::{Context, Poll, Waker};

use super::waker_slot::{WakerSlot, wake};
use super::{Interest, Ready};
use crate::shim::sync::Mutex;
use crate::shim::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const READY: usize = 0xff;
/// Somebody is in `crowd`.
const CROWD: usize = 0x100;
/// The reactor is gone: nothing will be told any more.
const CLOSED: usize = 0x200;
const TICK: usize = 0x400;

/// Reading or writing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    /// What makes it worth trying.
    fn mask(self) -> usize {
        let ready = match self {
            Direction::Read => Ready::READABLE | Ready::READ_CLOSED,
            Direction::Write => Ready::WRITABLE,
        };
        usize::from((ready | Ready::HANGUP | Ready::ERROR).bits())
    }

    /// What to ask the system for.
    pub(crate) fn interest(self) -> Interest {
        match self {
            Direction::Read => Interest::READ,
            Direction::Write => Interest::WRITE,
        }
    }
}

/// The word as a task saw it before it tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    word: usize,
}

impl Seen {
    /// Whether the end has been reported: what is not consumed now will not be reported again.
    pub(crate) fn is_final(self) -> bool {
        let last = (Ready::READ_CLOSED | Ready::HANGUP | Ready::ERROR).bits();
        self.word & usize::from(last) != 0
    }
}

#[derive(Debug)]
pub(crate) struct ScheduledIo {
    readiness: AtomicUsize,
    reader: WakerSlot,
    writer: WakerSlot,
    crowd: Mutex<Crowd>,
}

#[derive(Debug, Default)]
struct Crowd {
    members: Vec<Member>,
    last_number: u64,
}

#[derive(Debug)]
struct Member {
    /// Whose place this is; 0 stands for whoever wakes by the same waker.
    number: u64,
    direction: Direction,
    waker: Waker,
}

/// A future's place in a crowd, to be [given up](ScheduledIo::leave_crowd) with the future.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// Zero until it had to wait.
    number: AtomicU64,
}

impl ScheduledIo {
    /// Ready for everything until it is found not to be: the first try tells.
    pub(crate) fn new() -> ScheduledIo {
        let ready = Ready::READABLE | Ready::WRITABLE;
        ScheduledIo {
            readiness: AtomicUsize::new(usize::from(ready.bits())),
            reader: WakerSlot::new(),
            writer: WakerSlot::new(),
            crowd: Mutex::new(Crowd::default()),
        }
    }

    /// The word of a new registration.
    pub(crate) fn seen_at_first(&self) -> Seen {
        Seen {
            word: self.readiness.load(Ordering::Relaxed),
        }
    }

    fn slot(&self, direction: Direction) -> &WakerSlot {
        match direction {
            Direction::Read => &self.reader,
            Direction::Write => &self.writer,
        }
    }

    /// The reactor: the system has told of `ready`.
    pub(crate) fn set_ready(&self, ready: Ready) {
        let bits = usize::from(ready.bits());
        let mut word = self.readiness.load(Ordering::Relaxed);
        loop {
            let new = (word | bits).wrapping_add(TICK);
            match self.readiness.compare_exchange_weak(
                word,
                new,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(actual) => word = actual,
            }
        }
        if bits & Direction::Read.mask() != 0 {
            self.reader.wake();
        }
        if bits & Direction::Write.mask() != 0 {
            self.writer.wake();
        }
        if word & CROWD != 0 {
            self.wake_crowd(bits);
        }
    }

    #[cold]
    fn wake_crowd(&self, bits: usize) {
        let mut woken = Vec::new();
        {
            let members = &mut self.crowd.lock().members;
            let mut index = 0;
            while index < members.len() {
                if members[index].direction.mask() & bits != 0 {
                    woken.push(members.swap_remove(index).waker);
                } else {
                    index += 1;
                }
            }
            if members.is_empty() {
                // Under the lock that guards the flag's meaning.
                self.readiness.fetch_and(!CROWD, Ordering::AcqRel);
            }
        }
        for waker in woken {
            wake(waker);
        }
    }

    /// The reactor is gone: everybody is woken, and told.
    pub(crate) fn close(&self) {
        self.readiness.fetch_or(CLOSED, Ordering::AcqRel);
        self.reader.wake();
        self.writer.wake();
        self.wake_crowd(READY);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.readiness.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Whether it is worth trying, at this moment.
    pub(crate) fn seen(&self, direction: Direction) -> Option<Seen> {
        let word = self.readiness.load(Ordering::Acquire);
        (word & (direction.mask() | CLOSED) != 0).then_some(Seen { word })
    }

    /// Whether it is worth trying; if not, the task waits in its direction's slot.
    #[inline]
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>, direction: Direction) -> Poll<Seen> {
        if let Some(seen) = self.seen(direction) {
            return Poll::Ready(seen);
        }
        self.slot(direction).register(cx.waker());
        self.seen(direction).map_or(Poll::Pending, Poll::Ready)
    }

    /// As [`poll_ready`](Self::poll_ready), for any number of tasks. Without a place a waker stays
    /// until the next event.
    pub(crate) fn poll_ready_in_crowd(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        place: Option<&Place>,
    ) -> Poll<Seen> {
        if let Some(seen) = self.seen(direction) {
            return Poll::Ready(seen);
        }
        let waker = cx.waker().clone();
        let unused = {
            let crowd = &mut *self.crowd.lock();
            self.readiness.fetch_or(CROWD, Ordering::AcqRel);
            let number = place.map_or(0, |place| place.number_in(crowd));
            let there = crowd.members.iter_mut().find(|member| {
                member.number == number
                    && member.direction == direction
                    && (number != 0 || member.waker.will_wake(&waker))
            });
            match there {
                Some(member) => Some(std::mem::replace(&mut member.waker, waker)),
                None => {
                    crowd.members.push(Member {
                        number,
                        direction,
                        waker,
                    });
                    None
                }
            }
        };
        drop(unused);
        self.seen(direction).map_or(Poll::Pending, Poll::Ready)
    }

    /// The future that had `place` waits no more.
    pub(crate) fn leave_crowd(&self, place: &Place) {
        let number = place.number.load(Ordering::Relaxed);
        if number == 0 {
            return;
        }
        let left = {
            let members = &mut self.crowd.lock().members;
            let index = members.iter().position(|member| member.number == number);
            let left = index.map(|index| members.swap_remove(index));
            if members.is_empty() {
                self.readiness.fetch_and(!CROWD, Ordering::AcqRel);
            }
            left
        };
        drop(left);
    }

    /// Whether the system has told that both directions are closed.
    pub(crate) fn is_hung_up(&self) -> bool {
        self.readiness.load(Ordering::Acquire) & usize::from(Ready::HANGUP.bits()) != 0
    }

    /// The attempt that followed `seen` would have blocked: waits for the next event. If the end had
    /// been told it was not the last one, as with a pipe that is opened anew.
    pub(crate) fn clear(&self, seen: Seen, direction: Direction) {
        let mask = direction.mask();
        let mut word = seen.word;
        loop {
            match self.readiness.compare_exchange_weak(
                word,
                word & !mask,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(actual) if actual / TICK != seen.word / TICK => return,
                Err(actual) => word = actual,
            }
        }
    }
}

impl Place {
    /// Under the crowd's lock.
    fn number_in(&self, crowd: &mut Crowd) -> u64 {
        let mut number = self.number.load(Ordering::Relaxed);
        if number == 0 {
            crowd.last_number += 1;
            number = crowd.last_number;
            self.number.store(number, Ordering::Relaxed);
        }
        number
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(std::sync::atomic::AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn task() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), Waker::from(count))
    }

    fn seen(io: &ScheduledIo, direction: Direction) -> Seen {
        io.seen(direction).expect("ready")
    }

    #[test]
    fn a_stale_clear_keeps_a_newer_event() {
        let io = ScheduledIo::new();
        let before = seen(&io, Direction::Read);
        io.set_ready(Ready::READABLE);
        io.clear(before, Direction::Read);
        assert!(io.seen(Direction::Read).is_some());
        let before = seen(&io, Direction::Read);
        io.clear(before, Direction::Read);
        assert!(io.seen(Direction::Read).is_none());
        assert!(io.seen(Direction::Write).is_some());
    }

    #[test]
    fn an_end_that_was_not_the_last_is_cleared_and_so_is_an_error() {
        let io = ScheduledIo::new();
        io.set_ready(Ready::READ_CLOSED | Ready::READABLE);
        let end = seen(&io, Direction::Read);
        assert!(end.is_final());
        io.clear(end, Direction::Read);
        assert!(io.seen(Direction::Read).is_none());
        io.clear(seen(&io, Direction::Write), Direction::Write);
        assert!(io.seen(Direction::Write).is_none());
        io.set_ready(Ready::ERROR);
        io.clear(seen(&io, Direction::Write), Direction::Write);
        assert!(io.seen(Direction::Write).is_none());
    }

    #[test]
    fn each_direction_wakes_its_own_task() {
        let io = ScheduledIo::new();
        io.clear(seen(&io, Direction::Read), Direction::Read);
        io.clear(seen(&io, Direction::Write), Direction::Write);
        let (reads, reader) = task();
        let (writes, writer) = task();
        let poll = |waker: &Waker, direction| {
            io.poll_ready(&mut Context::from_waker(waker), direction)
                .is_pending()
        };
        assert!(poll(&reader, Direction::Read) && poll(&writer, Direction::Write));
        io.set_ready(Ready::WRITABLE);
        assert_eq!(
            (
                reads.0.load(Ordering::Relaxed),
                writes.0.load(Ordering::Relaxed)
            ),
            (0, 1)
        );
        io.set_ready(Ready::HANGUP);
        assert_eq!(
            (
                reads.0.load(Ordering::Relaxed),
                writes.0.load(Ordering::Relaxed)
            ),
            (1, 1)
        );
    }

    #[test]
    fn a_crowd_is_woken_together_and_forgotten() {
        let io = ScheduledIo::new();
        io.clear(seen(&io, Direction::Read), Direction::Read);
        let tasks: Vec<_> = (0..3).map(|_| task()).collect();
        for (_, waker) in &tasks {
            for _ in 0..2 {
                let cx = &mut Context::from_waker(waker);
                assert!(
                    io.poll_ready_in_crowd(cx, Direction::Read, None)
                        .is_pending()
                );
            }
        }
        io.set_ready(Ready::WRITABLE);
        io.set_ready(Ready::READABLE);
        io.set_ready(Ready::READABLE);
        for (count, _) in &tasks {
            assert_eq!(count.0.load(Ordering::Relaxed), 1);
        }
        assert_eq!(io.readiness.load(Ordering::Relaxed) & CROWD, 0);
    }

    #[test]
    fn closing_wakes_everybody() {
        let io = ScheduledIo::new();
        io.clear(seen(&io, Direction::Read), Direction::Read);
        let (count, waker) = task();
        let cx = &mut Context::from_waker(&waker);
        assert!(io.poll_ready(cx, Direction::Read).is_pending());
        assert!(
            io.poll_ready_in_crowd(cx, Direction::Read, None)
                .is_pending()
        );
        io.close();
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        assert!(io.is_closed() && io.poll_ready(cx, Direction::Read).is_ready());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::future::block_on;
    use loom::sync::Arc;
    use loom::thread;
    use std::future::poll_fn;

    /// An edge-triggered source: data comes once, and the reactor is told once.
    struct Source {
        io: ScheduledIo,
        data: AtomicUsize,
    }

    impl Source {
        fn new() -> Arc<Source> {
            Arc::new(Source {
                io: ScheduledIo::new(),
                data: AtomicUsize::new(0),
            })
        }

        fn deliver(&self) {
            self.data.fetch_add(1, Ordering::Release);
            self.io.set_ready(Ready::READABLE);
        }

        fn poll_take(&self, cx: &mut Context<'_>, crowd: bool) -> Poll<()> {
            loop {
                let seen = if crowd {
                    self.io.poll_ready_in_crowd(cx, Direction::Read, None)
                } else {
                    self.io.poll_ready(cx, Direction::Read)
                };
                let Poll::Ready(seen) = seen else {
                    return Poll::Pending;
                };
                let taken = self
                    .data
                    .fetch_update(Ordering::AcqRel, Ordering::Acquire, |data| {
                        data.checked_sub(1)
                    });
                if taken.is_ok() {
                    return Poll::Ready(());
                }
                self.io.clear(seen, Direction::Read);
            }
        }
    }

    fn nothing_is_lost(crowd: bool) {
        crate::shim::model(move || {
            let source = Source::new();
            let reactor = source.clone();
            let thread = thread::spawn(move || {
                reactor.deliver();
                reactor.deliver();
            });
            for _ in 0..2 {
                block_on(poll_fn(|cx| source.poll_take(cx, crowd)));
            }
            thread.join().expect("joined");
        });
    }

    #[test]
    fn loom_no_edge_is_lost_to_a_clear_or_a_late_waker() {
        nothing_is_lost(false);
    }

    #[test]
    fn loom_no_edge_is_lost_to_a_crowd() {
        nothing_is_lost(true);
    }

    /// Reading and writing at once share the word, and nothing else.
    #[test]
    fn loom_directions_do_not_disturb_each_other() {
        crate::shim::model(|| {
            let io = Arc::new(ScheduledIo::new());
            for direction in [Direction::Read, Direction::Write] {
                io.clear(io.seen(direction).expect("ready at first"), direction);
            }
            let (reactor, writer) = (io.clone(), io.clone());
            let events = thread::spawn(move || {
                reactor.set_ready(Ready::READABLE);
                reactor.set_ready(Ready::WRITABLE);
            });
            let write = thread::spawn(move || {
                block_on(poll_fn(|cx| {
                    writer.poll_ready(cx, Direction::Write).map(drop)
                }));
            });
            block_on(poll_fn(|cx| io.poll_ready(cx, Direction::Read).map(drop)));
            events.join().expect("joined");
            write.join().expect("joined");
        });
    }
}
