//! Whom a worker tries first when it looks for work, if memory is nearer to some workers than to others.

use std::ops::Range;

/// Workers by the nodes of memory that they are near to.
#[derive(Debug)]
pub(crate) struct Neighbours {
    /// All workers, those of one node next to each other.
    by_node: Box<[usize]>,
    /// Of each worker: where in `by_node` those of its node are.
    near: Box<[Range<usize>]>,
}

impl Neighbours {
    /// For the nodes of all workers. `None` if all are near to each other.
    pub(crate) fn new(nodes: &[usize]) -> Option<Neighbours> {
        let mut by_node: Box<[usize]> = (0..nodes.len()).collect();
        by_node.sort_by_key(|&worker| nodes[worker]);
        let mut near = vec![0..0; nodes.len()];
        let mut start = 0;
        for group in by_node.chunk_by(|&one, &other| nodes[one] == nodes[other]) {
            for &worker in group {
                near[worker] = start..start + group.len();
            }
            start += group.len();
        }
        let several = near.first().is_some_and(|near| near.len() < nodes.len());
        several.then(|| Neighbours {
            by_node,
            near: near.into(),
        })
    }

    /// The worker after `worker` on its node, the first one after the last.
    pub(super) fn after(&self, worker: usize) -> usize {
        let near = &self.by_node[self.near[worker].clone()];
        // Sorting kept the workers of a node in order.
        let next = near.partition_point(|&other| other <= worker);
        near[next % near.len()]
    }

    /// All workers, those near to `worker` first, itself among them; of both kinds from a random one
    /// on.
    pub(super) fn order(&self, worker: usize, random: u64) -> impl Iterator<Item = usize> + '_ {
        let near = self.near[worker].clone();
        let all = self.by_node.len();
        let (mine, others) = (near.len(), all - near.len());
        let turned = move |i: usize, of: usize| (random as usize % of + i) % of;
        let first = (0..mine).map(move |i| near.start + turned(i, mine));
        let then = (0..others).map(move |i| (near.end + turned(i, others)) % all);
        first.chain(then).map(|at| self.by_node[at])
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn one_node_needs_no_order() {
        assert!(Neighbours::new(&[]).is_none());
        assert!(Neighbours::new(&[3, 3, 3]).is_none());
    }

    #[test]
    fn workers_of_a_node_come_one_after_the_other() {
        let neighbours = Neighbours::new(&[4, 0, 4, 0, 4, 9]).unwrap();
        let after: Vec<usize> = (0..6).map(|worker| neighbours.after(worker)).collect();
        assert_eq!(after, [2, 3, 4, 1, 0, 5]);
    }

    #[test]
    fn every_worker_is_tried_once_and_near_ones_first() {
        let nodes = [4, 0, 4, 0, 4, 9];
        let neighbours = Neighbours::new(&nodes).unwrap();
        for worker in 0..nodes.len() {
            let near = nodes.iter().filter(|&&node| node == nodes[worker]).count();
            let mut firsts = BTreeSet::new();
            for random in 0..30 {
                let order: Vec<usize> = neighbours.order(worker, random).collect();
                let is_near = |&other: &usize| nodes[other] == nodes[worker];
                assert!(order[..near].iter().all(is_near), "{order:?}");
                firsts.extend([order[0], order[near]]);
                let mut all = order;
                all.sort_unstable();
                assert_eq!(all, [0, 1, 2, 3, 4, 5]);
            }
            assert_eq!(
                firsts.len(),
                nodes.len(),
                "each has its turn to be first of its kind"
            );
        }
    }
}
