//! Callback timers: the loop's own wheel, used by its own thread without a lock.
//!
//! Who holds a timer: its [`LoopTimer`], if that was not detached, and the wheel while the timer
//! is linked. The wheel's reference is a count given up by `Rc::into_raw`: a node's address is that
//! of the timer, since the node stands first.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::ptr::NonNull;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::EventLoop;
use super::core::Core;
use crate::time::clock::{self, Clock};
use crate::time::wheel::{Node, Wheel};

/// A callback that can be let go before its owner is.
trait Callback {
    fn call(&mut self);
    fn clear(&mut self);
}

impl<F: FnMut()> Callback for Option<F> {
    fn call(&mut self) {
        if let Some(callback) = self {
            callback();
        }
    }

    fn clear(&mut self) {
        *self = None;
    }
}

#[repr(C)]
struct TimerCell<C: ?Sized> {
    node: UnsafeCell<Node>,
    /// The whole of this timer, for a node's address has no vtable.
    this: Cell<Option<NonNull<DynTimer>>>,
    /// In nanoseconds of the loop's clock.
    deadline: Cell<u64>,
    /// In nanoseconds, or [`ONCE`].
    period: Cell<u64>,
    referenced: Cell<bool>,
    callback: RefCell<C>,
}

/// The period of a timer that does not repeat; as a period it would be 584 years.
const ONCE: u64 = u64::MAX;

type DynTimer = TimerCell<dyn Callback>;

impl DynTimer {
    /// The node's address, by way of the whole timer's, from which it can be found again.
    fn node(&self) -> NonNull<Node> {
        self.this.get().expect("set when the timer was made").cast()
    }

    fn is_active(&self) -> bool {
        // SAFETY: nodes are written by the loop's thread only, inside calls of the wheel.
        unsafe { (*self.node.get()).is_linked() }
    }
}

/// Takes over the count that the wheel had.
///
/// # Safety
/// `node` is that of a timer, and was just taken out of the wheel.
unsafe fn taken(node: NonNull<Node>) -> Rc<DynTimer> {
    // SAFETY: the node stands first in its timer; `this` was set before the timer was linked, and
    // came from the `Rc` whose count is taken over.
    unsafe {
        let this = (*node.cast::<TimerCell<()>>().as_ptr()).this.get();
        Rc::from_raw(this.unwrap_unchecked().as_ptr())
    }
}

pub(super) struct Timers {
    clock: Clock,
    wheel: RefCell<Wheel>,
    /// The present as the last turn saw it, in nanoseconds of the clock.
    now: Cell<u64>,
}

impl Timers {
    pub(super) fn new() -> Timers {
        Timers {
            clock: Clock::new(),
            wheel: RefCell::new(Wheel::new()),
            now: Cell::new(0),
        }
    }

    /// The earliest moment at which a timer may be due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let tick = self.wheel.borrow_mut().earliest()?;
        self.clock.instant(tick)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wheel.borrow().len() == 0
    }

    /// Whether a timer waits that was due when it was set.
    pub(super) fn is_due(&self) -> bool {
        self.wheel.borrow().has_due()
    }

    /// Sets aside what is due now. What is set from now on fires in a later turn.
    pub(super) fn advance(&self) {
        if self.is_empty() {
            return;
        }
        let now = self.clock.nanos(Instant::now());
        self.now.set(now);
        self.wheel.borrow_mut().advance(clock::floor(now));
    }

    fn insert(&self, timer: &Rc<DynTimer>, deadline: u64, due: bool) {
        // What is due already must not wait for a tick to begin.
        let due = due || deadline <= self.now.get();
        let tick = if due { 0 } else { clock::ceil(deadline) };
        timer.deadline.set(deadline);
        // The wheel's count.
        let _ = Rc::into_raw(timer.clone());
        // SAFETY: the node is unlinked (the callers see to it), and the count keeps it in place
        // until the wheel gives it back.
        unsafe { self.wheel.borrow_mut().insert(timer.node(), tick) };
    }

    /// Takes the timer out of the wheel, if it is in.
    fn remove(&self, timer: &DynTimer) -> Option<Rc<DynTimer>> {
        // SAFETY: if the node is linked, it is linked into this wheel.
        let removed = unsafe { self.wheel.borrow_mut().remove(timer.node()) };
        // SAFETY: it was just taken out.
        removed.then(|| unsafe { taken(timer.node()) })
    }
}

impl Core {
    pub(super) fn fire_timers(&self) {
        loop {
            let node = self.timers.wheel.borrow_mut().pop();
            let Some(node) = node else { break };
            // SAFETY: it was just taken out.
            let timer = unsafe { taken(node) };
            match timer.period.get() {
                ONCE if timer.referenced.get() => self.release(),
                ONCE => {}
                period => {
                    let next = following(timer.deadline.get(), period, self.timers.now.get());
                    self.timers.insert(&timer, next, false);
                }
            }
            self.contain(|| timer.callback.borrow_mut().call());
            self.contain(move || drop(timer));
        }
    }

    pub(super) fn drop_timers(&self) {
        loop {
            let node = self.timers.wheel.borrow_mut().pop_any();
            let Some(node) = node else { break };
            // SAFETY: it was just taken out.
            let timer = unsafe { taken(node) };
            // A callback may own its own timer: without this neither would ever be freed.
            self.contain(|| timer.callback.borrow_mut().clear());
        }
    }

    fn start_timer(&self, timer: &Rc<DynTimer>, deadline: Instant, due: bool) {
        let deadline = self.timers.clock.nanos(deadline);
        self.timers.insert(timer, deadline, due);
        if timer.referenced.get() {
            self.hold();
        }
        self.deadline_set();
    }

    fn stop_timer(&self, timer: &DynTimer) -> bool {
        if !timer.is_active() {
            return false;
        }
        let removed = self.timers.remove(timer);
        if removed.is_some() && timer.referenced.get() {
            self.release();
        }
        removed.is_some()
    }
}

/// The next time for a repeating timer: a multiple of its period after its last, and after `now`,
/// so that a late turn fires once and the rhythm is kept.
fn following(last: u64, period: u64, now: u64) -> u64 {
    let next = last.saturating_add(period);
    if next > now || period == 0 {
        return next.max(now);
    }
    now.saturating_add(period - (now - next) % period)
}

impl EventLoop {
    /// Calls `callback` in a turn after `deadline` has passed, and then, if `repeat` is given, each
    /// time that period has passed again.
    ///
    /// A timer is never early, and late by at most a tick of 8.192 µs plus what the loop is kept
    /// busy by. Timers fire in the order of their deadlines, to that tick; those with an equal
    /// deadline in the order in which they were set. One whose deadline has passed fires in the
    /// next turn, never in the one that sets it. A repeating timer that is late by several periods
    /// fires once, and keeps its rhythm; a period of zero means once each turn.
    pub fn add_timer<F>(
        &self,
        deadline: Instant,
        repeat: Option<Duration>,
        callback: F,
    ) -> LoopTimer
    where
        F: FnMut() + 'static,
    {
        let timer = self.timer(callback);
        timer.start(deadline, false, repeat);
        timer
    }

    /// A timer that is not started yet: see [`LoopTimer::restart`].
    pub fn timer<F>(&self, callback: F) -> LoopTimer
    where
        F: FnMut() + 'static,
    {
        let timer: Rc<DynTimer> = Rc::new(TimerCell {
            node: UnsafeCell::new(Node::new()),
            this: Cell::new(None),
            deadline: Cell::new(self.core().timers.now.get()),
            period: Cell::new(ONCE),
            referenced: Cell::new(true),
            callback: RefCell::new(Some(callback)),
        });
        timer.this.set(NonNull::new(Rc::as_ptr(&timer).cast_mut()));
        LoopTimer {
            core: self.core().clone(),
            timer,
        }
    }

    /// [`add_timer`](Self::add_timer) with a delay from now. No delay means the next turn.
    pub fn add_timer_after<F>(
        &self,
        delay: Duration,
        repeat: Option<Duration>,
        callback: F,
    ) -> LoopTimer
    where
        F: FnMut() + 'static,
    {
        let timer = self.timer(callback);
        timer.restart_after(delay, repeat);
        timer
    }
}

/// A timer that calls back; see [`EventLoop::add_timer`].
///
/// Threads: the loop's. Dropping it stops it.
#[must_use = "a timer is stopped when it is dropped"]
pub struct LoopTimer {
    core: Rc<Core>,
    timer: Rc<DynTimer>,
}

impl LoopTimer {
    /// Stops the timer: it does not fire, not even if it is due in this very turn. Whether it
    /// was going to.
    pub fn stop(&self) -> bool {
        self.core.stop_timer(&self.timer)
    }

    /// Sets the timer anew, whether it is active, stopped or fired. After the loop is gone this
    /// does nothing.
    pub fn restart(&self, deadline: Instant, repeat: Option<Duration>) {
        self.start(deadline, false, repeat);
    }

    /// [`restart`](Self::restart) with a delay from now. No delay means the next turn.
    pub fn restart_after(&self, delay: Duration, repeat: Option<Duration>) {
        let deadline = clock::after(Instant::now(), delay);
        self.start(deadline, delay.is_zero(), repeat);
    }

    fn start(&self, deadline: Instant, due: bool, repeat: Option<Duration>) {
        self.stop();
        let period = repeat.map_or(ONCE, |period| clock::nanoseconds(period).min(ONCE - 1));
        self.timer.period.set(period);
        if !self.core.is_closed() {
            self.core.start_timer(&self.timer, deadline, due);
        }
    }

    /// Whether it is going to fire.
    pub fn is_active(&self) -> bool {
        self.timer.is_active()
    }

    /// When it fires next, or was last to fire.
    pub fn deadline(&self) -> Instant {
        self.core.timers.clock.at(self.timer.deadline.get())
    }

    /// Whether the timer keeps [`run`](EventLoop::run) going while it is active, which it does at
    /// first.
    pub fn set_referenced(&self, referenced: bool) {
        let was = self.timer.referenced.replace(referenced);
        if !self.timer.is_active() {
            return;
        }
        match (was, referenced) {
            (false, true) => self.core.hold(),
            (true, false) => self.core.release(),
            _ => {}
        }
    }

    /// Lets the timer live until it has fired for the last time, or as long as the loop.
    pub fn detach(self) {
        let mut this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is not used or dropped after its two fields were.
        unsafe {
            std::ptr::drop_in_place(&mut this.timer);
            std::ptr::drop_in_place(&mut this.core);
        }
    }
}

impl Drop for LoopTimer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for LoopTimer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoopTimer")
            .field("active", &self.is_active())
            .field("deadline", &self.deadline())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_repeat_keeps_its_rhythm() {
        assert_eq!(following(100, 10, 103), 110);
        assert_eq!(following(100, 10, 137), 140);
        assert_eq!(following(100, 10, 140), 150);
        assert_eq!(following(100, 0, 105), 105);
        assert_eq!(following(u64::MAX - 1, 10, 5), u64::MAX);
    }
}
