//! The processors of this machine, as the system describes them: which share a core, a package, a
//! node of memory; and which of them this process may use.
//!
//! ```
//! use libruntime_core::topology::Topology;
//!
//! let topology = Topology::current();
//! for cpu in topology.cpus() {
//!     let siblings: Vec<usize> = topology.siblings(cpu.id).map(|cpu| cpu.id).collect();
//!     assert!(siblings.contains(&cpu.id));
//! }
//! assert!(topology.cpus().iter().any(|cpu| cpu.allowed));
//! ```
//!
//! [`Affinity`](crate::runtime::Affinity) puts workers on processors by it.

#[cfg(any(test, all(target_os = "linux", not(loom), not(libruntime_portable))))]
mod parse;
mod pin;
mod place;
mod sys;

pub(crate) use pin::{Pin, unpinned};
pub(crate) use sys::CAN_PIN;

use std::collections::BTreeSet;

/// The processors that are online, and how they belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// In the order of their numbers, at least one.
    cpus: Vec<Cpu>,
    /// Of each of them: the lowest number among those of its core.
    first_siblings: Vec<usize>,
}

/// A logical processor: what runs one thread at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cpu {
    /// The system's number of it.
    pub id: usize,
    /// The number of its core, which tells the cores of a package apart; there may be holes.
    pub core: usize,
    /// The number of its package: a chip in its socket.
    pub package: usize,
    /// The number of its node: the memory that is near to it.
    pub node: usize,
    /// Whether the calling thread may run on it.
    pub allowed: bool,
}

impl Topology {
    /// Reads it from the system. What the system does not tell is taken to be plain: a core for each
    /// processor, one package, one node. Where it tells nothing (anywhere but on Linux) the
    /// processors are numbered from 0 to
    /// [`available_parallelism`](std::thread::available_parallelism).
    ///
    /// On a worker that a runtime has pinned `allowed` says what it might use if it were not. This
    /// reads some files for each processor, and blocks for that long.
    pub fn current() -> Topology {
        unpinned(sys::read)
    }

    /// The processors that are online, in the order of their numbers.
    pub fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    /// The processor of that number, if it is online.
    pub fn cpu(&self, id: usize) -> Option<&Cpu> {
        self.position(id).map(|at| &self.cpus[at])
    }

    /// The processors that share a core with this one, itself among them.
    pub fn siblings(&self, id: usize) -> impl Iterator<Item = &Cpu> {
        let first = self.position(id).map(|at| self.first_siblings[at]);
        let all = self.cpus.iter().zip(&self.first_siblings);
        all.filter_map(move |(cpu, of)| (Some(*of) == first).then_some(cpu))
    }

    /// The numbers of the nodes that have processors, in order.
    pub fn nodes(&self) -> Vec<usize> {
        let nodes: BTreeSet<_> = self.cpus.iter().map(|cpu| cpu.node).collect();
        nodes.into_iter().collect()
    }

    fn position(&self, id: usize) -> Option<usize> {
        self.cpus.binary_search_by_key(&id, |cpu| cpu.id).ok()
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn forbid(&mut self, id: usize) {
        let cpu = self.cpus.iter_mut().find(|cpu| cpu.id == id);
        cpu.expect("a processor").allowed = false;
    }

    /// Processors of which nothing is known.
    fn plain(ids: impl IntoIterator<Item = usize>) -> Topology {
        let ids: BTreeSet<_> = ids.into_iter().collect();
        let cpu = |&id: &usize| Cpu {
            id,
            core: id,
            package: 0,
            node: 0,
            allowed: true,
        };
        Topology {
            cpus: ids.iter().map(cpu).collect(),
            first_siblings: ids.into_iter().collect(),
        }
    }
}
