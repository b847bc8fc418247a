//! Holds the table in `SCALING.md` to what the code does.
//!
//! Each path is walked on this thread, with two workers that are awake and that no thread runs.

use super::tests::awake;
use super::*;
use crate::net::AsyncFd;
use crate::shim::counted::{Log, record};
use crate::task::yield_now;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What a path costs, by who else writes the line.
#[derive(Debug, Default)]
struct Cost {
    /// On the task itself, or the timer or registration that belongs to it.
    object: usize,
    /// On lines of one worker.
    worker: usize,
    /// On lines of the whole runtime, or the process.
    shared: usize,
    fences: usize,
}

impl Cost {
    fn of(log: &Log) -> Cost {
        let mut cost = Cost {
            fences: log.fences,
            ..Cost::default()
        };
        for (file, writes) in &log.writes {
            let file = file.rsplit_once("src/").map_or(*file, |(_, file)| file);
            let place = match file {
                "task/state.rs"
                | "time/entry.rs"
                | "reactor/scheduled_io.rs"
                | "reactor/waker_slot.rs" => &mut cost.object,
                "task/owner.rs"
                | "executor/front.rs"
                | "executor/slot.rs"
                | "executor/state.rs"
                | "executor/parker.rs"
                | "time/queue.rs"
                | "time/owner_lock.rs"
                | "time/owner_count.rs" => &mut cost.worker,
                "executor/idle.rs"
                | "executor/watch.rs"
                | "executor/lookout.rs"
                | "executor/shared.rs"
                | "executor/counters.rs"
                | "executor/driver.rs"
                | "task/memory/mod.rs"
                | "task/memory/depot.rs"
                | "task/id.rs"
                | "reactor/driver.rs"
                | "reactor/slots.rs" => &mut cost.shared,
                other => panic!("say whose line the writes in {other} are on"),
            };
            *place += writes;
        }
        cost
    }
}

/// The paths walked so far.
struct Table(Vec<(&'static str, Cost)>);

impl Table {
    fn row<R>(&mut self, name: &'static str, f: impl FnOnce() -> R) -> R {
        let (result, log) = record(f);
        self.0.push((name, Cost::of(&log)));
        result
    }

    /// Walks a path again and again, so that what happens once in many times is seen.
    fn rounds(&mut self, name: &'static str, rounds: usize, mut f: impl FnMut()) {
        self.row(name, || (0..rounds).for_each(|_| f()));
    }

    /// Fails unless the page has each row as it was found.
    fn check(&self) {
        let page = include_str!("../SCALING.md");
        let mut wrong = String::new();
        for (name, cost) in &self.0 {
            let row = format!(
                "| {name} | {} | {} | {} | {} |",
                cost.object, cost.worker, cost.shared, cost.fences
            );
            if !page.contains(&row) {
                wrong += &format!("{row}\n");
            }
        }
        assert!(wrong.is_empty(), "SCALING.md should say:\n{wrong}");
    }
}

/// A future that leaves its waker outside and waits.
fn waits(
    slot: &std::sync::Arc<std::sync::Mutex<Option<Waker>>>,
) -> impl Future<Output = ()> + Send + use<> {
    let slot = slot.clone();
    poll_fn(move |cx| {
        slot.lock()
            .unwrap()
            .get_or_insert_with(|| cx.waker().clone());
        Poll::Pending
    })
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn paths_cost_what_the_page_says() {
    let mut table = Table(Vec::new());
    let (shared, mut workers) = awake();
    let sleeper = workers.pop().unwrap();
    let worker = &*workers[0];
    let slot = std::sync::Arc::default();
    {
        let _driver = context::enter_driver(&worker.remote().driver, true);
        let _current = Current::enter(worker);
        // A turn that looks neither around nor at the injector.
        let turn = || {
            worker.next_task(1).expect("something is to be run").run();
        };
        // A block of ids, a bank of references, and a magazine of memory.
        drop(worker.spawn(async {}, None));
        turn();

        let task = table.row("spawn on a worker", || worker.spawn(async {}, None));
        table.row("drop the handle of a task that has not begun", || {
            drop(task)
        });
        table.row("run to its end, nobody waiting", turn);

        table.rounds("spawn, detach and run, 64 times", 64, || {
            drop(worker.spawn(async {}, None));
            turn();
        });

        let mut task = worker.spawn(async {}, None);
        table.row("begin to wait for a task", || {
            assert!(poll(Pin::new(&mut task)).is_pending());
        });
        table.row("run to its end, somebody waiting", turn);
        table.row("take the output", || {
            assert!(poll(Pin::new(&mut task)).is_ready());
            drop(task);
        });

        drop(worker.spawn(waits(&slot), None));
        table.row("run to the first wait", turn);
        let waker = slot.lock().unwrap().clone().unwrap();
        table.row("wake to the LIFO slot", || waker.wake_by_ref());
        table.row("run again, and wait", turn);

        drop(worker.spawn(async {}, None));
        table.row("wake, and move the one before to the queue", || {
            waker.wake_by_ref();
        });
        turn();
        turn();
        drop(waker);

        drop(worker.spawn(
            async {
                loop {
                    yield_now().await;
                }
            },
            None,
        ));
        turn();
        table.row("yield: run, wake itself, back to the queue", turn);

        let mut sleep = Box::pin(crate::time::sleep(Duration::from_secs(3600)));
        table.row("set a timer on a worker", || {
            assert!(poll(sleep.as_mut()).is_pending());
        });
        table.row("cancel a timer on its worker", || drop(sleep));

        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = AsyncFd::new_owned(socket);
        table.row("register a socket, at its first would-block", || {
            let mut cx = Context::from_waker(Waker::noop());
            let read = |socket: &std::os::unix::net::UnixStream| {
                std::io::Read::read(&mut &*socket, &mut [0; 8])
            };
            assert!(socket.poll_read_with(&mut cx, read).is_pending());
        });
        table.row("close a registered socket", || drop(socket));
    }
    // This thread is none of the workers from here on. A magazine for those.
    drop(shared.spawn(pending::<()>(), None));
    let task = table.row("spawn outside", || shared.spawn(pending::<()>(), None));
    drop(task);
    {
        let _current = Current::enter(worker);
        worker.cancel_all();
        shared.drain_injector();
    }
    assert!(!shared.has_work());

    // The other worker waits on a thread of its own, and is woken.
    let waits = std::thread::spawn(move || {
        sleeper.remote().parker.attach();
        sleeper.front.state().start();
        let _current = Current::enter(&raw const *sleeper);
        sleeper.next_tick();
        let (_, log) = record(|| sleeper.sleep());
        drop(_current);
        (sleeper, Cost::of(&log))
    });
    while shared.idle.sleepers() == 0 {
        std::thread::yield_now();
    }
    table.row("wake a worker that waits", || shared.notify(0));
    let (sleeper, cost) = waits.join().unwrap();
    table.0.push(("wait until woken", cost));
    drop(sleeper);
    table.check();
}
