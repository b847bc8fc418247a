//! Linux' files about processors, which are described in its documentation of
//! `/sys/devices/system/cpu` and of CPU topology.
//!
//! None of them is relied on: virtual machines, sandboxes and old kernels leave out what they like.
//! What is missing, or is not what it should be, counts as not told.

use super::{Cpu, Topology};
use std::collections::{BTreeMap, BTreeSet};

/// Numbers beyond this are not those of processors or nodes; Linux has had up to 8192.
const MOST: usize = 1 << 16;

/// Where the files are: the system's folder, or one that a test made up.
pub(super) trait Source {
    /// The text of a file, if it can be read.
    fn read(&self, path: &str) -> Option<String>;
    /// The names of what is in a folder.
    fn list(&self, folder: &str) -> Vec<String>;
}

/// Puts together what the files tell. `allowed` are the processors that the calling thread may use.
pub(super) fn parse(source: &impl Source, allowed: &BTreeSet<usize>) -> Topology {
    let mut ids = numbered(source, "cpu", "cpu");
    if let Some(online) = source.read("cpu/online").and_then(|text| list(&text)) {
        ids.retain(|id| online.contains(id));
    }
    // There is no use in a processor that is there and not listed, but it may be pinned to.
    ids.extend(allowed);
    let nodes = nodes(source);
    let home = nodes.values().min().copied().unwrap_or(0);
    let mut cores = BTreeMap::new();
    let mut cpus = Vec::with_capacity(ids.len());
    let mut first_siblings = Vec::with_capacity(ids.len());
    for &id in &ids {
        let fact = |name: &str| source.read(&format!("cpu/cpu{id}/topology/{name}"));
        let package = fact("physical_package_id").and_then(|text| number(&text));
        let package = package.unwrap_or(0);
        let core = fact("core_id").and_then(|text| number(&text));
        let siblings = fact("thread_siblings_list").and_then(|text| list(&text));
        first_siblings.push(match (siblings, core) {
            (Some(siblings), _) if siblings.contains(&id) => {
                siblings.intersection(&ids).next().copied().unwrap_or(id)
            }
            (_, Some(core)) => *cores.entry((package, core)).or_insert(id),
            (_, None) => id,
        });
        cpus.push(Cpu {
            id,
            core: core.unwrap_or(id),
            package,
            node: nodes.get(&id).copied().unwrap_or(home),
            allowed: allowed.contains(&id),
        });
    }
    Topology {
        cpus,
        first_siblings,
    }
}

/// The node of each processor that is said to belong to one.
fn nodes(source: &impl Source) -> BTreeMap<usize, usize> {
    let mut nodes = BTreeMap::new();
    for node in numbered(source, "node", "node") {
        let cpus = source.read(&format!("node/node{node}/cpulist"));
        for cpu in cpus.and_then(|text| list(&text)).unwrap_or_default() {
            nodes.entry(cpu).or_insert(node);
        }
    }
    nodes
}

/// The numbers in names like `cpu12`.
fn numbered(source: &impl Source, folder: &str, prefix: &str) -> BTreeSet<usize> {
    let names = source.list(folder);
    let numbers = names.iter().filter_map(|name| name.strip_prefix(prefix));
    numbers.filter_map(number).collect()
}

fn number(text: &str) -> Option<usize> {
    let text = text.trim();
    // `parse` would take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.filter(|&number| number < MOST)
}

/// A list like `0-3,8`; an empty one is one of nothing.
fn list(text: &str) -> Option<BTreeSet<usize>> {
    let mut numbers = BTreeSet::new();
    if text.trim().is_empty() {
        return Some(numbers);
    }
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
pub(super) mod fixtures {
    use super::*;

    /// Files by their paths.
    #[derive(Default)]
    pub(in super::super) struct Files(pub(in super::super) BTreeMap<String, String>);

    impl Files {
        pub(in super::super) fn with(mut self, path: &str, text: &str) -> Files {
            self.0.insert(path.into(), text.into());
            self
        }

        pub(in super::super) fn cpu(self, id: usize, core: i32, package: i32, of: &str) -> Files {
            let path = |name: &str| format!("cpu/cpu{id}/topology/{name}");
            self.with(&path("core_id"), &format!("{core}\n"))
                .with(&path("physical_package_id"), &format!("{package}\n"))
                .with(&path("thread_siblings_list"), &format!("{of}\n"))
        }
    }

    impl Source for Files {
        fn read(&self, path: &str) -> Option<String> {
            self.0.get(path).cloned()
        }

        fn list(&self, folder: &str) -> Vec<String> {
            let below = |path: &String| {
                let rest = path.strip_prefix(folder)?.strip_prefix('/')?;
                rest.split('/').next().map(str::to_owned)
            };
            let names: BTreeSet<_> = self.0.keys().filter_map(below).collect();
            names.into_iter().collect()
        }
    }

    /// Two packages of one node each; two cores in each, of two threads each: the second threads
    /// have the numbers 4 to 7, as they often do.
    pub(in super::super) fn two_nodes() -> Files {
        let mut files = Files::default()
            .with("cpu/online", "0-7\n")
            .with("node/node0/cpulist", "0-1,4-5\n")
            .with("node/node1/cpulist", "2-3,6-7\n")
            .with("node/online", "0-1\n");
        for id in 0..8 {
            let core = id % 4;
            let siblings = format!("{core},{}", core + 4);
            files = files.cpu(id, (core % 2) as i32, (core / 2) as i32, &siblings);
        }
        files
    }

    pub(in super::super) fn topology(files: &Files, allowed: &[usize]) -> Topology {
        parse(files, &allowed.iter().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::{Files, topology, two_nodes};
    use super::*;

    fn ids<'a>(cpus: impl IntoIterator<Item = &'a Cpu>) -> Vec<usize> {
        cpus.into_iter().map(|cpu| cpu.id).collect()
    }

    #[test]
    fn nodes_packages_cores_and_threads_are_told_apart() {
        let all: Vec<usize> = (0..8).collect();
        let topology = topology(&two_nodes(), &all);
        assert_eq!(ids(topology.cpus()), all);
        assert_eq!(topology.nodes(), [0, 1]);
        let expected = Cpu {
            id: 6,
            core: 0,
            package: 1,
            node: 1,
            allowed: true,
        };
        assert_eq!(topology.cpu(6), Some(&expected));
        assert_eq!(ids(topology.siblings(6)), [2, 6]);
        assert_eq!(ids(topology.siblings(1)), [1, 5]);
        // Cores of two packages may have one number.
        assert_eq!(topology.cpu(0).unwrap().core, topology.cpu(2).unwrap().core);
        assert_eq!(topology.cpu(8), None);
        assert_eq!(ids(topology.siblings(8)), []);
    }

    #[test]
    fn offline_processors_are_left_out_and_forbidden_ones_are_marked() {
        let files = two_nodes().with("cpu/online", "0-2,5,7\n");
        let topology = topology(&files, &[0, 5]);
        assert_eq!(ids(topology.cpus()), [0, 1, 2, 5, 7]);
        let allowed = topology.cpus().iter().filter(|cpu| cpu.allowed);
        assert_eq!(ids(allowed), [0, 5]);
        assert_eq!(ids(topology.siblings(7)), [7], "3 is offline");
        assert_eq!(ids(topology.siblings(5)), [1, 5]);
    }

    #[test]
    fn numbers_may_have_holes() {
        let files = Files::default()
            .cpu(2, 9, 4, "2,40")
            .cpu(40, 9, 4, "2,40")
            .cpu(7, 1, 6, "7")
            .with("node/node3/cpulist", "2,40")
            .with("node/node8/cpulist", "7")
            .with("node/node9/cpulist", "\n");
        let topology = topology(&files, &[2, 7, 40]);
        assert_eq!(ids(topology.cpus()), [2, 7, 40]);
        assert_eq!(topology.nodes(), [3, 8], "a node may have memory alone");
        assert_eq!(ids(topology.siblings(40)), [2, 40]);
    }

    #[test]
    fn without_folders_of_nodes_there_is_one() {
        let mut files = two_nodes();
        files.0.retain(|path, _| !path.starts_with("node"));
        let topology = topology(&files, &[0, 1, 2, 3]);
        assert_eq!(topology.nodes(), [0]);
        assert_eq!(ids(topology.siblings(0)), [0, 4]);
    }

    #[test]
    fn without_a_list_of_siblings_the_numbers_of_cores_tell() {
        let mut files = two_nodes();
        files.0.retain(|path, _| !path.ends_with("siblings_list"));
        let topology = topology(&files, &[0]);
        assert_eq!(ids(topology.siblings(6)), [2, 6]);
        assert_eq!(ids(topology.siblings(0)), [0, 4]);
    }

    #[test]
    fn garbage_counts_as_not_told() {
        let files = Files::default()
            .with("cpu/online", "all of them")
            .with("cpu/cpufreq/x", "1")
            .with("cpu/cpu99999999999999999999/x", "1")
            .with("node/node0/cpulist", "0-4294967295")
            .with("node/node1/cpulist", "3-1")
            .with("node/nodes/cpulist", "0")
            .cpu(0, -1, -1, "1-")
            .cpu(1, -1, -1, "0,0x1")
            .cpu(2, -1, -1, "0-1");
        let topology = topology(&files, &[0, 1, 2]);
        assert_eq!(topology, Topology::plain([0, 1, 2]));
    }

    #[test]
    fn without_any_file_what_is_allowed_is_there() {
        let topology = topology(&Files::default(), &[4, 1]);
        assert_eq!(topology, Topology::plain([1, 4]));
    }

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        let read = |text| list(text).map(|list| list.into_iter().collect::<Vec<_>>());
        assert_eq!(read("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(read("7"), Some(vec![7]));
        assert_eq!(read("\n"), Some(vec![]));
        for bad in [
            "1,",
            ",",
            "-",
            "1-",
            "-1",
            "+1",
            "2-1",
            "a",
            "0-99999999",
            "1 2",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
