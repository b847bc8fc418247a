//! How urgent a task is.

/// The class of a task under [`Policy::Priority`](crate::runtime::Policy::Priority): of the tasks
/// that are ready, those of the higher class run first. Other policies do not look at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// What may wait for ever, but for ageing: indexing, prefetching.
    Background,
    /// Less than usual.
    Low,
    /// What a task is that nothing was said about.
    #[default]
    Normal,
    /// More than usual.
    High,
    /// What goes before everything else: a heartbeat, a control message.
    Critical,
}

impl Priority {
    /// How many there are.
    pub(crate) const COUNT: usize = 5;

    /// Its place in the order in which classes are served: 0 for the first.
    #[inline]
    pub(crate) fn rank(self) -> usize {
        Priority::Critical as usize - self as usize
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn ranks_follow_the_order_of_service() {
        let all = [
            Priority::Critical,
            Priority::High,
            Priority::Normal,
            Priority::Low,
            Priority::Background,
        ];
        assert_eq!(all.map(Priority::rank), [0, 1, 2, 3, 4]);
        assert_eq!(all.len(), Priority::COUNT);
        assert!(all.is_sorted_by(|a, b| a > b));
        assert_eq!(Priority::default(), Priority::Normal);
    }
}
