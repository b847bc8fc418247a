//! Every combination of what can happen to a task: where it lives, where it panics, what it
//! returns, what becomes of its handle, when it is aborted, and through what.
//!
//! Each case knows what must come out: the output, or which error; how often the future was polled;
//! that the future and the output were dropped once; that no two threads polled at the same time;
//! and that the task's memory was given back.

mod common;

use common::home::{Flavour, Home, Spawner};
use common::until;
use libruntime_core::task::{AbortHandle, Builder, Id, JoinError, JoinHandle, JoinSet};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Panics {
    Never,
    FirstPoll,
    LastPoll,
    DropOfFuture,
    FirstPollAndDropOfFuture,
    DropOfOutput,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Output {
    Nothing,
    Small,
    Large,
}

/// What is done with the handle, or with the set.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
enum Handle {
    DropAtOnce,
    PollAndDropWhilePending,
    DropWhenDone,
    PollAndDropWhenDone,
    Join,
    PollAndJoin,
}

#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
enum Abort {
    BeforeFirstPoll,
    InFirstPoll,
    WhilePending,
    InLastPoll,
    WhenDone,
    Never,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Source {
    JoinHandle,
    AbortHandle,
    Both,
    JoinSet,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    panics: Panics,
    output: Output,
    handle: Handle,
    abort: Abort,
    source: Source,
}

const PANICS: [Panics; 6] = [
    Panics::Never,
    Panics::FirstPoll,
    Panics::LastPoll,
    Panics::DropOfFuture,
    Panics::FirstPollAndDropOfFuture,
    Panics::DropOfOutput,
];
const OUTPUTS: [Output; 3] = [Output::Nothing, Output::Small, Output::Large];
const HANDLES: [Handle; 6] = [
    Handle::DropAtOnce,
    Handle::PollAndDropWhilePending,
    Handle::DropWhenDone,
    Handle::PollAndDropWhenDone,
    Handle::Join,
    Handle::PollAndJoin,
];
const ABORTS: [Abort; 6] = [
    Abort::BeforeFirstPoll,
    Abort::InFirstPoll,
    Abort::WhilePending,
    Abort::InLastPoll,
    Abort::WhenDone,
    Abort::Never,
];
const SOURCES: [Source; 4] = [
    Source::JoinHandle,
    Source::AbortHandle,
    Source::Both,
    Source::JoinSet,
];

impl Case {
    fn polls_handle(self) -> bool {
        matches!(
            self.handle,
            Handle::PollAndDropWhilePending | Handle::PollAndDropWhenDone | Handle::PollAndJoin
        )
    }

    /// Whether what it aborts through is still there when it aborts.
    fn makes_sense(self) -> bool {
        if self.source == Source::AbortHandle || self.abort == Abort::Never {
            // Without an abort one source is as good as another.
            return self.abort != Abort::Never
                || matches!(self.source, Source::JoinHandle | Source::JoinSet);
        }
        match self.handle {
            Handle::DropAtOnce => false,
            Handle::PollAndDropWhilePending => self.abort < Abort::WhilePending,
            _ => true,
        }
    }

    /// How the task ends, and how often it is polled.
    fn expected(self) -> (End, usize) {
        let first = matches!(
            self.panics,
            Panics::FirstPoll | Panics::FirstPollAndDropOfFuture
        );
        let cancelled = match self.panics {
            Panics::DropOfFuture | Panics::FirstPollAndDropOfFuture => End::Panic("drop of future"),
            _ => End::Cancelled,
        };
        match self.abort {
            Abort::BeforeFirstPoll => (cancelled, 0),
            _ if first => (End::Panic("first poll"), 1),
            Abort::InFirstPoll | Abort::WhilePending => (cancelled, 1),
            _ if self.panics == Panics::LastPoll => (End::Panic("last poll"), 2),
            _ => (End::Output, 2),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    Output,
    Panic(&'static str),
    Cancelled,
}

/// What is seen of one task.
#[derive(Default)]
struct Seen {
    state: Mutex<State>,
    changed: Condvar,
    polling: AtomicBool,
    polled_twice_at_once: AtomicBool,
}

#[derive(Default)]
struct State {
    polls: usize,
    gate_is_open: bool,
    waker: Option<Waker>,
    future_drops: usize,
    outputs: usize,
    output_drops: usize,
    abort_inside: Option<Box<dyn Fn() + Send>>,
}

impl Seen {
    fn update<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let result = f(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }

    fn wait_for(&self, condition: impl Fn(&State) -> bool) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| !condition(state)));
    }
}

/// Is pending in its first poll, and ready in the first one after the gate was opened.
struct Probe<O> {
    case: Case,
    seen: Arc<Seen>,
    output: fn(Case, &Arc<Seen>) -> O,
}

impl<O> Future for Probe<O> {
    type Output = O;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        if self.seen.polling.swap(true, Ordering::AcqRel) {
            self.seen
                .polled_twice_at_once
                .store(true, Ordering::Relaxed);
        }
        let (is_last, abort) = self
            .seen
            .state
            .lock()
            .map(|mut state| {
                state.waker = Some(cx.waker().clone());
                let is_last = state.gate_is_open;
                let due = if is_last {
                    Abort::InLastPoll
                } else {
                    Abort::InFirstPoll
                };
                let abort = (self.case.abort == due).then(|| state.abort_inside.take());
                (is_last, abort.flatten())
            })
            .unwrap();
        if let Some(abort) = abort {
            abort();
        }
        self.seen.polling.store(false, Ordering::Release);
        self.seen.update(|state| state.polls += 1);
        if is_last {
            panic_if(self.case, &[Panics::LastPoll], "last poll");
            return Poll::Ready((self.output)(self.case, &self.seen));
        }
        let first = [Panics::FirstPoll, Panics::FirstPollAndDropOfFuture];
        panic_if(self.case, &first, "first poll");
        Poll::Pending
    }
}

impl<O> Drop for Probe<O> {
    fn drop(&mut self) {
        self.seen.update(|state| {
            state.future_drops += 1;
            state.waker = None;
        });
        let in_drop = [Panics::DropOfFuture, Panics::FirstPollAndDropOfFuture];
        panic_if(self.case, &in_drop, "drop of future");
    }
}

/// Panics without calling the hook, which would print a page for each of thousands.
fn panic_if(case: Case, when: &[Panics], message: &'static str) {
    if when.contains(&case.panics) {
        resume_unwind(Box::new(message));
    }
}

struct Small(Case, Arc<Seen>);

impl Drop for Small {
    fn drop(&mut self) {
        self.1.update(|state| state.output_drops += 1);
        panic_if(self.0, &[Panics::DropOfOutput], "drop of output");
    }
}

fn small(case: Case, seen: &Arc<Seen>) -> Small {
    seen.update(|state| state.outputs += 1);
    Small(case, seen.clone())
}

/// More than the future needs.
struct Large {
    _small: Small,
    _bytes: [u8; 512],
}

fn large(case: Case, seen: &Arc<Seen>) -> Large {
    Large {
        _small: small(case, seen),
        _bytes: [7; 512],
    }
}

struct CountWakes(AtomicUsize);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Keeps every thread of a place busy until it is dropped.
struct Frozen {
    _releases: Vec<mpsc::Sender<()>>,
}

fn freeze(spawner: &Spawner, threads: usize) -> Frozen {
    let (started, has_started) = mpsc::channel();
    let releases = (0..threads)
        .map(|_| {
            let (release, released) = mpsc::channel();
            let started = started.clone();
            drop(spawner.spawn(async move {
                started.send(()).unwrap();
                // An error says that the guard has gone.
                let _ = released.recv();
            }));
            release
        })
        .collect();
    for _ in 0..threads {
        has_started.recv().unwrap();
    }
    Frozen {
        _releases: releases,
    }
}

/// The handle, or a set with the task in it: what a task can be joined by.
enum Joins<O> {
    Handle(JoinHandle<O>),
    Set(JoinSet<O>),
}

impl<O: Send + 'static> Joins<O> {
    fn poll(&mut self, waker: &Waker) -> Poll<Result<O, JoinError>> {
        let mut cx = Context::from_waker(waker);
        match self {
            Joins::Handle(handle) => Pin::new(handle).poll(&mut cx),
            Joins::Set(set) => set
                .poll_join_next(&mut cx)
                .map(|ended| ended.expect("the set has a task")),
        }
    }

    fn abort(&mut self) {
        match self {
            Joins::Handle(handle) => handle.abort(),
            Joins::Set(set) => set.abort_all(),
        }
    }

    /// Gives the task up without aborting it.
    fn detach(self) {
        if let Joins::Set(mut set) = self {
            set.detach_all();
        }
    }
}

fn abort<O: Send + 'static>(source: Source, joins: &Mutex<Option<Joins<O>>>, handle: &AbortHandle) {
    if source != Source::AbortHandle {
        joins.lock().unwrap().as_mut().expect("joins").abort();
    }
    if matches!(source, Source::AbortHandle | Source::Both) {
        handle.abort();
    }
}

fn run<O: Send + 'static>(
    case: Case,
    home: &Home,
    threads: usize,
    output: fn(Case, &Arc<Seen>) -> O,
) {
    let spawner = home.spawner();
    let seen = Arc::new(Seen::default());
    // The record of a task is dropped with its memory.
    let record: Arc<str> = Arc::from("record");
    let future = Probe {
        case,
        seen: seen.clone(),
        output,
    };
    let joins = Arc::new(Mutex::new(None));
    // Nothing runs until everything is in its place.
    let frozen = (case.abort <= Abort::InLastPoll).then(|| freeze(&spawner, threads));
    let handle = spawner.build(Builder::new().name(record.clone()), future);
    let (id, abort_handle) = (handle.id(), handle.abort_handle());
    *joins.lock().unwrap() = Some(if case.source == Source::JoinSet {
        let mut set = JoinSet::new();
        set.insert(handle);
        Joins::Set(set)
    } else {
        Joins::Handle(handle)
    });
    let (source, inner, inner_handle) = (case.source, joins.clone(), abort_handle.clone());
    seen.update(|state| {
        state.abort_inside = Some(Box::new(move || abort(source, &inner, &inner_handle)));
    });
    let wakes = Arc::new(CountWakes(AtomicUsize::new(0)));
    let waker = Waker::from(wakes.clone());

    if case.handle == Handle::DropAtOnce {
        joins.lock().unwrap().take().unwrap().detach();
    }
    if case.abort == Abort::BeforeFirstPoll {
        abort(source, &joins, &abort_handle);
    }
    drop(frozen);
    seen.wait_for(|state| state.polls > 0 || state.future_drops > 0);
    let mut early = None;
    if case.polls_handle() {
        // Waits for the abort from inside, which takes the handle too, but not for its effect.
        let mut slot = joins.lock().unwrap();
        if let Poll::Ready(ended) = slot.as_mut().unwrap().poll(&waker) {
            early = Some(ended);
        }
        if case.handle == Handle::PollAndDropWhilePending {
            slot.take().unwrap().detach();
        }
    }
    if case.abort == Abort::WhilePending {
        abort(source, &joins, &abort_handle);
    } else if let Some(waker) = seen.update(|state| {
        state.gate_is_open = true;
        state.waker.take()
    }) {
        waker.wake();
    }
    seen.wait_for(|state| state.future_drops > 0);
    // The destructor has run: the rest of the completion is a few instructions away.
    until("the task ends", || abort_handle.is_finished());
    if case.abort == Abort::WhenDone {
        abort(source, &joins, &abort_handle);
    }
    let joined = joins.lock().unwrap().take();
    if let Some(mut joins) = joined {
        if case.polls_handle() && early.is_none() {
            until("its waker is called", || wakes.0.load(Ordering::SeqCst) > 0);
        }
        if matches!(case.handle, Handle::Join | Handle::PollAndJoin) {
            let ended = match early {
                Some(ended) => ended,
                None => loop {
                    match joins.poll(Waker::noop()) {
                        Poll::Ready(ended) => break ended,
                        // It hears of the end from the task, a few instructions later.
                        Poll::Pending if matches!(joins, Joins::Set(_)) => std::thread::yield_now(),
                        Poll::Pending => panic!("a task that has ended does not join"),
                    }
                },
            };
            check_end(case, id, ended);
        } else {
            // The output may panic in its drop, also one that a poll has returned.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(early)));
        }
        joins.detach();
    } else {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(early)));
    }
    assert!(
        wakes.0.load(Ordering::SeqCst) <= 1,
        "the join waker was woken twice"
    );
    drop((abort_handle, waker));
    seen.update(|state| drop((state.abort_inside.take(), state.waker.take())));

    // The worker that has the task on its list gives it back when it next wakes.
    let mut patience = 10_000;
    while Arc::strong_count(&record) > 1 {
        assert!(patience > 0, "the task's memory was leaked");
        patience -= 1;
        drop(freeze(&spawner, threads));
    }
    assert_eq!(Arc::strong_count(&wakes), 1, "the join waker was leaked");
    assert_eq!(
        Arc::strong_count(&seen),
        1,
        "the future or output was leaked"
    );
    assert!(!seen.polled_twice_at_once.load(Ordering::Relaxed));
    let state = seen.state.lock().unwrap();
    let (end, polls) = case.expected();
    let has_output = end == End::Output && case.output != Output::Nothing;
    assert_eq!(
        (
            state.polls,
            state.future_drops,
            state.outputs,
            state.output_drops
        ),
        (polls, 1, usize::from(has_output), usize::from(has_output)),
        "polls, drops of the future, outputs, drops of the output"
    );
}

fn check_end<O>(case: Case, id: Id, ended: Result<O, JoinError>) {
    let end = match ended {
        Ok(output) => {
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(output)));
            let panics = case.panics == Panics::DropOfOutput && case.output != Output::Nothing;
            assert_eq!(dropped.is_err(), panics);
            End::Output
        }
        Err(error) => {
            assert_eq!(error.id(), id);
            match error.into_panic() {
                Ok(payload) => End::Panic(payload.downcast_ref::<&str>().expect("a text")),
                Err(error) => {
                    assert!(error.is_cancelled());
                    End::Cancelled
                }
            }
        }
    };
    assert_eq!(end, case.expected().0);
}

fn run_all(flavour: Flavour) {
    let home = Home::new(flavour);
    let threads = match flavour {
        Flavour::EventLoop => 1,
        Flavour::Workers(workers) => workers,
    };
    let mut cases = 0;
    for panics in PANICS {
        for output in OUTPUTS {
            for handle in HANDLES {
                for abort in ABORTS {
                    for source in SOURCES {
                        let case = Case {
                            panics,
                            output,
                            handle,
                            abort,
                            source,
                        };
                        if !case.makes_sense() {
                            continue;
                        }
                        let ran = catch_unwind(AssertUnwindSafe(|| match output {
                            Output::Nothing => run(case, &home, threads, |_, _| ()),
                            Output::Small => run(case, &home, threads, small),
                            Output::Large => run(case, &home, threads, large),
                        }));
                        if let Err(payload) = ran {
                            eprintln!("on {flavour:?}: {case:?}");
                            resume_unwind(payload);
                        }
                        cases += 1;
                    }
                }
            }
        }
    }
    assert!(cases > 1500, "only {cases} combinations make sense");
}

#[test]
fn on_an_event_loop() {
    run_all(Flavour::EventLoop);
}

#[test]
fn on_one_worker() {
    run_all(Flavour::Workers(1));
}

#[test]
fn on_two_workers() {
    run_all(Flavour::Workers(2));
}

#[test]
fn on_four_workers() {
    run_all(Flavour::Workers(4));
}
