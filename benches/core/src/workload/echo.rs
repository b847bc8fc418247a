//! A TCP echo server for the load generator.

use std::net::TcpListener;

use crate::candidate::Candidate;
use crate::measure::Settings;

/// Prints where it listens, then serves until the process is killed, with a buffer of 16 KiB for each connection.
pub(super) fn serve<C: Candidate>(runtime: &C, _settings: &Settings) {
    runtime.serve_echo(listen(), 16 * 1024);
}

/// Likewise with 64 bytes, so that what is weighed is the connection.
pub(super) fn serve_small<C: Candidate>(runtime: &C, _settings: &Settings) {
    runtime.serve_echo(listen(), 64);
}

fn listen() -> TcpListener {
    more_descriptors();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
        .expect("a socket can be made");
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("a free port");
    // std's own choice of 128 would make a client that opens 10,000 connections wait for retransmissions.
    socket.listen(4096).expect("a bound socket can listen");
    socket
        .set_nonblocking(true)
        .expect("a listener can be made non-blocking");
    let listener = TcpListener::from(socket);
    println!(
        "listening {}",
        listener
            .local_addr()
            .expect("a bound listener has an address")
    );
    listener
}

/// The soft limit on descriptors is often a thousand; the hard one is ours to use.
fn more_descriptors() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid to write to.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    assert_eq!(status, 0, "the limit can be read");
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is valid to read.
    let status = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(status, 0, "a soft limit may be raised to the hard one");
}
