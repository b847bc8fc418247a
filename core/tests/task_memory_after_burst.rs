//! What a burst of tasks leaves, as the allocator counts it and as the system does. Alone in its
//! process, for both figures are the whole process's.

mod common;

use common::until;
use libruntime_core::runtime::Builder;
use std::alloc::{GlobalAlloc, Layout, System};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on from the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on from the caller.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of this process that are in memory, where the system tells. The tools that watch memory and
/// threads keep what was freed, to see who uses it, and have more of their own: there it says nothing.
fn resident() -> Option<usize> {
    if cfg!(any(libruntime_plain_alloc, libruntime_tsan)) {
        return None;
    }
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split_whitespace().nth(1)?.parse().ok()?;
    // SAFETY: no arguments beyond the name.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * page as usize)
}

/// Where the tasks of a burst wait. A place is made beforehand: the figures are of tasks alone.
struct Gate {
    places: Vec<Mutex<Option<Waker>>>,
    open: AtomicBool,
    waiting: AtomicUsize,
}

async fn wait(gate: Arc<Gate>, place: usize) {
    let mut arrived = false;
    poll_fn(|cx| {
        let mut waker = gate.places[place].lock().unwrap();
        if gate.open.load(Ordering::SeqCst) {
            *waker = None;
            return Poll::Ready(());
        }
        *waker = Some(cx.waker().clone());
        if !std::mem::replace(&mut arrived, true) {
            gate.waiting.fetch_add(1, Ordering::SeqCst);
        }
        Poll::Pending
    })
    .await;
    gate.waiting.fetch_sub(1, Ordering::SeqCst);
}

#[test]
fn burst_of_tasks_leaves_a_small_part_of_its_peak() {
    const TASKS: usize = 450_000;
    let runtime = Builder::new()
        .worker_threads(2)
        .keep_task_memory(2 << 20)
        .build()
        .unwrap();
    let gate = Arc::new(Gate {
        places: (0..TASKS).map(|_| Mutex::new(None)).collect(),
        open: AtomicBool::new(false),
        waiting: AtomicUsize::new(0),
    });
    runtime.block_on(runtime.spawn(async {})).unwrap().unwrap();
    let (allocated, before) = (ALLOCATED.load(Ordering::Relaxed), resident());

    for place in 0..TASKS {
        drop(runtime.spawn(wait(gate.clone(), place)));
    }
    until("all wait", || gate.waiting.load(Ordering::SeqCst) == TASKS);
    let peak = resident();
    assert!(runtime.metrics().task_memory_bytes() > TASKS * 100);

    gate.open.store(true, Ordering::SeqCst);
    // In an order that has nothing to do with where the tasks stand.
    for number in 0..TASKS {
        let waker = gate.places[number * 7919 % TASKS].lock().unwrap().take();
        waker.unwrap().wake();
    }
    until("all end", || gate.waiting.load(Ordering::SeqCst) == 0);

    // At worst three times what is kept, 6 MiB; a slab for each block of two magazines, 13 MiB, and of a rack
    // outside, 7 MiB; and one for each of 31 ended tasks that are not unlinked yet, by three counters, 6 MiB.
    const LEFT: usize = TASKS * 160 / 2;
    // Nothing has to happen for that: those who wait already are woken for their part.
    until("tasks' memory goes back", || {
        runtime.metrics().task_memory_bytes() < LEFT
    });
    // The run queues may keep a buffer for all of the tasks.
    let buffers = TASKS * 32;
    until("what was allocated is freed", || {
        ALLOCATED.load(Ordering::Relaxed) < allocated + buffers
    });
    if let (Some(before), Some(peak)) = (before, peak) {
        assert!(peak > before + TASKS * 100);
        until("the resident set falls", || {
            resident().unwrap() < before + LEFT + buffers
        });
    }
}
