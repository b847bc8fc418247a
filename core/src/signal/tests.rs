//! What can be told of dispositions from inside. They are the process's, and so are the signals: each
//! test has one of its own.

use super::unix::{SignalKind, signal};
use std::io;
use std::ptr;

fn handler_of(signal: libc::c_int) -> usize {
    // SAFETY: all fields may be zero.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a query into a local.
    let status = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    assert_eq!(status, 0);
    action.sa_sigaction
}

#[test]
fn last_listener_gives_the_disposition_back() {
    assert_eq!(handler_of(libc::SIGWINCH), libc::SIG_DFL);
    let first = signal(SignalKind::window_change()).unwrap();
    let second = signal(SignalKind::window_change()).unwrap();
    let ours = handler_of(libc::SIGWINCH);
    assert_ne!(ours, libc::SIG_DFL);
    drop(first);
    assert_eq!(handler_of(libc::SIGWINCH), ours);
    drop(second);
    assert_eq!(handler_of(libc::SIGWINCH), libc::SIG_DFL);
    drop(signal(SignalKind::window_change()).unwrap());
    assert_eq!(handler_of(libc::SIGWINCH), libc::SIG_DFL);
}

#[test]
fn handler_that_was_set_in_between_stays() {
    extern "C" fn theirs(_: libc::c_int) {}
    let theirs = theirs as extern "C" fn(libc::c_int) as usize;
    let listener = signal(SignalKind::alarm()).unwrap();
    // SAFETY: a handler that does nothing.
    let ours = unsafe { libc::signal(libc::SIGALRM, theirs) };
    drop(listener);
    assert_eq!(handler_of(libc::SIGALRM), theirs);
    // As one that chains would: ours is still fit to be called, and passes on to nobody.
    // SAFETY: it was the signal's handler until now.
    let ours: extern "C" fn(libc::c_int, usize, usize) = unsafe { std::mem::transmute(ours) };
    ours(libc::SIGALRM, 0, 0);
}

#[test]
fn signals_that_can_not_be_handled_are_refused() {
    use libc::{SIGBUS, SIGFPE, SIGILL, SIGKILL, SIGSEGV, SIGSTOP};
    let unfit = [SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL];
    for number in unfit.into_iter().chain([0, -1, 33, 65, 1000, i32::MIN]) {
        let error = signal(SignalKind::from_raw(number)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{number}");
    }
}
