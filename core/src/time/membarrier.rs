//! Two fences for two sides that meet rarely: one that costs nothing, and one that costs a system
//! call.
//!
//! Of two threads that each write one word and then read the other's, at least one sees what the
//! other wrote if each has a full fence in between. `light` is such a fence only together with
//! `heavy` on the other side, which has every processor that runs a thread of this process execute
//! one: `membarrier(2)`. The pair is Dice, Huang and Yang's "Asymmetric Dekker Synchronization"
//! (2001).
//!
//! A process has to say that it means to use that call. Said by its only thread this takes some
//! microseconds, and [`prepare`] says it then; later it takes ten milliseconds or more, which are
//! spent on a thread of their own, and only when [`is_ready`] is asked. What is kept for the process
//! is what the system keeps for the process.

pub(super) use imp::is_ready;
pub(crate) use imp::{heavy, light, prepare, prepare_here};

#[cfg(all(target_os = "linux", not(loom)))]
mod imp {
    use std::sync::atomic::{AtomicU8, Ordering, compiler_fence};
    use std::time::Duration;

    const UNKNOWN: u8 = 0;
    const UNDER_WAY: u8 = 1;
    const READY: u8 = 2;
    const REFUSED: u8 = 3;

    static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: the call takes numbers, and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    fn register() {
        let state = if membarrier(REGISTER_PRIVATE_EXPEDITED) {
            READY
        } else {
            // An old kernel, or a filter for system calls.
            REFUSED
        };
        STATE.store(state, Ordering::Release);
    }

    /// Takes the opportunity if this is the only thread.
    pub(crate) fn prepare() {
        use std::os::linux::fs::MetadataExt;
        // A link for each thread, beside the directory's own two.
        let alone =
            || std::fs::metadata("/proc/self/task").is_ok_and(|threads| threads.st_nlink() <= 3);
        if STATE.load(Ordering::Relaxed) == UNKNOWN && alone() {
            register();
        }
    }

    /// Whether [`heavy`] can be used. If that is not known yet, begins to find out.
    #[cold]
    pub(in super::super) fn is_ready() -> bool {
        let before =
            STATE.compare_exchange(UNKNOWN, UNDER_WAY, Ordering::Acquire, Ordering::Acquire);
        if before.is_ok() && !crate::thread::spawn_helper("libruntime-fence", register) {
            STATE.store(REFUSED, Ordering::Release);
        }
        before == Err(READY)
    }

    /// Finds out on this thread, which may take as long, whether [`heavy`] can be used. `false`
    /// also if another thread is about to find out.
    pub(crate) fn prepare_here() -> bool {
        let before =
            STATE.compare_exchange(UNKNOWN, UNDER_WAY, Ordering::Acquire, Ordering::Acquire);
        if before.is_ok() {
            register();
        }
        STATE.load(Ordering::Acquire) == READY
    }

    #[inline(always)]
    pub(crate) fn light() {
        compiler_fence(Ordering::SeqCst);
    }

    #[cold]
    pub(crate) fn heavy() {
        if membarrier(PRIVATE_EXPEDITED) {
            return;
        }
        // The process has forbidden itself the call since it was tried. Nothing is left but to wait
        // much longer than a processor keeps a write to itself, which is less than a microsecond.
        STATE.store(REFUSED, Ordering::Release);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(all(not(target_os = "linux"), not(loom)))]
mod imp {
    pub(crate) fn prepare() {}

    pub(in super::super) fn is_ready() -> bool {
        false
    }

    pub(crate) fn prepare_here() -> bool {
        false
    }

    pub(crate) fn light() {}

    pub(crate) fn heavy() {
        unreachable!("used only when it is ready");
    }
}

#[cfg(loom)]
mod imp {
    use loom::sync::atomic::{Ordering, fence};

    pub(crate) fn prepare() {}

    pub(in super::super) fn is_ready() -> bool {
        true
    }

    pub(crate) fn prepare_here() -> bool {
        true
    }

    pub(crate) fn light() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn heavy() {
        fence(Ordering::SeqCst);
    }
}
