//! What the system tells of a worker's thread.

#[cfg(all(target_os = "linux", not(loom)))]
pub(super) use linux::*;
#[cfg(not(all(target_os = "linux", not(loom))))]
pub(super) use portable::*;

#[cfg(all(target_os = "linux", not(loom)))]
mod linux {
    use std::io::Read;
    use std::time::{Duration, Instant};

    /// The calling thread, for [`ThreadTime::is_to_blame`].
    pub(in super::super) fn thread_id() -> i32 {
        // SAFETY: the call takes nothing.
        unsafe { libc::gettid() }
    }

    /// What a thread has used of its processor, as of a moment.
    #[derive(Debug, Default)]
    pub(in super::super) struct ThreadTime(Option<(Instant, Duration)>);

    impl ThreadTime {
        /// Whether the thread is held up by what it does itself: it blocks, or it ran for half of the
        /// time since this was first asked. `false`: it would run if the system let it, or there is no
        /// telling yet.
        pub(in super::super) fn is_to_blame(&mut self, thread: i32, now: Instant) -> bool {
            if blocks(thread).unwrap_or(true) {
                return true;
            }
            let Some(used) = cpu_time(thread) else {
                return true;
            };
            match self.0 {
                None => {
                    self.0 = Some((now, used));
                    false
                }
                Some((since, before)) => {
                    let passed = now.saturating_duration_since(since);
                    !passed.is_zero() && used.saturating_sub(before) * 2 >= passed
                }
            }
        }
    }

    /// Whether the system says that the thread waits for something else than a processor.
    fn blocks(thread: i32) -> Option<bool> {
        let mut file = std::fs::File::open(format!("/proc/self/task/{thread}/stat")).ok()?;
        // The number and the name, of 15 bytes at most, come before.
        let mut stat = [0; 64];
        let length = file.read(&mut stat).ok()?;
        let stat = &stat[..length];
        // The name is in parentheses, and may hold any character.
        let name_end = stat.iter().rposition(|&byte| byte == b')')?;
        stat.get(name_end + 2).map(|&state| state != b'R')
    }

    /// For how long a thread has run, and for how long it could have and had no processor. `None` also
    /// if it has not run at all by that: some systems have the file and say 0 for everything.
    pub(in super::super) fn processor_times(thread: i32) -> Option<(Duration, Duration)> {
        let mut file = std::fs::File::open(format!("/proc/self/task/{thread}/schedstat")).ok()?;
        let mut stat = [0; 64];
        let length = file.read(&mut stat).ok()?;
        let mut words = std::str::from_utf8(&stat[..length]).ok()?.split(' ');
        let mut nanos = || words.next()?.parse().ok().map(Duration::from_nanos);
        let (ran, delayed) = (nanos()?, nanos()?);
        (!ran.is_zero()).then_some((ran, delayed))
    }

    fn cpu_time(thread: i32) -> Option<Duration> {
        // The kernel's numbering of clocks: a thread's own, by its scheduler.
        const PER_THREAD_SCHEDULED: libc::clockid_t = 4 | 2;
        read(!thread << 3 | PER_THREAD_SCHEDULED)
    }

    /// What the calling thread has used of its processor.
    pub(in super::super) fn own_cpu_time() -> Option<Duration> {
        read(libc::CLOCK_THREAD_CPUTIME_ID)
    }

    fn read(clock: libc::clockid_t) -> Option<Duration> {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the result has its place on this stack.
        let read = unsafe { libc::clock_gettime(clock, &raw mut time) } == 0;
        read.then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

#[cfg(not(all(target_os = "linux", not(loom))))]
mod portable {
    use std::time::{Duration, Instant};

    pub(in super::super) fn thread_id() -> i32 {
        0
    }

    pub(in super::super) fn own_cpu_time() -> Option<Duration> {
        None
    }

    pub(in super::super) fn processor_times(_: i32) -> Option<(Duration, Duration)> {
        None
    }

    #[derive(Debug, Default)]
    pub(in super::super) struct ThreadTime;

    impl ThreadTime {
        /// There is no asking.
        pub(in super::super) fn is_to_blame(&mut self, _: i32, _: Instant) -> bool {
            true
        }
    }
}

#[cfg(all(test, target_os = "linux", not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
    use std::sync::{Arc, mpsc};
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn time_that_a_thread_ran_is_told() {
        let told = || {
            // The system brings the time up to date when it is asked for it by the clock.
            let _ = own_cpu_time();
            processor_times(thread_id())
        };
        let Some((before, _)) = told() else {
            // Not every system that runs programs for Linux has the file, or fills it in.
            return;
        };
        while told().expect("told before").0 <= before {
            std::hint::black_box(told());
        }
        assert_eq!(processor_times(i32::MAX), None);
    }

    #[test]
    fn a_thread_that_blocks_is_to_blame_at_once_and_one_that_runs_after_a_while() {
        let (tell, told) = mpsc::channel::<()>();
        let id = Arc::new(AtomicI32::new(0));
        let run = Arc::new(AtomicBool::new(true));
        let (own, running) = (id.clone(), run.clone());
        let thread = thread::spawn(move || {
            own.store(thread_id(), Ordering::Release);
            told.recv().expect("told");
            while running.load(Ordering::Relaxed) {}
        });
        let id = || id.load(Ordering::Acquire);
        while id() == 0 || !ThreadTime::default().is_to_blame(id(), Instant::now()) {
            thread::yield_now();
        }
        tell.send(()).expect("it listens");
        let mut time = ThreadTime::default();
        while time.is_to_blame(id(), Instant::now()) {
            thread::yield_now();
        }
        // It has half of a processor sooner or later, however many others want one.
        while !time.is_to_blame(id(), Instant::now()) {
            time = ThreadTime::default();
            let _ = time.is_to_blame(id(), Instant::now());
            thread::sleep(Duration::from_millis(1));
        }
        run.store(false, Ordering::Relaxed);
        thread.join().expect("joined");
    }
}
