//! UDP, one datagram at a time and in batches.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_lite::future;
use libruntime_core::net::{Incoming, Outgoing, UdpSocket};
use libruntime_core::reactor::{Interest, Ready};
use libruntime_core::spawn;
use libruntime_core::time::timeout;

#[macro_use]
mod on_runtimes;

async fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

async fn pair() -> (UdpSocket, UdpSocket) {
    let (one, at_one) = socket().await;
    let (other, at_other) = socket().await;
    one.connect(at_other).await.expect("connected");
    other.connect(at_one).await.expect("connected");
    (one, other)
}

/// Receives `wanted` datagrams with room for `room` at a time.
async fn receive(socket: &UdpSocket, wanted: usize, room: usize) -> Vec<(Vec<u8>, SocketAddr)> {
    let mut received = Vec::new();
    while received.len() < wanted {
        let mut buffers = vec![[0; 64]; room];
        let mut incoming: Vec<_> = buffers.iter_mut().map(|b| Incoming::new(b)).collect();
        let n = socket.recv_many(&mut incoming).await.expect("received");
        assert!((1..=room).contains(&n));
        for message in &incoming[..n] {
            assert!(!message.is_truncated());
            received.push((message.data().to_vec(), message.from().expect("a sender")));
        }
        assert!(incoming[n..].iter().all(|rest| rest.from().is_none()));
    }
    received
}

on_runtimes! {
    async fn datagrams_come_whole_and_say_who_sent_them() {
        let ((one, at_one), (other, at_other)) = (socket().await, socket().await);
        for size in [0, 1, 500, 60_000] {
            let data = vec![size as u8; size];
            assert_eq!(one.send_to(&data, at_other).await.expect("sent"), size);
            let mut buffer = vec![0; 65_536];
            let (n, from) = other.peek_from(&mut buffer).await.expect("seen");
            assert_eq!((n, from), (size, at_one));
            let (n, from) = other.recv_from(&mut buffer).await.expect("received");
            assert_eq!((&buffer[..n], from), (&data[..], at_one));
        }
    }

    async fn a_connected_socket_hears_its_peer_alone() {
        let (one, other) = pair().await;
        assert_eq!(one.peer_addr().expect("a peer"), other.local_addr().expect("an address"));
        let (stranger, _) = socket().await;
        stranger.send_to(b"noise", one.local_addr().expect("an address")).await.expect("sent");
        other.send(b"word").await.expect("sent");
        let mut buffer = [0; 16];
        assert_eq!(one.peek(&mut buffer).await.expect("seen"), 4);
        assert_eq!(one.recv(&mut buffer).await.expect("received"), 4);
        assert_eq!(&buffer[..4], b"word");
        let error = stranger.send(b"x").await.expect_err("not connected");
        assert_eq!(error.raw_os_error(), Some(libc::EDESTADDRREQ));
        assert_eq!(stranger.peer_addr().expect_err("none").kind(), ErrorKind::NotConnected);
    }

    async fn what_does_not_fit_is_refused_or_cut_off_and_told() {
        let (one, other) = pair().await;
        let error = one.send(&[0; 70_000]).await.expect_err("too long");
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        one.send(b"0123456789").await.expect("sent");
        one.send(b"short").await.expect("sent");
        let (mut small, mut large) = ([0; 4], [0; 64]);
        let mut incoming = [Incoming::new(&mut small), Incoming::new(&mut large)];
        let mut n = 0;
        while n < 2 {
            n += other.recv_many(&mut incoming[n..]).await.expect("received");
        }
        assert_eq!((incoming[0].data(), incoming[0].is_truncated()), (b"0123".as_slice(), true));
        assert_eq!((incoming[1].data(), incoming[1].is_truncated()), (b"short".as_slice(), false));
    }

    async fn a_peer_that_is_gone_is_told() {
        let (one, other) = pair().await;
        drop(other);
        let mut buffer = [0; 4];
        let waiting = async { one.recv(&mut buffer).await.expect_err("refused") };
        let sending = async { one.send(b"anybody?").await.expect("sent") };
        let (error, _) = future::zip(waiting, sending).await;
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = UdpSocket::bind("203.0.113.1:0").await.expect_err("not ours");
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        let (_held, address) = socket().await;
        let error = UdpSocket::bind(address).await.expect_err("in use");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let error = UdpSocket::bind("nonsense").await.expect_err("nonsense");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    async fn batches_keep_order_and_addresses() {
        let ((one, at_one), (other, at_other)) = (socket().await, socket().await);
        let words: Vec<_> = (0..200u32).map(u32::to_le_bytes).collect();
        let outgoing: Vec<_> = words.iter().map(|word| Outgoing::to(at_other, word)).collect();
        for room in [1, 7, 200] {
            let sending = async {
                let mut sent = 0;
                while sent < outgoing.len() {
                    sent += one.send_many(&outgoing[sent..]).await.expect("sent");
                }
            };
            let ((), received) = future::zip(sending, receive(&other, 200, room)).await;
            for (word, (data, from)) in words.iter().zip(&received) {
                assert_eq!((&data[..], *from), (&word[..], at_one));
            }
        }
        // Room for none is filled at once.
        assert_eq!(one.send_many(&[]).await.expect("nothing"), 0);
        assert_eq!(one.recv_many(&mut []).await.expect("nothing"), 0);
    }

    async fn a_batch_ends_before_the_datagram_that_can_not_be_sent() {
        let (one, other) = pair().await;
        let long = vec![0; 70_000];
        let outgoing = [
            Outgoing::connected(b"one"), Outgoing::connected(b"two"),
            Outgoing::connected(&long), Outgoing::connected(b"three"),
        ];
        assert_eq!(one.send_many(&outgoing).await.expect("two"), 2);
        let error = one.send_many(&outgoing[2..]).await.expect_err("the long one");
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        assert_eq!(one.send_many(&outgoing[3..]).await.expect("the rest"), 1);
        let words: Vec<_> = receive(&other, 3, 8).await.into_iter().map(|(data, _)| data).collect();
        assert_eq!(words, [&b"one"[..], b"two", b"three"]);
    }

    async fn a_batch_waits_for_the_first_and_survives_being_dropped() {
        let (one, other) = pair().await;
        let mut buffer = [0; 8];
        let mut incoming = [Incoming::new(&mut buffer)];
        assert!(future::poll_once(other.recv_many(&mut incoming)).await.is_none());
        assert_eq!(other.try_recv_many(&mut incoming).expect_err("none").kind(), ErrorKind::WouldBlock);
        one.send(b"late").await.expect("sent");
        assert_eq!(poll_fn(|cx| other.poll_recv_many(cx, &mut incoming)).await.expect("one"), 1);
        assert_eq!(incoming[0].data(), b"late");
        assert_eq!(poll_fn(|cx| one.poll_send_many(cx, &[Outgoing::connected(b"x")])).await.expect("one"), 1);
        assert_eq!(one.try_send_many(&[Outgoing::connected(b"y")]).expect("one"), 1);
        assert_eq!(receive(&other, 2, 4).await.len(), 2);
    }

    async fn any_number_of_tasks_may_receive() {
        let (one, at_one) = socket().await;
        let (one, count) = (Arc::new(one), Arc::new(AtomicUsize::new(0)));
        let receivers: Vec<_> = (0..8).map(|_| {
            let (one, count) = (one.clone(), count.clone());
            spawn(async move {
                let mut buffer = [0; 8];
                loop {
                    let (n, _) = one.recv_from(&mut buffer).await.expect("received");
                    if n == 0 {
                        return;
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        }).collect();
        let (other, _) = socket().await;
        for i in 0..100u8 {
            other.send_to(&[i], at_one).await.expect("sent");
        }
        // Some give up while they wait, or while they are woken.
        for _ in 0..20 {
            let mut buffer = [0; 8];
            let _ = future::poll_once(one.recv_from(&mut buffer)).await.map(|received| {
                count.fetch_add(1, Ordering::Relaxed);
                received.expect("received")
            });
        }
        for _ in 0..8 {
            other.send_to(&[], at_one).await.expect("sent");
        }
        for receiver in receivers {
            receiver.await.expect("a receiver");
        }
        assert_eq!(count.load(Ordering::Relaxed), 100);
    }

    async fn single_operations_poll_try_and_tell_readiness() {
        let (one, other) = pair().await;
        let mut buffer = [0; 8];
        assert_eq!(other.try_recv(&mut buffer).expect_err("none").kind(), ErrorKind::WouldBlock);
        assert!(future::poll_once(other.readable()).await.is_none());
        assert_eq!(one.ready(Interest::READ | Interest::WRITE).await.expect("ready") & Ready::WRITABLE, Ready::WRITABLE);
        one.writable().await.expect("writable");
        assert_eq!(one.try_send(b"a").expect("sent"), 1);
        other.readable().await.expect("readable");
        assert_eq!(other.try_peek_from(&mut buffer).expect("seen").0, 1);
        assert_eq!(other.try_recv_from(&mut buffer).expect("received").0, 1);
        assert_eq!(poll_fn(|cx| one.poll_send(cx, b"bc")).await.expect("sent"), 2);
        assert_eq!(poll_fn(|cx| other.poll_peek_from(cx, &mut buffer)).await.expect("seen").0, 2);
        assert_eq!(poll_fn(|cx| other.poll_recv(cx, &mut buffer)).await.expect("received"), 2);
        let (free, _) = socket().await;
        let at_free = free.local_addr().expect("an address");
        let (sender, at_sender) = socket().await;
        assert_eq!(sender.try_send_to(b"d", at_free).expect("sent"), 1);
        assert_eq!(poll_fn(|cx| sender.poll_send_to(cx, b"e", at_free)).await.expect("sent"), 1);
        for _ in 0..2 {
            let received = poll_fn(|cx| free.poll_recv_from(cx, &mut buffer)).await;
            assert_eq!(received.expect("received"), (1, at_sender));
        }
        let interest = Interest::READ | Interest::WRITE;
        let error = one.try_io(interest, || Ok(())).expect_err("both");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(one.ready(Interest::NONE).await.expect_err("none").kind(), ErrorKind::InvalidInput);
    }

    async fn options_are_kept_and_groups_joined() {
        let (one, at_one) = socket().await;
        one.set_broadcast(true).expect("set");
        assert!(one.broadcast().expect("got"));
        one.set_ttl(7).expect("set");
        assert_eq!(one.ttl().expect("got"), 7);
        one.set_tos_v4(0x10).expect("set");
        assert_eq!(one.tos_v4().expect("got"), 0x10);
        one.set_recv_buffer_size(100_000).expect("set");
        assert!(one.recv_buffer_size().expect("got") >= 100_000);
        one.set_send_buffer_size(100_000).expect("set");
        assert!(one.send_buffer_size().expect("got") >= 100_000);
        one.set_multicast_ttl_v4(3).expect("set");
        assert_eq!(one.multicast_ttl_v4().expect("got"), 3);
        one.set_multicast_loop_v4(false).expect("set");
        assert!(!one.multicast_loop_v4().expect("got"));
        let group = Ipv4Addr::new(239, 255, 70, 7);
        one.join_multicast_v4(group, Ipv4Addr::LOCALHOST).expect("joined");
        one.leave_multicast_v4(group, Ipv4Addr::LOCALHOST).expect("left");
        let error = one.leave_multicast_v4(group, Ipv4Addr::LOCALHOST).expect_err("left already");
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        let error = one.join_multicast_v6(&Ipv6Addr::LOCALHOST, 0).expect_err("not IPv6");
        assert!(error.raw_os_error().is_some());
        assert!(one.take_error().expect("got").is_none());
        assert_eq!(one.into_std().local_addr().expect("an address"), at_one);
    }

    async fn a_wait_that_times_out_loses_nothing() {
        let (one, other) = pair().await;
        let mut buffer = [0; 8];
        let waited = timeout(Duration::from_millis(2), other.recv(&mut buffer)).await;
        assert!(waited.is_err());
        one.send(b"still").await.expect("sent");
        assert_eq!(other.recv(&mut buffer).await.expect("received"), 5);
    }
}

#[test]
fn a_socket_that_outlives_its_runtime_tells_so() {
    let runtime = on_runtimes::runtime(1);
    let body = async {
        let (one, _) = socket().await;
        assert!(future::poll_once(one.recv(&mut [0; 1])).await.is_none());
        one
    };
    let one = runtime.block_on(body).expect("entered");
    let waiting = std::thread::spawn(move || {
        let result = future::block_on(one.recv(&mut [0; 1]));
        result.expect_err("the runtime is gone").to_string()
    });
    drop(runtime);
    let message = waiting.join().expect("joined");
    assert!(message.contains("is gone"), "{message}");
}
