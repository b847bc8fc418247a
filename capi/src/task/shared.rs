//! What a task's handles and its future have in common: the result, and who waits for it.

use std::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use libruntime_core::task::AbortHandle;

use super::{rt_done_fn, rt_result};
use crate::callback::UserData;
use crate::ffi::Origin;
use crate::home::Home;
use crate::status::{Error, RT_ECANCELED};
use crate::thread;

/// A `done` callback that has not been called yet. It is called exactly once: by `deliver`, or
/// with `RT_ECANCELED` when it is dropped.
pub(crate) struct Completion(Option<Armed>);

struct Armed {
    call: unsafe extern "C-unwind" fn(*mut c_void, *const rt_result),
    user: UserData,
}

impl Completion {
    /// `Error::Inval` without a function; `user` is dropped then.
    pub(crate) fn new(call: rt_done_fn, user: UserData) -> Result<Completion, Error> {
        let call = call.ok_or(Error::Inval)?;
        Ok(Completion(Some(Armed { call, user })))
    }

    /// Calls back here and now.
    pub(crate) fn fire(mut self, result: &rt_result) {
        self.call(result);
    }

    /// Gives up without calling: for a call that returns an error, or a result at once.
    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }

    /// Calls back from `home`, not from here; here if `home` has been shut down.
    pub(crate) fn deliver(self, result: rt_result, home: &Home) {
        let delivery = Delivery {
            completion: Some(self),
            result,
        };
        home.run(move || drop(delivery));
    }

    fn call(&mut self, result: &rt_result) {
        if let Some(armed) = self.0.take() {
            // SAFETY: the caller of the API gave the function for this data, which lives until
            // `armed` is dropped below.
            let _ = thread::callback(|| unsafe { (armed.call)(armed.user.data(), result) });
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.call(&rt_result::of(RT_ECANCELED));
    }
}

/// A completion on its way to its home: it fires when run, and when what carries it is dropped.
struct Delivery {
    completion: Option<Completion>,
    result: rt_result,
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(completion) = self.completion.take() {
            completion.fire(&self.result);
        }
    }
}

/// The part of a task that outlives its future.
pub(crate) struct Shared {
    state: Mutex<State>,
    finished: Condvar,
    pub(crate) home: Home,
    pub(crate) origin: Origin,
    cancel: OnceLock<Cancel>,
}

#[derive(Default)]
struct State {
    result: Option<rt_result>,
    wakers: Vec<Waker>,
    waiters: Vec<(Completion, Option<Home>)>,
}

/// How the task is cancelled.
pub(crate) enum Cancel {
    /// By its executor.
    Task(AbortHandle),
    /// By taking the work away before the pool gets to it.
    Job(Box<dyn Fn() -> Result<(), Error> + Send + Sync>),
}

impl Shared {
    pub(crate) fn new(home: Home) -> Arc<Shared> {
        Arc::new(Shared {
            state: Mutex::default(),
            finished: Condvar::new(),
            home,
            origin: Origin::here(),
            cancel: OnceLock::new(),
        })
    }

    pub(crate) fn set_cancel(&self, cancel: Cancel) {
        let _ = self.cancel.set(cancel);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the result and tells everybody who waits. Only the first call counts.
    pub(crate) fn complete(&self, result: rt_result) {
        let State {
            wakers, waiters, ..
        } = {
            let mut state = self.lock();
            if state.result.is_some() {
                return;
            }
            let wakers = std::mem::take(&mut state.wakers);
            let waiters = std::mem::take(&mut state.waiters);
            state.result = Some(result);
            State {
                result: None,
                wakers,
                waiters,
            }
        };
        self.finished.notify_all();
        for waker in wakers {
            let _ = thread::contained(|| waker.wake());
        }
        for (completion, on) in waiters {
            match on {
                Some(home) => completion.deliver(result, &home),
                None => completion.fire(&result),
            }
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.lock().result.is_some()
    }

    /// The result, or `waker` is woken when there is one.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<rt_result> {
        let mut state = self.lock();
        if let Some(result) = state.result {
            return Poll::Ready(result);
        }
        if !state.wakers.iter().any(|known| known.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        Poll::Pending
    }

    /// Blocks until there is a result. `timeout_ns` of `u64::MAX` is for ever.
    pub(crate) fn join(&self, timeout_ns: u64) -> Result<rt_result, Error> {
        let deadline = Instant::now().checked_add(Duration::from_nanos(timeout_ns));
        let mut state = self.lock();
        loop {
            if let Some(result) = state.result {
                return Ok(result);
            }
            let left = match deadline {
                Some(deadline) if timeout_ns != u64::MAX => {
                    deadline.saturating_duration_since(Instant::now())
                }
                _ => Duration::MAX,
            };
            if left.is_zero() {
                return Err(Error::TimedOut);
            }
            // Waits are cut to a day: the system's clocks do not take every duration.
            let wait = left.min(Duration::from_secs(86_400));
            let waited = self.finished.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has `completion` called when there is a result: from `on`, or where the task ends.
    pub(crate) fn on_done(&self, completion: Completion, on: Option<Home>) {
        let result = {
            let mut state = self.lock();
            match state.result {
                Some(result) => result,
                None => return state.waiters.push((completion, on)),
            }
        };
        completion.deliver(result, on.as_ref().unwrap_or(&self.home));
    }

    pub(crate) fn cancel(&self) -> Result<(), Error> {
        if self.is_finished() {
            return Err(Error::Already);
        }
        match self.cancel.get() {
            Some(Cancel::Task(abort)) => abort.abort(),
            Some(Cancel::Job(cancel)) => return cancel(),
            None => return Err(Error::Already),
        }
        Ok(())
    }
}
