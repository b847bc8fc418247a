//! tmp
pub(crate) struct DropHome;
impl DropHome { pub(crate) fn run(self, f: impl FnOnce()) { f() } }
