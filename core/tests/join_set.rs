//! What a set of tasks promises, in every kind of place.

mod common;

use common::home::{Home, everywhere};
use common::until;
use libruntime_core::event_loop::EventLoop;
use libruntime_core::runtime;
use libruntime_core::task::{self, Builder, Id, JoinSet, yield_now};
use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct CountWakes(AtomicUsize);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

everywhere! {
    fn outputs_come_as_the_tasks_end(home: Home) {
        let spawner = home.spawner();
        let mut set = JoinSet::new();
        let (mut gates, mut tasks) = (Vec::new(), Vec::new());
        for i in 0..5 {
            let (open, gate) = futures_channel::oneshot::channel::<()>();
            gates.push(Some(open));
            tasks.push(spawner.spawn_in(&mut set, async move {
                gate.await.unwrap();
                i
            }));
        }
        assert_eq!(set.len(), 5);
        for i in [3, 0, 4, 1, 2] {
            assert!(set.try_join_next().is_none());
            gates[i].take().unwrap().send(()).unwrap();
            assert_eq!(home.block_on(set.join_next()).unwrap().unwrap(), i);
            assert!(tasks[i].is_finished());
        }
        assert!(set.is_empty());
        assert!(home.block_on(set.join_next()).is_none());
        assert!(set.try_join_next().is_none());
    }

    fn every_output_comes_once(home: Home) {
        let spawner = home.spawner();
        let mut set = JoinSet::new();
        let mut seen = [0; 1000];
        // More than the budget of a poll, and places are used again.
        for round in 0..4 {
            for i in 0..250 {
                spawner.spawn_in(&mut set, async move {
                    if i % 3 == 0 {
                        yield_now().await;
                    }
                    250 * round + i
                });
            }
            home.block_on(async {
                for _ in 0..if round < 3 { 200 } else { 400 } {
                    seen[set.join_next().await.unwrap().unwrap()] += 1;
                }
            });
        }
        assert!(set.is_empty());
        assert_eq!(seen, [1; 1000]);
    }

    fn outputs_come_with_the_ids_of_their_tasks(home: Home) {
        let spawner = home.spawner();
        let mut set = JoinSet::new();
        let mut expected = HashMap::new();
        for i in 0..20 {
            let task = spawner.spawn_in(&mut set, async move {
                assert!(i != 7, "on purpose");
                (task::id(), i)
            });
            expected.insert(task.id(), i);
        }
        let joined = home.block_on(async {
            let mut joined = Vec::new();
            while let Some(ended) = set.join_next_with_id().await {
                joined.push(ended);
            }
            joined
        });
        for ended in joined {
            match ended {
                Ok((id, (own, i))) => {
                    assert_eq!(id, own);
                    assert_eq!(expected.remove(&id), Some(i));
                }
                Err(error) => {
                    assert!(error.is_panic());
                    assert_eq!(expected.remove(&error.id()), Some(7));
                }
            }
        }
        assert!(expected.is_empty());
    }

    fn dropped_set_aborts_its_tasks(home: Home) {
        let drops = Arc::new(AtomicUsize::new(0));
        let spawner = home.spawner();
        let mut set = JoinSet::new();
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let guard = CountDrop(drops.clone());
                spawner.spawn_in(&mut set, async move {
                    let _guard = guard;
                    pending::<()>().await;
                })
            })
            .collect();
        drop(set);
        until("all tasks end", || tasks.iter().all(task::AbortHandle::is_finished));
        assert_eq!(drops.load(Ordering::SeqCst), 10);
    }

    fn detached_tasks_go_on(home: Home) {
        let (sender, receiver) = mpsc::channel();
        let spawner = home.spawner();
        let mut set = JoinSet::new();
        for i in 0..10 {
            let sender = sender.clone();
            spawner.spawn_in(&mut set, async move {
                yield_now().await;
                sender.send(i).unwrap();
            });
        }
        set.detach_all();
        assert!(set.is_empty());
        assert!(home.block_on(set.join_next()).is_none());
        drop(set);
        drop(sender);
        assert_eq!(receiver.iter().sum::<i32>(), 45);
    }

    fn aborted_tasks_are_reported(home: Home) {
        let spawner = home.spawner();
        let mut set = JoinSet::new();
        spawner.spawn_in(&mut set, async { 1 });
        let first = home.block_on(set.join_next()).unwrap().unwrap();
        assert_eq!(first, 1);
        for _ in 0..10 {
            spawner.spawn_in(&mut set, pending::<i32>());
        }
        set.abort_all();
        assert_eq!(set.len(), 10, "they stay until they are joined");
        home.block_on(async {
            while let Some(ended) = set.join_next().await {
                assert!(ended.unwrap_err().is_cancelled());
            }
        });
        // The set goes on.
        spawner.spawn_in(&mut set, async { 2 });
        assert_eq!(home.block_on(set.join_next()).unwrap().unwrap(), 2);
    }

    fn shutdown_waits_for_the_drop_of_every_future(home: Home) {
        let drops = Arc::new(AtomicUsize::new(0));
        let spawner = home.spawner();
        let mut set = JoinSet::new();
        for _ in 0..10 {
            let guard = CountDrop(drops.clone());
            spawner.spawn_in(&mut set, async move {
                let _guard = guard;
                pending::<()>().await;
            });
        }
        home.block_on(set.shutdown());
        assert!(set.is_empty());
        assert_eq!(drops.load(Ordering::SeqCst), 10);
    }

    fn join_all_returns_every_output(home: Home) {
        let spawner = home.spawner();
        let mut set = JoinSet::new();
        for i in 0..100 {
            spawner.spawn_in(&mut set, async move { i });
        }
        let mut outputs = home.block_on(set.join_all()).unwrap();
        outputs.sort_unstable();
        assert_eq!(outputs, (0..100).collect::<Vec<_>>());
    }

    fn join_all_ends_with_the_first_error_and_aborts_the_rest(home: Home) {
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = CountDrop(drops.clone());
        let spawner = home.spawner();
        let mut set = JoinSet::new();
        let waiting = spawner.spawn_in(&mut set, async move {
            let _guard = guard;
            pending::<()>().await;
        });
        spawner.spawn_in(&mut set, async { panic!("on purpose") });
        let error = home.block_on(set.join_all()).unwrap_err();
        assert_eq!(error.panic_message().as_deref(), Some("on purpose"));
        until("the waiting one ends", || waiting.is_finished());
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    fn join_next_that_is_given_up_loses_nothing(home: Home) {
        let spawner = home.spawner();
        let mut set = JoinSet::new();
        let mut joined = 0;
        for _ in 0..100 {
            spawner.spawn_in(&mut set, yield_now());
            home.block_on(async {
                let mut polls = 0;
                // Gives the wait up after its first poll, whatever that said.
                let ended = futures_lite::future::or(
                    async { set.join_next().await.map(|ended| ended.unwrap()) },
                    poll_fn(move |cx| {
                        polls += 1;
                        cx.waker().wake_by_ref();
                        if polls == 1 { Poll::Ready(None) } else { Poll::Pending }
                    }),
                )
                .await;
                joined += usize::from(ended.is_some());
            });
        }
        home.block_on(async {
            while let Some(ended) = set.join_next().await {
                ended.unwrap();
                joined += 1;
            }
        });
        assert_eq!(joined, 100);
    }

    fn completion_wakes_the_last_waker_once_and_polls_no_other_task(home: Home) {
        let spawner = home.spawner();
        let mut set = JoinSet::new();
        for _ in 0..100 {
            spawner.spawn_in(&mut set, pending::<()>());
        }
        let (open, gate) = futures_channel::oneshot::channel::<()>();
        let task = spawner.spawn_in(&mut set, async move { gate.await.unwrap() });
        let wakes = [(); 2].map(|()| Arc::new(CountWakes(AtomicUsize::new(0))));
        for count in &wakes {
            let waker = Waker::from(count.clone());
            assert!(set.poll_join_next(&mut Context::from_waker(&waker)).is_pending());
        }
        open.send(()).unwrap();
        until("the second waker is called", || wakes[1].0.load(Ordering::SeqCst) > 0);
        assert!(task.is_finished());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(set.poll_join_next(&mut cx), Poll::Ready(Some(Ok(())))));
        assert!(set.poll_join_next(&mut cx).is_pending());
        assert_eq!(wakes.map(|count| count.0.load(Ordering::SeqCst)), [0, 1]);
    }

    fn task_that_has_been_started_can_be_inserted(home: Home) {
        let mut set = JoinSet::new();
        let spawner = home.spawner();
        let named = spawner.build(Builder::new().name("named"), async { task::name() });
        let id: Id = named.id();
        until("the named one ends", || named.is_finished());
        let abort = set.insert(named);
        assert_eq!(abort.id(), id);
        let (joined, name) = set.try_join_next_with_id().unwrap().unwrap();
        assert_eq!((joined, name.as_deref()), (id, Some("named")));
    }

    fn set_is_used_from_inside_a_task(home: Home) {
        let spawner = home.spawner();
        let inner = spawner.clone();
        let task = spawner.spawn(async move {
            let mut set = JoinSet::new();
            for i in 0..500_u32 {
                inner.spawn_in(&mut set, async move { i });
            }
            let mut sum = 0;
            while let Some(output) = set.join_next().await {
                sum += output.unwrap();
            }
            sum
        });
        assert_eq!(home.block_on(task).unwrap(), 124_750);
    }
}

#[test]
fn set_mixes_tasks_jobs_and_local_tasks() {
    let runtime = runtime::Builder::new().worker_threads(2).build().unwrap();
    let event_loop = EventLoop::new().unwrap();
    event_loop.set_runtime(Some(runtime.handle().clone()));
    let not_send = Rc::new(4);
    let (sum, names) = event_loop
        .block_on(async {
            let mut set = JoinSet::new();
            set.spawn(async { 1 });
            set.spawn_blocking(|| 2);
            set.spawn_local(async move { *not_send });
            set.spawn_on(async { 8 }, runtime.handle());
            set.spawn_blocking_on(|| 16, runtime.handle());
            set.spawn_local_on(async { 32 }, &event_loop);
            set.spawn_on_loop(async { 64 }, &event_loop.handle());
            let sum: i32 = set.join_all().await.unwrap().into_iter().sum();

            let mut set = JoinSet::new();
            let name = || task::name().unwrap().to_string();
            let build = |set: &mut JoinSet<String>, name: &str, how: usize| {
                let builder = set.build_task().name(name);
                let future = async { task::name().unwrap().to_string() };
                match how {
                    0 => builder.spawn(future).unwrap(),
                    1 => builder.spawn_on(future, runtime.handle()),
                    2 => builder.spawn_local(future).unwrap(),
                    3 => builder.spawn_local_on(future, &event_loop),
                    _ => builder.spawn_on_loop(future, &event_loop.handle()),
                }
            };
            for (how, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
                build(&mut set, name, how);
            }
            set.build_task().name("f").spawn_blocking(name).unwrap();
            set.build_task()
                .options(Builder::new().name("g"))
                .spawn_blocking_on(name, runtime.handle());
            let mut names = set.join_all().await.unwrap();
            names.sort_unstable();
            (sum, names.concat())
        })
        .unwrap();
    assert_eq!((sum, names.as_str()), (127, "abcdefg"));
}

#[test]
fn set_outside_of_any_place_reports_it() {
    let mut set = JoinSet::new();
    assert!(set.build_task().spawn(async {}).is_err());
    assert!(set.build_task().spawn_blocking(|| ()).is_err());
    assert!(set.build_task().spawn_local(async {}).is_err());
    assert!(set.is_empty());
    for f in [
        |set: &mut JoinSet<()>| set.spawn(async {}),
        |set: &mut JoinSet<()>| set.spawn_blocking(|| ()),
        |set: &mut JoinSet<()>| set.spawn_local(async {}),
    ] {
        let mut set = std::panic::AssertUnwindSafe(&mut set);
        assert!(std::panic::catch_unwind(move || f(&mut set)).is_err());
    }
    assert!(set.is_empty());
}

#[test]
fn set_is_collected_from_futures() {
    let runtime = runtime::Builder::new().worker_threads(1).build().unwrap();
    let mut outputs = runtime
        .block_on(async {
            let mut set: JoinSet<i32> = (0..10).map(|i| async move { i }).collect();
            set.extend((10..20).map(|i| async move { i }));
            set.join_all().await.unwrap()
        })
        .unwrap();
    outputs.sort_unstable();
    assert_eq!(outputs, (0..20).collect::<Vec<_>>());
}

#[test]
fn set_that_is_dropped_keeps_nobody_alive() {
    let runtime = runtime::Builder::new().worker_threads(1).build().unwrap();
    let wakes = Arc::new(CountWakes(AtomicUsize::new(0)));
    let mut set = JoinSet::new();
    set.spawn_on(pending::<()>(), runtime.handle());
    let waker = Waker::from(wakes.clone());
    assert!(
        set.poll_join_next(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(waker);
    drop(set);
    assert_eq!(Arc::strong_count(&wakes), 1);
    assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
}
