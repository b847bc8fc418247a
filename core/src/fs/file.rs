//! An open file.
//!
//! One job at a time works at the file's position. While it does it has the buffer; a read's result waits
//! there until somebody fetches it.

use super::{Metadata, OpenOptions, Permissions, not_done, run, start};
use crate::task::JoinHandle;
use futures_io::{AsyncRead, AsyncSeek, AsyncWrite};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The most that one job reads or writes, in bytes. The figure is tokio's.
const MAX_BUFFER: usize = 2 * 1024 * 1024;

/// An open file.
///
/// Reading, writing and seeking are `futures-io`'s `AsyncRead`, `AsyncWrite` and `AsyncSeek`; they go
/// through the file's position, and through a buffer.
///
/// # Writes
/// A write is ready as soon as its data is in the buffer and a thread is about to write it; up to
/// 2 MiB at a time. It is carried out even if the file is dropped, or the runtime shut down, right after.
/// An error shows at the next write, at a flush, or at [`close`](Self::close): a program that has to know
/// that its data is with the system ends with one of those; one that has to know that it is on the
/// disk, with [`sync_all`](Self::sync_all).
///
/// # Cancel safety
/// A read whose future is dropped loses nothing: what it read comes with the next one. A seek may
/// happen or not. For the others see the [module](super).
pub struct File {
    file: Arc<std::fs::File>,
    state: State,
    /// What a write has failed with that nobody knows of yet.
    failed: Option<io::Error>,
}

enum State {
    Idle(Buffer),
    Busy(Kind, JoinHandle<(Buffer, Outcome)>),
}

/// What a job does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Seek(SeekFrom),
}

enum Outcome {
    Read(io::Result<usize>),
    Write(io::Result<()>),
    Seek(io::Result<u64>),
}

/// The bytes of a job. After a read, those from `taken` on have not been fetched.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    taken: usize,
}

impl Buffer {
    fn unread(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Forgets what was not fetched, and returns how far the file's position is ahead by it.
    fn discard(&mut self) -> i64 {
        let ahead = self.unread().len();
        self.bytes.clear();
        self.taken = 0;
        // A buffer is never that large.
        ahead as i64
    }
}

impl File {
    /// Opens a file to read.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub async fn open(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open(path).await
    }

    /// Opens a file to write: made if it is not there, cut to nothing if it is.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub async fn create(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .await
    }

    /// Makes a file to read and write, which must not be there.
    ///
    /// # Errors
    /// As [`OpenOptions::open`]: `AlreadyExists`.
    pub async fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .await
    }

    /// Options to open a file with.
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Takes over a file of the standard library's.
    pub fn from_std(file: std::fs::File) -> File {
        File {
            file: Arc::new(file),
            state: State::Idle(Buffer::default()),
            failed: None,
        }
    }

    /// Waits for the write or read at hand, and gives the file to the standard library, at its position
    /// here.
    ///
    /// # Errors
    /// That of a write that nobody knows of yet, or of the seek back; see also the [module](super). The
    /// file is closed then.
    pub async fn into_std(mut self) -> io::Result<std::fs::File> {
        poll_fn(|cx| self.poll_at_rest(cx)).await?;
        if let State::Idle(buffer) = &self.state
            && !buffer.unread().is_empty()
        {
            let seek = SeekFrom::Current(0);
            poll_fn(|cx| Pin::new(&mut self).poll_seek(cx, seek)).await?;
        }
        let file = self.file;
        // Nobody else has it, now that no job runs, unless a positional operation was given up.
        match Arc::try_unwrap(file) {
            Ok(file) => Ok(file),
            Err(shared) => shared.try_clone(),
        }
    }

    /// Waits for the write at hand, and closes the file.
    ///
    /// # Errors
    /// That of a write that nobody knows of yet, or of the close itself. The file is closed in any case.
    ///
    /// # Cancel safety
    /// The file is closed when the future is dropped, like any file that is dropped, and errors are lost.
    pub async fn close(mut self) -> io::Result<()> {
        let flushed = poll_fn(|cx| self.poll_at_rest(cx)).await;
        let closed = match Arc::try_unwrap(self.file) {
            Ok(file) => {
                let job = start(true, move || {
                    let fd = file.into_raw_fd();
                    // SAFETY: the descriptor was the file's alone. It is gone even after an error.
                    match unsafe { libc::close(fd) } {
                        0 => Ok(()),
                        _ => Err(io::Error::last_os_error()),
                    }
                });
                match job {
                    Ok(job) => job.await.unwrap_or_else(|error| Err(not_done(error))),
                    Err(error) => Err(error),
                }
            }
            // A positional operation that was given up still has it, and closes it.
            Err(_) => Ok(()),
        };
        flushed.and(closed)
    }

    /// Waits for the write at hand, and until all data and metadata are on the disk.
    ///
    /// # Errors
    /// That of a write that nobody knows of yet; see the [module](super).
    pub async fn sync_all(&mut self) -> io::Result<()> {
        self.after_writes(|file| file.sync_all()).await
    }

    /// As [`sync_all`](Self::sync_all), without metadata that is not needed to read the data.
    ///
    /// # Errors
    /// As [`sync_all`](Self::sync_all).
    pub async fn sync_data(&mut self) -> io::Result<()> {
        self.after_writes(|file| file.sync_data()).await
    }

    /// Cuts the file, or fills it with zeros, to this length in bytes. Its position stays.
    ///
    /// # Errors
    /// As [`sync_all`](Self::sync_all); `InvalidInput` if it was not opened to write.
    pub async fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.after_writes(move |file| file.set_len(length)).await
    }

    /// Waits for the write at hand, and tells what is known of the file.
    ///
    /// # Errors
    /// As [`sync_all`](Self::sync_all).
    pub async fn metadata(&mut self) -> io::Result<Metadata> {
        self.after_writes(|file| file.metadata()).await
    }

    /// Sets the file's permissions.
    ///
    /// # Errors
    /// See the [module](super).
    pub async fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.run(move |file| file.set_permissions(permissions))
            .await
    }

    /// Opens the same file under one more descriptor. The two share their position.
    ///
    /// # Errors
    /// As [`sync_all`](Self::sync_all).
    pub async fn try_clone(&mut self) -> io::Result<File> {
        self.after_writes(|file| file.try_clone())
            .await
            .map(File::from_std)
    }

    /// Reads at an offset in bytes, apart from the file's position and its buffer. Returns how much; 0 at
    /// the end of the file. At most 2 MiB come at once.
    ///
    /// # Errors
    /// See the [module](super).
    pub async fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let wanted = buffer.len().min(MAX_BUFFER);
        let read = move |file: &std::fs::File| {
            let mut bytes = vec![0; wanted];
            let count = file.read_at(&mut bytes, offset)?;
            bytes.truncate(count);
            Ok(bytes)
        };
        let bytes = self.run(read).await?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    /// Reads at an offset until the buffer is full, likewise.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; see the [module](super).
    pub async fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => {
                    buffer = &mut buffer[count..];
                    offset += count as u64;
                }
            }
        }
        Ok(())
    }

    /// Writes at an offset in bytes, apart from the file's position and its buffer. Returns how much: at
    /// most 2 MiB at once. A file that was opened to append is written at its end.
    ///
    /// # Errors
    /// See the [module](super).
    pub async fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        let data = data[..data.len().min(MAX_BUFFER)].to_vec();
        self.run(move |file| file.write_at(&data, offset)).await
    }

    /// Writes all of it at an offset, likewise.
    ///
    /// # Errors
    /// `WriteZero` if the file takes no more; see the [module](super). Part of the data may have been
    /// written.
    pub async fn write_all_at(&self, mut data: &[u8], mut offset: u64) -> io::Result<()> {
        while !data.is_empty() {
            match self.write_at(data, offset).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => {
                    data = &data[count..];
                    offset += count as u64;
                }
            }
        }
        Ok(())
    }

    pub(super) fn std(&self) -> &Arc<std::fs::File> {
        &self.file
    }

    async fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&std::fs::File) -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        let file = self.file.clone();
        run(move || job(&file)).await
    }

    async fn after_writes<R: Send + 'static>(
        &mut self,
        job: impl FnOnce(&std::fs::File) -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        poll_fn(|cx| self.poll_at_rest(cx)).await?;
        self.run(job).await
    }

    /// Waits for the job at hand, and tells what a write has failed with.
    pub(super) fn poll_at_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nobody is there for the result of a read or a seek that was given up.
        let _ = ready!(self.poll_idle(cx));
        Poll::Ready(match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(()),
        })
    }

    /// Waits for the job at hand. Its outcome, unless it was a write: that one's error is kept.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Kind, Outcome)>> {
        let State::Busy(kind, job) = &mut self.state else {
            return Poll::Ready(None);
        };
        let (kind, done) = (*kind, ready!(Pin::new(job).poll(cx)));
        let (buffer, outcome) = done.unwrap_or_else(|error| {
            let error = not_done(error);
            let outcome = match kind {
                Kind::Read => Outcome::Read(Err(error)),
                Kind::Write => Outcome::Write(Err(error)),
                Kind::Seek(_) => Outcome::Seek(Err(error)),
            };
            (Buffer::default(), outcome)
        });
        self.state = State::Idle(buffer);
        Poll::Ready(match outcome {
            Outcome::Write(result) => {
                self.failed = result.err().or(self.failed.take());
                None
            }
            other => Some((kind, other)),
        })
    }

    /// Starts a job at the file's position, with the buffer.
    fn begin(
        &mut self,
        kind: Kind,
        job: impl FnOnce(&std::fs::File, &mut Buffer) -> Outcome + Send + 'static,
    ) -> io::Result<()> {
        let mut buffer = match &mut self.state {
            State::Idle(buffer) => std::mem::take(buffer),
            State::Busy(..) => unreachable!("begun when idle only"),
        };
        let file = self.file.clone();
        // A write was promised to whoever gave the data.
        let mandatory = kind == Kind::Write;
        let job = start(mandatory, move || {
            let outcome = job(&file, &mut buffer);
            (buffer, outcome)
        })?;
        self.state = State::Busy(kind, job);
        Ok(())
    }

    fn poll_write_parts<'a>(
        &mut self,
        cx: &mut Context<'_>,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_at_rest(cx))?;
        let State::Idle(buffer) = &mut self.state else {
            unreachable!("at rest");
        };
        let ahead = buffer.discard();
        for part in parts {
            let room = MAX_BUFFER - buffer.bytes.len();
            buffer
                .bytes
                .extend_from_slice(&part[..part.len().min(room)]);
        }
        let count = buffer.bytes.len();
        if count == 0 && ahead == 0 {
            return Poll::Ready(Ok(0));
        }
        self.begin(Kind::Write, move |mut file, buffer| {
            let mut write = || {
                if ahead > 0 {
                    file.seek(SeekFrom::Current(-ahead))?;
                }
                file.write_all(&buffer.bytes)
            };
            let result = write();
            buffer.bytes.clear();
            Outcome::Write(result)
        })?;
        Poll::Ready(Ok(count))
    }
}

impl AsyncRead for File {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        loop {
            match ready!(this.poll_idle(cx)) {
                Some((_, Outcome::Read(Err(error)))) => return Poll::Ready(Err(error)),
                Some((_, Outcome::Read(Ok(0)))) => return Poll::Ready(Ok(0)),
                _ => {}
            }
            let State::Idle(buffer) = &mut this.state else {
                unreachable!("idle");
            };
            let count = target.len().min(buffer.unread().len());
            if count > 0 || target.is_empty() {
                target[..count].copy_from_slice(&buffer.unread()[..count]);
                buffer.taken += count;
                return Poll::Ready(Ok(count));
            }
            let wanted = target.len().min(MAX_BUFFER);
            this.begin(Kind::Read, move |mut file, buffer| {
                buffer.taken = 0;
                buffer.bytes.resize(wanted, 0);
                let result = loop {
                    match file.read(&mut buffer.bytes) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        result => break result,
                    }
                };
                buffer.bytes.truncate(*result.as_ref().unwrap_or(&0));
                Outcome::Read(result)
            })?;
        }
    }
}

impl AsyncWrite for File {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_parts(cx, std::iter::once(data))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_parts(cx, data.iter().map(|part| &**part))
    }

    /// Waits until all data is with the system.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_at_rest(cx)
    }

    /// As a flush. [`File::close`] also closes.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_at_rest(cx)
    }
}

impl AsyncSeek for File {
    fn poll_seek(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: SeekFrom,
    ) -> Poll<io::Result<u64>> {
        let this = &mut *self;
        loop {
            if let Some((kind, Outcome::Seek(result))) = ready!(this.poll_idle(cx))
                && kind == Kind::Seek(to)
            {
                return Poll::Ready(result);
            }
            if let Some(error) = this.failed.take() {
                return Poll::Ready(Err(error));
            }
            this.begin(Kind::Seek(to), move |mut file, buffer| {
                // The reader is where the buffer was fetched up to.
                let to = match to {
                    SeekFrom::Current(by) => {
                        SeekFrom::Current(by.saturating_sub(buffer.unread().len() as i64))
                    }
                    to => to,
                };
                let result = file.seek(to);
                if result.is_ok() {
                    buffer.discard();
                }
                Outcome::Seek(result)
            })?;
        }
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> File {
        File::from_std(file)
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        File::from_std(fd.into())
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.file).finish()
    }
}
