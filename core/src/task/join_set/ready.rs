//! Which places of a set hold a task that has ended.
//!
//! Every place of a set has a waker of its own, which stays with the place when its task is done:
//! the next task that is put there is given it too, so a set that is in use allocates nothing. The
//! waker puts the number of its place on a list, unless it is there, and wakes whoever waits for the
//! set. One lock guards the list and the waiter, and a waiter is stored in the same moment in which
//! the list is found empty; so no number is put there unseen. Nothing foreign runs under the lock:
//! wakers are cloned, woken and dropped outside of it.
//!
//! A task that is taken out of its place may still be about to wake it. So a number on the list
//! says that the place is to be looked at, not that its task has ended.

use crate::shim::sync::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// The list of places to look at.
pub(super) struct Ready(Mutex<State>);

struct State {
    /// Numbers of places, each at most once. There is room for all, so that a wake allocates nothing.
    list: VecDeque<usize>,
    /// For each place, whether the list has it.
    listed: Vec<bool>,
    waiter: Option<Waker>,
}

impl Ready {
    pub(super) fn new() -> Arc<Ready> {
        Arc::new(Ready(Mutex::new(State {
            list: VecDeque::new(),
            listed: Vec::new(),
            waiter: None,
        })))
    }

    /// The waker of one more place. Places are numbered from zero on.
    pub(super) fn add_place(self: &Arc<Self>) -> Waker {
        let mut state = self.0.lock();
        let number = state.listed.len();
        state.listed.push(false);
        // The list grows by itself only when it is full.
        let missing = state.listed.len() - state.list.len();
        state.list.reserve(missing);
        drop(state);
        Waker::from(Arc::new(Place {
            number,
            ready: self.clone(),
        }))
    }

    /// A place to look at.
    pub(super) fn take(&self) -> Option<usize> {
        self.0.lock().take()
    }

    /// A place to look at; until there is one `cx` waits.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<usize> {
        {
            let mut state = self.0.lock();
            if let Some(number) = state.take() {
                return Poll::Ready(number);
            }
            if state.is_waiter(cx.waker()) {
                return Poll::Pending;
            }
        }
        let waker = cx.waker().clone();
        let (taken, _old) = {
            let mut state = self.0.lock();
            match state.take() {
                Some(number) => (Poll::Ready(number), Some(waker)),
                None => (Poll::Pending, state.waiter.replace(waker)),
            }
        };
        taken
    }

    /// Nobody waits for the set any more.
    pub(super) fn forget_waiter(&self) {
        let _waiter = self.0.lock().waiter.take();
    }

    /// To be called for each place whose task has ended.
    fn push(&self, number: usize) {
        let waiter = {
            let mut state = self.0.lock();
            if std::mem::replace(&mut state.listed[number], true) {
                return;
            }
            state.list.push_back(number);
            state.waiter.take()
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

impl State {
    fn take(&mut self) -> Option<usize> {
        let number = self.list.pop_front()?;
        self.listed[number] = false;
        Some(number)
    }

    fn is_waiter(&self, waker: &Waker) -> bool {
        self.waiter
            .as_ref()
            .is_some_and(|waiter| waiter.will_wake(waker))
    }
}

/// What the waker of a place is made of.
struct Place {
    number: usize,
    ready: Arc<Ready>,
}

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.number);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.push(self.number);
    }
}
