//! A wake from a signal handler, in a process of its own.

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::time::Duration;

use libruntime_core::event_loop::{EventLoop, LoopHandle, Turn};

static HANDLE: AtomicPtr<LoopHandle> = AtomicPtr::new(std::ptr::null_mut());
static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_signal(_signal: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: set before the handler is installed, and never freed.
    unsafe { &*HANDLE.load(Ordering::Acquire) }.wake();
}

fn raise() {
    // SAFETY: the handler is installed, and does what a handler may.
    assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
}

#[test]
fn a_signal_handler_can_wake_its_own_threads_loop() {
    let el = EventLoop::new().expect("a loop");
    HANDLE.store(Box::into_raw(Box::new(el.handle())), Ordering::Release);
    let handler: extern "C" fn(libc::c_int) = on_signal;
    // SAFETY: a valid handler, and an action whose other fields may be zero.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
    }

    // Before the wait.
    raise();
    el.turn(None).expect("turn");

    // During it, whenever that is, again and again.
    // SAFETY: no arguments.
    let here = unsafe { libc::pthread_self() } as usize;
    let keep = el.handle().keep_alive();
    let sender = std::thread::spawn(move || {
        for sent in 1..=500 {
            // SAFETY: the thread lives until this one is joined.
            unsafe { libc::pthread_kill(here as libc::pthread_t, libc::SIGUSR1) };
            // One that came while another is pending would be lost, as signals are.
            while SIGNALS.load(Ordering::Relaxed) <= sent {
                std::thread::yield_now();
            }
        }
        drop(keep);
    });
    el.run().expect("run");
    sender.join().expect("joined");
    assert_eq!(SIGNALS.load(Ordering::Relaxed), 501);

    // The system call inside the handler does not disturb the code that it interrupts.
    while el.turn(Some(Duration::ZERO)).expect("turn") == Turn::More {}
    // SAFETY: this thread's errno.
    unsafe { *libc::__errno_location() = 77 };
    raise();
    // SAFETY: as above.
    assert_eq!(unsafe { *libc::__errno_location() }, 77);
    drop(el);
    raise();
}
