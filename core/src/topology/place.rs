//! In which order workers take processors.

use super::{Cpu, Topology};
use std::collections::BTreeMap;

/// Where a processor stands among those that may be used.
#[derive(Clone, Copy)]
struct Place {
    cpu: Cpu,
    first_sibling: usize,
    /// How many of its core come before it.
    thread: usize,
    /// How many cores of its package and node come before its own.
    core: usize,
    /// How many nodes of its package come before its own.
    node: usize,
}

impl Topology {
    /// Cores that are far from each other first, and the second threads of cores last.
    pub(crate) fn spread(&self) -> Vec<usize> {
        let mut places = self.places();
        places.sort_by_key(|p| (p.thread, p.core, p.node, p.cpu.package, p.cpu.id));
        places.into_iter().map(|place| place.cpu.id).collect()
    }

    /// Threads of one core next to each other, then cores of one node, then nodes of one package.
    pub(crate) fn pack(&self) -> Vec<usize> {
        let mut places = self.places();
        places.sort_by_key(|p| (p.cpu.package, p.cpu.node, p.first_sibling, p.cpu.id));
        places.into_iter().map(|place| place.cpu.id).collect()
    }

    fn places(&self) -> Vec<Place> {
        let mut threads = BTreeMap::new();
        let mut cores: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        let mut nodes: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        let all = self.cpus.iter().zip(&self.first_siblings);
        let allowed = all.filter(|(cpu, _)| cpu.allowed);
        allowed
            .map(|(&cpu, &first_sibling)| {
                let thread = threads.entry(first_sibling).or_insert(0);
                *thread += 1;
                Place {
                    cpu,
                    first_sibling,
                    thread: *thread - 1,
                    core: rank(
                        cores.entry((cpu.package, cpu.node)).or_default(),
                        first_sibling,
                    ),
                    node: rank(nodes.entry(cpu.package).or_default(), cpu.node),
                }
            })
            .collect()
    }
}

/// The place of `what` among those seen before, at their end if it is new.
fn rank(seen: &mut Vec<usize>, what: usize) -> usize {
    seen.iter().position(|&it| it == what).unwrap_or_else(|| {
        seen.push(what);
        seen.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse::fixtures::{Files, topology, two_nodes};

    const ALL: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

    #[test]
    fn spread_takes_packages_in_turn_and_second_threads_last() {
        let topology = topology(&two_nodes(), &ALL);
        assert_eq!(topology.spread(), [0, 2, 1, 3, 4, 6, 5, 7]);
    }

    #[test]
    fn spread_takes_packages_before_their_nodes() {
        let mut files = Files::default();
        for id in 0..8 {
            files = files
                .cpu(id, id as i32, (id / 4) as i32, &id.to_string())
                .with(
                    &format!("node/node{}/cpulist", id / 2),
                    &format!("{}-{}", id / 2 * 2, id / 2 * 2 + 1),
                );
        }
        let topology = topology(&files, &ALL);
        assert_eq!(topology.nodes(), [0, 1, 2, 3]);
        assert_eq!(topology.spread(), [0, 4, 2, 6, 1, 5, 3, 7]);
        assert_eq!(topology.pack(), ALL);
    }

    #[test]
    fn pack_fills_cores_and_nodes() {
        let topology = topology(&two_nodes(), &ALL);
        assert_eq!(topology.pack(), [0, 4, 1, 5, 2, 6, 3, 7]);
    }

    #[test]
    fn what_is_not_allowed_is_not_used() {
        let topology = topology(&two_nodes(), &[3, 4, 5, 7]);
        assert_eq!(
            topology.spread(),
            [4, 3, 5, 7],
            "4 and 5 are first of their cores"
        );
        assert_eq!(topology.pack(), [4, 5, 3, 7]);
    }
}
