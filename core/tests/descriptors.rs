//! Promises about descriptors, in a process of their own and one after the other: they count what
//! the whole process has open, and take all that it may have.

use std::fs::File;
use std::io::ErrorKind;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use libruntime_core::event_loop::EventLoop;
use libruntime_core::net::unix::{UnixDatagram, UnixListener, UnixStream, pipe};
use libruntime_core::net::{TcpListener, TcpStream, UdpSocket};
use libruntime_core::reactor::Interest;
use libruntime_core::runtime::Builder;
use libruntime_core::time::timeout;

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

fn dropping_an_event_loop_closes_its_descriptors() {
    let before = open_descriptors();
    let el = EventLoop::new().expect("a loop");
    el.backend_fd().expect("embedding");
    let handle = el.handle();
    let (a, b) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&a);
    let watch = el.watch(fd, Interest::READ, |_| ()).expect("watched");
    let timer = el.add_timer_after(Duration::from_secs(60), None, || ());
    assert!(open_descriptors() > before + 2);
    drop(el);
    assert_eq!(
        open_descriptors(),
        before + 2,
        "the socket pair, though handles live on"
    );
    drop((handle, watch, timer, a, b));
    assert_eq!(open_descriptors(), before);
}

fn ten_thousand_connections_leave_nothing_behind() {
    let before = open_descriptors();
    let runtime = Builder::new().worker_threads(2).build().expect("a runtime");
    runtime
        .block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            let address = listener.local_addr().expect("an address");
            let server = libruntime_core::spawn(async move {
                for _ in 0..10_000 {
                    let (mut stream, _) = listener.accept().await.expect("accepted");
                    libruntime_core::spawn(async move {
                        let mut byte = [0];
                        stream.read_exact(&mut byte).await.expect("read");
                        stream.write_all(&byte).await.expect("written");
                    });
                }
            });
            let clients: Vec<_> = (0..10)
                .map(|_| {
                    libruntime_core::spawn(async move {
                        for i in 0..1000 {
                            let mut stream = TcpStream::connect(address).await.expect("connected");
                            stream.write_all(&[i as u8]).await.expect("written");
                            let mut byte = [0];
                            stream.read_exact(&mut byte).await.expect("read");
                            assert_eq!(byte[0], i as u8);
                            // So that no port stays behind waiting.
                            stream.reset().expect("reset");
                        }
                    })
                })
                .collect();
            for client in clients {
                client.await.expect("a client");
            }
            server.await.expect("the server");
        })
        .expect("entered");
    drop(runtime);
    assert_eq!(open_descriptors(), before);
}

/// Takes every descriptor that the process may have.
fn take_all() -> Vec<File> {
    let mut taken = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => taken.push(file),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                return taken;
            }
        }
    }
}

fn a_listener_outlives_the_lack_of_descriptors() {
    let limit = libc::rlimit {
        rlim_cur: 256,
        rlim_max: 256,
    };
    // SAFETY: the limit is valid for the duration of the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    let runtime = Builder::new().worker_threads(2).build().expect("a runtime");
    runtime
        .block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            let address = listener.local_addr().expect("an address");
            assert!(future::poll_once(listener.accept()).await.is_none());
            let client = TcpStream::connect(address).await.expect("connected");
            let taken = take_all();
            // The reactor may not have told of the connection yet.
            let error = loop {
                let error = listener.try_accept().expect_err("no descriptor");
                if error.kind() != std::io::ErrorKind::WouldBlock {
                    break error;
                }
                libruntime_core::task::yield_now().await;
            };
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            // It neither fails, nor spins: a pause for each attempt, longer each time.
            let none = timeout(Duration::from_millis(60), listener.accept()).await;
            assert!(none.is_err());
            assert!(
                (1..=5).contains(&listener.stalls()),
                "{} stalls",
                listener.stalls()
            );
            let polling = std::future::poll_fn(|cx| listener.poll_accept(cx));
            assert!(timeout(Duration::from_millis(20), polling).await.is_err());
            let error = TcpStream::connect(address)
                .await
                .expect_err("no descriptor");
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            drop(taken);
            let (_, peer) = listener.accept().await.expect("accepted at last");
            assert_eq!(peer, client.local_addr().expect("an address"));
            let (client, server) = future::zip(
                TcpStream::connect(address),
                std::future::poll_fn(|cx| listener.poll_accept(cx)),
            )
            .await;
            assert!(client.is_ok() && server.is_ok());
        })
        .expect("entered");
}

fn every_kind_of_socket_leaves_nothing_behind() {
    let before = open_descriptors();
    let path = std::env::temp_dir().join(format!("libruntime-fds-{}", std::process::id()));
    let runtime = Builder::new().worker_threads(2).build().expect("a runtime");
    runtime
        .block_on(async {
            for _ in 0..20 {
                let listener = UnixListener::bind(&path).expect("bound");
                let mut client = UnixStream::connect(&path).await.expect("connected");
                let (server, _) = listener.accept().await.expect("accepted");
                assert!(future::poll_once(client.read(&mut [0; 1])).await.is_none());
                drop(server.into_split());
                let (_one, _other) = UnixDatagram::pair().expect("a pair");
                let udp = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
                assert!(future::poll_once(udp.recv(&mut [0; 1])).await.is_none());
                let (_sender, mut receiver) = pipe::pipe().expect("a pipe");
                assert!(
                    future::poll_once(receiver.read(&mut [0; 1]))
                        .await
                        .is_none()
                );
                let gone = TcpListener::bind("127.0.0.1:0").await.expect("bound");
                let address = gone.local_addr().expect("an address");
                drop(gone);
                assert!(TcpStream::connect(address).await.is_err());
                let looked_up = future::poll_once(TcpStream::connect("localhost:1"));
                drop(looked_up.await);
                std::fs::remove_file(&path).expect("removed");
                assert!(UnixListener::bind(path.join("below")).is_err());
                assert!(UnixStream::connect(&path).await.is_err());
                assert!(UdpSocket::bind("203.0.113.1:0").await.is_err());
            }
        })
        .expect("entered");
    drop(runtime);
    assert_eq!(open_descriptors(), before);
}

/// After the limit has been set.
fn a_unix_listener_outlives_it_too() {
    let path = std::env::temp_dir().join(format!("libruntime-emfile-{}", std::process::id()));
    let runtime = Builder::new().worker_threads(2).build().expect("a runtime");
    runtime
        .block_on(async {
            let listener = UnixListener::bind(&path).expect("bound");
            assert!(future::poll_once(listener.accept()).await.is_none());
            let _client = UnixStream::connect(&path).await.expect("connected");
            let taken = take_all();
            let none = timeout(Duration::from_millis(30), listener.accept()).await;
            assert!(none.is_err());
            assert!((1..=4).contains(&listener.stalls()));
            drop(taken);
            listener.accept().await.expect("accepted at last");
        })
        .expect("entered");
    std::fs::remove_file(path).expect("removed");
}

fn a_loop_that_can_not_be_made_leaves_nothing_behind() {
    let before = open_descriptors();
    let mut taken = take_all();
    for _ in 0..2 {
        let error = EventLoop::new().expect_err("no descriptor");
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        assert_ne!(error.kind(), ErrorKind::WouldBlock);
        taken.pop();
    }
    drop(taken);
    assert_eq!(open_descriptors(), before);
}

#[test]
fn descriptors_are_accounted_for() {
    dropping_an_event_loop_closes_its_descriptors();
    ten_thousand_connections_leave_nothing_behind();
    every_kind_of_socket_leaves_nothing_behind();
    a_listener_outlives_the_lack_of_descriptors();
    a_unix_listener_outlives_it_too();
    a_loop_that_can_not_be_made_leaves_nothing_behind();
}
