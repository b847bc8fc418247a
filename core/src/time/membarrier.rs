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
//!
//! A child that is forked meanwhile has no such thread. So what is kept says by number which process
//! finds out, and another one begins anew.

pub(super) use imp::is_ready;
pub(crate) use imp::{heavy, light, prepare, prepare_here};

#[cfg(all(target_os = "linux", not(loom)))]
mod imp {
    use std::sync::atomic::{AtomicU32, Ordering, compiler_fence};
    use std::time::Duration;

    /// What is known, or who finds out.
    struct Finding(AtomicU32);

    /// The values of a [`Finding`], beside the number of the process that finds out.
    const UNKNOWN: u32 = 0;
    const READY: u32 = u32::MAX;
    const REFUSED: u32 = u32::MAX - 1;

    impl Finding {
        /// Whether it is the caller, in process `here`, who has to find out.
        fn begin(&self, here: u32) -> bool {
            let stands = self.0.load(Ordering::Acquire);
            let known = [READY, REFUSED, here].contains(&stands);
            !known
                && self
                    .0
                    .compare_exchange(stands, here, Ordering::Acquire, Ordering::Acquire)
                    .is_ok()
        }

        fn end(&self, found: u32) {
            self.0.store(found, Ordering::Release);
        }

        fn is(&self, value: u32) -> bool {
            self.0.load(Ordering::Acquire) == value
        }
    }

    static FINDING: Finding = Finding(AtomicU32::new(UNKNOWN));

    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: the call takes numbers, and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    fn register() {
        let found = if membarrier(REGISTER_PRIVATE_EXPEDITED) {
            READY
        } else {
            // An old kernel, or a filter for system calls.
            REFUSED
        };
        FINDING.end(found);
    }

    /// Takes the opportunity if this is the only thread.
    pub(crate) fn prepare() {
        use std::os::linux::fs::MetadataExt;
        // A link for each thread, beside the directory's own two.
        let alone =
            || std::fs::metadata("/proc/self/task").is_ok_and(|threads| threads.st_nlink() <= 3);
        if FINDING.is(UNKNOWN) && alone() {
            register();
        }
    }

    /// Whether [`heavy`] can be used. If that is not known yet, begins to find out.
    #[cold]
    pub(in super::super) fn is_ready() -> bool {
        if FINDING.begin(std::process::id())
            && !crate::thread::spawn_helper("libruntime-fence", register)
        {
            FINDING.end(REFUSED);
        }
        FINDING.is(READY)
    }

    /// Finds out on this thread, which may take as long, whether [`heavy`] can be used. `false`
    /// also if another thread is about to find out.
    pub(crate) fn prepare_here() -> bool {
        if FINDING.begin(std::process::id()) {
            register();
        }
        FINDING.is(READY)
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
        FINDING.end(REFUSED);
        std::thread::sleep(Duration::from_millis(1));
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn one_finds_out_in_each_process_until_it_is_known() {
            let (parent, child) = (100, 101);
            let finding = Finding(AtomicU32::new(UNKNOWN));
            assert!(finding.begin(parent));
            assert!(!finding.begin(parent), "it is under way");
            // A copy that `fork` made just now.
            assert!(finding.begin(child), "nobody is at it in the child");
            assert!(!finding.begin(child));
            finding.end(READY);
            assert!(!finding.begin(child) && finding.is(READY));
            finding.end(REFUSED);
            assert!(!finding.begin(child) && !finding.is(READY));
        }
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
