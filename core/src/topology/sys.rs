//! What the system tells of processors, and how it is told where a thread is to run.

#[cfg(all(target_os = "linux", not(loom), not(libruntime_portable)))]
pub(crate) use linux::CAN_PIN;
#[cfg(all(target_os = "linux", not(loom), not(libruntime_portable)))]
pub(super) use linux::{CpuSet, read};
#[cfg(not(all(target_os = "linux", not(loom), not(libruntime_portable))))]
pub(crate) use portable::CAN_PIN;
#[cfg(not(all(target_os = "linux", not(loom), not(libruntime_portable))))]
pub(super) use portable::{CpuSet, read};

/// Processors 0 up to the number that this process may use.
fn guess() -> super::Topology {
    super::Topology::plain(0..std::thread::available_parallelism().map_or(1, usize::from))
}

#[cfg(all(target_os = "linux", not(loom), not(libruntime_portable)))]
mod linux {
    use super::super::Topology;
    use super::super::parse::{Source, parse};
    use std::io;
    use std::path::Path;

    /// Whether a thread can be put on a processor.
    pub(crate) const CAN_PIN: bool = true;

    /// Words of a set at first: 1024 processors. The kernel may want more.
    const WORDS: usize = 1024 / usize::BITS as usize;
    const MOST_WORDS: usize = WORDS << 6;

    pub(in super::super) fn read() -> Topology {
        match CpuSet::of_this_thread() {
            Ok(allowed) => parse(&Folder, &allowed.iter().collect()),
            Err(_) => super::guess(),
        }
    }

    struct Folder;

    impl Folder {
        fn path(path: &str) -> std::path::PathBuf {
            Path::new("/sys/devices/system").join(path)
        }
    }

    impl Source for Folder {
        fn read(&self, path: &str) -> Option<String> {
            std::fs::read_to_string(Folder::path(path)).ok()
        }

        fn list(&self, folder: &str) -> Vec<String> {
            let Ok(entries) = std::fs::read_dir(Folder::path(folder)) else {
                return Vec::new();
            };
            let name =
                |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
            entries.filter_map(name).collect()
        }
    }

    /// Processors that a thread may run on.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(in super::super) struct CpuSet(Vec<usize>);

    impl CpuSet {
        pub(in super::super) fn one(cpu: usize) -> CpuSet {
            let (word, bit) = (cpu / usize::BITS as usize, cpu % usize::BITS as usize);
            let mut words = vec![0; WORDS.max(word + 1)];
            words[word] = 1 << bit;
            CpuSet(words)
        }

        pub(in super::super) fn of_this_thread() -> io::Result<CpuSet> {
            let mut words = vec![0_usize; WORDS];
            loop {
                let size = size_of_val(&words[..]);
                // SAFETY: the call writes up to `size` bytes there.
                if unsafe { libc::sched_getaffinity(0, size, words.as_mut_ptr().cast()) } == 0 {
                    return Ok(CpuSet(words));
                }
                let error = io::Error::last_os_error();
                if error.raw_os_error() != Some(libc::EINVAL) || words.len() >= MOST_WORDS {
                    return Err(error);
                }
                words.resize(words.len() * 2, 0);
            }
        }

        /// Has the calling thread, and those that it starts, run on these.
        pub(in super::super) fn set(&self) -> io::Result<()> {
            let size = size_of_val(&self.0[..]);
            // SAFETY: the call reads `size` bytes there.
            if unsafe { libc::sched_setaffinity(0, size, self.0.as_ptr().cast()) } == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        }

        fn iter(&self) -> impl Iterator<Item = usize> {
            let bits = usize::BITS as usize;
            let all = 0..self.0.len() * bits;
            all.filter(move |cpu| self.0[cpu / bits] >> (cpu % bits) & 1 == 1)
        }
    }
}

#[cfg(not(all(target_os = "linux", not(loom), not(libruntime_portable))))]
mod portable {
    use super::super::Topology;
    use std::io;

    pub(crate) const CAN_PIN: bool = false;

    pub(in super::super) fn read() -> Topology {
        super::guess()
    }

    #[derive(Clone, Debug)]
    pub(in super::super) struct CpuSet;

    impl CpuSet {
        pub(in super::super) fn one(_: usize) -> CpuSet {
            CpuSet
        }

        pub(in super::super) fn of_this_thread() -> io::Result<CpuSet> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(in super::super) fn set(&self) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}
