//! Values that belong to tasks, and the budget of a poll.

mod common;

use common::home::{Home, everywhere};
use libruntime_core::event_loop::EventLoop;
use libruntime_core::task::{AccessError, LocalKey, Scope, coop, yield_now};
use libruntime_core::task_local;
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

task_local! {
    /// Documented, and of this program alone.
    pub(crate) static NUMBER: u32;
    static COUNT: Cell<u32>;
    static TEXT: Arc<str>
}

task_local! {}

everywhere! {
    fn value_follows_its_task(home: Home) {
        let tasks: Vec<_> = (0..50)
            .map(|i| {
                home.spawn(NUMBER.scope(i, async move {
                    for _ in 0..10 {
                        assert_eq!(NUMBER.get(), i);
                        yield_now().await;
                    }
                    NUMBER.get()
                }))
            })
            .collect();
        let plain = home.spawn(async { NUMBER.try_get() });
        for (i, task) in tasks.into_iter().enumerate() {
            assert_eq!(home.block_on(task).unwrap(), i as u32);
        }
        assert!(home.block_on(plain).unwrap().is_err());
        assert_eq!(home.block_on(NUMBER.scope(7, async { NUMBER.get() })), 7);
    }

    fn spawned_task_does_not_inherit(home: Home) {
        let spawner = home.spawner();
        let task = home.spawn(NUMBER.scope(1, async move {
            spawner.spawn(async { NUMBER.try_get() }).await.unwrap()
        }));
        assert!(home.block_on(task).unwrap().is_err());
    }

    fn aborted_future_sees_its_value_when_it_is_dropped(home: Home) {
        struct Note(Arc<AtomicUsize>);
        impl Drop for Note {
            fn drop(&mut self) {
                self.0.store(NUMBER.get() as usize, Ordering::SeqCst);
            }
        }
        let seen = Arc::new(AtomicUsize::new(0));
        let note = Note(seen.clone());
        let task = home.spawn(NUMBER.scope(9, async move {
            let _note = note;
            pending::<()>().await;
        }));
        task.abort();
        assert!(home.block_on(task).unwrap_err().is_cancelled());
        assert_eq!(seen.load(Ordering::SeqCst), 9);
    }

    fn consume_budget_gives_way(home: Home) {
        let stop = Arc::new(AtomicUsize::new(0));
        let seen = stop.clone();
        let spawner = home.spawner();
        let task = home.spawn(async move {
            let stopper = spawner.spawn(async move { seen.store(1, Ordering::SeqCst) });
            while stop.load(Ordering::SeqCst) == 0 {
                coop::consume_budget().await;
            }
            stopper.await.unwrap();
        });
        home.block_on(task).unwrap();
    }

    fn budget_is_spent_unit_by_unit(home: Home) {
        let (spent, polls) = home
            .block_on(home.spawn(async {
                // A fresh poll, so that the budget is full.
                yield_now().await;
                let mut spent = 0;
                while coop::has_budget_remaining() {
                    coop::consume_budget().await;
                    spent += 1;
                }
                let mut one = pin!(coop::cooperative(async { 1 }));
                let mut polls = 0;
                poll_fn(|cx| {
                    polls += 1;
                    one.as_mut().poll(cx)
                })
                .await;
                (spent, polls)
            }))
            .unwrap();
        assert_eq!((spent, polls), (u32::from(coop::BUDGET), 2));
    }

    fn unconstrained_future_is_not_interrupted(home: Home) {
        let polls = home
            .block_on(home.spawn(async {
                let mut polls = 0;
                let mut work = pin!(coop::unconstrained(async {
                    for _ in 0..10 * u32::from(coop::BUDGET) {
                        coop::consume_budget().await;
                        assert!(coop::has_budget_remaining());
                    }
                }));
                poll_fn(|cx| {
                    polls += 1;
                    work.as_mut().poll(cx)
                })
                .await;
                polls
            }))
            .unwrap();
        assert_eq!(polls, 1);
    }
}

#[test]
fn scopes_nest_also_inside_of_with() {
    NUMBER.sync_scope(1, || {
        NUMBER.with(|outer| {
            NUMBER.sync_scope(2, || assert_eq!((*outer, NUMBER.get()), (1, 2)));
        });
        assert_eq!(NUMBER.get(), 1);
        let panicked = std::panic::catch_unwind(|| NUMBER.sync_scope(3, || panic!("on purpose")));
        assert!(panicked.is_err());
        assert_eq!(NUMBER.get(), 1);
    });
    assert!(NUMBER.try_get().is_err());
    TEXT.sync_scope("text".into(), || {
        NUMBER.sync_scope(1, || assert_eq!(&*TEXT.get(), "text"));
    });
}

#[test]
fn scopes_of_two_tasks_of_a_loop_do_not_mix() {
    let event_loop = EventLoop::new().unwrap();
    let log = Rc::new(RefCell::new(Vec::new()));
    for i in [1, 2] {
        let log = log.clone();
        drop(
            event_loop.spawn_local(COUNT.scope(Cell::new(10 * i), async move {
                for _ in 0..3 {
                    COUNT.with(|count| count.set(count.get() + 1));
                    log.borrow_mut().push(COUNT.get_cell());
                    yield_now().await;
                }
            })),
        );
    }
    event_loop.run().unwrap();
    assert_eq!(*log.borrow(), [11, 21, 12, 22, 13, 23]);
}

trait GetCell {
    fn get_cell(&'static self) -> u32;
}

impl GetCell for LocalKey<Cell<u32>> {
    fn get_cell(&'static self) -> u32 {
        self.with(Cell::get)
    }
}

#[test]
fn value_can_be_taken_out_of_a_scope() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut scope = pin!(NUMBER.scope(
        5,
        poll_fn(|_| match NUMBER.try_get() {
            Ok(_) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        })
    ));
    assert!(scope.as_mut().poll(&mut cx).is_pending());
    assert_eq!(scope.as_mut().take_value(), Some(5));
    assert_eq!(scope.as_mut().take_value(), None);
    let hidden = NUMBER.sync_scope(6, || scope.as_mut().poll(&mut cx));
    let Poll::Ready(error) = hidden else {
        panic!("a scope without a value hides the outer one")
    };
    assert!(error.to_string().contains("outside of every scope"));
    let again = std::panic::AssertUnwindSafe(|| scope.as_mut().poll(&mut cx).is_ready());
    assert!(std::panic::catch_unwind(again).is_err());
}

#[test]
fn with_outside_of_a_scope_panics_and_try_with_does_not() {
    assert!(std::panic::catch_unwind(|| NUMBER.get()).is_err());
    let called = Cell::new(false);
    let result: Result<(), AccessError> = NUMBER.try_with(|_| called.set(true));
    assert!(result.is_err() && !called.get());
}

#[test]
fn scope_may_be_moved_between_polls_if_its_future_may() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut polls = 0;
    let mut scope: Scope<u32, _> = NUMBER.scope(
        3,
        poll_fn(|_| {
            polls += 1;
            if polls == 2 {
                Poll::Ready(NUMBER.get())
            } else {
                Poll::Pending
            }
        }),
    );
    assert!(Pin::new(&mut scope).poll(&mut cx).is_pending());
    let mut moved = Box::new(scope);
    assert_eq!(Pin::new(&mut moved).poll(&mut cx), Poll::Ready(3));
}

#[test]
fn there_is_no_budget_outside_of_tasks() {
    assert!(coop::has_budget_remaining());
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        assert!(pin!(coop::consume_budget()).poll(&mut cx).is_ready());
    }
}
