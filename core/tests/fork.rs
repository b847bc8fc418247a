//! What a forked child may do with a runtime that it inherited. A test of its own: a child has only what
//! no other thread was in the middle of.

#![cfg(unix)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use libruntime_core::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    let runtime = Builder::new().worker_threads(2).build().unwrap();
    runtime.block_on(runtime.spawn(async {})).unwrap().unwrap();
    runtime
}

fn in_the_child(inherited: Runtime) {
    let report = inherited.shutdown(None);
    assert_eq!((report.workers_left, report.is_complete()), (2, false));
    let report = inherited.shutdown_timeout(Duration::from_millis(1));
    assert_eq!(report.workers_left, 2);
    // The tool lets no such child start threads.
    if cfg!(not(libruntime_tsan)) {
        assert!(runtime().shutdown_timeout(Duration::MAX).is_complete());
    }
}

#[test]
fn forked_child_drops_what_it_inherited_and_makes_its_own() {
    let inherited = runtime();
    // SAFETY: no other thread of this process is in the middle of anything: the workers wait.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: plain calls. A child that hangs is ended by the alarm.
            unsafe { libc::alarm(20) };
            let done = catch_unwind(AssertUnwindSafe(|| in_the_child(inherited)));
            // SAFETY: as above.
            unsafe { libc::_exit(i32::from(done.is_err())) };
        }
        child => {
            let mut status = -1;
            // SAFETY: the status is valid for the duration of the call.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0);
        }
    }
    let answer = inherited.block_on(inherited.spawn(async { 4 }));
    assert_eq!(answer.unwrap().unwrap(), 4);
    assert!(inherited.shutdown_timeout(Duration::MAX).is_complete());
}
