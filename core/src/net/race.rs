//! Connecting to a name with several addresses: "Happy Eyeballs" (RFC 8305, sections 4 and 5).

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::stream::TcpStream;
use crate::context;
use crate::time::sleep;

/// How long an attempt has before the next begins beside it: what the RFC recommends.
const HEAD_START: Duration = Duration::from_millis(250);

/// The first attempt that succeeds; the others are given up. An attempt that fails begins the next at
/// once.
pub(super) async fn connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut race = Race {
        waiting: interleaved(addresses),
        running: Vec::new(),
        last_error: None,
    };
    loop {
        race.start_next();
        // The last has all the time it needs, and where there are no timers each has.
        let limited = !race.waiting.is_empty() && context::with_driver(|_| ()).is_some();
        let mut head_start = pin!(limited.then(|| sleep(HEAD_START)));
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(outcome) = race.poll(cx) {
                return Poll::Ready(outcome);
            }
            match head_start.as_mut().as_pin_mut() {
                Some(head_start) => head_start.poll(cx).map(|()| None),
                None => Poll::Pending,
            }
        });
        if let Some(outcome) = outcome.await {
            return outcome;
        }
    }
}

struct Race {
    waiting: VecDeque<SocketAddr>,
    running: Vec<TcpStream>,
    last_error: Option<io::Error>,
}

impl Race {
    fn start_next(&mut self) {
        while let Some(address) = self.waiting.pop_front() {
            match TcpStream::start_connect(address) {
                Ok(stream) => return self.running.push(stream),
                Err(error) => self.last_error = Some(error),
            }
        }
    }

    /// The winner, the last error, or `None` when an attempt has failed and there is another.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<TcpStream>>> {
        let mut failed = false;
        let mut index = 0;
        while index < self.running.len() {
            match self.running[index].poll_connect(cx) {
                Poll::Pending => index += 1,
                Poll::Ready(Ok(())) => {
                    return Poll::Ready(Some(Ok(self.running.swap_remove(index))));
                }
                Poll::Ready(Err(error)) => {
                    failed = true;
                    self.running.remove(index);
                    self.last_error = Some(error);
                }
            }
        }
        if failed && !self.waiting.is_empty() {
            return Poll::Ready(None);
        }
        if !self.running.is_empty() {
            return Poll::Pending;
        }
        let none = || io::Error::new(io::ErrorKind::InvalidInput, "there is no address to try");
        Poll::Ready(Some(Err(self.last_error.take().unwrap_or_else(none))))
    }
}

/// The families by turns, the first address's first, each in the order that it had.
fn interleaved(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let six_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let is_first = |address: &SocketAddr| address.is_ipv6() == six_first;
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(is_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = VecDeque::new();
    loop {
        let pair = (first.next(), second.next());
        if pair == (None, None) {
            return all;
        }
        all.extend(pair.0);
        all.extend(pair.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::TcpListener;
    use crate::runtime::Runtime;

    fn parsed(addresses: &[&str]) -> Vec<SocketAddr> {
        let parse = |address: &&str| address.parse().expect("an address");
        addresses.iter().map(parse).collect()
    }

    #[test]
    fn families_take_turns_and_keep_their_order() {
        let given = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"];
        let turns = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"];
        assert_eq!(interleaved(parsed(&given)), parsed(&turns));
        let given = ["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"];
        assert_eq!(interleaved(parsed(&given)), parsed(&given));
        assert_eq!(interleaved(Vec::new()), Vec::new());
    }

    /// A listener whose queue is full, so that a further connection is not answered.
    fn silent() -> (std::net::TcpListener, Vec<std::net::TcpStream>, SocketAddr) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("bound");
        socket.listen(0).expect("listening");
        let listener = std::net::TcpListener::from(socket);
        let address = listener.local_addr().expect("an address");
        let mut queued = Vec::new();
        let limit = Duration::from_millis(50);
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, limit) {
            queued.push(stream);
        }
        (listener, queued, address)
    }

    #[test]
    fn an_address_that_is_silent_or_refuses_does_not_keep_from_the_next() {
        let runtime = Runtime::new().expect("a runtime");
        let (_silent, _queued, silent) = silent();
        let body = async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            let address = listener.local_addr().expect("an address");
            let gone = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            let refusing = gone.local_addr().expect("an address");
            drop(gone);
            for first in [silent, refusing] {
                let stream = connect(vec![first, address]).await.expect("the second");
                assert_eq!(stream.peer_addr().expect("a peer"), address);
            }
            // The silent one runs on while the other fails.
            let connecting = connect(vec![silent, refusing]);
            let limit = HEAD_START + Duration::from_millis(50);
            assert!(crate::time::timeout(limit, connecting).await.is_err());
            let error = connect(vec![refusing, refusing])
                .await
                .expect_err("both refuse");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            let error = connect(Vec::new()).await.expect_err("none");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        };
        runtime.block_on(body).expect("entered");
    }
}
