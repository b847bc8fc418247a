//! What a task has beyond its future: the options that its [`Builder`](super::Builder) was given.

use std::sync::Arc;

/// The options of a task. A task that was given none has no record of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meta {
    pub(crate) name: Option<Arc<str>>,
}

/// The record of a task, if it has one.
pub(crate) type Record = Option<Box<Meta>>;

impl Meta {
    /// The record for a task with these options.
    pub(super) fn record(self) -> Record {
        let Meta { name } = &self;
        let used = name.is_some();
        used.then(|| Box::new(self))
    }
}
