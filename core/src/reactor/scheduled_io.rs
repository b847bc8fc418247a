//! The readiness of one descriptor, and who waits for it.
//!
//! # The word
//!
//! `readiness` packs what the descriptor is ready for (the low 8 bits, as in [`Ready`]), two flags,
//! the *tick*, which is one higher after each event, and the *generation*, which is one higher after
//! each registration that had this place. The descriptor is edge-triggered: the system tells of a
//! change once, so a readiness that is lost is lost for ever.
//!
//! - The reactor, when an event comes: adds the event's bits and one tick, with one
//!   read-modify-write (release), if the event names the word's generation; then wakes the waiters.
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
//! **The third**: an event of a registration that has ended comes late, and its place has another one.
//! The generation is part of the word that the event's compare-and-swap replaces, so it changes
//! nothing of a later generation. An event that was in time may still wake whoever waits a moment
//! later: a task that is woken for nothing looks at the word, and waits on.
//!
//! # Who waits
//!
//! One task in each direction waits in a slot: the last that polled. Futures may wait in any number:
//! they have a [`Place`] in the crowd, a list under a lock that is looked at only if the word's flag
//! says that somebody is in it, and give it up when they end. There are two kinds:
//!
//! - *Watchers*, which wait until it is worth trying: an event wakes all of them.
//! - *Contenders*, of which one takes what the others do not get, a connection for instance: an event
//!   wakes the first.
//!
//! **The race to prevent**: a contender is woken for an event that stands for two connections, takes
//! one, or is dropped, and the second connection waits while the others sleep. So whoever was woken has
//! to find that nothing is left (and clear the word), or else to wake the next: a contender that
//! gives up its place, and is not in the list, was woken, and wakes the next if the word is ready. Of
//! the rest none sleeps beside a ready word without such a one: the read-modify-write that sets the
//! flag, under the lock, is also the second look at the word. Either it comes after the event, and
//! then whoever did it is not in the list, stays awake, and counts as woken; or before, and then the
//! event meets the flag, and finds somebody in the list to wake.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use super::token::Key;
use super::waker_slot::{WakerSlot, wake};
use super::{Interest, Ready};
use crate::shim::sync::Mutex;
use crate::shim::sync::atomic::{AtomicU64, Ordering};

const READY: u64 = 0xff;
/// Somebody is in `crowd`.
const CROWD: u64 = 0x100;
/// The reactor is gone: nothing will be told any more.
const CLOSED: u64 = 0x200;
const TICK: u64 = 0x400;
const TICKS: u64 = GENERATION - TICK;
const GENERATION: u64 = 1 << 32;

/// Reading or writing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    /// What makes it worth trying.
    fn mask(self) -> u64 {
        let ready = match self {
            Direction::Read => Ready::READABLE | Ready::READ_CLOSED,
            Direction::Write => Ready::WRITABLE,
        };
        u64::from((ready | Ready::HANGUP | Ready::ERROR).bits())
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
    word: u64,
}

impl Seen {
    /// Whether the end has been reported: what is not consumed now will not be reported again.
    pub(crate) fn is_final(self) -> bool {
        let last = (Ready::READ_CLOSED | Ready::HANGUP | Ready::ERROR).bits();
        self.word & u64::from(last) != 0
    }

    /// What the system has told about a direction, as far as it is still believed.
    pub(crate) fn ready(self, direction: Direction) -> Ready {
        Ready::from_bits_truncate((self.word & direction.mask()) as u8)
    }
}

/// Used for one registration after the other, and aligned lest two share a cache line.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct ScheduledIo {
    readiness: AtomicU64,
    reader: WakerSlot,
    writer: WakerSlot,
    crowd: Mutex<Crowd>,
}

#[derive(Debug, Default)]
struct Crowd {
    members: VecDeque<Member>,
    last_number: u64,
}

#[derive(Debug)]
struct Member {
    /// Whose place this is.
    number: u64,
    direction: Direction,
    kind: Kind,
    waker: Waker,
}

/// What a member of a crowd waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// To see that it is worth trying.
    Watcher,
    /// To take something that the others do not get then. It tries until nothing is left, or gives up
    /// its place.
    Contender,
}

/// A future's place in a crowd, to be [given up](ScheduledIo::leave_crowd) with the future.
#[derive(Debug)]
pub(crate) struct Place {
    /// Zero until it had to wait.
    number: AtomicU64,
    direction: Direction,
    kind: Kind,
}

/// The wakers that were left behind, to be dropped outside of any lock.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    _slots: [Option<Waker>; 2],
    _crowd: VecDeque<Member>,
}

impl ScheduledIo {
    pub(crate) fn new() -> ScheduledIo {
        ScheduledIo {
            readiness: AtomicU64::new(0),
            reader: WakerSlot::new(),
            writer: WakerSlot::new(),
            crowd: Mutex::new(Crowd::default()),
        }
    }

    /// Begins a registration: its generation, and the word before anything was reported. Ready for
    /// everything until it is found not to be: the first try tells.
    ///
    /// Nobody else has the place.
    pub(crate) fn begin(&self) -> (u32, Seen) {
        let ready = Ready::READABLE | Ready::WRITABLE;
        let generation = self.readiness.load(Ordering::Relaxed) & !(GENERATION - 1);
        let word = generation | u64::from(ready.bits());
        self.readiness.store(word, Ordering::Relaxed);
        ((word / GENERATION) as u32, Seen { word })
    }

    /// Ends a registration: its events change nothing any more.
    pub(crate) fn end(&self) -> Leftovers {
        let word = self.readiness.load(Ordering::Relaxed);
        let next = Key::next_generation((word / GENERATION) as u32);
        // A swap, so that it is one of the modifications that an event's has its place among.
        self.readiness
            .swap(u64::from(next) * GENERATION, Ordering::AcqRel);
        Leftovers {
            _slots: [self.reader.take(), self.writer.take()],
            _crowd: std::mem::take(&mut self.crowd.lock().members),
        }
    }

    fn slot(&self, direction: Direction) -> &WakerSlot {
        match direction {
            Direction::Read => &self.reader,
            Direction::Write => &self.writer,
        }
    }

    /// The reactor: the system has told of `ready`. Whether that was for this registration rather
    /// than one that has ended.
    pub(crate) fn set_ready(&self, generation: u32, ready: Ready) -> bool {
        let bits = u64::from(ready.bits());
        let mut word = self.readiness.load(Ordering::Relaxed);
        loop {
            if word / GENERATION != u64::from(generation) {
                return false;
            }
            let new = (word & !TICKS) | bits | (word.wrapping_add(TICK) & TICKS);
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
            self.wake_crowd(bits, false);
        }
        true
    }

    /// Wakes the watchers that `bits` concern, and the first contender in each direction, or all.
    #[cold]
    fn wake_crowd(&self, bits: u64, all: bool) {
        // Most often it is one.
        let (mut first, mut more) = (None, Vec::new());
        {
            let crowd = &mut *self.crowd.lock();
            let mut won = 0;
            let mut index = 0;
            while let Some(member) = crowd.members.get(index) {
                let mask = member.direction.mask();
                let chosen =
                    mask & bits != 0 && (all || member.kind == Kind::Watcher || won & mask != mask);
                if !chosen {
                    index += 1;
                    continue;
                }
                if member.kind == Kind::Contender {
                    won |= mask;
                }
                let waker = crowd.members.remove(index).map(|member| member.waker);
                if first.is_none() {
                    first = waker;
                } else {
                    more.extend(waker);
                }
            }
            self.forget_if_empty(crowd);
        }
        for waker in first.into_iter().chain(more) {
            wake(waker);
        }
    }

    /// Under the crowd's lock, which guards the flag's meaning.
    fn forget_if_empty(&self, crowd: &Crowd) {
        if crowd.members.is_empty() {
            self.readiness.fetch_and(!CROWD, Ordering::AcqRel);
        }
    }

    /// The reactor is gone: everybody is woken, and told.
    pub(crate) fn close(&self) {
        self.readiness.fetch_or(CLOSED, Ordering::AcqRel);
        self.reader.wake();
        self.writer.wake();
        self.wake_crowd(READY, true);
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

    /// As [`poll_ready`](Self::poll_ready), for any number of futures. The place is the future's, and
    /// used with no other registration.
    pub(crate) fn poll_ready_in_crowd(&self, cx: &mut Context<'_>, place: &Place) -> Poll<Seen> {
        let direction = place.direction;
        if let Some(seen) = self.seen(direction) {
            return Poll::Ready(seen);
        }
        let waker = cx.waker().clone();
        let (polled, _unused) = {
            let crowd = &mut *self.crowd.lock();
            let number = place.number_in(crowd);
            let mine = |member: &Member| member.number == number;
            let there = crowd.members.iter().position(mine);
            let word = self.readiness.fetch_or(CROWD, Ordering::AcqRel);
            if word & (direction.mask() | CLOSED) != 0 {
                let mine = there.and_then(|index| crowd.members.remove(index));
                self.forget_if_empty(crowd);
                (Poll::Ready(Seen { word }), (mine, Some(waker)))
            } else if let Some(member) = there.map(|index| &mut crowd.members[index]) {
                let old = std::mem::replace(&mut member.waker, waker);
                (Poll::Pending, (None, Some(old)))
            } else {
                crowd.members.push_back(Member {
                    number,
                    direction,
                    kind: place.kind,
                    waker,
                });
                (Poll::Pending, (None, None))
            }
        };
        polled
    }

    /// The future that had `place` waits no more. If it was woken for something that others contend
    /// for, and something is left, the next one is woken.
    pub(crate) fn leave_crowd(&self, place: &Place) {
        let number = place.number.load(Ordering::Relaxed);
        if number == 0 {
            return;
        }
        let (left, next) = {
            let crowd = &mut *self.crowd.lock();
            let members = &mut crowd.members;
            let mine = |member: &Member| member.number == number;
            let left = members
                .iter()
                .position(mine)
                .and_then(|index| members.remove(index));
            let was_woken = left.is_none() && place.kind == Kind::Contender;
            let next = if was_woken && self.seen(place.direction).is_some() {
                let next = |member: &Member| {
                    member.kind == Kind::Contender && member.direction == place.direction
                };
                members
                    .iter()
                    .position(next)
                    .and_then(|index| members.remove(index))
            } else {
                None
            };
            self.forget_if_empty(crowd);
            (left, next)
        };
        drop(left);
        if let Some(next) = next {
            wake(next.waker);
        }
    }

    /// Whether the system has told that both directions are closed.
    pub(crate) fn is_hung_up(&self) -> bool {
        self.readiness.load(Ordering::Acquire) & u64::from(Ready::HANGUP.bits()) != 0
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
    pub(crate) fn new(direction: Direction, kind: Kind) -> Place {
        Place {
            number: AtomicU64::new(0),
            direction,
            kind,
        }
    }

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

    impl Count {
        fn get(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn task() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), Waker::from(count))
    }

    fn registered() -> ScheduledIo {
        let io = ScheduledIo::new();
        assert_eq!(io.begin().0, 0);
        io
    }

    fn seen(io: &ScheduledIo, direction: Direction) -> Seen {
        io.seen(direction).expect("ready")
    }

    #[test]
    fn a_stale_clear_keeps_a_newer_event() {
        let io = registered();
        let before = seen(&io, Direction::Read);
        assert!(io.set_ready(0, Ready::READABLE));
        io.clear(before, Direction::Read);
        assert!(io.seen(Direction::Read).is_some());
        let before = seen(&io, Direction::Read);
        io.clear(before, Direction::Read);
        assert!(io.seen(Direction::Read).is_none());
        assert!(io.seen(Direction::Write).is_some());
    }

    #[test]
    fn an_event_of_an_earlier_generation_changes_nothing() {
        let io = registered();
        let (count, waker) = task();
        let cx = &mut Context::from_waker(&waker);
        io.clear(seen(&io, Direction::Read), Direction::Read);
        assert!(io.poll_ready(cx, Direction::Read).is_pending());
        drop(io.end());
        assert_eq!(Arc::strong_count(&count), 2, "no waker is left behind");
        assert!(!io.set_ready(0, Ready::READABLE));
        let (generation, seen) = io.begin();
        assert_eq!(generation, 1);
        io.clear(seen, Direction::Read);
        assert!(io.poll_ready(cx, Direction::Read).is_pending());
        assert!(!io.set_ready(0, Ready::READABLE));
        assert_eq!(count.get(), 0);
        assert!(io.set_ready(1, Ready::READABLE));
        assert_eq!(count.get(), 1);
    }

    #[test]
    fn the_tick_wraps_without_touching_the_generation() {
        let io = registered();
        drop(io.end());
        let (generation, _) = io.begin();
        io.readiness.fetch_or(TICKS, Ordering::Relaxed);
        assert!(io.set_ready(generation, Ready::READABLE));
        let word = io.readiness.load(Ordering::Relaxed);
        assert_eq!((word & TICKS, word / GENERATION), (0, 1));
    }

    #[test]
    fn an_end_that_was_not_the_last_is_cleared_and_so_is_an_error() {
        let io = registered();
        io.set_ready(0, Ready::READ_CLOSED | Ready::READABLE);
        let end = seen(&io, Direction::Read);
        assert!(end.is_final());
        io.clear(end, Direction::Read);
        assert!(io.seen(Direction::Read).is_none());
        io.clear(seen(&io, Direction::Write), Direction::Write);
        assert!(io.seen(Direction::Write).is_none());
        io.set_ready(0, Ready::ERROR);
        io.clear(seen(&io, Direction::Write), Direction::Write);
        assert!(io.seen(Direction::Write).is_none());
    }

    #[test]
    fn each_direction_wakes_its_own_task() {
        let io = registered();
        io.clear(seen(&io, Direction::Read), Direction::Read);
        io.clear(seen(&io, Direction::Write), Direction::Write);
        let (reads, reader) = task();
        let (writes, writer) = task();
        let poll = |waker: &Waker, direction| {
            io.poll_ready(&mut Context::from_waker(waker), direction)
                .is_pending()
        };
        assert!(poll(&reader, Direction::Read) && poll(&writer, Direction::Write));
        io.set_ready(0, Ready::WRITABLE);
        assert_eq!((reads.get(), writes.get()), (0, 1));
        io.set_ready(0, Ready::HANGUP);
        assert_eq!((reads.get(), writes.get()), (1, 1));
    }

    fn waiting(io: &ScheduledIo, kind: Kind) -> Vec<(Arc<Count>, Place)> {
        io.clear(seen(io, Direction::Read), Direction::Read);
        let wait = |_| {
            let (count, waker) = task();
            let place = Place::new(Direction::Read, kind);
            for _ in 0..2 {
                let cx = &mut Context::from_waker(&waker);
                assert!(io.poll_ready_in_crowd(cx, &place).is_pending());
            }
            (count, place)
        };
        (0..3).map(wait).collect()
    }

    fn woken(tasks: &[(Arc<Count>, Place)]) -> Vec<usize> {
        tasks.iter().map(|(count, _)| count.get()).collect()
    }

    #[test]
    fn watchers_are_woken_together_and_forgotten() {
        let io = registered();
        let tasks = waiting(&io, Kind::Watcher);
        io.set_ready(0, Ready::WRITABLE);
        io.set_ready(0, Ready::READABLE);
        io.set_ready(0, Ready::READABLE);
        assert_eq!(woken(&tasks), [1, 1, 1]);
        assert_eq!(io.readiness.load(Ordering::Relaxed) & CROWD, 0);
    }

    #[test]
    fn one_contender_is_woken_at_a_time_in_order() {
        let io = registered();
        let tasks = waiting(&io, Kind::Contender);
        io.set_ready(0, Ready::READABLE);
        assert_eq!(woken(&tasks), [1, 0, 0]);
        io.set_ready(0, Ready::READABLE);
        assert_eq!(woken(&tasks), [1, 1, 0]);
        // One that gives up before it was woken passes nothing on.
        io.leave_crowd(&tasks[2].1);
        assert_eq!(woken(&tasks), [1, 1, 0]);
        assert_eq!(io.readiness.load(Ordering::Relaxed) & CROWD, 0);
    }

    #[test]
    fn a_contender_that_was_woken_and_leaves_wakes_the_next_while_something_is_left() {
        let io = registered();
        let tasks = waiting(&io, Kind::Contender);
        io.set_ready(0, Ready::READABLE);
        io.leave_crowd(&tasks[0].1);
        assert_eq!(woken(&tasks), [1, 1, 0]);
        io.clear(seen(&io, Direction::Read), Direction::Read);
        io.leave_crowd(&tasks[1].1);
        assert_eq!(woken(&tasks), [1, 1, 0]);
    }

    #[test]
    fn closing_wakes_everybody() {
        let io = registered();
        let contenders = waiting(&io, Kind::Contender);
        let (count, waker) = task();
        let cx = &mut Context::from_waker(&waker);
        let place = Place::new(Direction::Read, Kind::Watcher);
        assert!(io.poll_ready(cx, Direction::Read).is_pending());
        assert!(io.poll_ready_in_crowd(cx, &place).is_pending());
        io.close();
        assert_eq!(count.get(), 2);
        assert_eq!(woken(&contenders), [1, 1, 1]);
        assert!(io.is_closed() && io.poll_ready(cx, Direction::Read).is_ready());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::shim::sync::atomic::AtomicUsize;
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
            let io = ScheduledIo::new();
            io.begin();
            Arc::new(Source {
                io,
                data: AtomicUsize::new(0),
            })
        }

        fn deliver(&self, amount: usize) {
            self.data.fetch_add(amount, Ordering::Release);
            assert!(self.io.set_ready(0, Ready::READABLE));
        }

        fn poll_take(&self, cx: &mut Context<'_>, place: Option<&Place>) -> Poll<()> {
            loop {
                let seen = match place {
                    Some(place) => self.io.poll_ready_in_crowd(cx, place),
                    None => self.io.poll_ready(cx, Direction::Read),
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

        fn contend(&self) {
            let place = Place::new(Direction::Read, Kind::Contender);
            block_on(poll_fn(|cx| self.poll_take(cx, Some(&place))));
            self.io.leave_crowd(&place);
        }
    }

    fn nothing_is_lost(kind: Option<Kind>) {
        crate::shim::model(move || {
            let source = Source::new();
            let reactor = source.clone();
            let thread = thread::spawn(move || {
                reactor.deliver(1);
                reactor.deliver(1);
            });
            let place = kind.map(|kind| Place::new(Direction::Read, kind));
            for _ in 0..2 {
                block_on(poll_fn(|cx| source.poll_take(cx, place.as_ref())));
            }
            thread.join().expect("joined");
        });
    }

    #[test]
    fn loom_no_edge_is_lost_to_a_clear_or_a_late_waker() {
        nothing_is_lost(None);
    }

    #[test]
    fn loom_no_edge_is_lost_to_a_watcher() {
        nothing_is_lost(Some(Kind::Watcher));
    }

    /// A contender that is never woken is a deadlock, which the model reports.
    #[test]
    fn loom_contenders_get_all_that_one_event_stands_for() {
        crate::shim::model(|| {
            let source = Source::new();
            let other = source.clone();
            let contender = thread::spawn(move || other.contend());
            let reactor = source.clone();
            let event = thread::spawn(move || reactor.deliver(2));
            source.contend();
            contender.join().expect("joined");
            event.join().expect("joined");
        });
    }

    #[test]
    fn loom_a_contender_that_is_dropped_keeps_nothing_from_the_others() {
        crate::shim::model(|| {
            let source = Source::new();
            let other = source.clone();
            let contender = thread::spawn(move || other.contend());
            let reactor = source.clone();
            let event = thread::spawn(move || reactor.deliver(1));
            // Polled once, so it may be the one that the event wakes; and then dropped, unless it has
            // taken the one thing there is.
            let place = Place::new(Direction::Read, Kind::Contender);
            let waker = std::task::Waker::noop();
            let polled = source.poll_take(&mut Context::from_waker(waker), Some(&place));
            if polled.is_ready() {
                source.deliver(1);
            }
            source.io.leave_crowd(&place);
            contender.join().expect("joined");
            event.join().expect("joined");
        });
    }

    /// What the reactor was told of a registration that ends at that moment, and whose place is used
    /// for another one.
    #[test]
    fn loom_a_late_event_leaves_the_next_registration_alone() {
        crate::shim::model(|| {
            let io = Arc::new(ScheduledIo::new());
            let (generation, _) = io.begin();
            let late = io.clone();
            let thread = thread::spawn(move || late.set_ready(generation, Ready::READABLE));
            drop(io.end());
            let (_, first) = io.begin();
            io.clear(first, Direction::Read);
            let waker = std::task::Waker::noop();
            let cx = &mut Context::from_waker(waker);
            assert!(io.poll_ready(cx, Direction::Read).is_pending());
            thread.join().expect("joined");
            assert!(io.seen(Direction::Read).is_none());
        });
    }

    /// Reading and writing at once share the word, and nothing else.
    #[test]
    fn loom_directions_do_not_disturb_each_other() {
        crate::shim::model(|| {
            let io = Arc::new(ScheduledIo::new());
            io.begin();
            for direction in [Direction::Read, Direction::Write] {
                io.clear(io.seen(direction).expect("ready at first"), direction);
            }
            let (reactor, writer) = (io.clone(), io.clone());
            let events = thread::spawn(move || {
                reactor.set_ready(0, Ready::READABLE);
                reactor.set_ready(0, Ready::WRITABLE);
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
