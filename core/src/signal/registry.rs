//! The handler, and what it reads.
//!
//! # Protocol
//!
//! Handlers belong to the process, so this table does too. For each signal it has a pointer to a
//! *record*, which is never changed once it is there: the disposition before ours, and the descriptor of
//! each listener's bell. A handler may interrupt any code, also code of ours that holds the lock; so it
//! takes none:
//!
//! 1. add one to `readers`;
//! 2. load the pointer, ring every bell of the record, copy the former disposition;
//! 3. take one off `readers`;
//! 4. do as the former handler does, which may take its time and need not return.
//!
//! Whoever adds or removes a listener holds the lock, puts a new record in the place of the old one,
//! waits until `readers` has once been zero, and only then frees the old record and lets a bell be closed.
//! All of these operations are `SeqCst`. If a handler's step 1 comes before that wait's last look, the
//! look sees it, unless its step 3 is over too; if it comes after it, its step 2 comes after the exchange
//! and finds the new record. So no handler rings a bell that is closed, and whose number may be another
//! file's by then. The wait is for a few system calls that do not block; a handler that interrupts the
//! waiting thread itself is over when that goes on.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Signals that Linux has, 0 included, which is none. Other systems have fewer.
const SIGNALS: usize = 65;

struct Record {
    before: libc::sigaction,
    bells: Vec<RawFd>,
}

struct Slot {
    readers: AtomicUsize,
    record: AtomicPtr<Record>,
}

static SLOTS: [Slot; SIGNALS] = [const {
    Slot {
        readers: AtomicUsize::new(0),
        record: AtomicPtr::new(ptr::null_mut()),
    }
}; SIGNALS];

/// Held while the table or a disposition is changed.
static CHANGING: Mutex<()> = Mutex::new(());

fn lock() -> MutexGuard<'static, ()> {
    CHANGING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place among a signal's listeners. The stream it was made with is written to at each signal.
#[derive(Debug)]
pub(super) struct Listener {
    signal: libc::c_int,
    bell: UnixStream,
}

impl Listener {
    /// `bell` is non-blocking.
    ///
    /// # Errors
    /// `InvalidInput` if there is no such signal, or none that may be handled.
    pub(super) fn new(signal: libc::c_int, bell: UnixStream) -> io::Result<Listener> {
        const UNHANDLED: [libc::c_int; 6] = [
            libc::SIGKILL,
            libc::SIGSTOP,
            // To return from a handler of these, when a thread caused them, is to cause them again.
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
        ];
        let index = usize::try_from(signal).unwrap_or(0);
        if index == 0 || index >= SIGNALS || UNHANDLED.contains(&signal) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("signal {signal} can not be waited for"),
            ));
        }
        let slot = &SLOTS[index];
        let _changing = lock();
        let mut bells = slot.bells().to_vec();
        bells.push(bell.as_raw_fd());
        // SAFETY: only changed under the lock, which is held; not null, so it came from `replace`.
        match unsafe { slot.record.load(SeqCst).as_ref() } {
            Some(record) => slot.replace(Some((record.before, bells))),
            None => {
                // In place before the handler is: it must find whom to call from its first time on.
                slot.replace(Some((disposition(signal, None)?, bells)));
                if let Err(error) = disposition(signal, Some(&ours())) {
                    slot.replace(None);
                    return Err(error);
                }
            }
        }
        Ok(Listener { signal, bell })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let slot = &SLOTS[self.signal as usize];
        let _changing = lock();
        let mut bells = slot.bells().to_vec();
        bells.retain(|&fd| fd != self.bell.as_raw_fd());
        // SAFETY: as above.
        let Some(record) = (unsafe { slot.record.load(SeqCst).as_ref() }) else {
            return;
        };
        let before = record.before;
        let is_ours = || {
            disposition(self.signal, None)
                .is_ok_and(|current| current.sa_sigaction == ours().sa_sigaction)
        };
        let restored =
            bells.is_empty() && is_ours() && disposition(self.signal, Some(&before)).is_ok();
        slot.replace((!restored).then_some((before, bells)));
    }
}

impl Slot {
    /// Under the lock.
    fn bells(&self) -> &[RawFd] {
        // SAFETY: only changed under the lock; not null, so it came from `replace`.
        unsafe { self.record.load(SeqCst).as_ref() }.map_or(&[], |record| &record.bells)
    }

    /// Under the lock: puts a record in place, and waits for the handlers that may read the old one.
    fn replace(&self, new: Option<(libc::sigaction, Vec<RawFd>)>) {
        let new = new.map_or(ptr::null_mut(), |(before, bells)| {
            Box::into_raw(Box::new(Record { before, bells }))
        });
        let old = self.record.swap(new, SeqCst);
        while self.readers.load(SeqCst) > 0 {
            std::thread::yield_now();
        }
        if !old.is_null() {
            // SAFETY: it came from a Box, and no handler reads it any more: see the module.
            drop(unsafe { Box::from_raw(old) });
        }
    }
}

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

extern "C" fn on_signal(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the location of this thread's errno is always valid.
    let errno = unsafe { *errno_location() };
    let slot = &SLOTS[signal as usize];
    slot.readers.fetch_add(1, SeqCst);
    // SAFETY: counted as a reader: the record stays. It came from a Box.
    let before = unsafe { slot.record.load(SeqCst).as_ref() }.map(|record| {
        for &bell in &record.bells {
            // SAFETY: a write of one byte from a static. If there is no room there is news already.
            unsafe { libc::write(bell, (&raw const BYTE).cast(), 1) };
        }
        record.before
    });
    slot.readers.fetch_sub(1, SeqCst);
    // SAFETY: as above.
    unsafe { *errno_location() = errno };
    let Some(before) = before else { return };
    if before.sa_sigaction == libc::SIG_DFL || before.sa_sigaction == libc::SIG_IGN {
        return;
    }
    if before.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: with this flag that is what the field holds.
        let handler: Handler = unsafe { std::mem::transmute(before.sa_sigaction) };
        handler(signal, info, context);
    } else {
        // SAFETY: without the flag it is this.
        let handler: extern "C" fn(libc::c_int) =
            unsafe { std::mem::transmute(before.sa_sigaction) };
        handler(signal);
    }
}

static BYTE: u8 = 1;

/// Our disposition. System calls are restarted, as without a handler, and a thread that has a stack
/// of its own for handlers keeps to it.
fn ours() -> libc::sigaction {
    let handler: Handler = on_signal;
    // SAFETY: all fields may be zero, which is an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_RESTART | libc::SA_SIGINFO | libc::SA_ONSTACK;
    action
}

/// Sets the disposition of a signal, or leaves it. Returns the one before.
fn disposition(signal: libc::c_int, new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let mut before = MaybeUninit::uninit();
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: both are valid, or null where that is allowed.
    match unsafe { libc::sigaction(signal, new, before.as_mut_ptr()) } {
        // SAFETY: written by the call, which succeeded.
        0 => Ok(unsafe { before.assume_init() }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn errno_location() -> *mut libc::c_int {
    // SAFETY: it takes nothing, and does nothing but answer.
    unsafe {
        #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
        return libc::__error();
        #[cfg(any(target_os = "netbsd", target_os = "openbsd", target_os = "android"))]
        return libc::__errno();
        #[cfg(not(any(
            target_vendor = "apple",
            target_os = "freebsd",
            target_os = "netbsd",
            target_os = "openbsd",
            target_os = "android"
        )))]
        return libc::__errno_location();
    }
}
