//! Bytes from one descriptor to another, through the kernel where it can.
//!
//! Transfers go in pieces of [`PIECE`] bytes, a job for each: dropping the future ends it after the piece
//! at hand, and other operations on files take their turn in between.

use super::{File, OpenOptions, Permissions, run, sys};
use crate::net::{SendTarget, is_ready};
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// Bytes that one job moves at most: some 10 ms of a disk's time, against some microseconds for the job.
const PIECE: u64 = 8 * 1024 * 1024;

/// Copies a file's contents and permissions, and returns how many bytes that were. The target is made, or
/// its contents replaced.
///
/// The kernel copies (`copy_file_range`), or shares the blocks, where both files' systems can; else the
/// bytes go through a buffer.
///
/// # Errors
/// `InvalidInput` if `from` is no regular file, or both are the same one; see the [module](super). The
/// target has then what was copied; [`copy_range`] tells how much that is.
///
/// # Cancel safety
/// The target may be there, with a part of the contents.
pub async fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    let source = File::open(from).await?;
    let mut target = OpenOptions::new();
    let (kind, permissions, id) = {
        let metadata = source.std().clone();
        let metadata = run(move || metadata.metadata()).await?;
        (
            metadata.file_type(),
            metadata.permissions(),
            id_of(&metadata),
        )
    };
    if !kind.is_file() {
        let message = "only a regular file can be copied";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    // Not cut before it is known to be another file.
    let target = target
        .write(true)
        .create(true)
        .mode(permissions.mode())
        .open(to)
        .await?;
    prepare(&target, permissions, id).await?;
    let (mut at, mut to) = (0, 0);
    copy_range(&source, &mut at, &target, &mut to, u64::MAX).await
}

fn id_of(metadata: &std::fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// Cuts the target of a copy, and gives it the source's permissions, unless it is the source.
async fn prepare(target: &File, permissions: Permissions, source: (u64, u64)) -> io::Result<()> {
    let file = target.std().clone();
    run(move || {
        let metadata = file.metadata()?;
        if id_of(&metadata) == source {
            let message = "a file can not be copied to itself";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        if metadata.is_file() {
            file.set_len(0)?;
            file.set_permissions(permissions)?;
        }
        Ok(())
    })
    .await
}

/// Copies up to `length` bytes between two files, at offsets in bytes, apart from the files' positions and
/// buffers. Returns how many were copied: less than `length` if the source ends before.
///
/// Both offsets are advanced by what has been copied, also when the outcome is an error.
///
/// # Errors
/// See the [module](super).
///
/// # Cancel safety
/// If the future is dropped the offsets tell what is copied for certain; the piece after it, of 8 MiB at
/// most, may be copied too.
pub async fn copy_range(
    from: &File,
    from_offset: &mut u64,
    to: &File,
    to_offset: &mut u64,
    length: u64,
) -> io::Result<u64> {
    let mut copied = 0;
    while copied < length {
        let (source, target) = (from.std().clone(), to.std().clone());
        let (at, to_at) = (*from_offset, *to_offset);
        let wanted = (length - copied).min(PIECE) as usize;
        let piece = run(move || sys::copy(&source, at, &target, to_at, wanted)).await?;
        if piece == 0 {
            break;
        }
        copied += piece as u64;
        *from_offset += piece as u64;
        *to_offset += piece as u64;
    }
    Ok(copied)
}

/// Sends up to `length` bytes of a file from an offset in bytes on, apart from the file's position and
/// buffer. Returns how many were sent: less than `length` if the file ends before.
///
/// The offset is advanced by what has been sent, also when the outcome is an error.
///
/// The kernel sends from its cache (`sendfile`) where it can. That may have to wait for the disk, so it is
/// done on the threads for files, and never on a worker; the wait for room in the socket's buffer is the
/// reactor's, and takes no thread.
///
/// # Errors
/// Those of the file and of the connection; see the [module](super).
///
/// # Cancel safety
/// If the future is dropped the offset tells what is sent for certain; up to 8 MiB more may be, and
/// so the connection is of no more use, unless the peer can tell.
pub async fn send_file(
    file: &File,
    offset: &mut u64,
    length: u64,
    to: &impl SendTarget,
) -> io::Result<u64> {
    // A job may outlive the borrow of the socket, whose descriptor's number may be another's then.
    let socket = Arc::new(to.target()?.try_clone_to_owned()?);
    let mut sent = 0;
    while sent < length {
        let (source, target, at) = (file.std().clone(), socket.clone(), *offset);
        let wanted = (length - sent).min(PIECE) as usize;
        let piece = run(move || sys::send(&source, at, target.as_fd(), wanted)).await;
        match piece {
            Ok(0) => break,
            Ok(piece) => {
                sent += piece as u64;
                *offset += piece as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // The readiness that the reactor remembers may be older than that answer, or newer: so
                // it is asked for once more before it is waited for.
                let mut room = || is_ready(socket.as_fd(), libc::POLLOUT);
                poll_fn(|cx| to.poll_target(cx, &mut room)).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
