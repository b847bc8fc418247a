//! Panics of callbacks, as a caller written in Rust can cause them: each ends where it came out of
//! the callback, becomes `RT_EPANIC` where there is somebody to tell, and a line of the log; nothing
//! is printed, and nothing leaks.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::AsRawFd;
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use runtime::blocking::rt_spawn_blocking;
use runtime::event_loop::{
    RT_FOREVER, rt_loop, rt_loop_free, rt_loop_new, rt_loop_post, rt_loop_run, rt_loop_set_hooks,
    rt_loop_set_notify, rt_loop_turn, rt_loop_wake,
};
use runtime::handle::rt_handles_live;
use runtime::log::{RT_LOG_ERROR, rt_set_log_callback};
use runtime::runtime::{rt_runtime, rt_runtime_free, rt_runtime_new};
use runtime::status::{RT_EPANIC, RT_OK, RT_PENDING};
use runtime::task::{
    rt_block_on, rt_result, rt_spawn, rt_spawn_local, rt_task, rt_task_cancel, rt_task_free,
    rt_task_join, rt_task_on_done,
};
use runtime::timer::{rt_timer, rt_timer_free, rt_timer_new, rt_timer_start};
use runtime::waker::{
    rt_context, rt_context_free, rt_context_new, rt_waker, rt_waker_free, rt_waker_new,
    rt_waker_wake_by_ref,
};
use runtime::watch::{RT_READABLE, rt_watch, rt_watch_free, rt_watch_new};

static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());
static DROPS: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C-unwind" fn on_log(_: *mut c_void, level: i32, text: *const c_char, len: usize) {
    assert_eq!(level, RT_LOG_ERROR);
    // SAFETY: the library passes a line of that length.
    let line = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    LOG.lock()
        .unwrap()
        .push(String::from_utf8(line.to_vec()).unwrap());
}

/// How many lines have come since the last call, all of them about the panics below.
fn lines() -> usize {
    let lines = std::mem::take(&mut *LOG.lock().unwrap());
    for line in &lines {
        assert!(
            line.contains("on purpose") && line.contains("panics.rs"),
            "{line}"
        );
    }
    lines.len()
}

unsafe extern "C-unwind" fn panics(_: *mut c_void) {
    panic!("on purpose");
}

/// What a wake calls may run in a signal handler, so nothing there looks at thread-local storage:
/// its panic is contained, but it is the one that goes where panics go by default.
unsafe extern "C-unwind" fn notify_panics(_: *mut c_void) {
    panic!("in notify");
}

unsafe extern "C-unwind" fn panics_dropping(_: *mut c_void) {
    DROPS.fetch_add(1, Ordering::SeqCst);
    panic!("on purpose");
}

unsafe extern "C-unwind" fn drops(_: *mut c_void) {
    DROPS.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C-unwind" fn poll_panics(
    _: *mut c_void,
    _: *mut rt_context,
    _: *mut rt_result,
) -> c_int {
    panic!("on purpose");
}

unsafe extern "C-unwind" fn poll_waits(
    _: *mut c_void,
    _: *mut rt_context,
    _: *mut rt_result,
) -> c_int {
    RT_PENDING
}

unsafe extern "C-unwind" fn work_panics(_: *mut c_void, _: *mut rt_result) -> c_int {
    panic!("on purpose");
}

unsafe extern "C-unwind" fn done_panics(_: *mut c_void, _: *const rt_result) {
    panic!("on purpose");
}

unsafe extern "C-unwind" fn ready_panics(_: *mut c_void, _: u32) {
    panic!("on purpose");
}

fn dropped() -> usize {
    DROPS.swap(0, Ordering::SeqCst)
}

fn result() -> rt_result {
    rt_result {
        status: 99,
        flags: 0,
        n: 0,
        ptr: null_mut(),
        reserved: 0,
    }
}

fn new_loop() -> *mut rt_loop {
    let mut loop_ = null_mut();
    // SAFETY: a place for the result.
    assert_eq!(unsafe { rt_loop_new(null(), &mut loop_) }, RT_OK);
    loop_
}

fn on_workers(runtime: *mut rt_runtime) {
    // SAFETY: all handles are live, and all data is NULL.
    unsafe {
        let (mut task, mut end) = (null_mut::<rt_task>(), result());
        let status = rt_spawn(
            runtime,
            Some(poll_panics),
            null_mut(),
            Some(drops),
            null(),
            &mut task,
        );
        assert_eq!(status, RT_OK);
        assert_eq!(rt_task_join(task, RT_FOREVER, &mut end), RT_OK);
        assert_eq!((end.status, lines(), dropped()), (RT_EPANIC, 1, 1));
        rt_task_free(task);

        // A destructor that panics: the task ends as it ended, and is told of.
        let drop = Some(panics_dropping as unsafe extern "C-unwind" fn(_));
        assert_eq!(
            rt_spawn(
                runtime,
                Some(poll_waits),
                null_mut(),
                drop,
                null(),
                &mut task
            ),
            RT_OK
        );
        assert_eq!(
            rt_task_on_done(task, null_mut(), Some(done_panics), null_mut(), drop),
            RT_PENDING
        );
        assert_eq!(rt_task_cancel(task), RT_OK);
        assert_eq!(rt_task_join(task, RT_FOREVER, &mut end), RT_OK);
        assert_eq!(end.status, runtime::status::RT_ECANCELED);
        while DROPS.load(Ordering::SeqCst) < 2 || LOG.lock().unwrap().len() < 3 {
            std::thread::yield_now();
        }
        assert_eq!((lines(), dropped()), (3, 2));
        rt_task_free(task);

        let status = rt_spawn_blocking(
            runtime,
            Some(work_panics),
            null_mut(),
            drop,
            null(),
            &mut task,
        );
        assert_eq!(status, RT_OK);
        assert_eq!(rt_task_join(task, RT_FOREVER, &mut end), RT_OK);
        assert_eq!((end.status, lines(), dropped()), (RT_EPANIC, 2, 1));
        rt_task_free(task);

        assert_eq!(
            rt_block_on(
                runtime,
                Some(poll_panics),
                null_mut(),
                Some(drops),
                &mut end
            ),
            RT_OK
        );
        assert_eq!((end.status, lines(), dropped()), (RT_EPANIC, 1, 1));
    }
}

fn on_a_loop() {
    let loop_ = new_loop();
    let (pipe, writer) = std::io::pipe().unwrap();
    // SAFETY: all handles are live, and all data is NULL.
    unsafe {
        assert_eq!(
            rt_loop_post(loop_, Some(panics), null_mut(), Some(panics_dropping)),
            RT_PENDING
        );
        assert!(rt_loop_turn(loop_, 0) >= 0);
        assert_eq!((lines(), dropped()), (2, 1));

        let mut timer = null_mut::<rt_timer>();
        assert_eq!(
            rt_timer_new(loop_, Some(panics), null_mut(), Some(drops), &mut timer),
            RT_OK
        );
        assert_eq!(rt_timer_start(timer, 0, 0), RT_OK);
        assert_eq!(rt_loop_run(loop_), RT_OK);
        assert_eq!(rt_timer_start(timer, 0, 0), RT_OK);
        assert_eq!(rt_loop_run(loop_), RT_OK);
        assert_eq!((lines(), dropped()), (2, 0));
        rt_timer_free(timer);
        assert_eq!(dropped(), 1);

        let (mut watch, fd) = (null_mut::<rt_watch>(), pipe.as_raw_fd());
        let drop = Some(panics_dropping as unsafe extern "C-unwind" fn(_));
        let status = rt_watch_new(
            loop_,
            fd,
            RT_READABLE,
            Some(ready_panics),
            null_mut(),
            drop,
            &mut watch,
        );
        assert_eq!(status, RT_OK);
        std::mem::drop(writer);
        assert!(rt_loop_turn(loop_, RT_FOREVER) >= 0);
        assert_eq!(lines(), 1);
        rt_watch_free(watch);
        assert_eq!((lines(), dropped()), (1, 1));

        let (mut task, mut end) = (null_mut::<rt_task>(), result());
        let status = rt_spawn_local(
            loop_,
            Some(poll_panics),
            null_mut(),
            drop,
            null(),
            &mut task,
        );
        assert_eq!(status, RT_OK);
        assert_eq!(rt_loop_run(loop_), RT_OK);
        assert_eq!(rt_task_join(task, 0, &mut end), RT_OK);
        assert_eq!((end.status, lines(), dropped()), (RT_EPANIC, 2, 1));
        rt_task_free(task);

        let hook = Some(panics as unsafe extern "C-unwind" fn(_));
        assert_eq!(
            rt_loop_set_hooks(loop_, hook, hook, hook, null_mut(), Some(drops)),
            RT_OK
        );
        assert_eq!(
            rt_loop_set_notify(loop_, Some(notify_panics), null_mut(), Some(drops)),
            RT_OK
        );
        assert_eq!(rt_loop_wake(loop_), RT_OK);
        assert!(rt_loop_turn(loop_, 1) >= 0);
        assert!(rt_loop_turn(loop_, 1) >= 0);
        assert!(lines() >= 3);
        rt_loop_free(loop_);
        assert_eq!(dropped(), 2);
    }
}

fn in_a_waker(runtime: *mut rt_runtime) {
    let (mut waker, mut cx, mut task) = (null_mut::<rt_waker>(), null_mut(), null_mut::<rt_task>());
    // SAFETY: all handles are live, and all data is NULL.
    unsafe {
        let drop = Some(panics_dropping as unsafe extern "C-unwind" fn(_));
        assert_eq!(
            rt_waker_new(Some(panics), null_mut(), drop, &mut waker),
            RT_OK
        );
        rt_waker_wake_by_ref(waker);
        assert_eq!(lines(), 1);
        assert_eq!(rt_context_new(waker, &mut cx), RT_OK);
        rt_waker_free(waker);
        // A task wakes it when it ends, on a worker.
        assert_eq!(
            rt_spawn(
                runtime,
                Some(poll_waits),
                null_mut(),
                None,
                null(),
                &mut task
            ),
            RT_OK
        );
        assert_eq!(
            runtime::task::rt_task_poll(task, cx, null_mut()),
            RT_PENDING
        );
        rt_context_free(cx);
        assert_eq!(rt_task_cancel(task), RT_OK);
        assert_eq!(rt_task_join(task, RT_FOREVER, null_mut()), RT_OK);
        while DROPS.load(Ordering::SeqCst) < 1 || LOG.lock().unwrap().len() < 2 {
            std::thread::yield_now();
        }
        assert_eq!((lines(), dropped()), (2, 1));
        rt_task_free(task);
    }
}

const CHILD: &str = "LIBRUNTIME_TEST_PANICS";

/// One test, for the log is the process's; in a process of its own, whose standard error is looked
/// at, for the harness of a test takes what is printed through Rust.
#[test]
fn panics_of_callbacks_are_contained_and_logged() {
    if std::env::var_os(CHILD).is_some() {
        return all();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "panics_of_callbacks_are_contained_and_logged",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    assert!(!printed.contains("on purpose"), "{printed}");
    assert!(printed.contains("in notify"), "{printed}");
    // Panics of other code are printed as ever.
    assert!(printed.contains("not ours"), "{printed}");
}

fn all() {
    let mut runtime = null_mut::<rt_runtime>();
    // SAFETY: all handles are live, and all data is NULL.
    unsafe {
        assert_eq!(rt_set_log_callback(Some(on_log), null_mut(), None), RT_OK);
        assert_eq!(rt_runtime_new(null(), &mut runtime), RT_OK);
    }
    on_workers(runtime);
    on_a_loop();
    in_a_waker(runtime);
    // SAFETY: the runtime is live.
    unsafe {
        rt_runtime_free(runtime);
        assert_eq!(rt_set_log_callback(None, null_mut(), None), RT_OK);
    }
    assert_eq!(rt_handles_live(), 0);
    assert!(std::thread::spawn(|| panic!("not ours")).join().is_err());
}
