//! Unix sockets and pipes.

use std::ffi::OsStr;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use libruntime_core::net::splice;
use libruntime_core::net::unix::{UnixDatagram, UnixListener, UnixStream, pipe};
use libruntime_core::spawn;
use libruntime_core::time::timeout;

#[macro_use]
mod on_runtimes;

/// A path that nobody else has, removed in the end.
struct Name(PathBuf);

impl Name {
    fn new() -> Name {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("libruntime-unix-{}-{number}", std::process::id());
        Name(std::env::temp_dir().join(name))
    }
}

impl AsRef<Path> for Name {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn fifo() -> Name {
    let name = Name::new();
    let path = std::ffi::CString::new(name.0.as_os_str().as_bytes()).expect("no zero");
    // SAFETY: the path ends with a zero.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    name
}

on_runtimes! {
    async fn a_stream_over_a_path_echoes() {
        let name = Name::new();
        let listener = UnixListener::bind(&name).expect("bound");
        let address = listener.local_addr().expect("an address");
        assert_eq!(address.as_pathname(), Some(name.as_ref()));
        let server = spawn(async move {
            for _ in 0..10 {
                let (stream, _) = listener.accept().await.expect("accepted");
                spawn(async move {
                    let (reader, mut writer) = stream.into_split();
                    futures_lite::io::copy(reader, &mut writer).await.expect("copied");
                });
            }
        });
        for i in 0..10u8 {
            let mut stream = if i % 2 == 0 {
                UnixStream::connect(&name).await.expect("connected")
            } else {
                UnixStream::connect_addr(&address).await.expect("connected")
            };
            let data = vec![i; 300_000];
            let (mut reader, mut writer) = stream.split();
            let send = async {
                writer.write_all(&data).await.expect("written");
                writer.close().await.expect("closed");
            };
            let mut back = Vec::new();
            let receive = async { reader.read_to_end(&mut back).await.expect("read") };
            future::zip(send, receive).await;
            assert!(back == data);
        }
        server.await.expect("the server");
        // The path stays, and is in the way.
        let error = UnixListener::bind(&name).expect_err("in use");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let error = UnixStream::connect(&name).await.expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }

    async fn paths_that_are_none_are_refused() {
        let long = "x".repeat(200);
        for nonsense in [OsStr::new(&long), OsStr::new(""), OsStr::new("a\0b")] {
            let error = UnixListener::bind(nonsense).expect_err("nonsense");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{nonsense:?}: {error}");
            let error = UnixStream::connect(nonsense).await.expect_err("nonsense");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{nonsense:?}: {error}");
            let error = UnixDatagram::bind(nonsense).expect_err("nonsense");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{nonsense:?}: {error}");
        }
        let error = UnixStream::connect("/no/such/path").await.expect_err("not there");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = UnixListener::bind("/no/such/path").expect_err("not there");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let unnamed = UnixStream::pair().expect("a pair").0.local_addr().expect("an address");
        assert!(unnamed.is_unnamed());
        let error = UnixStream::connect_addr(&unnamed).await.expect_err("no name");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    async fn a_full_queue_is_waited_for() {
        let name = Name::new();
        let system = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let system = system.expect("a socket");
        system.bind(&socket2::SockAddr::unix(&name).expect("a path")).expect("bound");
        system.listen(0).expect("listening");
        let listener = UnixListener::from_std(OwnedFd::from(system).into()).expect("taken over");
        let mut queued = Vec::new();
        let waiting = loop {
            let mut connecting = Box::pin(UnixStream::connect(&name));
            match timeout(Duration::from_millis(10), &mut connecting).await {
                Ok(stream) => queued.push(stream.expect("connected")),
                Err(_) => break connecting,
            }
        };
        // Dropping an attempt ends it.
        assert!(timeout(Duration::from_millis(2), UnixStream::connect(&name)).await.is_err());
        let accepting = async {
            for _ in 0..=queued.len() {
                listener.accept().await.expect("accepted");
            }
        };
        let (stream, ()) = future::zip(waiting, accepting).await;
        stream.expect("connected at last");
        assert_eq!(listener.try_accept().expect_err("nobody").kind(), ErrorKind::WouldBlock);
    }

    async fn a_pair_knows_its_peer_and_its_end() {
        let (mut one, mut other) = UnixStream::pair().expect("a pair");
        let cred = one.peer_cred().expect("credentials");
        // SAFETY: these calls always succeed.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        assert_eq!((cred.uid(), cred.gid()), (uid, gid));
        if cfg!(target_os = "linux") {
            assert_eq!(cred.pid(), Some(std::process::id() as i32));
        }
        assert_eq!(one.try_read(&mut [0; 1]).expect_err("nothing").kind(), ErrorKind::WouldBlock);
        other.write_all(b"last").await.expect("written");
        let mut buffer = [0; 8];
        assert_eq!(one.peek(&mut buffer).await.expect("seen"), 4);
        other.shutdown(Shutdown::Write).expect("shut down");
        let mut text = String::new();
        one.read_to_string(&mut text).await.expect("read");
        assert_eq!(text, "last");
        drop(one);
        let error = other.write(b"x").await.expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert!(other.take_error().expect("got").is_none());
        assert!(other.into_std().peer_addr().expect("an address").is_unnamed());
    }

    async fn vectored_reads_and_writes_are_one_call_each() {
        let (one, other) = UnixStream::pair().expect("a pair");
        let parts = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
        assert_eq!((&one).write_vectored(&parts).await.expect("written"), 7);
        let (mut x, mut y) = ([0; 3], [0; 10]);
        let mut buffers = [IoSliceMut::new(&mut x), IoSliceMut::new(&mut y)];
        assert_eq!((&other).read_vectored(&mut buffers).await.expect("read"), 7);
        assert_eq!((&x, &y[..4]), (b"one", b" two".as_slice()));
        let many = vec![IoSlice::new(b"x"); 5000];
        let n = one.try_write_vectored(&many).expect("written");
        assert!(n > 0 && n <= 5000);
        let (mut sender, mut receiver) = pipe::pipe().expect("a pipe");
        assert_eq!(sender.write_vectored(&parts).await.expect("written"), 7);
        let mut buffers = [IoSliceMut::new(&mut x), IoSliceMut::new(&mut y)];
        assert_eq!(receiver.read_vectored(&mut buffers).await.expect("read"), 7);
        assert!(sender.try_write_vectored(&many).expect("written") <= 5000);
    }

    async fn halves_are_reunited_and_a_dropped_writer_ends_its_direction() {
        let (one, mut other) = UnixStream::pair().expect("a pair");
        let (stranger, _) = UnixStream::pair().expect("a pair").0.into_split();
        let (reader, writer) = one.into_split();
        let error = stranger.reunite(writer).expect_err("two streams");
        assert!(error.to_string().contains("not those of one stream"));
        let one = reader.reunite(error.1).expect("one stream");
        let (mut reader, mut writer) = one.into_split();
        writer.write_all(b"half").await.expect("written");
        drop(writer);
        let mut text = String::new();
        other.read_to_string(&mut text).await.expect("read");
        assert_eq!(text, "half");
        other.write_all(b"other").await.expect("written");
        let mut buffer = [0; 5];
        reader.read_exact(&mut buffer).await.expect("read");
        let (kept, mut peer) = UnixStream::pair().expect("a pair");
        let (reader, writer) = kept.into_split();
        writer.forget();
        let waited = timeout(Duration::from_millis(2), peer.read(&mut buffer)).await;
        assert!(waited.is_err(), "the direction is open");
        drop(reader);
        assert_eq!(peer.read(&mut buffer).await.expect("read"), 0);
    }

    async fn datagrams_have_paths_and_are_never_lost() {
        let (at_one, at_other) = (Name::new(), Name::new());
        let one = UnixDatagram::bind(&at_one).expect("bound");
        let other = UnixDatagram::bind(&at_other).expect("bound");
        let mut buffer = [0; 64];
        one.send_to(b"hello", &at_other).await.expect("sent");
        let (n, from) = other.recv_from(&mut buffer).await.expect("received");
        assert_eq!((&buffer[..n], from.as_pathname()), (&b"hello"[..], Some(at_one.as_ref())));
        other.send_to_addr(b"back", &from).await.expect("sent");
        assert_eq!(one.recv(&mut buffer).await.expect("received"), 4);
        let error = one.send_to(b"x", "/no/such/path").await.expect_err("not there");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = one.send(b"x").await.expect_err("not connected");
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        assert_eq!(UnixDatagram::bind(&at_one).expect_err("in use").kind(), ErrorKind::AddrInUse);
        // Two senders fill the receiver's queue; a sender that is not connected is not told of room.
        let unbound = UnixDatagram::unbound().expect("a socket");
        one.connect(&at_other).expect("connected");
        let numbers = 0..500u16;
        let connected = async {
            for i in numbers.clone() {
                one.send(&i.to_le_bytes()).await.expect("sent");
            }
        };
        let unconnected = async {
            for i in numbers.clone() {
                unbound.send_to(&i.to_le_bytes(), &at_other).await.expect("sent");
            }
        };
        let receiving = async {
            let (mut bound, mut free) = (Vec::new(), Vec::new());
            while bound.len() + free.len() < 1000 {
                let mut number = [0; 2];
                let (_, from) = other.recv_from(&mut number).await.expect("received");
                let list = if from.is_unnamed() { &mut free } else { &mut bound };
                list.push(u16::from_le_bytes(number));
            }
            (bound, free)
        };
        let (_, (bound, free)) = future::zip(future::zip(connected, unconnected), receiving).await;
        assert!(bound.iter().copied().eq(numbers.clone()) && free.iter().copied().eq(numbers.clone()));
        drop(other);
        let error = one.send(b"x").await.expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }

    async fn a_pair_of_datagrams_waits_and_tries() {
        let (one, other) = UnixDatagram::pair().expect("a pair");
        let mut buffer = [0; 8];
        assert!(future::poll_once(one.recv(&mut buffer)).await.is_none());
        assert_eq!(one.try_recv(&mut buffer).expect_err("none").kind(), ErrorKind::WouldBlock);
        assert_eq!(other.try_send(b"abc").expect("sent"), 3);
        one.readable().await.expect("readable");
        assert_eq!(one.try_recv_from(&mut buffer).expect("received").0, 3);
        poll_fn(|cx| other.poll_send(cx, b"d")).await.expect("sent");
        assert_eq!(poll_fn(|cx| one.poll_recv(cx, &mut buffer)).await.expect("received"), 1);
        let error = other.send(&vec![0; 10 << 20]).await.expect_err("too long");
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        while other.try_send(&[0; 100]).is_ok() {}
        assert!(future::poll_once(other.send(b"full")).await.is_none());
        let drained = async {
            while let Ok(n) = one.recv(&mut buffer).await {
                if n == 4 {
                    break;
                }
            }
        };
        future::zip(drained, async { other.send(b"full").await.expect("sent") }).await;
        one.shutdown(Shutdown::Both).expect("shut down");
        assert_eq!(other.send(b"x").await.expect_err("shut").kind(), ErrorKind::BrokenPipe);
    }

    async fn any_number_of_tasks_may_accept_and_give_up() {
        let name = Name::new();
        let listener = Arc::new(UnixListener::bind(&name).expect("bound"));
        let acceptors: Vec<_> = (0..10).map(|_| {
            let listener = listener.clone();
            spawn(async move { listener.accept().await.map(drop) })
        }).collect();
        let (mut taken, mut streams) = (0, Vec::new());
        for _ in 0..10 {
            streams.push(UnixStream::connect(&name).await.expect("connected"));
            // One that is polled, and dropped, however far it has come.
            if future::poll_once(listener.accept()).await.is_some() {
                taken += 1;
            }
        }
        for _ in 0..taken {
            streams.push(UnixStream::connect(&name).await.expect("connected"));
        }
        for acceptor in acceptors {
            acceptor.await.expect("an acceptor").expect("accepted");
        }
    }

    async fn a_pipe_carries_bytes_to_its_end() {
        let (mut sender, mut receiver) = pipe::pipe().expect("a pipe");
        let data: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
        let copy = data.clone();
        let writer = spawn(async move {
            sender.write_all(&copy).await.expect("written");
            sender.flush().await.expect("flushed");
        });
        let mut received = Vec::new();
        receiver.read_to_end(&mut received).await.expect("read");
        assert!(received == data);
        writer.await.expect("the writer");
        let (sender, receiver) = pipe::pipe().expect("a pipe");
        assert_eq!(receiver.try_read(&mut [0; 1]).expect_err("empty").kind(), ErrorKind::WouldBlock);
        while sender.try_write(&[0; 4096]).is_ok() {}
        assert!(future::poll_once(sender.writable()).await.is_none());
        let mut all = vec![0; 1 << 20];
        (&receiver).read(&mut all).await.expect("read");
        sender.writable().await.expect("room");
        let blocking = std::fs::File::from(sender.into_blocking_fd().expect("blocking"));
        (&blocking).write_all(b"plain").expect("written");
        drop(blocking);
        let mut text = String::new();

        let mut file = std::fs::File::from(receiver.into_blocking_fd().expect("blocking"));
        file.read_to_string(&mut text).expect("read");
        assert_eq!(text, "plain");
    }

    async fn bytes_are_spliced_from_a_stream_to_a_pipe_and_back() {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let (sender, receiver) = pipe::pipe().expect("a pipe");
        let (target, mut end) = UnixStream::pair().expect("a pair");
        let data: Vec<u8> = (0..500_000u32).map(|n| (n / 7) as u8).collect();
        let send = async {
            ours.write_all(&data).await.expect("written");
            ours.close().await.expect("closed");
        };
        let (mut inward, mut outward) = (0, 0);
        let first = async {
            splice(&theirs, &sender, u64::MAX, &mut inward).await.expect("spliced");
            drop(sender);
        };
        let second = async {
            splice(&receiver, &target, u64::MAX, &mut outward).await.expect("spliced");
            target.shutdown(Shutdown::Write).expect("shut down");
        };
        let mut back = Vec::new();
        let receive = async { end.read_to_end(&mut back).await.expect("read") };
        future::zip(future::zip(send, first), future::zip(second, receive)).await;
        assert!(back == data);
        assert_eq!((inward, outward), (500_000, 500_000));
    }

    async fn a_pipe_without_a_reader_is_an_error_and_no_signal() {
        // SAFETY: the default disposition is a valid one.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let (mut sender, receiver) = pipe::pipe().expect("a pipe");
        drop(receiver);
        for _ in 0..3 {
            assert_eq!(sender.write(b"x").await.expect_err("gone").kind(), ErrorKind::BrokenPipe);
            let parts = [IoSlice::new(b"x")];
            assert_eq!(sender.try_write_vectored(&parts).expect_err("gone").kind(), ErrorKind::BrokenPipe);
        }
        let (mut sender, receiver) = pipe::pipe().expect("a pipe");
        let writing = spawn(async move {
            sender.write_all(&vec![0; 1 << 20]).await.expect_err("gone").kind()
        });
        libruntime_core::task::yield_now().await;
        drop(receiver);
        assert_eq!(writing.await.expect("the writer"), ErrorKind::BrokenPipe);
    }

    async fn named_pipes_are_opened_from_both_ends() {
        let name = fifo();
        let options = pipe::OpenOptions::new();
        let error = options.open_sender(&name).expect_err("no receiver");
        assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
        let mut receiver = options.open_receiver(&name).expect("opened");
        let mut sender = options.open_sender(&name).expect("opened");
        let mut buffer = [0; 8];
        assert!(future::poll_once(receiver.read(&mut buffer)).await.is_none());
        sender.write_all(b"word").await.expect("written");
        assert_eq!(receiver.read(&mut buffer).await.expect("read"), 4);
        drop(sender);
        assert_eq!(receiver.read(&mut buffer).await.expect("read"), 0);
        let mut both = pipe::OpenOptions::new();
        both.read_write(true);
        let lone = fifo();
        let mut sender = both.open_sender(&lone).expect("opened without a receiver");
        sender.write_all(b"x").await.expect("written");
        let file = Name::new();
        std::fs::write(&file, b"text").expect("written");
        assert_eq!(options.open_receiver(&file).expect_err("a file").kind(), ErrorKind::InvalidInput);
        assert_eq!(options.open_sender("/no/such").expect_err("none").kind(), ErrorKind::NotFound);
        let mut anything = pipe::OpenOptions::new();
        let mut file = anything.unchecked(true).open_receiver(&file).expect("unchecked");
        assert_eq!(file.read(&mut buffer).await.expect("read"), 4);
    }

    async fn a_descriptor_that_is_not_that_end_of_a_pipe_is_refused() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        let copy = reader.try_clone().expect("dup");
        assert_eq!(pipe::Sender::from_owned_fd(copy).expect_err("reads").kind(), ErrorKind::InvalidInput);
        assert_eq!(pipe::Receiver::from_owned_fd(writer).expect_err("writes").kind(), ErrorKind::InvalidInput);
        let socket = OwnedFd::from(std::os::unix::net::UnixStream::pair().expect("a pair").0);
        assert_eq!(pipe::Receiver::from_owned_fd(socket).expect_err("a socket").kind(), ErrorKind::InvalidInput);
        let receiver = pipe::Receiver::from_owned_fd(reader).expect("reads");
        // SAFETY: the descriptor is open.
        let flags = unsafe { libc::fcntl(receiver.as_raw_fd(), libc::F_GETFL) };
        assert_ne!(flags & libc::O_NONBLOCK, 0);
    }
}

#[cfg(target_os = "linux")]
on_runtimes! {
    async fn abstract_names_need_no_file() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("libruntime-{:?}", Name::new().0);
        let path = OsStr::from_bytes(&[b"\0", name.as_bytes()].concat()).to_owned();
        let listener = UnixListener::bind(&path).expect("bound");
        let address = listener.local_addr().expect("an address");
        assert_eq!(address.as_abstract_name(), Some(name.as_bytes()));
        assert_eq!(UnixListener::bind_addr(&address).expect_err("in use").kind(), ErrorKind::AddrInUse);
        let client = UnixStream::connect(&path).await.expect("connected");
        let again = UnixStream::connect_addr(&address).await.expect("connected");
        listener.accept().await.expect("accepted");
        drop((client, again, listener));
        UnixListener::bind_addr(&address).expect("free again");
    }

    // A pipe whose reads take one write's data each is not empty after a short read.
    async fn a_pipe_of_packets_is_read_to_its_end() {
        let mut fds = [0; 2];
        // SAFETY: there is room for two descriptors, which belong to nobody else.
        let (reader, writer) = unsafe {
            assert_eq!(libc::pipe2(fds.as_mut_ptr(), libc::O_DIRECT | libc::O_CLOEXEC), 0);
            use std::os::fd::FromRawFd;
            (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
        };
        let mut receiver = pipe::Receiver::from_owned_fd(reader).expect("a reader");
        let mut sender = pipe::Sender::from_owned_fd(writer).expect("a writer");
        let mut buffer = [0; 64];
        assert!(future::poll_once(receiver.read(&mut buffer)).await.is_none());
        for _ in 0..3 {
            sender.write_all(b"packet").await.expect("written");
        }
        for _ in 0..3 {
            assert_eq!(receiver.read(&mut buffer).await.expect("read"), 6);
        }
    }
}
