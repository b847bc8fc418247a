//! Jobs that block: on threads that are there for them.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::callback::{UserData, rt_drop_fn};
use crate::ffi::boundary;
use crate::handle::Handle;
use crate::home::Home;
use crate::runtime::rt_runtime;
use crate::status::{Error, RT_ECANCELED, RT_EINVAL, RT_EPANIC, RT_OK};
use crate::task::{Cancel, Shared, hand_out, rt_result, rt_spawn_options, rt_task, spawn_options};
use crate::thread;

/// A job that may block: returns `RT_OK` or a negative code, and may say more in `*result` (the
/// library sets `result->status`).
pub type rt_work_fn =
    Option<unsafe extern "C-unwind" fn(data: *mut c_void, result: *mut rt_result) -> c_int>;

type WorkFn = unsafe extern "C-unwind" fn(*mut c_void, *mut rt_result) -> c_int;

const QUEUED: u8 = 0;
const TAKEN: u8 = 1;

/// A job, reached by the thread that runs it and by who cancels it: whoever brings `state` from
/// `QUEUED` to `TAKEN` has it.
struct Job {
    state: AtomicU8,
    work: WorkFn,
    user: Mutex<Option<UserData>>,
    shared: Option<Arc<Shared>>,
}

impl Job {
    fn take(&self) -> bool {
        self.state
            .compare_exchange(QUEUED, TAKEN, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn run(&self) {
        if !self.take() {
            return;
        }
        let user = self
            .user
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(user) = user else { return };
        let mut result = rt_result::of(RT_OK);
        // SAFETY: the caller of the API gave the function for this data. A job may block, so this
        // is not a callback.
        match thread::contained(|| unsafe { (self.work)(user.data(), &mut result) }) {
            Ok(status) if status > 0 => result = rt_result::of(RT_EINVAL),
            Ok(status) => result.status = status,
            Err(_) => result = rt_result::of(RT_EPANIC),
        }
        drop(user);
        self.complete(result);
    }

    /// Ends a job that nobody has begun.
    fn cancel(&self) {
        let user = self
            .user
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(user);
        self.complete(rt_result::of(RT_ECANCELED));
    }

    fn complete(&self, result: rt_result) {
        if let Some(shared) = &self.shared {
            shared.complete(result);
        }
    }
}

/// A job that is dropped without being run, by the pool at its end for example, is cancelled.
impl Drop for Job {
    fn drop(&mut self) {
        if self
            .user
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
        {
            self.cancel();
        }
    }
}

/// Runs `work(data, ...)`, which may block, on a thread that is there for that. `options` and `task`
/// may be NULL. To hear of the end on a loop, or from inside a task, use `rt_task_on_done` or
/// `rt_task_poll`. `rt_task_cancel` cancels a job that has not begun (its callbacks then come from
/// a worker), and returns `RT_EBUSY` for one that has.
/// Errors: `RT_EINVAL`, `RT_ESHUTDOWN`, `RT_EFORK`, `RT_E2BIG`; `drop(data)` has run then.
///
/// @threads any @consumes data
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_spawn_blocking(
    runtime: *mut rt_runtime,
    work: rt_work_fn,
    data: *mut c_void,
    drop: rt_drop_fn,
    options: *const rt_spawn_options,
    task: *mut *mut rt_task,
) -> c_int {
    let mut user = UserData::new(data, drop);
    boundary(|| {
        // SAFETY: the caller passes live handles, and structs as the header declares them.
        let runtime = unsafe {
            spawn_options(&mut user, options)?;
            rt_runtime::get(runtime)?
        };
        let work = work.ok_or(Error::Inval)?;
        let handle = runtime.handle()?;
        let home = Home::Runtime(handle.clone());
        let shared = (!task.is_null()).then(|| Shared::new(home.clone()));
        let job = Arc::new(Job {
            state: AtomicU8::new(QUEUED),
            work,
            user: Mutex::new(Some(user)),
            shared: shared.clone(),
        });
        if let Some(shared) = &shared {
            let job = Arc::downgrade(&job);
            shared.set_cancel(Cancel::Job(Box::new(move || {
                let job = job.upgrade().ok_or(Error::Already)?;
                if !job.take() {
                    return Err(Error::Busy);
                }
                // Callbacks do not come from inside the call that cancels.
                home.run(move || job.cancel());
                Ok(())
            })));
        }
        std::mem::drop(handle.spawn_blocking(move || job.run()));
        // SAFETY: the caller passes a place for the result, or NULL.
        unsafe { hand_out(task, shared) };
        Ok(RT_OK)
    })
}
