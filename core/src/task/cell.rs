//! The one allocation of a task, and what can be done to it.
//!
//! ```text
//! Cell<F, S>
//! ├── header     state word, vtable, id, options, links of the owner's list, join waker
//! │              (no type parameters)
//! ├── scheduler  S: where the task goes when it is woken
//! └── stage      the future, then its output, then nothing
//! ```
//!
//! Who may touch what, and when:
//!
//! - `stage` while it holds the future, and `links.owner`: whoever holds `RUNNING`.
//! - `stage` while it holds the output: after `COMPLETE` the `JoinHandle`, if `JOIN_INTEREST` was
//!   set when the task completed; else whoever completed the task.
//! - `join_waker`: while `JOIN_WAKER` is clear the `JoinHandle` alone. While it is set both may
//!   read; the task clears it after it has woken. If the handle is gone then the waker stays until
//!   the cell is freed.
//! - `id` and `meta`: everybody may read them; nobody writes, but for whoever has made the task and has
//!   not yet shown it to anybody.
//! - `links.prev` and `links.next`: the thread that owns the list the task is linked in, or, once
//!   the task is complete and elsewhere, whoever pushes it on that list's stack of releases.

use super::id::{self, Id};
use super::memory::{Block, Slot};
use super::meta::Record;
use super::owner::Links;
use super::state::{State, ToIdle, ToNotified, ToRunning};
use super::{JoinError, Notified, Schedule, current, waker};
use crate::panic::{contain, discard_payload};
use crate::shim::cell::UnsafeCell;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

/// The part of a task that needs no type parameters; it begins the cell.
pub(crate) struct Header {
    pub(super) state: State,
    vtable: &'static Vtable,
    pub(super) id: Id,
    pub(crate) meta: Record,
    pub(super) links: Links,
    join_waker: UnsafeCell<Option<Waker>>,
}

/// A pointer to a task whose lifetime its holder accounts for.
pub(crate) type TaskPtr = NonNull<Header>;

struct Vtable {
    poll: unsafe fn(TaskPtr),
    cancel: unsafe fn(TaskPtr),
    schedule: unsafe fn(TaskPtr),
    dealloc: unsafe fn(TaskPtr),
    /// Writes `Poll::Ready(Result<Output, JoinError>)` through the pointer if the task is complete.
    read_output: unsafe fn(TaskPtr, *mut (), &Waker),
    drop_join_handle: unsafe fn(TaskPtr),
}

#[repr(C)]
struct Cell<F: Future, S> {
    header: Header,
    scheduler: S,
    stage: UnsafeCell<Stage<F>>,
}

enum Stage<F: Future> {
    Future(F),
    Output(Result<F::Output, JoinError>),
    Taken,
}

/// What a task of this future and scheduler needs.
pub(super) const fn slot<F: Future, S>() -> Slot {
    Slot::of::<Cell<F, S>>()
}

/// Makes a task in the state of one just spawned: the pointer stands for two references, one for a
/// [`Notified`] and one for a `JoinHandle`.
///
/// # Safety
/// The block is the caller's, for [`slot`], and one that the scheduler takes back.
#[inline]
pub(super) unsafe fn make<F: Future, S: Schedule>(
    block: Block,
    future: F,
    scheduler: S,
    meta: Record,
) -> TaskPtr {
    let cell = Cell {
        header: Header {
            state: State::new(),
            vtable: const {
                &Vtable {
                    poll: poll::<F, S>,
                    cancel: cancel::<F, S>,
                    schedule: schedule::<F, S>,
                    dealloc: dealloc::<F, S>,
                    read_output: read_output::<F, S>,
                    drop_join_handle: drop_join_handle::<F, S>,
                }
            },
            id: id::next(),
            meta,
            links: Links::new(),
            join_waker: UnsafeCell::new(None),
        },
        scheduler,
        stage: UnsafeCell::new(Stage::Future(future)),
    };
    // SAFETY: by the caller's promise.
    unsafe { block.cast().write(cell) };
    block.cast()
}

/// Runs one poll, or drops the future if the task was cancelled. Consumes the reference of the
/// task's `Notified`.
///
/// # Safety
/// `task` is the pointer of a `Notified` that is given up, on a thread where its future may run.
pub(super) unsafe fn run(task: TaskPtr) {
    // SAFETY: the caller's reference keeps the header alive; the vtable belongs to this cell.
    unsafe { (task.as_ref().vtable.poll)(task) }
}

/// Drops the future of a task without polling it. Consumes the reference of its `Notified`.
///
/// # Safety
/// As for [`run`].
pub(super) unsafe fn discard(task: TaskPtr) {
    // SAFETY: the caller's reference keeps the header alive.
    let header = unsafe { task.as_ref() };
    // The answer does not matter: the future goes either way.
    let _: ToRunning = header.state.to_running();
    // SAFETY: the state is running now, in our hands.
    unsafe { (header.vtable.cancel)(task) }
}

/// Drops the future of a task if it is idle, else leaves a mark for whoever runs it.
///
/// # Safety
/// `task` is alive, and this is a thread where its future may be dropped.
pub(super) unsafe fn shutdown(task: TaskPtr) {
    // SAFETY: alive by the caller's promise.
    let header = unsafe { task.as_ref() };
    if header.state.to_shutdown() {
        // SAFETY: the state is running now, in our hands.
        unsafe { (header.vtable.cancel)(task) }
    }
}

/// Wakes the task without consuming a reference.
///
/// # Safety
/// `task` is alive.
pub(super) unsafe fn wake_by_ref(task: TaskPtr) {
    // SAFETY: alive by the caller's promise.
    let header = unsafe { task.as_ref() };
    if header.state.notify_by_ref() == ToNotified::Schedule {
        // SAFETY: the transition made a reference for the Notified.
        unsafe { (header.vtable.schedule)(task) }
    }
}

/// Wakes the task and consumes the caller's reference.
///
/// # Safety
/// The caller owns a reference.
pub(super) unsafe fn wake_by_value(task: TaskPtr) {
    // SAFETY: the caller's reference keeps the header alive.
    let header = unsafe { task.as_ref() };
    match header.state.notify_by_value() {
        ToNotified::Nothing => {}
        // SAFETY: the caller's reference is the Notified's now.
        ToNotified::Schedule => unsafe { (header.vtable.schedule)(task) },
        // SAFETY: that was the last reference.
        ToNotified::Dealloc => unsafe { (header.vtable.dealloc)(task) },
    }
}

/// Asks for the future to be dropped instead of polled.
///
/// # Safety
/// `task` is alive.
pub(super) unsafe fn abort(task: TaskPtr) {
    // SAFETY: alive by the caller's promise.
    let header = unsafe { task.as_ref() };
    if header.state.cancel() == ToNotified::Schedule {
        // SAFETY: the transition made a reference for the Notified.
        unsafe { (header.vtable.schedule)(task) }
    }
}

/// Gives back `n` references.
///
/// # Safety
/// The caller owns them.
pub(super) unsafe fn release_refs(task: TaskPtr, n: usize) {
    // SAFETY: the caller's references keep the header alive.
    let header = unsafe { task.as_ref() };
    if header.state.ref_dec(n) {
        // SAFETY: those were the last references.
        unsafe { (header.vtable.dealloc)(task) }
    }
}

/// Polls for the output: see [`Vtable::read_output`].
///
/// # Safety
/// The caller is the task's `JoinHandle<T>`, which has not been given the output yet, and `out`
/// points to a `Poll<Result<T, JoinError>>`.
pub(super) unsafe fn poll_output(task: TaskPtr, out: *mut (), waker: &Waker) {
    // SAFETY: passed on from the caller.
    unsafe { (task.as_ref().vtable.read_output)(task, out, waker) }
}

/// Gives up a `JoinHandle` and its reference.
///
/// # Safety
/// The caller is the task's `JoinHandle` and goes away.
pub(super) unsafe fn release_join_handle(task: TaskPtr) {
    // SAFETY: the handle's reference keeps the header alive.
    let header = unsafe { task.as_ref() };
    if !header.state.drop_join_handle_fast() {
        // SAFETY: passed on from the caller.
        unsafe { (header.vtable.drop_join_handle)(task) }
    }
}

/// # Safety
/// `task` points to a live `Cell<F, S>`.
unsafe fn cell<'a, F: Future, S>(task: TaskPtr) -> &'a Cell<F, S> {
    // SAFETY: by the caller's promise; the header begins the cell (`repr(C)`).
    unsafe { task.cast::<Cell<F, S>>().as_ref() }
}

unsafe fn poll<F: Future, S: Schedule>(task: TaskPtr) {
    // SAFETY: this function is in the vtable of a Cell<F, S>, and the caller owns a reference.
    let this = unsafe { cell::<F, S>(task) };
    if this.header.state.to_running() == ToRunning::Cancel {
        // SAFETY: the state is running, in our hands.
        return unsafe { cancel::<F, S>(task) };
    }
    // SAFETY: the reference of this poll outlives the borrowed waker.
    let waker = unsafe { waker::borrowed(task) };
    // SAFETY: this poll's reference and RUNNING keep the task alive until one of them is given up,
    // which each way out below does after it has left the task.
    let current = unsafe { current::enter_poll(task) };
    let polled = catch_unwind(AssertUnwindSafe(|| {
        this.stage.with_mut(|stage| {
            // SAFETY: RUNNING gives the exclusive right to the stage.
            let Stage::Future(future) = (unsafe { &mut *stage }) else {
                unreachable!("a task that is not complete holds its future")
            };
            // SAFETY: the future lives in the task's allocation and is dropped in place.
            unsafe { Pin::new_unchecked(future) }.poll(&mut Context::from_waker(&waker))
        })
    }));
    match polled {
        Ok(Poll::Pending) => {
            drop(current);
            // Linked before the state goes idle: from then on another thread may run the task.
            let linked = !this.header.links.is_owned() && this.scheduler.bind(task);
            match this.header.state.to_idle(linked) {
                ToIdle::Done => {}
                // SAFETY: that was the last reference.
                ToIdle::Dealloc => unsafe { dealloc::<F, S>(task) },
                // SAFETY: the reference of this poll goes with the Notified.
                ToIdle::Reschedule => this.scheduler.reschedule(unsafe { Notified::new(task) }),
                ToIdle::Cancel => {
                    if linked {
                        // The list took the reference of this poll; completion wants one too.
                        this.header.state.ref_inc();
                    }
                    // SAFETY: the state is running still, in our hands.
                    unsafe { cancel::<F, S>(task) }
                }
            }
        }
        // SAFETY: the state is running, in our hands.
        Ok(Poll::Ready(output)) => unsafe { complete::<F, S>(task, Ok(output), current) },
        // SAFETY: as above.
        Err(panic) => unsafe {
            let error = JoinError::panic(this.header.id, panic);
            complete::<F, S>(task, Err(error), current)
        },
    }
}

/// Drops the future of a running task and completes it as cancelled.
unsafe fn cancel<F: Future, S: Schedule>(task: TaskPtr) {
    // SAFETY: the caller owns a reference to this Cell<F, S>.
    let this = unsafe { cell::<F, S>(task) };
    this.scheduler.cancelled();
    let error = JoinError::cancelled(this.header.id);
    // SAFETY: passed on from the caller, who holds RUNNING and a reference.
    unsafe { complete::<F, S>(task, Err(error), current::enter_drop(task)) }
}

/// Drops the future, stores the output, tells the join handle, leaves the owner's list and gives
/// back the reference of the run.
unsafe fn complete<F: Future, S: Schedule>(
    task: TaskPtr,
    output: Result<F::Output, JoinError>,
    current: current::Entered<'_>,
) {
    // SAFETY: the caller owns a reference to this Cell<F, S>.
    let this = unsafe { cell::<F, S>(task) };
    // SAFETY: the caller holds RUNNING, and writes the stage below.
    let dropped = unsafe { this.drop_future() };
    let output = match (dropped, output) {
        // A cancelled task whose future panics while it is dropped was not cancelled cleanly.
        (Err(panic), Err(error)) if error.is_cancelled() => {
            Err(JoinError::panic(error.id(), panic))
        }
        (Err(panic), output) => {
            discard_payload(panic);
            output
        }
        (Ok(()), output) => output,
    };
    this.stage.with_mut(|stage| {
        // SAFETY: the caller holds RUNNING; the future that the stage held has been dropped.
        unsafe { std::ptr::write(stage, Stage::Output(output)) }
    });
    drop(current);

    if this.header.state.is_run_alone() {
        // SAFETY: nobody else will look at the output, nor at the task.
        unsafe {
            this.drop_output();
            let listed = this.scheduler.release(task);
            debug_assert!(!listed, "a list has a reference to each of its tasks");
            dealloc::<F, S>(task);
        }
        return;
    }
    let before = this.header.state.to_complete();
    if !before.is_join_interested() {
        // SAFETY: nobody else will look at the output.
        unsafe { this.drop_output() };
    } else if before.is_join_waker_set() {
        this.header.join_waker.with(|waker| {
            // SAFETY: JOIN_WAKER is set: the field is there to be read.
            if let Some(waker) = unsafe { &*waker } {
                // A waker of the user's may panic; the task is complete regardless.
                contain(|| waker.wake_by_ref());
            }
        });
        let refs = 1 + usize::from(this.scheduler.release(task));
        // If the handle went meanwhile it has left the waker to us, and so to the end of the cell.
        if this.header.state.release_join_waker(refs) {
            // SAFETY: those were the last references.
            unsafe { dealloc::<F, S>(task) };
        }
        return;
    }
    let refs = 1 + usize::from(this.scheduler.release(task));
    // SAFETY: the reference of the run, and the list's if the task left it just now.
    unsafe { release_refs(task, refs) }
}

/// Hands a `Notified` to the scheduler.
unsafe fn schedule<F: Future, S: Schedule>(task: TaskPtr) {
    // SAFETY: the caller made a reference for the Notified, which keeps the cell alive until the
    // scheduler lets go of it; `Schedule` forbids touching the scheduler after that.
    unsafe { cell::<F, S>(task).scheduler.schedule(Notified::new(task)) }
}

// Kept out of `poll`, whose every call would pay for the registers that this needs.
#[inline(never)]
unsafe fn dealloc<F: Future, S: Schedule>(task: TaskPtr) {
    /// The memory, and the way back for it. Given back by a drop, so that it is if one of the
    /// user's unwinds.
    struct Memory<F: Future, S: Schedule> {
        scheduler: ManuallyDrop<S>,
        cell: NonNull<Cell<F, S>>,
    }
    impl<F: Future, S: Schedule> Drop for Memory<F, S> {
        fn drop(&mut self) {
            let slot = const { slot::<F, S>() };
            // SAFETY: taken once, here; what the cell held is dropped or, after a panic, lost.
            unsafe { ManuallyDrop::take(&mut self.scheduler).free(slot, self.cell.cast()) }
        }
    }
    let cell = task.cast::<Cell<F, S>>();
    // SAFETY: there is no other reference. The scheduler is moved out, the rest dropped in place.
    unsafe {
        let this = cell.as_ptr();
        let _memory = Memory {
            scheduler: ManuallyDrop::new(std::ptr::read(&raw const (*this).scheduler)),
            cell,
        };
        let stage = &raw mut (*this).stage;
        if !(*stage).with(|stage| matches!(*stage, Stage::Taken)) {
            std::ptr::drop_in_place(stage);
        }
        (*this).header.drop_join_waker();
        std::ptr::drop_in_place(&raw mut (*this).header);
    }
}

unsafe fn read_output<F: Future, S: Schedule>(task: TaskPtr, out: *mut (), waker: &Waker) {
    // SAFETY: the JoinHandle's reference keeps the cell alive.
    let this = unsafe { cell::<F, S>(task) };
    // SAFETY: the caller is the JoinHandle.
    if !unsafe { this.header.register_join_waker(waker) } {
        return;
    }
    let stage = this.stage.with_mut(|stage| {
        // SAFETY: the task is complete, so the stage is the JoinHandle's.
        std::mem::replace(unsafe { &mut *stage }, Stage::Taken)
    });
    let Stage::Output(output) = stage else {
        panic!("a JoinHandle was polled after it had returned its output");
    };
    // SAFETY: the caller says what `out` points to.
    unsafe { *out.cast::<Poll<Result<F::Output, JoinError>>>() = Poll::Ready(output) };
}

unsafe fn drop_join_handle<F: Future, S: Schedule>(task: TaskPtr) {
    // SAFETY: the JoinHandle's reference keeps the cell alive.
    let this = unsafe { cell::<F, S>(task) };
    let now = this.header.state.load();
    if now.is_complete() && !now.is_join_waker_set() {
        // SAFETY: both are the JoinHandle's, for the task is done with them, and so is the reference
        // that is given back.
        unsafe {
            this.drop_output();
            this.header.drop_join_waker();
            if this.header.state.leave_completed() {
                dealloc::<F, S>(task);
            }
        }
        return;
    }
    let after = this.header.state.drop_join_interest();
    if after.is_complete() {
        // SAFETY: the task is complete, so the stage is the JoinHandle's.
        unsafe { this.drop_output() };
    }
    if !after.is_join_waker_set() {
        // SAFETY: JOIN_WAKER is clear, so the field is the JoinHandle's.
        unsafe { this.header.drop_join_waker() };
    }
    // SAFETY: the handle's own reference.
    unsafe { release_refs(task, 1) }
}

impl<F: Future, S> Cell<F, S> {
    /// Drops the output. A panic of that has nobody to go to.
    ///
    /// # Safety
    /// The caller has the exclusive right to the stage.
    unsafe fn drop_output(&self) {
        let nothing_to_drop = !std::mem::needs_drop::<F::Output>()
            && self.stage.with(|stage| {
                // SAFETY: exclusive by the caller's promise.
                !matches!(unsafe { &*stage }, Stage::Output(Err(_)))
            });
        if !nothing_to_drop {
            // SAFETY: passed on from the caller.
            unsafe { self.drop_output_in_place() };
        }
        // SAFETY: exclusive still. What the stage held is dropped, or needs no drop.
        self.stage
            .with_mut(|stage| unsafe { std::ptr::write(stage, Stage::Taken) });
    }

    /// # Safety
    /// As for [`Cell::drop_output`]; the stage is to be overwritten without another drop.
    #[inline(never)]
    unsafe fn drop_output_in_place(&self) {
        // SAFETY: whoever has the right to the stage keeps the task alive.
        let _current = unsafe { current::enter_drop(NonNull::from(&self.header)) };
        self.stage.with_mut(|stage| {
            // SAFETY: exclusive by the caller's promise.
            if let Stage::Output(output) = unsafe { &mut *stage } {
                // SAFETY: nobody looks at the output again.
                contain(|| unsafe { std::ptr::drop_in_place(output) });
            }
        });
    }

    /// Drops the future in place, for it is pinned, and contains a panic of that. The stage is to
    /// be overwritten without another drop.
    ///
    /// # Safety
    /// The caller has the exclusive right to the stage, which holds the future.
    unsafe fn drop_future(&self) -> Result<(), Box<dyn std::any::Any + Send>> {
        self.stage.with_mut(|stage| {
            // SAFETY: by the caller's promise.
            let Stage::Future(future) = (unsafe { &mut *stage }) else {
                unreachable!("a task that is not complete holds its future")
            };
            // SAFETY: nobody looks at the future again.
            catch_unwind(AssertUnwindSafe(|| unsafe {
                std::ptr::drop_in_place(future)
            }))
        })
    }
}

impl Header {
    /// Whether the task has ended.
    pub(super) fn is_complete(&self) -> bool {
        self.state.load().is_complete()
    }

    /// Leaves `waker` to be woken at completion. `true`: the task is complete already.
    ///
    /// # Safety
    /// The caller is the task's `JoinHandle`.
    pub(super) unsafe fn register_join_waker(&self, waker: &Waker) -> bool {
        let now = self.state.load();
        if now.is_complete() {
            return true;
        }
        if now.is_join_waker_set() {
            let same = self.join_waker.with(|stored| {
                // SAFETY: JOIN_WAKER is set: nobody writes the field.
                unsafe { &*stored }
                    .as_ref()
                    .is_some_and(|stored| stored.will_wake(waker))
            });
            if same {
                return false;
            }
            if !self.state.unset_join_waker() {
                return true;
            }
        }
        let waker = waker.clone();
        self.join_waker.with_mut(|slot| {
            // SAFETY: JOIN_WAKER is clear, so the field is the JoinHandle's.
            unsafe { *slot = Some(waker) }
        });
        if self.state.set_join_waker() {
            return false;
        }
        // SAFETY: the flag could not be set, so the field is still the JoinHandle's.
        unsafe { self.drop_join_waker() };
        true
    }

    /// # Safety
    /// The caller has the exclusive right to the join waker.
    unsafe fn drop_join_waker(&self) {
        // SAFETY: by the caller's promise.
        let waker = self.join_waker.with_mut(|slot| unsafe { (*slot).take() });
        if let Some(waker) = waker {
            contain(|| drop(waker));
        }
    }
}

/// A waker that owns no reference of its own.
pub(super) type BorrowedWaker = ManuallyDrop<Waker>;
