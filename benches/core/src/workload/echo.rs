//! A TCP echo server for the load generator.

use std::net::TcpListener;

use crate::candidate::Candidate;
use crate::measure::Settings;

/// Prints where it listens, then serves until the process is killed.
pub(super) fn serve<C: Candidate>(runtime: &C, _settings: &Settings) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener
        .set_nonblocking(true)
        .expect("a listener can be made non-blocking");
    println!(
        "listening {}",
        listener
            .local_addr()
            .expect("a bound listener has an address")
    );
    runtime.serve_echo(listener);
}
