//! Settings that go together, for kinds of work.

/// What a runtime is mostly for: see [`Builder::profile`](crate::runtime::Builder::profile).
///
/// A profile sets both of these, and nothing else, because nothing else was measured to help. A setting
/// made after it stays as it was made; a second profile takes the place of the first.
///
/// | | [memory kept for tasks](crate::runtime::Builder::keep_task_memory) | threads for [general](crate::blocking::Class::GENERAL) jobs |
/// |---|---|---|
/// | `Io` | 64 MiB at most | the pool's limit |
/// | `Cpu` | 2 MiB (the default) | one for each processor that the process may use |
/// | `Mixed` | 2 MiB (the default) | the pool's limit (the default) |
///
/// The number of workers is the default with each: one for each processor. More of them won nothing. Why
/// the two are what they are, with figures, is in `docs/tuning.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Profile {
    /// Tasks wait for sockets most of the time, and come and go in crowds. Memory of a crowd that has
    /// gone is kept for the next.
    Io,
    /// Tasks and blocking jobs compute. No more jobs run at once than there are processors, so that the
    /// workers get theirs too. Jobs that wait for each other may wait for ever then: give those a
    /// [class](crate::runtime::Builder::add_blocking_class) of their own.
    Cpu,
    /// A bit of everything: the defaults.
    #[default]
    Mixed,
}

/// Memory kept for tasks that come and go in crowds: what 100,000 small ones need, three times.
pub(crate) const CROWDS: usize = 64 << 20;
