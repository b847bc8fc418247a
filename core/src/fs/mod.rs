//! Files and directories.
//!
//! ```
//! use futures_lite::{AsyncReadExt, AsyncWriteExt};
//! use libruntime_core::fs::{self, File};
//!
//! let runtime = libruntime_core::runtime::Runtime::new()?;
//! # let path = std::env::temp_dir().join(format!("libruntime-doc-{}", std::process::id()));
//! # let at = path.clone();
//! runtime.block_on(async move {
//!     let mut file = File::create(&at).await?;
//!     file.write_all(b"hello").await?;
//!     file.close().await?;
//!     assert_eq!(fs::read_to_string(&at).await?, "hello");
//!     fs::remove_file(&at).await
//! })??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Systems have no non-blocking files, so each operation is a job of the class
//! [`FILES`](crate::blocking::Class::FILES) on the current runtime's threads for blocking jobs. That is
//! a few microseconds for each: many small operations belong behind a buffer (`BufReader`, `BufWriter`),
//! or together in one [`spawn_blocking_in`](crate::spawn_blocking_in).
//!
//! # Errors
//! Those of the operation, as the standard library tells them. Besides: `Unsupported` where there is no
//! runtime, on an event loop that has none attached for instance; `Other` when the runtime is shut down
//! before the operation has begun, or if no thread can be started.
//!
//! # Cancel safety
//! A job that has begun can not be stopped. So an operation whose future is dropped may happen, or not,
//! and it may do so later than the drop. Operations of one [`File`] that go through its position stay
//! in order all the same: the next one waits for the one that was given up.

mod dir;
mod file;
mod open;
mod ops;
mod sys;
mod transfer;

pub use dir::{DirBuilder, DirEntry, ReadDir, read_dir};
pub use file::File;
pub use open::OpenOptions;
pub use ops::{
    canonicalize, create_dir, create_dir_all, hard_link, metadata, read, read_link, read_to_string,
    remove_dir, remove_dir_all, remove_file, rename, set_permissions, symlink, symlink_metadata,
    try_exists, write,
};
pub use std::fs::{FileType, Metadata, Permissions};
pub use transfer::{copy, copy_range, send_file};

use crate::blocking::Class;
use crate::runtime::Handle;
use crate::task::{JoinError, JoinHandle};
use std::io;

/// Starts a job on files; a mandatory one also when the runtime shuts down before its turn.
fn start<R: Send + 'static>(
    mandatory: bool,
    job: impl FnOnce() -> R + Send + 'static,
) -> io::Result<JoinHandle<R>> {
    let runtime = Handle::try_current().map_err(|_| {
        let message = "files are read and written on a runtime's threads for blocking jobs, and there \
                       is no runtime here: attach one";
        io::Error::new(io::ErrorKind::Unsupported, message)
    })?;
    Ok(runtime
        .shared()
        .spawn_blocking(Class::FILES, mandatory, job, None))
}

/// Why a job has no result.
fn not_done(error: JoinError) -> io::Error {
    if error.is_cancelled() {
        let message = "the runtime was shut down, or has no thread for the operation";
        return io::Error::other(message);
    }
    io::Error::other(error)
}

/// Does a job on files, and waits for it.
async fn run<R: Send + 'static>(
    job: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    start(false, job)?.await.map_err(not_done)?
}
