//! Ids, names, and the builder that gives tasks options.

use libruntime_core::event_loop::EventLoop;
use libruntime_core::runtime::{self, Runtime};
use libruntime_core::task::{self, Builder, Id, yield_now};
use std::collections::HashSet;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

fn runtime(workers: usize) -> Runtime {
    runtime::Builder::new()
        .worker_threads(workers)
        .build()
        .unwrap()
}

/// Notes the running task when it is dropped.
struct NoteDrop(Arc<Mutex<Vec<Option<Id>>>>);

impl Drop for NoteDrop {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(task::try_id());
    }
}

fn notes() -> (Arc<Mutex<Vec<Option<Id>>>>, impl Fn() -> NoteDrop) {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let note = notes.clone();
    (notes, move || NoteDrop(note.clone()))
}

#[test]
fn task_knows_its_own_id_in_every_poll() {
    let runtime = runtime(2);
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            runtime.spawn(async {
                let before = task::id();
                yield_now().await;
                assert_eq!(task::id(), before);
                before
            })
        })
        .collect();
    let mut seen = HashSet::new();
    for task in tasks {
        let (id, abort) = (task.id(), task.abort_handle());
        assert_eq!(abort.id(), id);
        assert_eq!(runtime.block_on(task).unwrap().unwrap(), id);
        assert!(seen.insert(id), "two tasks have one id");
    }
}

#[test]
fn id_is_known_where_a_future_or_an_output_is_dropped() {
    let runtime = runtime(1);
    let (notes, note) = notes();
    let (in_future, output) = (note(), note());
    let task = runtime.spawn(async move {
        let _in_future = in_future;
        output
    });
    let id = task.id();
    // The output comes out of the task, and is dropped outside of it.
    drop(runtime.block_on(task).unwrap().unwrap());
    let in_future = note();
    let aborted = runtime.spawn(async move {
        let _in_future = in_future;
        pending::<()>().await;
    });
    let aborted_id = aborted.id();
    aborted.abort();
    let error = runtime.block_on(aborted).unwrap().unwrap_err();
    assert_eq!(error.id(), aborted_id);
    let output = note();
    let unwanted = runtime.spawn(async move { output });
    let unwanted_id = unwanted.id();
    while !unwanted.is_finished() {
        runtime.block_on(runtime.spawn(async {})).unwrap().unwrap();
    }
    drop(unwanted);
    assert_eq!(
        *notes.lock().unwrap(),
        [Some(id), None, Some(aborted_id), Some(unwanted_id)]
    );
}

#[test]
fn task_dropped_inside_another_leaves_its_id_in_place() {
    let (closed, open) = (runtime(1), runtime(1));
    let handle = closed.handle().clone();
    drop(closed);
    let (notes, note) = notes();
    let inner = note();
    let outer = open.spawn(async move {
        let before = task::id();
        let dropped = handle.spawn(async move { drop(inner) });
        assert_eq!(task::id(), before);
        dropped.id()
    });
    let dropped = open.block_on(outer).unwrap().unwrap();
    assert_eq!(*notes.lock().unwrap(), [Some(dropped)]);
}

#[test]
fn loop_turned_inside_a_task_has_tasks_of_its_own() {
    let runtime = runtime(1);
    let task = runtime.spawn(poll_fn(|_| {
        let outer = task::id();
        let event_loop = EventLoop::new().unwrap();
        let inner = event_loop.spawn_local(async { task::id() });
        let inner_id = inner.id();
        let in_callback = Rc::new(std::cell::Cell::new(Some(outer)));
        let seen = in_callback.clone();
        let _timer =
            event_loop.add_timer_after(Duration::ZERO, None, move || seen.set(task::try_id()));
        event_loop.run().unwrap();
        assert!(inner.is_finished());
        assert_eq!(task::id(), outer);
        assert_eq!(in_callback.get(), None);
        drop(event_loop);
        assert_eq!(task::id(), outer);
        Poll::Ready((inner_id, outer))
    }));
    let (inner, outer) = runtime.block_on(task).unwrap().unwrap();
    assert_ne!(inner, outer);
}

#[test]
fn blocking_job_is_a_task() {
    let runtime = runtime(1);
    let job = Builder::new()
        .name("job")
        .spawn_blocking_on(|| (task::id(), task::name()), runtime.handle());
    let id = job.id();
    assert_eq!(job.name(), Some("job"));
    let (inside, name) = runtime.block_on(job).unwrap().unwrap();
    assert_eq!((inside, name.as_deref()), (id, Some("job")));
}

#[test]
fn there_is_no_id_outside_of_tasks() {
    assert_eq!(task::try_id(), None);
    assert_eq!(task::name(), None);
    let runtime = runtime(1);
    assert_eq!(
        runtime.block_on(async { task::try_id() }).unwrap(),
        None,
        "what a thread blocks on is no task"
    );
    let event_loop = EventLoop::new().unwrap();
    assert_eq!(event_loop.block_on(async { task::try_id() }).unwrap(), None);
    let message = std::panic::catch_unwind(task::id).unwrap_err();
    assert_eq!(
        message.downcast_ref(),
        Some(&"task::id was called outside of a task")
    );
}

#[test]
fn name_is_known_to_the_task_and_to_its_handle() {
    let runtime = runtime(1);
    let named = Builder::new()
        .name("fetch")
        .spawn_on(async { task::name() }, runtime.handle());
    assert_eq!(named.name(), Some("fetch"));
    assert!(format!("{named:?}").contains("fetch"));
    let name = runtime.block_on(named).unwrap().unwrap();
    assert_eq!(name.as_deref(), Some("fetch"));
    let plain = runtime.spawn(async { task::name() });
    assert_eq!(plain.name(), None);
    assert_eq!(runtime.block_on(plain).unwrap().unwrap(), None);
    let nested = runtime.spawn(async {
        let builder = Builder::new().name(format!("{}", 1 + 1));
        let first = builder.clone().spawn(async { task::name() }).unwrap();
        let second = builder.spawn_blocking(task::name).unwrap();
        (first.await.unwrap(), second.await.unwrap())
    });
    let names = runtime.block_on(nested).unwrap().unwrap();
    assert_eq!(
        (names.0.as_deref(), names.1.as_deref()),
        (Some("2"), Some("2"))
    );
}

#[test]
fn builder_starts_tasks_of_a_loop() {
    let event_loop = EventLoop::new().unwrap();
    let not_send = Rc::new(());
    let local = Builder::new().name("local").spawn_local_on(
        async move {
            drop(not_send);
            let not_send = Rc::new(());
            let inner = Builder::new().name("inner").spawn_local(async move {
                drop(not_send);
                task::name()
            });
            (task::name(), inner.unwrap().await.unwrap())
        },
        &event_loop,
    );
    let remote = Builder::new()
        .name("remote")
        .spawn_on_loop(async { task::name() }, &event_loop.handle());
    let (local, inner, remote) = event_loop
        .block_on(async {
            let (local, inner) = local.await.unwrap();
            (local, inner, remote.await.unwrap())
        })
        .unwrap();
    assert_eq!(
        [local.as_deref(), inner.as_deref(), remote.as_deref()],
        [Some("local"), Some("inner"), Some("remote")]
    );
}

#[test]
fn builder_without_a_place_to_spawn_is_an_error() {
    let (notes, note) = notes();
    let (first, second, third) = (note(), note(), note());
    let error = Builder::new()
        .spawn(async move { drop(first) })
        .unwrap_err();
    assert!(error.to_string().contains("belongs to no runtime"));
    let error = Builder::new().spawn_blocking(|| drop(second)).unwrap_err();
    assert!(error.to_string().contains("belongs to no runtime"));
    let error = Builder::new()
        .spawn_local(async move { drop(third) })
        .unwrap_err();
    assert!(error.to_string().contains("no event loop does a turn"));
    assert_eq!(*notes.lock().unwrap(), [None; 3], "the futures are dropped");
    assert!(std::panic::catch_unwind(|| task::spawn_local(async {})).is_err());
}

/// What a program ends with that returns the error from `main`, or unwraps it.
#[test]
fn errors_of_the_wrong_place_say_what_to_do_also_to_debug() {
    let event_loop = EventLoop::new().unwrap();
    let nested = event_loop.block_on(async { runtime(1).block_on(async {}).unwrap_err() });
    let no_runtime = Builder::new().spawn(async {}).unwrap_err();
    let no_loop = Builder::new().spawn_local(async {}).unwrap_err();
    let say = [
        (format!("{:?}", nested.unwrap()), "EnterError(\"block_on"),
        (format!("{no_runtime:?}"), "NoRuntimeError(\"this thread"),
        (format!("{no_loop:?}"), "NoLoopError(\"no event loop"),
    ];
    for (said, begin) in say {
        assert!(said.starts_with(begin), "{said}");
    }
}
