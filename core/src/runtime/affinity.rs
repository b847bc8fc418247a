//! Which worker runs on which processor.

use crate::executor::Neighbours;
use crate::topology::{CAN_PIN, Topology};
use std::io;

/// Where workers run, for [`Builder::affinity`](super::Builder::affinity).
///
/// A worker that is pinned stays on one processor all its life, and is there before the hook of
/// [`on_thread_start`](super::Builder::on_thread_start) is called. The threads for blocking jobs, the
/// one that watches for stalls, and the programs that are started by [`process`](crate::process), may
/// use all that the thread might that built the runtime. A thread that a task starts by other means inherits
/// the processor of its worker.
///
/// Workers that are more than the processors share them, in the same order again. How many workers there
/// are does not depend on this. If the workers are on several nodes of memory, one that looks for work
/// tries those of its node first under the policies `Fifo` and `Lifo`; under the others it
/// looks at all queues in any case.
///
/// Pinning helps where caches are worth more than a free choice of processors: where the machine is
/// this runtime's alone. Beside other busy processes it hurts, for a worker can not give way to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Wherever the system likes.
    #[default]
    None,
    /// Worker `i` on processor `cpus[i % cpus.len()]`.
    Pin(Vec<usize>),
    /// As far from each other as may be: on cores of different packages and nodes in turn, and on
    /// second threads of cores last. For work that wants caches and bandwidth of its own.
    Spread,
    /// As near to each other as may be: on the threads of one core, then cores of one node, then
    /// nodes of one package. For work that shares its data, and to leave the rest to others.
    Pack,
}

/// The processors of all workers, and who is near to whom.
#[derive(Debug, Default)]
pub(super) struct Placement {
    cpus: Vec<usize>,
    pub(super) neighbours: Option<Neighbours>,
}

impl Placement {
    pub(super) fn is_pinned(&self) -> bool {
        !self.cpus.is_empty()
    }

    pub(super) fn cpu(&self, worker: usize) -> Option<usize> {
        let turn = worker.checked_rem(self.cpus.len())?;
        Some(self.cpus[turn])
    }
}

impl Affinity {
    /// # Errors
    /// `Unsupported` where threads can not be pinned, `InvalidInput` for processors that can not be
    /// used.
    pub(super) fn place(&self, workers: usize) -> io::Result<Placement> {
        if *self == Affinity::None {
            return Ok(Placement::default());
        }
        if !CAN_PIN {
            let message = "workers can not be pinned on this system";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        let topology = Topology::current();
        let cpus = match self {
            Affinity::Pin(cpus) => {
                check(cpus, &topology)?;
                cpus.clone()
            }
            Affinity::Pack => topology.pack(),
            Affinity::None | Affinity::Spread => topology.spread(),
        };
        let mut placement = Placement {
            cpus,
            neighbours: None,
        };
        let node = |worker| {
            let cpu = topology.cpu(placement.cpu(worker)?)?;
            Some(cpu.node)
        };
        let nodes: Vec<usize> = (0..workers).filter_map(node).collect();
        placement.neighbours = Neighbours::new(&nodes);
        Ok(placement)
    }
}

fn check(cpus: &[usize], topology: &Topology) -> io::Result<()> {
    let invalid = |message| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    if cpus.is_empty() {
        return invalid("the list of processors to pin workers to is empty".to_owned());
    }
    for &id in cpus {
        match topology.cpu(id) {
            None => return invalid(format!("there is no processor {id} online")),
            Some(cpu) if !cpu.allowed => {
                return invalid(format!("this process may not use processor {id}"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn where_threads_can_not_be_pinned_that_is_refused_and_all_else_is_not() {
        for affinity in [Affinity::Spread, Affinity::Pack, Affinity::Pin(vec![])] {
            let placed = affinity.place(2).map(|placement| placement.cpu(1));
            match placed {
                Ok(cpu) => assert!(CAN_PIN && cpu.is_some()),
                Err(error) if CAN_PIN => assert_eq!(affinity, Affinity::Pin(vec![]), "{error}"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
            }
        }
        assert_eq!(Affinity::None.place(2).unwrap().cpu(1), None);
    }

    #[test]
    fn processors_that_can_not_be_used_are_named() {
        let mut topology = Topology::current();
        let message = |cpus: &[usize], topology: &Topology| {
            let error = check(cpus, topology).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            error.to_string()
        };
        let first = topology.cpus()[0].id;
        assert!(message(&[], &topology).contains("empty"));
        assert!(message(&[first, 77_777], &topology).contains("77777"));
        topology.forbid(first);
        assert!(message(&[first], &topology).contains(&format!("may not use processor {first}")));
    }
}
