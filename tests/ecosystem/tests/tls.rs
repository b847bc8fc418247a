//! TLS by `futures-rustls` over libruntime's sockets, with a certificate that is made for each test.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::Arc;

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future};
use futures_rustls::pki_types::{PrivateKeyDer, ServerName};
use futures_rustls::rustls::crypto::ring::default_provider;
use futures_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use futures_rustls::{TlsAcceptor, TlsConnector, client, server};
use libruntime_core::event_loop::EventLoop;
use libruntime_core::net::{TcpListener, TcpStream, UnixStream};
use libruntime_core::runtime::Runtime;
use libruntime_core::spawn;

/// A server with a certificate of its own for `localhost`, and a client that trusts it, or nobody.
fn ends(trusted: bool) -> (TlsAcceptor, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a certificate and its key");
    let mut roots = RootCertStore::empty();
    if trusted {
        roots.add(certificate).expect("a certificate");
    }
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server).into(), Arc::new(client).into())
}

fn name() -> ServerName<'static> {
    "localhost".try_into().expect("a name")
}

async fn handshake<S>(ours: S, theirs: S) -> (client::TlsStream<S>, server::TlsStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (acceptor, connector) = ends(true);
    let (client, server) =
        future::zip(connector.connect(name(), ours), acceptor.accept(theirs)).await;
    (
        client.expect("the client's end"),
        server.expect("the server's end"),
    )
}

async fn echo() {
    let (acceptor, connector) = ends(true);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let server = spawn(async move {
        let (stream, _) = listener.accept().await.expect("accepted");
        let stream = acceptor.accept(stream).await.expect("shaken hands");
        let (mut reader, mut writer) = futures_lite::io::split(stream);
        futures_lite::io::copy(&mut reader, &mut writer)
            .await
            .expect("copied");
        writer.close().await.expect("closed");
    });
    let stream = TcpStream::connect(address).await.expect("connected");
    let stream = connector
        .connect(name(), stream)
        .await
        .expect("shaken hands");
    let (mut reader, mut writer) = futures_lite::io::split(stream);
    let data: Vec<u8> = (0..2_000_000u32).map(|n| (n / 7) as u8).collect();
    let send = async {
        writer.write_all(&data).await.expect("written");
        // Says that no more comes (`close_notify`), and then ends the connection's direction.
        writer.close().await.expect("closed");
    };
    let mut back = Vec::new();
    let receive = async {
        reader
            .read_to_end(&mut back)
            .await
            .expect("read to the end")
    };
    future::zip(send, receive).await;
    assert!(back == data);
    server.await.expect("the server");
}

#[test]
fn an_echo_returns_every_byte_on_workers_and_on_an_event_loop() {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(echo()).expect("entered");
    let el = EventLoop::new().expect("a loop");
    el.set_runtime(Some(runtime.handle().clone()));
    el.block_on(echo()).expect("blocked");
}

#[test]
fn an_end_that_was_announced_is_told_from_one_that_was_not() {
    let runtime = Runtime::new().expect("a runtime");
    let body = async {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (mut client, mut server) = handshake(ours, theirs).await;
        client.write_all(b"all of it").await.expect("written");
        client.close().await.expect("closed");
        let mut text = String::new();
        server.read_to_string(&mut text).await.expect("an end");
        assert_eq!(text, "all of it");
        text.clear();
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (mut client, mut server) = handshake(ours, theirs).await;
        client.write_all(b"some of it").await.expect("written");
        client.flush().await.expect("flushed");
        let socket = client.get_ref().0;
        socket.shutdown(Shutdown::Write).expect("shut down");
        let error = server.read_to_string(&mut text).await.expect_err("cut off");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    };
    runtime.block_on(body).expect("entered");
}

#[test]
fn a_certificate_that_is_not_trusted_ends_both_sides() {
    let runtime = Runtime::new().expect("a runtime");
    let body = async {
        let (acceptor, connector) = ends(false);
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (client, server) =
            future::zip(connector.connect(name(), ours), acceptor.accept(theirs)).await;
        let error = client.expect_err("not trusted");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(server.is_err());
        // And what is no TLS at all.
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        ours.write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("written");
        assert!(acceptor.accept(theirs).await.is_err());
    };
    runtime.block_on(body).expect("entered");
}
