//! How a file is opened.

use super::{File, run};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Options for opening a file: the standard library's, whose files do not block.
#[derive(Clone, Debug)]
pub struct OpenOptions(std::fs::OpenOptions);

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        impl OpenOptions {
            $($(#[$doc])*
            pub fn $name(&mut self, yes: bool) -> &mut OpenOptions {
                self.0.$name(yes);
                self
            })*
        }
    };
}

options! {
    /// To read.
    read,
    /// To write.
    write,
    /// To write at the file's end, wherever that is at each write.
    append,
    /// To cut the file to nothing first.
    truncate,
    /// To make the file if it is not there.
    create,
    /// To make the file, and to fail with `AlreadyExists` if it is there.
    create_new,
}

impl OpenOptions {
    /// Without any option, which opens nothing.
    pub fn new() -> OpenOptions {
        OpenOptions(std::fs::OpenOptions::new())
    }

    /// Flags for `open(2)` beyond those above, `O_DIRECT` for instance.
    pub fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.0.custom_flags(flags);
        self
    }

    /// The permissions of a file that is made, before the process's mask. `0o666` unless it is set.
    pub fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.0.mode(mode);
        self
    }

    /// Opens a file. It is not inherited by programs that are executed.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `AlreadyExists`; `InvalidInput` for options that contradict each
    /// other; see the [module](super) for others.
    ///
    /// # Cancel safety
    /// The file may be made, or cut, after the future was dropped.
    pub async fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let (options, path) = (self.0.clone(), path.as_ref().to_owned());
        run(move || options.open(path)).await.map(File::from_std)
    }
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions::new()
    }
}

impl From<std::fs::OpenOptions> for OpenOptions {
    fn from(options: std::fs::OpenOptions) -> OpenOptions {
        OpenOptions(options)
    }
}
