//! Directories.

use super::{FileType, Metadata, not_done, run, start};
use crate::task::JoinHandle;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Entries that one job fetches.
const BATCH: usize = 64;

/// Begins to read a directory.
///
/// # Errors
/// See the [module](super).
pub async fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let path = path.as_ref().to_owned();
    run(move || {
        let mut batch = Batch::new(std::fs::read_dir(path)?);
        batch.fetch();
        Ok(ReadDir(State::Idle(batch)))
    })
    .await
}

/// A directory that is being read. Its entries come in no particular order.
pub struct ReadDir(State);

enum State {
    Idle(Batch),
    Fetching(JoinHandle<Batch>),
    /// No job could be started, or it was lost at the end of its runtime.
    Broken,
}

struct Batch {
    entries: VecDeque<io::Result<DirEntry>>,
    /// `None` at the end.
    rest: Option<std::fs::ReadDir>,
}

impl Batch {
    fn new(dir: std::fs::ReadDir) -> Batch {
        Batch {
            entries: VecDeque::new(),
            rest: Some(dir),
        }
    }

    fn fetch(&mut self) {
        while let Some(rest) = &mut self.rest
            && self.entries.len() < BATCH
        {
            match rest.next() {
                None => self.rest = None,
                Some(entry) => {
                    let failed = entry.is_err();
                    let entry = entry.map(|entry| DirEntry(Arc::new(entry)));
                    self.entries.push_back(entry);
                    if failed {
                        return;
                    }
                }
            }
        }
    }
}

impl ReadDir {
    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// See the [module](super). The entries after one that failed may still be read.
    ///
    /// # Cancel safety
    /// No entry is lost when the future is dropped.
    pub async fn next_entry(&mut self) -> io::Result<Option<DirEntry>> {
        poll_fn(|cx| self.poll_next_entry(cx)).await
    }

    /// As [`next_entry`](Self::next_entry).
    ///
    /// # Errors
    /// As [`next_entry`](Self::next_entry).
    pub fn poll_next_entry(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<DirEntry>>> {
        loop {
            match &mut self.0 {
                State::Idle(batch) => {
                    if let Some(entry) = batch.entries.pop_front() {
                        return Poll::Ready(entry.map(Some));
                    }
                    if batch.rest.is_none() {
                        return Poll::Ready(Ok(None));
                    }
                    let State::Idle(mut batch) = std::mem::replace(&mut self.0, State::Broken)
                    else {
                        continue;
                    };
                    self.0 = State::Fetching(start(false, move || {
                        batch.fetch();
                        batch
                    })?);
                }
                State::Fetching(job) => match ready!(Pin::new(job).poll(cx)) {
                    Ok(batch) => self.0 = State::Idle(batch),
                    Err(error) => {
                        self.0 = State::Broken;
                        return Poll::Ready(Err(not_done(error)));
                    }
                },
                State::Broken => {
                    let message = "the directory was left when its runtime ended";
                    return Poll::Ready(Err(io::Error::other(message)));
                }
            }
        }
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadDir").finish_non_exhaustive()
    }
}

/// An entry of a directory.
#[derive(Clone, Debug)]
pub struct DirEntry(Arc<std::fs::DirEntry>);

impl DirEntry {
    /// The directory's path, as it was given, with the entry's name.
    pub fn path(&self) -> PathBuf {
        self.0.path()
    }

    /// The entry's name.
    pub fn file_name(&self) -> OsString {
        self.0.file_name()
    }

    /// The number of the file in its file system.
    pub fn ino(&self) -> u64 {
        self.0.ino()
    }

    /// What is known of the file; of a symbolic link itself.
    ///
    /// # Errors
    /// See the [module](super).
    pub async fn metadata(&self) -> io::Result<Metadata> {
        let entry = self.0.clone();
        run(move || entry.metadata()).await
    }

    /// Which kind of file it is; of a symbolic link that it is one.
    ///
    /// # Errors
    /// See the [module](super).
    pub async fn file_type(&self) -> io::Result<FileType> {
        let entry = self.0.clone();
        run(move || entry.file_type()).await
    }
}

/// How a directory is made.
#[derive(Debug, Default)]
pub struct DirBuilder {
    recursive: bool,
    mode: Option<u32>,
}

impl DirBuilder {
    /// A directory alone, with permissions `0o777` before the process's mask.
    pub fn new() -> DirBuilder {
        DirBuilder::default()
    }

    /// Whether those that it is to be in are made too, and none of them need be new.
    pub fn recursive(&mut self, recursive: bool) -> &mut DirBuilder {
        self.recursive = recursive;
        self
    }

    /// Its permissions, before the process's mask.
    pub fn mode(&mut self, mode: u32) -> &mut DirBuilder {
        self.mode = Some(mode);
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// See the [module](super).
    pub async fn create(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref().to_owned();
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(self.recursive);
        if let Some(mode) = self.mode {
            builder.mode(mode);
        }
        run(move || builder.create(path)).await
    }
}
