//! Operations on paths. Each is the standard library's of the same name, on a thread for files.

use super::{Metadata, Permissions, run};
use std::io;
use std::path::{Path, PathBuf};

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident($($path:ident),+) -> $result:ty = $call:expr;)*) => {
        $($(#[$doc])*
        ///
        /// # Errors
        /// See the [module](super), as for what becomes of it when the future is dropped.
        pub async fn $name($($path: impl AsRef<Path>),+) -> io::Result<$result> {
            $(let $path = $path.as_ref().to_owned();)+
            run(move || $call($(&$path),+)).await
        })*
    };
}

operations! {
    /// Reads a whole file. For one that may be large there is [`File`](super::File).
    read(path) -> Vec<u8> = std::fs::read::<&PathBuf>;
    /// Reads a whole file that is UTF-8; `InvalidData` if it is not.
    read_to_string(path) -> String = std::fs::read_to_string::<&PathBuf>;
    /// What is known of a file; of what a symbolic link stands for.
    metadata(path) -> Metadata = std::fs::metadata::<&PathBuf>;
    /// What is known of a file; of a symbolic link itself.
    symlink_metadata(path) -> Metadata = std::fs::symlink_metadata::<&PathBuf>;
    /// Whether there is such a file. An error says that it can not be told.
    try_exists(path) -> bool = std::fs::exists::<&PathBuf>;
    /// The absolute path, without symbolic links.
    canonicalize(path) -> PathBuf = std::fs::canonicalize::<&PathBuf>;
    /// What a symbolic link says.
    read_link(path) -> PathBuf = std::fs::read_link::<&PathBuf>;
    /// Removes a file.
    remove_file(path) -> () = std::fs::remove_file::<&PathBuf>;
    /// Removes an empty directory.
    remove_dir(path) -> () = std::fs::remove_dir::<&PathBuf>;
    /// Removes a directory with all that is in it. After an error, part of it may be left.
    remove_dir_all(path) -> () = std::fs::remove_dir_all::<&PathBuf>;
    /// Makes a directory.
    create_dir(path) -> () = std::fs::create_dir::<&PathBuf>;
    /// Makes a directory, and those that it is to be in.
    create_dir_all(path) -> () = std::fs::create_dir_all::<&PathBuf>;
    /// Gives a file another name, in the place of a file that has it.
    rename(from, to) -> () = std::fs::rename::<&PathBuf, &PathBuf>;
    /// Gives a file one more name, `link`.
    hard_link(original, link) -> () = std::fs::hard_link::<&PathBuf, &PathBuf>;
    /// Makes a symbolic link, `link`, that says `original`.
    symlink(original, link) -> () = std::os::unix::fs::symlink::<&PathBuf, &PathBuf>;
}

/// Makes a file with these contents, or replaces those that it has.
///
/// # Errors
/// See the [module](super). The file may be there with part of the contents.
pub async fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    let (path, contents) = (path.as_ref().to_owned(), contents.as_ref().to_owned());
    run(move || std::fs::write(path, contents)).await
}

/// Sets a file's permissions.
///
/// # Errors
/// See the [module](super).
pub async fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    run(move || std::fs::set_permissions(path, permissions)).await
}
