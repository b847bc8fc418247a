//! The inside of a loop: what its handles share, and the steps of a turn.

use std::any::Any;
use std::cell::{Cell, Ref, RefCell};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::embedding::Embedding;
use super::local::Tasks;
use super::shared::{Message, Shared};
use super::timer::Timers;
use super::watch::{Found, WatchTable};
use super::{Hooks, Turn};
use crate::context::Driver;
use crate::panic::{contain, discard_payload};
use crate::reactor::sys::{Bell, Events, Poller};
use crate::reactor::token::{self, Key, Token};
use crate::reactor::{self, Ready};
use crate::time::OwnedTimers;

type OnPanic = Rc<dyn Fn(Box<dyn Any + Send>)>;

pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    /// What the loop waits on, and what its tasks register with. `None` once the loop is gone, for
    /// handles on it may live on.
    driver: RefCell<Option<Driver>>,
    closed: Cell<bool>,
    events: RefCell<Events>,
    pub(super) watches: RefCell<WatchTable>,
    pub(super) timers: Timers,
    pub(super) tasks: Tasks,
    /// Watches and timers that are active and referenced.
    held: Cell<usize>,
    turning: Cell<bool>,
    turn_number: Cell<u64>,
    /// Whether the last turn left something to do.
    more: Cell<bool>,
    /// Whether a report came for a watch that is long gone.
    haunted: Cell<bool>,
    hooks: RefCell<Rc<Hooks>>,
    on_panic: RefCell<Option<OnPanic>>,
    pub(super) on_replaced: RefCell<Option<Rc<dyn Fn()>>>,
    batch: RefCell<Vec<Message>>,
    /// Whether messages may have come with a wake that was seen outside of a turn.
    unread: Cell<bool>,
    pub(super) embedding: RefCell<Option<Embedding>>,
}

impl Core {
    pub(super) fn new() -> io::Result<Rc<Core>> {
        let poller = Poller::new()?;
        let bell = Bell::new(&poller, token::BELL)?;
        let shared = Shared::new(bell);
        let waker = shared.clone();
        let driver = Driver {
            reactor: reactor::Handle::of(poller, None),
            timers: OwnedTimers::new(move || waker.wake()),
        };
        Ok(Rc::new(Core {
            shared,
            driver: RefCell::new(Some(driver)),
            closed: Cell::new(false),
            events: RefCell::new(Events::new()),
            watches: RefCell::default(),
            timers: Timers::new(),
            tasks: Tasks::new(),
            held: Cell::new(0),
            turning: Cell::new(false),
            turn_number: Cell::new(0),
            more: Cell::new(false),
            haunted: Cell::new(false),
            hooks: RefCell::default(),
            on_panic: RefCell::default(),
            on_replaced: RefCell::default(),
            batch: RefCell::default(),
            unread: Cell::new(false),
            embedding: RefCell::new(None),
        }))
    }

    /// The set that the loop waits on. Only called while the loop is there.
    pub(super) fn poller(&self) -> Ref<'_, Poller> {
        Ref::map(self.driver(), |driver| driver.reactor.poller())
    }

    /// Only called while the loop is there.
    pub(super) fn driver(&self) -> Ref<'_, Driver> {
        Ref::map(self.driver.borrow(), |driver| {
            driver.as_ref().expect("the loop is there")
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(super) fn is_turning(&self) -> bool {
        self.turning.get()
    }

    pub(super) fn turn_number(&self) -> u64 {
        self.turn_number.get()
    }

    pub(super) fn hold(&self) {
        self.held.set(self.held.get() + 1);
    }

    pub(super) fn release(&self) {
        self.held.set(self.held.get() - 1);
    }

    pub(super) fn is_alive(&self) -> bool {
        self.held.get() > 0
            || self.tasks.any_alive()
            || self.shared.kept.load(Ordering::Acquire) > 0
            || self.shared.has_messages()
    }

    pub(super) fn set_hooks(&self, hooks: Hooks) {
        let old = self.hooks.replace(Rc::new(hooks));
        drop(old);
    }

    pub(super) fn set_on_panic(&self, on_panic: Option<OnPanic>) {
        let old = self.on_panic.replace(on_panic);
        drop(old);
    }

    pub(super) fn set_on_replaced(&self, on_replaced: Rc<dyn Fn()>) {
        let old = self.on_replaced.replace(Some(on_replaced));
        drop(old);
    }

    /// Runs foreign code. A panic ends here: it is handed to `on_panic`, and the loop goes on.
    pub(super) fn contain(&self, f: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
            self.panicked(payload);
        }
    }

    #[cold]
    fn panicked(&self, payload: Box<dyn Any + Send>) {
        let on_panic = self.on_panic.borrow().clone();
        match on_panic {
            Some(on_panic) => contain(move || on_panic(payload)),
            None => discard_payload(payload),
        }
    }

    pub(super) fn turn(&self, timeout: Option<Duration>) -> io::Result<Turn> {
        if self.turning.replace(true) {
            return Err(io::Error::from(io::ErrorKind::ResourceBusy));
        }
        let _turning = Turning(&self.turning);
        self.turn_number.set(self.turn_number.get() + 1);
        self.wait(timeout)?;
        // Every message comes with a wake, so without one there is no need to look.
        let unread = self.unread.take();
        let woken = self.shared.wake.begin() || unread;
        self.inside(|| self.work(woken));
        self.finish()
    }

    fn work(&self, woken: bool) {
        // Before any callback: what a callback of this turn sets is not due in this turn.
        self.timers.advance();
        if woken {
            self.deliver_messages();
        }
        self.fire_timers();
        self.wake_sleepers();
        self.dispatch_events();
        if self.haunted.take() {
            // Without a descriptor to do it with the ghost reports again, and this is tried again.
            let _ = self.exorcise();
        }
        self.run_tasks();
        let hooks = self.hooks.borrow().clone();
        if let Some(after_turn) = &hooks.after_turn {
            self.contain(after_turn);
        }
    }

    fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = match timeout {
            // No deadline is nearer than now, so the clock need not be read.
            Some(Duration::ZERO) => timeout,
            Some(timeout) => Some(
                self.next_timeout()
                    .map_or(timeout, |next| timeout.min(next)),
            ),
            None => self.next_timeout(),
        };
        let driver = self.driver();
        let poller = driver.reactor.poller();
        let mut events = self.events.borrow_mut();
        if timeout == Some(Duration::ZERO) {
            return poller.wait(&mut events, timeout);
        }
        let hooks = self.hooks.borrow().clone();
        if let Some(before_wait) = &hooks.before_wait {
            self.contain(before_wait);
        }
        let result = poller.wait(&mut events, timeout);
        if let Some(after_wait) = &hooks.after_wait {
            self.contain(after_wait);
        }
        result
    }

    pub(super) fn next_timeout(&self) -> Option<Duration> {
        if self.more.get() || self.tasks.any_ready() || self.shared.wake.is_notified() {
            return Some(Duration::ZERO);
        }
        let deadline = self.next_deadline()?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// When the next timer is due, of a callback or of a future.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let callback = self.timers.next_deadline();
        let sleeper = self.driver().timers.next_deadline();
        match (callback, sleeper) {
            (Some(callback), Some(sleeper)) => Some(callback.min(sleeper)),
            (callback, sleeper) => callback.or(sleeper),
        }
    }

    fn wake_sleepers(&self) {
        let driver = self.driver();
        if !driver.timers.is_empty() {
            driver.timers.process(Instant::now());
        }
    }

    fn deliver_messages(&self) {
        let mut batch = self.batch.take();
        self.shared.receive(&mut batch);
        for message in batch.drain(..) {
            match message {
                Message::Call(call) => self.contain(call),
                Message::Woken(task) => self.tasks.woken(task),
                Message::Spawned(task) => self.tasks.spawned(task),
            }
        }
        self.batch.replace(batch);
    }

    fn dispatch_events(&self) {
        let events = self.events.borrow();
        for index in 0..events.len() {
            let event = events.get(index);
            match Token::of(event.token) {
                Some(Token::Watch(key)) => self.dispatch_watch(key, event.ready),
                Some(Token::Alarm) => self.alarm_went_off(),
                Some(Token::Registration(key)) => {
                    if self.driver().reactor.dispatch(key, event.ready) {
                        self.haunted.set(true);
                    }
                }
                Some(Token::Bell) | None => {}
            }
        }
    }

    fn dispatch_watch(&self, key: Key, ready: Ready) {
        let found = self.watches.borrow().find(key, self.turn_number.get());
        match found {
            Found::Watch(watch) => {
                let ready = ready.masked(watch.interest.get());
                // The interest may have changed since the report was fetched.
                if ready.is_empty() || watch.interest.get().is_empty() {
                    return;
                }
                self.contain(|| (watch.callback.borrow_mut())(ready));
                self.poller()
                    .rearm(watch.fd, key.of_watch(), watch.interest.get());
                // It may have been stopped by its own callback, and be dropped here.
                self.contain(move || drop(watch));
            }
            Found::Stopped => {}
            Found::Ghost => self.haunted.set(true),
        }
    }

    fn finish(&self) -> io::Result<Turn> {
        let notified = self.shared.wake.end();
        let more = notified
            || self.events.borrow().is_full()
            || self.timers.is_due()
            || self.tasks.any_ready();
        self.more.set(more);
        self.leave_to_host(more)?;
        Ok(if more { Turn::More } else { Turn::Idle })
    }

    /// Does `f` as a turn does its work, on behalf of somebody who takes a turn afterwards: a wake in
    /// the meantime need not ring.
    pub(super) fn between_turns<R>(&self, f: impl FnOnce() -> R) -> R {
        let before = self.shared.wake.begin();
        if before {
            self.unread.set(true);
        }
        // The next turn does not wait if there was, or is, a wake that no turn has looked into.
        let result = catch_unwind(AssertUnwindSafe(|| self.inside(f)));
        if self.shared.wake.end() || before {
            self.more.set(true);
            // Nor need a turn follow, and then a host has to be told.
            if self.has_host() {
                self.shared.ring_anew();
            }
        }
        result.unwrap_or_else(|payload| resume_unwind(payload))
    }

    /// Waits until the bell rings; other reports are lost, for a loop that is being closed.
    pub(super) fn wait_for_bell(&self) -> io::Result<()> {
        self.poller().wait(&mut self.events.borrow_mut(), None)
    }

    /// The end of the loop. Everything foreign is dropped on this thread, outside of any borrow.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.shared.refuse_new();
        let watches = self.watches.borrow_mut().take_all();
        for watch in watches {
            self.contain(move || drop(watch));
        }
        self.drop_timers();
        self.inside(|| self.cancel_tasks());
        for message in self.shared.close() {
            self.contain(move || drop(message));
        }
        let (hooks, on_replaced) = (self.hooks.take(), self.on_replaced.take());
        self.contain(move || drop(hooks));
        self.contain(move || drop(on_replaced));
        self.embedding.take();
        // Last: a destructor above may have stopped a watch or a timer.
        if let Some(driver) = self.driver.take() {
            // SAFETY: this is the loop's thread, outside of any turn, and there will be none.
            unsafe { driver.timers.close() };
            driver.reactor.close();
        }
        let on_panic = self.on_panic.take();
        contain(move || drop(on_panic));
    }
}

struct Turning<'a>(&'a Cell<bool>);

impl Drop for Turning<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
