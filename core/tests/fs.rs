//! Files. Each test has a directory of its own.

use std::future::Future;
use std::io::{ErrorKind, IoSlice, Read, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use futures_lite::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt, future};
use libruntime_core::blocking::Class;
use libruntime_core::event_loop::EventLoop;
use libruntime_core::fs::{self, DirBuilder, File, OpenOptions};
use libruntime_core::net::{TcpListener, TcpStream};
use libruntime_core::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new().worker_threads(2).build().unwrap()
}

/// A directory that goes with the value.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("libruntime-fs-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Dir(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Runs each test in `block_on`, in a task, and on an event loop that has a runtime.
macro_rules! in_homes {
    ($($(#[$attr:meta])* async fn $name:ident($dir:ident: Dir) $body:block)*) => {
        $(mod $name {
            use super::*;
            async fn run($dir: Dir) $body
            #[test] fn block_on() { runtime().block_on(run(Dir::new())).unwrap() }
            #[test] fn task() {
                let runtime = runtime();
                runtime.block_on(runtime.spawn(run(Dir::new()))).unwrap().unwrap();
            }
            #[test] fn event_loop() {
                let (el, runtime) = (EventLoop::new().unwrap(), runtime());
                el.set_runtime(Some(runtime.handle().clone()));
                el.block_on(run(Dir::new())).unwrap();
            }
        })*
    };
}

fn pattern(length: usize) -> Vec<u8> {
    let mut bytes = (0..=250_u8).collect::<Vec<_>>().repeat(length / 251 + 1);
    bytes.truncate(length);
    bytes
}

/// Begins to read at the file's position, `at`, and gives it up.
async fn give_up_read(file: &mut File, at: u64) {
    // Now and then it is done at once.
    while future::poll_once(file.read(&mut [0; 8])).await.is_some() {
        file.seek(SeekFrom::Start(at)).await.unwrap();
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

in_homes! {
    async fn what_was_written_is_read(dir: Dir) {
        let data = pattern(5_000_000);
        let mut file = File::create(dir.at("a")).await.unwrap();
        file.write_all(&data[..10]).await.unwrap();
        let parts = [IoSlice::new(&data[10..20]), IoSlice::new(&data[20..40])];
        let count = future::poll_fn(|cx| Pin::new(&mut file).poll_write_vectored(cx, &parts)).await;
        assert_eq!(count.unwrap(), 30);
        file.write_all(&data[40..]).await.unwrap();
        file.sync_data().await.unwrap();
        assert_eq!(file.metadata().await.unwrap().len(), 5_000_000);
        file.close().await.unwrap();

        let mut file = File::open(dir.at("a")).await.unwrap();
        let mut back = Vec::new();
        file.read_to_end(&mut back).await.unwrap();
        assert!(back == data);
        assert_eq!(file.read(&mut [0; 9]).await.unwrap(), 0);
        assert!(fs::read(dir.at("a")).await.unwrap() == data);
    }

    async fn reads_writes_and_seeks_share_a_position(dir: Dir) {
        fs::write(dir.at("a"), b"0123456789").await.unwrap();
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).open(dir.at("a")).await.unwrap();
        let mut two = [0; 2];
        file.read_exact(&mut two).await.unwrap();
        file.write_all(b"ab").await.unwrap();
        file.read_exact(&mut two).await.unwrap();
        assert_eq!(&two, b"45");
        assert_eq!(file.seek(SeekFrom::Current(-1)).await.unwrap(), 5);
        assert_eq!(file.seek(SeekFrom::End(-2)).await.unwrap(), 8);
        file.write_all(b"XYZ").await.unwrap();
        assert_eq!(file.seek(SeekFrom::Start(0)).await.unwrap(), 0);
        let mut text = String::new();
        file.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "01ab4567XYZ");
        let error = file.seek(SeekFrom::Current(-100)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    async fn read_that_was_given_up_loses_nothing(dir: Dir) {
        fs::write(dir.at("a"), b"0123456789").await.unwrap();
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).open(dir.at("a")).await.unwrap();
        give_up_read(&mut file, 0).await;
        let mut three = [0; 3];
        file.read_exact(&mut three).await.unwrap();
        assert_eq!(&three, b"012");
        // Eight bytes were fetched. Whatever works at the position next starts behind the third.
        assert_eq!(file.seek(SeekFrom::Current(0)).await.unwrap(), 3);
        give_up_read(&mut file, 3).await;
        file.write_all(b"abc").await.unwrap();
        file.flush().await.unwrap();
        assert_eq!(fs::read(dir.at("a")).await.unwrap(), b"012abc6789");
        give_up_read(&mut file, 6).await;
        let mut std = file.into_std().await.unwrap();
        let mut rest = String::new();
        std.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "6789");
    }

    async fn positional_operations_leave_the_position(dir: Dir) {
        let mut file = File::create_new(dir.at("a")).await.unwrap();
        file.write_all_at(b"hello world", 3).await.unwrap();
        let mut text = [0; 5];
        file.read_exact_at(&mut text, 9).await.unwrap();
        assert_eq!(&text, b"world");
        let error = file.read_exact_at(&mut text, 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(file.read_at(&mut text, 100).await.unwrap(), 0);
        file.write_all(b"abc").await.unwrap();
        let mut clone = file.try_clone().await.unwrap();
        file.set_len(5).await.unwrap();
        clone.seek(SeekFrom::Start(0)).await.unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "abche");
        let large = pattern(3_000_000);
        file.write_all_at(&large, 1).await.unwrap();
        let mut back = vec![0; large.len()];
        file.read_exact_at(&mut back, 1).await.unwrap();
        assert!(back == large);
    }

    async fn error_of_a_write_is_told_later_and_once(dir: Dir) {
        fs::write(dir.at("a"), b"x").await.unwrap();
        let mut file = File::open(dir.at("a")).await.unwrap();
        file.write_all(b"data").await.unwrap();
        assert_eq!(file.flush().await.unwrap_err().raw_os_error(), Some(libc::EBADF));
        file.flush().await.unwrap();
        file.write_all(b"data").await.unwrap();
        assert_eq!(file.write(b"more").await.unwrap_err().raw_os_error(), Some(libc::EBADF));
        file.write_all(b"data").await.unwrap();
        assert_eq!(file.sync_all().await.unwrap_err().raw_os_error(), Some(libc::EBADF));
        file.write_all(b"data").await.unwrap();
        assert_eq!(file.close().await.unwrap_err().raw_os_error(), Some(libc::EBADF));
        let mut full = OpenOptions::new().write(true).open("/dev/full").await.unwrap();
        full.write_all(b"data").await.unwrap();
        assert_eq!(full.close().await.unwrap_err().kind(), ErrorKind::StorageFull);
        let mut directory = File::open(&dir.0).await.unwrap();
        let error = directory.read(&mut [0; 4]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
    }

    async fn opening_says_what_is_wrong(dir: Dir) {
        let missing = File::open(dir.at("missing")).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        File::create(dir.at("a")).await.unwrap();
        let there = File::create_new(dir.at("a")).await.unwrap_err();
        assert_eq!(there.kind(), ErrorKind::AlreadyExists);
        let nothing = OpenOptions::new().open(dir.at("a")).await.unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::InvalidInput);
        let zero = File::open("a\0b").await.unwrap_err();
        assert_eq!(zero.kind(), ErrorKind::InvalidInput);
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(dir.at("b")).await.unwrap();
        assert_eq!(file.metadata().await.unwrap().permissions().mode() & 0o777, 0o600);
        let link = options.custom_flags(libc::O_NOFOLLOW);
        fs::symlink("a", dir.at("link")).await.unwrap();
        let error = link.clone().create_new(false).open(dir.at("link")).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }

    async fn paths_are_made_changed_and_removed(dir: Dir) {
        fs::create_dir(dir.at("d")).await.unwrap();
        let again = fs::create_dir(dir.at("d")).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        fs::create_dir_all(dir.at("d/e/f")).await.unwrap();
        let mut builder = DirBuilder::new();
        builder.mode(0o700).recursive(true).create(dir.at("g/h")).await.unwrap();
        let mode = fs::metadata(dir.at("g")).await.unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::write(dir.at("d/a"), "text").await.unwrap();
        assert_eq!(fs::read_to_string(dir.at("d/a")).await.unwrap(), "text");
        fs::write(dir.at("d/bad"), [0xff]).await.unwrap();
        let bad = fs::read_to_string(dir.at("d/bad")).await.unwrap_err();
        assert_eq!(bad.kind(), ErrorKind::InvalidData);
        fs::rename(dir.at("d/a"), dir.at("d/b")).await.unwrap();
        assert!(!fs::try_exists(dir.at("d/a")).await.unwrap());
        fs::hard_link(dir.at("d/b"), dir.at("d/c")).await.unwrap();
        fs::symlink("b", dir.at("d/s")).await.unwrap();
        assert_eq!(fs::read_link(dir.at("d/s")).await.unwrap(), Path::new("b"));
        assert!(fs::symlink_metadata(dir.at("d/s")).await.unwrap().is_symlink());
        assert!(fs::metadata(dir.at("d/s")).await.unwrap().is_file());
        let real = fs::canonicalize(dir.at("d/s")).await.unwrap();
        assert!(real.ends_with("d/b"));
        fs::set_permissions(dir.at("d/b"), fs::Permissions::from_mode(0o400)).await.unwrap();
        assert!(fs::metadata(dir.at("d/c")).await.unwrap().permissions().readonly());
        fs::remove_file(dir.at("d/c")).await.unwrap();
        let full = fs::remove_dir(dir.at("d")).await.unwrap_err();
        assert_eq!(full.kind(), ErrorKind::DirectoryNotEmpty);
        fs::remove_dir(dir.at("d/e/f")).await.unwrap();
        fs::remove_dir_all(dir.at("d")).await.unwrap();
        assert!(!fs::try_exists(dir.at("d")).await.unwrap());
    }

    async fn every_entry_of_a_directory_comes_once(dir: Dir) {
        for number in 0..300 {
            std::fs::write(dir.at(&number.to_string()), "").unwrap();
        }
        let mut entries = fs::read_dir(&dir.0).await.unwrap();
        let mut names = Vec::new();
        loop {
            // Given up now and then.
            if let Some(entry) = future::poll_once(entries.next_entry()).await {
                let Some(entry) = entry.unwrap() else { break };
                names.push(entry.file_name().into_string().unwrap().parse::<usize>().unwrap());
                continue;
            }
            let Some(entry) = entries.next_entry().await.unwrap() else { break };
            assert!(entry.file_type().await.unwrap().is_file());
            assert_eq!(entry.metadata().await.unwrap().len(), 0);
            assert_eq!(entry.path(), dir.0.join(entry.file_name()));
            assert_ne!(entry.ino(), 0);
            names.push(entry.file_name().into_string().unwrap().parse().unwrap());
        }
        names.sort_unstable();
        assert!(names.into_iter().eq(0..300));
        assert!(entries.next_entry().await.unwrap().is_none());
        let missing = fs::read_dir(dir.at("missing")).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    async fn copy_has_contents_and_permissions(dir: Dir) {
        let data = pattern(9_000_000);
        fs::write(dir.at("a"), &data).await.unwrap();
        fs::set_permissions(dir.at("a"), fs::Permissions::from_mode(0o640)).await.unwrap();
        fs::write(dir.at("b"), pattern(10_000_000)).await.unwrap();
        assert_eq!(fs::copy(dir.at("a"), dir.at("b")).await.unwrap(), 9_000_000);
        assert!(fs::read(dir.at("b")).await.unwrap() == data);
        let mode = fs::metadata(dir.at("b")).await.unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        // Which is empty, and is not.
        assert!(fs::copy("/proc/self/status", dir.at("c")).await.unwrap() > 100);
        fs::write(dir.at("empty"), "").await.unwrap();
        assert_eq!(fs::copy(dir.at("empty"), dir.at("b")).await.unwrap(), 0);
        // Another file system, or at least no file on a disk.
        assert_eq!(fs::copy(dir.at("a"), "/dev/null").await.unwrap(), 9_000_000);
        let same = fs::copy(dir.at("a"), dir.at("a")).await.unwrap_err();
        assert_eq!(same.kind(), ErrorKind::InvalidInput);
        assert!(fs::read(dir.at("a")).await.unwrap() == data);
        for (from, to, kind) in [
            (dir.0.clone(), dir.at("x"), ErrorKind::InvalidInput),
            (dir.at("missing"), dir.at("x"), ErrorKind::NotFound),
            (dir.at("a"), dir.0.clone(), ErrorKind::IsADirectory),
        ] {
            assert_eq!(fs::copy(from, to).await.unwrap_err().kind(), kind);
        }
    }

    async fn failed_copy_tells_how_far_it_came(dir: Dir) {
        fs::write(dir.at("a"), pattern(1000)).await.unwrap();
        let from = File::open(dir.at("a")).await.unwrap();
        let full = OpenOptions::new().write(true).open("/dev/full").await.unwrap();
        let (mut at, mut to) = (10, 0);
        let error = fs::copy_range(&from, &mut at, &full, &mut to, 500).await.unwrap_err();
        assert_eq!((error.kind(), at, to), (ErrorKind::StorageFull, 10, 0));
        let target = File::create(dir.at("b")).await.unwrap();
        let count = fs::copy_range(&from, &mut at, &target, &mut to, 500).await.unwrap();
        assert_eq!((count, at, to), (500, 510, 500));
        let count = fs::copy_range(&from, &mut at, &target, &mut to, 5000).await.unwrap();
        assert_eq!((count, at, to), (490, 1000, 990));
        assert!(fs::read(dir.at("b")).await.unwrap() == pattern(1000)[10..]);
    }

    async fn file_is_sent_as_fast_as_the_peer_reads(dir: Dir) {
        let data = pattern(20_000_000);
        fs::write(dir.at("a"), &data).await.unwrap();
        let (stream, mut peer) = connection().await;
        let file = File::open(dir.at("a")).await.unwrap();
        let mut offset = 7;
        let send = async {
            let sent = fs::send_file(&file, &mut offset, u64::MAX, &stream).await.unwrap();
            assert_eq!(sent, 19_999_993);
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        };
        let mut back = vec![0; 19_999_993];
        let receive = async {
            peer.read_exact(&mut back).await.unwrap();
            assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
        };
        future::zip(send, receive).await;
        assert!(back == data[7..]);
        assert_eq!(offset, 20_000_000);
        assert_eq!(fs::send_file(&file, &mut offset, 9, &stream).await.unwrap(), 0);
    }

    async fn sending_to_a_peer_that_is_gone_is_an_error(dir: Dir) {
        fs::write(dir.at("a"), pattern(20_000_000)).await.unwrap();
        let (stream, peer) = connection().await;
        let file = File::open(dir.at("a")).await.unwrap();
        let mut offset = 0;
        let mut send = Box::pin(fs::send_file(&file, &mut offset, u64::MAX, &stream));
        assert!(future::poll_once(&mut send).await.is_none());
        peer.reset().unwrap();
        let error = send.await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
        assert!(offset < 20_000_000);
    }
}

async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stream, peer) = future::zip(TcpStream::connect(address), listener.accept()).await;
    (stream.unwrap(), peer.unwrap().0)
}

#[test]
fn without_a_runtime_files_are_refused() {
    let el = EventLoop::new().unwrap();
    let error = el.block_on(File::open("/dev/null")).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let mut file = File::from_std(std::fs::File::open("/dev/null").unwrap());
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Err(error)) = Pin::new(&mut file).poll_read(&mut cx, &mut [0]) else {
        panic!("read without a runtime");
    };
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    // It is as it was.
    runtime()
        .block_on(async { assert_eq!(file.read(&mut [0]).await.unwrap(), 0) })
        .unwrap();
}

#[test]
fn write_that_was_accepted_outlives_file_and_runtime() {
    let dir = Dir::new();
    let runtime = Builder::new()
        .worker_threads(1)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let mut file = File::from_std(std::fs::File::create(dir.at("a")).unwrap());
    // The only thread that the class may have is busy until the shutdown has begun.
    let handle = runtime.handle().clone();
    let (open, gate) = mpsc::channel::<()>();
    let (begun, running) = mpsc::channel();
    let busy = runtime.spawn_blocking_in(Class::FILES, move || {
        begun.send(()).unwrap();
        gate.recv().unwrap();
    });
    running.recv().unwrap();
    runtime
        .block_on(async {
            let mut write = pin!(file.write(b"promised"));
            assert!(matches!(poll(write.as_mut()), Poll::Ready(Ok(8))));
        })
        .unwrap();
    let refused = runtime.spawn_blocking_in(Class::FILES, || ());
    drop(file);
    let ending = std::thread::spawn(move || drop(runtime));
    while !handle.is_closed() {
        std::thread::yield_now();
    }
    future::block_on(refused).unwrap_err();
    open.send(()).unwrap();
    ending.join().unwrap();
    future::block_on(busy).unwrap();
    assert_eq!(std::fs::read(dir.at("a")).unwrap(), b"promised");
}

#[test]
fn operation_fails_when_the_runtime_is_shut_down() {
    let dir = Dir::new();
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let mut file = File::from_std(std::fs::File::create(dir.at("a")).unwrap());
    drop(runtime);
    let _entered = handle.enter();
    let error = future::block_on(fs::metadata(&dir.0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    future::block_on(file.write_all(b"x")).unwrap();
    assert_eq!(
        future::block_on(file.flush()).unwrap_err().kind(),
        ErrorKind::Other
    );
    assert_eq!(
        future::block_on(file.close()).unwrap_err().kind(),
        ErrorKind::Other
    );
}
