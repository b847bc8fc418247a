//! TCP on a runtime of one, two and four workers, and on an event loop with a runtime attached.

use std::future::{Future, poll_fn};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use libruntime_core::net::{
    AsyncFd, LookupError, ReadPlace, TcpListener, TcpSocket, TcpStream, UdpSocket, lookup_host,
};
use libruntime_core::reactor::Interest;
use libruntime_core::spawn;
use libruntime_core::time::{sleep, timeout};

#[macro_use]
mod on_runtimes;
use on_runtimes::runtime;

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

async fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listener().await;
    let (client, server) = future::zip(TcpStream::connect(address), listener.accept()).await;
    (client.expect("connected"), server.expect("accepted").0)
}

/// A new named pipe.
fn fifo() -> std::path::PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("libruntime-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("no zero");
    // SAFETY: the name ends with a zero.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    path
}

on_runtimes! {
    async fn an_echo_returns_every_byte() {
        let (listener, address) = listener().await;
        let server = spawn(async move {
            for _ in 0..20 {
                let (mut stream, _) = listener.accept().await.expect("accepted");
                spawn(async move {
                    let mut buffer = vec![0; 1000];
                    loop {
                        let n = stream.read(&mut buffer).await.expect("read");
                        if n == 0 {
                            break;
                        }
                        stream.write_all(&buffer[..n]).await.expect("written");
                    }
                });
            }
        });
        let clients: Vec<_> = (0..20u8)
            .map(|i| {
                spawn(async move {
                    let mut stream = TcpStream::connect(address).await.expect("connected");
                    let data: Vec<u8> = (0..5000).map(|n| (n % 251) as u8 ^ i).collect();
                    for round in 1..20 {
                        let part = &data[..data.len() / round];
                        stream.write_all(part).await.expect("written");
                        let mut back = vec![0; part.len()];
                        stream.read_exact(&mut back).await.expect("read");
                        assert!(back == part);
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.expect("a client");
        }
        server.await.expect("the server");
    }

    async fn more_than_the_buffers_hold_arrives_in_order() {
        let (mut a, mut b) = pair().await;
        let data: Vec<u8> = (0..8_000_000u32).map(|n| (n / 7) as u8).collect();
        let copy = data.clone();
        let writer = spawn(async move {
            a.write_all(&copy).await.expect("written");
            a.close().await.expect("closed");
            a
        });
        let mut received = Vec::new();
        b.read_to_end(&mut received).await.expect("read");
        assert!(received == data);
        writer.await.expect("the writer");
    }

    async fn vectored_reads_and_writes_keep_the_order_of_their_parts() {
        let (a, b) = pair().await;
        let parts = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
        let n = poll_fn(|cx| a.poll_write_vectored(cx, &parts)).await.expect("written");
        assert_eq!(n, 7);
        let (mut x, mut y) = ([0; 3], [0; 10]);
        let n = poll_fn(|cx| {
            b.poll_read_vectored(cx, &mut [IoSliceMut::new(&mut x), IoSliceMut::new(&mut y)])
        });
        assert_eq!(n.await.expect("read"), 7);
        assert_eq!((&x, &y[..4]), (b"one", b" two".as_slice()));
        let many = vec![IoSlice::new(b"x"); 5000];
        let n = poll_fn(|cx| a.poll_write_vectored(cx, &many)).await.expect("written");
        assert!(n > 0 && n <= 5000);
    }

    async fn both_directions_can_be_used_at_once_by_reference() {
        let (a, b) = pair().await;
        let echo = async {
            let (mut reader, mut writer) = (&b, &b);
            futures_lite::io::copy(&mut reader, &mut writer).await.expect("copied");
            writer.close().await.expect("closed");
        };
        let data = vec![7; 3_000_000];
        let send = async {
            (&a).write_all(&data).await.expect("written");
            (&a).close().await.expect("closed");
        };
        let mut back = Vec::new();
        let receive = async { (&a).read_to_end(&mut back).await.expect("read") };
        future::zip(echo, future::zip(send, receive)).await;
        assert!(back == data);
    }

    async fn the_end_of_a_stream_is_read_after_its_data() {
        let (mut a, mut b) = pair().await;
        // Let the reader register first, so that end and data come as one report.
        let mut first = [0; 1];
        assert!(future::poll_once(b.read(&mut first)).await.is_none());
        a.write_all(b"last words").await.expect("written");
        a.shutdown(Shutdown::Write).expect("shut down");
        for expected in [&b"last"[..], b" wor", b"ds", b"", b""] {
            let mut buffer = [0; 4];
            let n = b.read(&mut buffer).await.expect("read");
            assert_eq!(&buffer[..n], expected);
        }
        b.write_all(b"still here").await.expect("written");
        drop(b);
        let mut rest = String::new();
        a.read_to_string(&mut rest).await.expect("read");
        assert_eq!(rest, "still here");
        let error = a.write(b"x").await.expect_err("after shutdown");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        a.close().await.expect("closing twice is nothing");
    }

    async fn a_reset_is_an_error_and_raises_no_signal() {
        let (a, mut b) = pair().await;
        let mut buffer = [0; 4];
        let mut read = pin!(b.read(&mut buffer));
        assert!(future::poll_once(&mut read).await.is_none());
        a.reset().expect("reset");
        let error = read.await.expect_err("reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        // The writes that follow would raise SIGPIPE, which Rust's start-up code ignores for its
        // programs, and nobody for a C program.
        // SAFETY: the default disposition is a valid one.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        for _ in 0..3 {
            let error = b.write(b"x").await.expect_err("reset");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            let error = b.write_vectored(&[IoSlice::new(b"x")]).await.expect_err("reset");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        }
    }

    async fn a_peer_that_resets_in_mid_write_ends_the_write() {
        let (mut a, b) = pair().await;
        let writer = spawn(async move {
            let data = vec![1; 64 << 20];
            a.write_all(&data).await.expect_err("reset").kind()
        });
        libruntime_core::task::yield_now().await;
        b.reset().expect("reset");
        let kind = writer.await.expect("the writer");
        assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind:?}");
    }

    async fn connecting_to_a_closed_port_is_refused() {
        let (listener, address) = listener().await;
        drop(listener);
        let error = TcpStream::connect(address).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let stream = TcpStream::start_connect(address).expect("started");
        let error = poll_fn(|cx| stream.poll_connect(cx)).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }

    async fn a_connect_that_is_dropped_ends_the_attempt() {
        // A queue that is full leaves a further connection without an answer.
        let address = "127.0.0.1:0".parse().expect("an address");
        let listener = TcpListener::bind_addr(address, 1).expect("bound");
        let address = listener.local_addr().expect("an address");
        let mut queued = Vec::new();
        let waiting = loop {
            let stream = TcpStream::start_connect(address).expect("started");
            let connected = timeout(Duration::from_millis(50), poll_fn(|cx| stream.poll_connect(cx)));
            match connected.await {
                Ok(result) => result.expect("connected"),
                Err(_) => break stream,
            }
            queued.push(stream);
        };
        drop(waiting);
        let connecting = TcpStream::connect(address);
        assert!(timeout(Duration::from_millis(5), connecting).await.is_err());
        // The listener is none the worse for it.
        for stream in queued {
            let (_, peer) = listener.accept().await.expect("accepted");
            assert_eq!(peer, stream.local_addr().expect("an address"));
        }
    }

    async fn a_connect_whose_error_was_taken_still_fails() {
        let (listener, address) = listener().await;
        drop(listener);
        let stream = TcpStream::start_connect(address).expect("started");
        assert!(poll_fn(|cx| stream.poll_connect(cx)).await.is_err());
        for _ in 0..2 {
            let error = poll_fn(|cx| stream.poll_connect(cx)).await.expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::NotConnected);
        }
    }

    async fn a_wait_that_is_dropped_keeps_no_waker() {
        struct Nothing;
        impl std::task::Wake for Nothing {
            fn wake(self: Arc<Self>) {}
        }
        let (listener, _) = listener().await;
        let (a, _b) = pair().await;
        assert_eq!(a.try_read(&mut [0]).expect_err("nothing").kind(), ErrorKind::WouldBlock);
        let wake = Arc::new(Nothing);
        let waker = Waker::from(wake.clone());
        for _ in 0..3 {
            let cx = &mut Context::from_waker(&waker);
            assert!(pin!(listener.accept()).poll(cx).is_pending());
            assert!(pin!(a.readable()).poll(cx).is_pending());
        }
        drop(waker);
        assert_eq!(Arc::strong_count(&wake), 1);
    }

    async fn a_pipe_that_is_opened_again_after_its_end_can_be_waited_for() {
        let (name, mut options) = (fifo(), std::fs::OpenOptions::new());
        let reader = options
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&name)
            .expect("opened");
        let reader = AsyncFd::new(reader);
        let read = || poll_fn(|cx| reader.poll_read_with(cx, |mut pipe| pipe.read(&mut [0; 8])));
        for _ in 0..3 {
            let mut writer = std::fs::File::create(&name).expect("opened");
            assert!(future::poll_once(read()).await.is_none());
            writer.write_all(b"x").expect("written");
            assert_eq!(read().await.expect("read"), 1);
            assert!(future::poll_once(read()).await.is_none());
            drop(writer);
            assert_eq!(read().await.expect("read"), 0);
        }
        std::fs::remove_file(name).expect("removed");
    }

    async fn every_address_is_tried() {
        let (listener, address) = listener().await;
        let (gone, closed) = self::listener().await;
        drop(gone);
        let stream = TcpStream::connect(&[closed, address][..]).await.expect("the second");
        assert_eq!(stream.peer_addr().expect("a peer"), address);
        drop(listener);
        let error = TcpStream::connect(&[closed, address][..]).await.expect_err("neither");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = TcpStream::connect(&[][..]).await.expect_err("none");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    async fn names_are_looked_up() {
        let (listener, address) = listener().await;
        let accepted = spawn(async move { listener.accept().await.map(drop) });
        let stream = TcpStream::connect(("localhost", address.port())).await.expect("connected");
        assert_eq!(stream.peer_addr().expect("a peer").port(), address.port());
        accepted.await.expect("the listener").expect("accepted");
        let error = TcpStream::connect("no-such-name.invalid:1").await.expect_err("no such name");
        assert_ne!(error.kind(), ErrorKind::ConnectionRefused);
        let error = TcpStream::connect("nonsense").await.expect_err("nonsense");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    async fn a_port_in_use_can_not_be_bound() {
        let (_listener, address) = listener().await;
        let error = TcpListener::bind(address).await.expect_err("in use");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let error = TcpListener::bind("203.0.113.1:0").await.expect_err("not ours");
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    }

    async fn any_number_of_tasks_may_accept() {
        let (listener, address) = listener().await;
        let listener = Arc::new(listener);
        let acceptors: Vec<_> = (0..10)
            .map(|_| {
                let listener = listener.clone();
                spawn(async move { listener.accept().await.map(drop) })
            })
            .collect();
        for _ in 0..10 {
            TcpStream::connect(address).await.expect("connected");
        }
        for acceptor in acceptors {
            acceptor.await.expect("an acceptor").expect("accepted");
        }
    }

    async fn an_accept_that_is_dropped_loses_no_connection() {
        let (listener, address) = listener().await;
        for _ in 0..20 {
            assert!(future::poll_once(listener.accept()).await.is_none());
            let client = TcpStream::connect(address).await.expect("connected");
            let (server, peer) = listener.accept().await.expect("accepted");
            assert_eq!(client.local_addr().expect("an address"), peer);
            drop(server);
        }
    }

    async fn a_read_that_times_out_loses_no_data() {
        let (mut a, mut b) = pair().await;
        let writer = spawn(async move {
            for i in 0..100u8 {
                a.write_all(&[i]).await.expect("written");
                sleep(Duration::from_micros(300)).await;
            }
        });
        let mut received = Vec::new();
        while received.len() < 100 {
            let mut buffer = [0; 8];
            if let Ok(n) = timeout(Duration::from_micros(200), b.read(&mut buffer)).await {
                received.extend_from_slice(&buffer[..n.expect("read")]);
            }
        }
        assert_eq!(received, (0..100).collect::<Vec<_>>());
        writer.await.expect("the writer");
    }

    async fn a_socket_that_is_always_ready_gives_way_to_other_tasks() {
        let (mut a, b) = pair().await;
        a.write_all(&[0]).await.expect("written");
        let stop = Arc::new(AtomicUsize::new(0));
        let reader = spawn(async move {
            let stopped = stop.clone();
            spawn(async move { stop.store(1, Ordering::Relaxed) });
            while stopped.load(Ordering::Relaxed) == 0 {
                let peek = poll_fn(|cx| b.poll_peek(cx, &mut [0]));
                assert_eq!(peek.await.expect("read"), 1);
            }
        });
        reader.await.expect("the reader");
    }

    async fn try_operations_never_wait() {
        let (a, b) = pair().await;
        let mut buffer = [0; 16];
        let error = b.try_read(&mut buffer).expect_err("nothing there");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert_eq!(a.try_write(b"ab").expect("written"), 2);
        loop {
            b.readable().await.expect("readable");
            match b.try_read(&mut buffer) {
                Ok(n) => break assert_eq!(&buffer[..n], b"ab"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        let chunk = vec![0; 1 << 20];
        let mut sent = 0;
        while let Ok(n) = a.try_write(&chunk) {
            sent += n;
        }
        let drain = async {
            let (mut got, mut buffer) = (0, vec![0; 1 << 20]);
            while got < sent {
                got += (&b).read(&mut buffer).await.expect("read");
            }
        };
        future::zip(drain, async { a.writable().await.expect("writable") }).await;
        loop {
            a.writable().await.expect("writable");
            if a.try_write_vectored(&[IoSlice::new(b"more")]).is_ok() {
                break;
            }
        }
    }

    async fn a_stream_moves_between_tasks_while_it_waits() {
        let (mut a, b) = pair().await;
        let mut stream = b;
        for i in 0..50u8 {
            let mut buffer = [0; 1];
            assert!(future::poll_once(stream.read(&mut buffer)).await.is_none());
            let reader = spawn(async move {
                let mut buffer = [0; 1];
                stream.read_exact(&mut buffer).await.expect("read");
                (stream, buffer[0])
            });
            a.write_all(&[i]).await.expect("written");
            let (back, byte) = reader.await.expect("the reader");
            assert_eq!(byte, i);
            stream = back;
        }
    }

    async fn options_are_kept() {
        let (a, _b) = pair().await;
        a.set_nodelay(true).expect("set");
        assert!(a.nodelay().expect("got"));
        a.set_linger(Some(Duration::from_secs(2))).expect("set");
        assert_eq!(a.linger().expect("got"), Some(Duration::from_secs(2)));
        a.set_keepalive(Some(Duration::from_secs(60))).expect("set");
        a.set_keepalive(None).expect("set");
        assert!(a.take_error().expect("got").is_none());
    }

    async fn descriptors_are_closed_on_exec() {
        let (listener, address) = listener().await;
        let (client, server) = future::zip(TcpStream::connect(address), listener.accept()).await;
        let (client, (server, _)) = (client.expect("connected"), server.expect("accepted"));
        for fd in [listener.as_raw_fd(), client.as_raw_fd(), server.as_raw_fd()] {
            // SAFETY: the descriptor is open.
            let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
            assert_ne!(flags & libc::FD_CLOEXEC, 0);
        }
    }

    async fn standard_streams_come_and_go() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let listener = TcpListener::from_std(listener).expect("taken over");
        let client = std::thread::spawn(move || {
            let mut client = std::net::TcpStream::connect(address).expect("connected");
            client.write_all(b"plain").expect("written");
            let mut text = String::new();
            client.read_to_string(&mut text).expect("read");
            text
        });
        let (mut server, _) = listener.accept().await.expect("accepted");
        let mut buffer = [0; 5];
        server.read_exact(&mut buffer).await.expect("read");
        assert!(future::poll_once(server.read(&mut [0; 1])).await.is_none());
        let server = server.into_std();
        server.set_nonblocking(false).expect("blocking");
        (&server).write_all(&buffer).expect("written");
        drop(server);
        assert_eq!(client.join().expect("joined"), "plain");
        drop(listener.into_std());
    }

    async fn one_connection_wakes_one_acceptor_who_passes_on_what_is_left() {
        #[derive(Default)]
        struct Count(AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (listener, address) = listener().await;
        let counts: Vec<_> = (0..8).map(|_| Arc::new(Count::default())).collect();
        let mut accepting: Vec<_> = counts.iter().map(|_| Some(Box::pin(listener.accept()))).collect();
        for (count, accept) in counts.iter().zip(&mut accepting) {
            let waker = Waker::from(count.clone());
            let accept = accept.as_mut().expect("waits");
            assert!(accept.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let woken = || counts.iter().map(|count| count.0.load(Ordering::Relaxed)).sum::<usize>();
        let _client = TcpStream::connect(address).await.expect("connected");
        while woken() == 0 {
            libruntime_core::task::yield_now().await;
        }
        assert_eq!(woken(), 1);
        // Each that gives up passes it on to the next, and nobody else.
        for expected in 2..=8 {
            accepting[expected - 2] = None;
            assert_eq!(woken(), expected);
            assert_eq!(counts[expected - 1].0.load(Ordering::Relaxed), 1);
        }
        accepting[7].take().expect("the last").await.expect("accepted");
    }

    async fn a_socket_is_set_up_before_it_is_used() {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuse_address(true).expect("set");
        socket.set_reuse_port(true).expect("set");
        assert!(socket.reuse_address().expect("got") && socket.reuse_port().expect("got"));
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
        let address = socket.local_addr().expect("an address");
        let again = TcpSocket::new_v4().expect("a socket");
        assert_eq!(again.bind(address).expect_err("in use").kind(), ErrorKind::AddrInUse);
        let listener = socket.listen(16).expect("listening");
        let client = TcpSocket::new_v4().expect("a socket");
        client.set_send_buffer_size(50_000).expect("set");
        assert!(client.send_buffer_size().expect("got") >= 50_000);
        client.set_recv_buffer_size(50_000).expect("set");
        assert!(client.recv_buffer_size().expect("got") >= 50_000);
        client.set_nodelay(true).expect("set");
        assert!(client.nodelay().expect("got"));
        client.set_keepalive(true).expect("set");
        assert!(client.keepalive().expect("got"));
        client.set_linger(Some(Duration::from_secs(1))).expect("set");
        assert_eq!(client.linger().expect("got"), Some(Duration::from_secs(1)));
        client.set_tos_v4(0x10).expect("set");
        assert_eq!(client.tos_v4().expect("got"), 0x10);
        client.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
        let from = client.local_addr().expect("an address");
        let (client, server) = future::zip(client.connect(address), listener.accept()).await;
        let (client, (_, peer)) = (client.expect("connected"), server.expect("accepted"));
        assert_eq!((client.local_addr().expect("an address"), peer), (from, from));
        assert!(client.nodelay().expect("got"));
        drop(listener);
        let error = TcpSocket::new_v4().expect("a socket").connect(address).await.expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let six = "[::1]:1".parse().expect("an address");
        let error = TcpSocket::new_v4().expect("a socket").connect(six).await.expect_err("other family");
        assert!(error.raw_os_error().is_some(), "{error}");
        let fd = std::os::fd::OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0").expect("bound"));
        assert!(TcpSocket::from_owned_fd(fd).expect("taken over").bind(address).is_err());
    }

    async fn a_stream_is_split_for_two_tasks_and_put_together_again() {
        let (a, mut b) = pair().await;
        let peer = a.peer_addr().expect("a peer");
        let (mut reader, mut writer) = a.into_split();
        assert_eq!(reader.stream().peer_addr().expect("a peer"), peer);
        assert_eq!(writer.stream().peer_addr().expect("a peer"), peer);
        let reading = spawn(async move {
            let mut buffer = [0; 4];
            reader.read_exact(&mut buffer).await.expect("read");
            (reader, buffer)
        });
        writer.write_all(b"ping").await.expect("written");
        let mut buffer = [0; 4];
        b.read_exact(&mut buffer).await.expect("read");
        b.write_all(b"pong").await.expect("written");
        let (reader, back) = reading.await.expect("the reader");
        assert_eq!((&buffer, &back), (b"ping", b"pong"));
        let mut a = writer.reunite(reader).expect("one stream");
        a.write_all(b"more").await.expect("the direction is open");
        let (mut reader, mut writer) = a.split();
        writer.close().await.expect("closed");
        b.read_exact(&mut buffer).await.expect("read");
        assert_eq!(b.read(&mut buffer).await.expect("read"), 0);
        drop(b);
        assert_eq!(reader.read(&mut buffer).await.expect("read"), 0);
    }

    async fn streams_peek_and_tell_what_they_are_ready_for() {
        let (a, b) = pair().await;
        let mut buffer = [0; 8];
        assert_eq!(b.try_read(&mut buffer).expect_err("nothing").kind(), ErrorKind::WouldBlock);
        let both = Interest::READ | Interest::WRITE;
        assert!(b.ready(both).await.expect("writable").is_writable());
        assert!(future::poll_once(b.ready(Interest::READ)).await.is_none());
        assert!(future::poll_once(b.peek(&mut buffer)).await.is_none());
        a.try_write(b"abc").expect("written");
        assert_eq!(b.peek(&mut buffer).await.expect("seen"), 3);
        assert!(b.ready(Interest::READ).await.expect("readable").is_readable());
        assert_eq!(b.try_io(Interest::READ, || b.try_read(&mut buffer)).expect("read"), 3);
        for wrong in [Interest::NONE, Interest::PRIORITY, both | Interest::PRIORITY] {
            let error = b.ready(wrong).await.expect_err("not to be waited for");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        a.set_ttl(9).expect("set");
        assert_eq!(a.ttl().expect("got"), 9);
    }

    async fn a_name_that_does_not_resolve_says_so() {
        let error = lookup_host("no-such-name.invalid:80").await.err().expect("no such name");
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<LookupError>());
        let lookup = inner.expect("it is about the name");
        assert_eq!(lookup.host(), "no-such-name.invalid");
        assert!(lookup.is_not_found() != lookup.is_temporary() || !lookup.is_temporary());
        assert_eq!(lookup.is_not_found(), error.kind() == ErrorKind::NotFound);
        assert!(error.to_string().contains("\"no-such-name.invalid\" does not resolve"), "{error}");
        let error = lookup_host(("zero\0byte", 80)).await.err().expect("nonsense");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = lookup_host("no port").await.err().expect("nonsense");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let found: Vec<_> = lookup_host(("127.0.0.1", 5)).await.expect("a literal").collect();
        assert_eq!(found, ["127.0.0.1:5".parse().expect("an address")]);
        // Dropped while a thread is at it.
        for _ in 0..20 {
            drop(future::poll_once(lookup_host("localhost:1")).await);
        }
    }

    async fn an_address_without_its_port_is_refused_and_not_looked_up() {
        let refused = |error: std::io::Error, why: &str| {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains(why), "{error}");
        };
        let bare = "\"::1\" is not an address with a port: it is an IPv6 address alone";
        refused(lookup_host("::1").await.err().expect("refused"), bare);
        refused(TcpStream::connect("::1").await.expect_err("refused"), bare);
        refused(TcpListener::bind("::1".to_owned()).await.expect_err("refused"), bare);
        refused(UdpSocket::bind("::1").await.expect_err("refused"), bare);
        refused(TcpStream::connect("localhost").await.expect_err("refused"), "a colon and a port");
        refused(TcpStream::connect("localhost:port").await.expect_err("refused"), "from 0 to 65535");
        refused(TcpStream::connect(("[::1]", 1)).await.expect_err("refused"), "without brackets");
        refused(TcpStream::connect(&[][..]).await.expect_err("refused"), "no address to try");
    }

    async fn any_descriptor_is_waited_for_and_tried() {
        let (ours, mut other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let ours = AsyncFd::try_new(ours).expect("taken over");
        let mut buffer = [0; 8];
        let mut guard = ours.readable().await.expect("worth an attempt");
        assert!(guard.try_io(|mut io| io.read(&mut buffer)).is_none());
        assert!(future::poll_once(ours.readable()).await.is_none());
        let mut guard = ours.ready(Interest::READ | Interest::WRITE).await.expect("ready");
        assert!(guard.ready().is_writable() && !guard.ready().is_readable());
        let written = guard.try_io(|mut io| io.write(b"out")).expect("no wait");
        assert_eq!(written.expect("written"), 3);
        guard.clear_ready_matching(Interest::READ).expect("registered");
        ours.writable().await.expect("still writable");
        other.write_all(b"in").expect("written");
        let mut guard = ours.readable().await.expect("readable");
        let read = guard.try_io(|mut io| io.read(&mut buffer)).expect("no wait");
        assert_eq!(read.expect("read"), 2);
        let error = ours.try_io(Interest::READ, |mut io| io.read(&mut buffer)).expect_err("empty");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        drop(other);
        let guard = ours.readable().await.expect("the end");
        assert!(guard.ready().is_readable());
        drop(ours.into_inner());
    }

    async fn a_file_can_not_be_waited_for() {
        let open = || std::fs::File::open("/proc/self/exe").expect("opened");
        let (file, error) = AsyncFd::try_new(open()).expect_err("a file").into_parts();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        // Reading it never blocks, so that alone is no error; waiting is.
        let file = AsyncFd::new_owned(file);
        let read = poll_fn(|cx| file.poll_read_with(cx, |mut io| io.read(&mut [0; 4]))).await;
        assert_eq!(read.expect("read"), 4);
        let mut guard = file.readable().await.expect("nothing speaks against it");
        let error = guard.clear_ready().expect_err("a file");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("a file or a directory"), "{error}");
        let error = AsyncFd::try_new(-1).expect_err("none").into_parts().1;
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }

    async fn a_place_that_is_given_up_keeps_no_waker() {
        struct Nothing;
        impl std::task::Wake for Nothing {
            fn wake(self: Arc<Self>) {}
        }
        let (ours, mut other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("set");
        let ours = Arc::new(AsyncFd::new(ours));
        let places: Vec<_> = (0..3).map(|_| ReadPlace::new(&ours)).collect();
        assert!(places.iter().all(|place| place.is_of(&ours)));
        let wake = Arc::new(Nothing);
        let waker = Waker::from(wake.clone());
        let read = |place: &ReadPlace<_>, cx: &mut Context<'_>| {
            place.poll_read_with(cx, |mut io: &std::os::unix::net::UnixStream| io.read(&mut [0; 1]))
        };
        for place in &places {
            for _ in 0..2 {
                assert!(read(place, &mut Context::from_waker(&waker)).is_pending());
            }
        }
        drop(waker);
        assert_eq!(Arc::strong_count(&wake), 1 + places.len());
        drop(places);
        assert_eq!(Arc::strong_count(&wake), 1);
        let place = ReadPlace::new(&ours);
        other.write_all(b"x").expect("written");
        assert_eq!(poll_fn(|cx| read(&place, cx)).await.expect("read"), 1);
        drop(ours);
        let error = poll_fn(|cx| read(&place, cx)).await.expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    }
}

#[test]
fn a_socket_outside_of_any_runtime_works_until_it_would_block() {
    let address = "127.0.0.1:0".parse().expect("an address");
    let listener = TcpListener::bind_addr(address, 16).expect("bound");
    let _client = std::net::TcpStream::connect(listener.local_addr().expect("an address"));
    let cx = &mut Context::from_waker(Waker::noop());
    let Poll::Ready(Ok((stream, _))) = listener.poll_accept(cx) else {
        panic!("accepted")
    };
    let Poll::Ready(Err(error)) = stream.poll_read(cx, &mut [0; 1]) else {
        panic!("an error")
    };
    assert!(
        error.to_string().contains("belongs to no runtime"),
        "{error}"
    );
    let error = listener.try_accept().expect_err("nothing there");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    let error = future::block_on(TcpStream::connect("a-name:1")).expect_err("no runtime");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_stream_that_outlives_its_runtime_tells_so() {
    let runtime = runtime(1);
    let (a, mut b) = runtime
        .block_on(async {
            let (a, mut b) = pair().await;
            assert!(future::poll_once(b.read(&mut [0; 1])).await.is_none());
            (a, b)
        })
        .expect("entered");
    let waiting = std::thread::spawn(move || {
        let result = future::block_on(b.read(&mut [0; 1]));
        (b, result.expect_err("the runtime is gone").to_string())
    });
    drop(runtime);
    let (mut b, message) = waiting.join().expect("joined");
    assert!(message.contains("is gone"), "{message}");
    // What needs no waiting still works.
    a.try_write(b"x").expect("written");
    assert_eq!(future::block_on(b.read(&mut [0; 1])).expect("read"), 1);
}

/// A worker that one peer keeps busy with single messages may look for the next one instead of sleeping.
#[test]
fn tasks_from_outside_are_heard_now_and_then_between_the_messages_of_one_peer() {
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let (listener, address) = runtime.block_on(listener()).expect("free");
        let server = runtime.spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let mut byte = [0];
            while stream.read(&mut byte).await.expect("read") == 1 {
                stream.write_all(&byte).await.expect("written");
            }
        });
        let mut stream = std::net::TcpStream::connect(address).expect("connected");
        for number in 0..5_000_u32 {
            let mut byte = [number as u8];
            stream.write_all(&byte).expect("written");
            stream.read_exact(&mut byte).expect("read");
            assert_eq!(byte, [number as u8]);
            if number % 500 == 499 {
                let task = runtime.spawn(async move { number });
                assert_eq!(future::block_on(task).expect("it ran"), number);
            }
        }
        drop(stream);
        runtime.block_on(server).expect("free").expect("it ended");
    }
}
