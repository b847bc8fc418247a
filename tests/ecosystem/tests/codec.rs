//! Frames by `asynchronous-codec` over libruntime's sockets.

use asynchronous_codec::{BytesMut, Framed, LengthCodec, LinesCodec};
use futures_lite::AsyncWriteExt;
use futures_util::{SinkExt, StreamExt};
use libruntime_core::net::{TcpListener, TcpStream, UnixStream};
use libruntime_core::runtime::Runtime;
use libruntime_core::spawn;

#[test]
fn frames_arrive_one_by_one_whatever_the_reads_cut() {
    let runtime = Runtime::new().expect("a runtime");
    let body = async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let server = spawn(async move {
            let (stream, _) = listener.accept().await.expect("accepted");
            let (mut sink, mut stream) = Framed::new(stream, LengthCodec).split();
            while let Some(frame) = stream.next().await {
                sink.send(frame.expect("a frame")).await.expect("sent");
            }
        });
        let stream = TcpStream::connect(address).await.expect("connected");
        let mut frames = Framed::new(stream, LengthCodec);
        for size in [0, 1, 70_000, 3] {
            let frame = BytesMut::from_iter((0..size).map(|n| n as u8)).freeze();
            frames.send(frame.clone()).await.expect("sent");
            let back = frames.next().await.expect("one").expect("a frame");
            assert!(back == frame);
        }
        drop(frames);
        server.await.expect("the server");
    };
    runtime.block_on(body).expect("entered");
}

#[test]
fn a_frame_that_is_cut_off_is_an_error() {
    let runtime = Runtime::new().expect("a runtime");
    let body = async {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let mut lines = Framed::new(theirs, LinesCodec);
        ours.write_all(b"whole\ncut o").await.expect("written");
        drop(ours);
        assert_eq!(lines.next().await.expect("one").expect("a line"), "whole\n");
        assert!(lines.next().await.is_none_or(|rest| rest.is_err()));
    };
    runtime.block_on(body).expect("entered");
}
