//! hyper's client and server over libruntime's sockets, HTTP/1 and HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn as client;
use hyper::server::conn as server;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use libruntime_core::event_loop::EventLoop;
use libruntime_core::net::{TcpListener, TcpStream, UnixStream};
use libruntime_core::runtime::Runtime;
use libruntime_core::spawn;
use libruntime_ecosystem::{HyperExecutor, HyperIo, HyperTimer};

/// Answers with the request's own body, backwards.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/backwards") => match request.into_body().collect().await {
            Ok(body) => {
                let mut bytes = body.to_bytes().to_vec();
                bytes.reverse();
                *response.body_mut() = Full::from(bytes);
            }
            Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
        },
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}

fn request(path: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", "localhost")
        .body(Full::from(body))
        .expect("a request")
}

async fn body_of(response: Response<Incoming>) -> Vec<u8> {
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.expect("a body");
    body.to_bytes().to_vec()
}

/// Serves `connections` connections; the address, and what ends with the last.
async fn serve(
    connections: usize,
    http2: bool,
) -> (SocketAddr, libruntime_core::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let serving = spawn(async move {
        let mut served = Vec::new();
        for _ in 0..connections {
            let (stream, _) = listener.accept().await.expect("accepted");
            let io = HyperIo::new(stream);
            served.push(spawn(async move {
                if http2 {
                    server::http2::Builder::new(HyperExecutor)
                        .timer(HyperTimer)
                        .serve_connection(io, service_fn(answer))
                        .await
                } else {
                    server::http1::Builder::new()
                        .timer(HyperTimer)
                        .header_read_timeout(Duration::from_secs(60))
                        .serve_connection(io, service_fn(answer))
                        .await
                }
            }));
        }
        for served in served {
            served.await.expect("the task").expect("served");
        }
    });
    (address, serving)
}

async fn http1() {
    let (address, serving) = serve(4, false).await;
    let clients = (0..4u8).map(|i| {
        spawn(async move {
            let stream = TcpStream::connect(address).await.expect("connected");
            let (mut sender, connection) = client::http1::handshake(HyperIo::new(stream))
                .await
                .expect("a connection");
            let connection = spawn(connection);
            for size in [0, 1, 1000, 300_000] {
                let body: Vec<u8> = (0..size).map(|n| (n % 251) as u8 ^ i).collect();
                sender.ready().await.expect("ready");
                let response = sender
                    .send_request(request("/backwards", body.clone()))
                    .await;
                let mut back = body_of(response.expect("a response")).await;
                back.reverse();
                assert!(back == body);
            }
            sender.ready().await.expect("ready");
            let response = sender.send_request(request("/elsewhere", Vec::new())).await;
            assert_eq!(
                response.expect("a response").status(),
                StatusCode::NOT_FOUND
            );
            drop(sender);
            connection.await.expect("the task").expect("ended in order");
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client");
    }
    serving.await.expect("the server");
}

async fn http2() {
    let (address, serving) = serve(1, true).await;
    let stream = TcpStream::connect(address).await.expect("connected");
    let (sender, connection) = client::http2::Builder::new(HyperExecutor)
        .timer(HyperTimer)
        .handshake(HyperIo::new(stream))
        .await
        .expect("a connection");
    let connection = spawn(connection);
    // Side by side over one connection.
    let mut responses: FuturesUnordered<_> = (0..20u8)
        .map(|i| {
            let mut sender = sender.clone();
            async move {
                let body = vec![i; 10_000 * usize::from(i)];
                let response = sender
                    .send_request(request("/backwards", body.clone()))
                    .await;
                assert!(body_of(response.expect("a response")).await == body);
            }
        })
        .collect();
    while responses.next().await.is_some() {}
    drop((responses, sender));
    connection.await.expect("the task").expect("ended in order");
    serving.await.expect("the server");
}

#[test]
fn http1_runs_on_workers_and_on_an_event_loop() {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(http1()).expect("entered");
    let el = EventLoop::new().expect("a loop");
    el.set_runtime(Some(runtime.handle().clone()));
    el.block_on(http1()).expect("blocked");
}

#[test]
fn http2_runs_on_workers_and_on_an_event_loop() {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(http2()).expect("entered");
    let el = EventLoop::new().expect("a loop");
    el.set_runtime(Some(runtime.handle().clone()));
    el.block_on(http2()).expect("blocked");
}

/// A peer that goes in the middle of a message is an error on either side, and no hang.
#[test]
fn a_peer_that_goes_in_the_middle_of_a_message_is_told() {
    use futures_lite::{AsyncReadExt, AsyncWriteExt};
    let runtime = Runtime::new().expect("a runtime");
    let body = async {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let serving = spawn(
            server::http1::Builder::new()
                .serve_connection(HyperIo::new(theirs), service_fn(answer)),
        );
        let part = b"POST /backwards HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf";
        ours.write_all(part).await.expect("written");
        ours.close().await.expect("closed");
        let mut told = String::new();
        ours.read_to_string(&mut told).await.expect("read");
        assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
        let _ = serving.await.expect("the task");
        let (mut theirs, ours) = UnixStream::pair().expect("a pair");
        let (mut sender, connection) = client::http1::handshake(HyperIo::new(ours))
            .await
            .expect("a connection");
        let connection = spawn(connection);
        theirs
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-le")
            .await
            .expect("written");
        theirs.close().await.expect("closed");
        let sent = sender.send_request(request("/", Vec::new())).await;
        assert!(sent.is_err());
        drop((sender, theirs));
        let _ = connection.await.expect("the task");
    };
    runtime.block_on(body).expect("entered");
}

/// A server that waits for a header longer than it wants to ends the connection: hyper's timeouts run
/// on our timers.
#[test]
fn a_header_that_does_not_come_is_timed_out() {
    let runtime = Runtime::new().expect("a runtime");
    let body = async {
        let (_silent, theirs) = UnixStream::pair().expect("a pair");
        let serving = server::http1::Builder::new()
            .timer(HyperTimer)
            .header_read_timeout(Duration::from_millis(5))
            .serve_connection(HyperIo::new(theirs), service_fn(answer));
        let error = serving.await.expect_err("timed out");
        assert!(error.is_timeout(), "{error:?}");
    };
    runtime.block_on(body).expect("entered");
}
