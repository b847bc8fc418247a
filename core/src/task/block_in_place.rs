//! Blocking inside of a task without holding up its worker.

use super::coop;
use crate::executor;

/// Calls `f`, which may block or compute for long, without holding up other tasks: the worker that polls
/// the calling task goes on on another thread, also if it is the runtime's only one. The rest of the
/// poll stays on this thread, which is none of the workers then.
///
/// ```
/// # let runtime = libruntime_core::runtime::Builder::new().worker_threads(1).build()?;
/// let task = runtime.spawn(async {
///     let other = libruntime_core::spawn(async { 42 });
///     let runtime = libruntime_core::runtime::Handle::current();
///     // The runtime's only worker runs `other` meanwhile.
///     libruntime_core::task::block_in_place(|| runtime.block_on(other))
/// });
/// assert_eq!(runtime.block_on(task)????, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Other futures of the *same* task are not polled before `f` returns: with a `join` or a `select` around
/// it they wait. Where that matters, or where nothing of the task's own is borrowed,
/// [`spawn_blocking`](crate::runtime::Handle::spawn_blocking) is better. A call costs a switch to
/// another thread, and the start of one if none is spare; a runtime keeps as many spare threads as it has
/// workers.
///
/// In `f`, and in the poll after it, everything of the runtime's works as on a worker: spawning, waking,
/// I/O, timers. [`block_on`](crate::runtime::Handle::block_on) does as well, which a worker refuses.
/// There is no [budget](crate::task::coop) in `f`.
///
/// `f` is simply called, on the thread as it is, outside of a runtime's tasks (in `block_on`, on a
/// thread for blocking jobs), inside another `block_in_place`, in a task of an event loop, in hooks and
/// wakers that a worker calls between its polls, and if the system has no thread to give.
///
/// A task that is aborted, or whose runtime shuts down, is dropped when the poll has ended: `f` can not be
/// cancelled, and a shutdown waits for it. A panic in `f` is one of the caller's.
pub fn block_in_place<F, R>(f: F) -> R
where
    F: FnOnce() -> R,
{
    executor::hand_over();
    coop::unlimited(f)
}
