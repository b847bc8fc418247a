//! Bytes from pipes to sockets and back.

use std::io::ErrorKind;
use std::sync::Mutex;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use libruntime_core::event_loop::EventLoop;
use libruntime_core::net::{TcpListener, TcpStream, splice};
use libruntime_core::process::{Command, Stdio};
use libruntime_core::runtime::{Builder, Runtime};

/// A child that another test starts has this one's pipes until it has become its program.
static PIPES: Mutex<()> = Mutex::new(());

fn runtime() -> Runtime {
    Builder::new().worker_threads(2).build().unwrap()
}

async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stream, peer) = future::zip(TcpStream::connect(address), listener.accept()).await;
    (stream.unwrap(), peer.unwrap().0)
}

async fn child_as_a_service() {
    let data: Vec<u8> = (0..=250_u8).collect::<Vec<_>>().repeat(10_000);
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (stream, client) = connection().await;
    let send = async {
        (&client).write_all(&data).await.unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
    };
    let request = async {
        let mut moved = 0;
        splice(&stream, &stdin, u64::MAX, &mut moved).await.unwrap();
        assert_eq!(moved, 2_510_000);
        drop(stdin);
    };
    let answer = async {
        let mut moved = 0;
        splice(&stdout, &stream, 5, &mut moved).await.unwrap();
        assert_eq!(moved, 5);
        splice(&stdout, &stream, u64::MAX, &mut moved)
            .await
            .unwrap();
        assert_eq!(moved, 2_510_000);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    };
    let mut back = Vec::new();
    let receive = async {
        (&client).read_to_end(&mut back).await.unwrap();
    };
    future::zip(future::zip(send, request), future::zip(answer, receive)).await;
    assert!(back == data);
    assert!(child.wait().await.unwrap().success());
}

#[test]
fn connection_is_a_child_s_input_and_output() {
    let _alone = PIPES.lock().unwrap();
    let (runtime, el) = (runtime(), EventLoop::new().unwrap());
    runtime.block_on(child_as_a_service()).unwrap();
    runtime
        .block_on(runtime.spawn(child_as_a_service()))
        .unwrap()
        .unwrap();
    el.set_runtime(Some(runtime.handle().clone()));
    el.block_on(child_as_a_service()).unwrap();
}

#[test]
fn splice_that_was_given_up_has_counted_what_it_moved() {
    let _alone = PIPES.lock().unwrap();
    runtime()
        .block_on(async {
            let mut child = Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let (stream, mut client) = connection().await;
            client.write_all(&[7; 1000]).await.unwrap();
            stream.readable().await.unwrap();
            let mut moved = 0;
            assert!(
                future::poll_once(splice(&stream, &stdin, 5000, &mut moved))
                    .await
                    .is_none()
            );
            assert_eq!(moved, 1000);
            // A pipe that was closed, and one that nobody reads.
            child.kill().await.unwrap();
            client.write_all(&[7; 10]).await.unwrap();
            stream.readable().await.unwrap();
            let error = splice(&stream, &stdin, 10, &mut moved).await.unwrap_err();
            assert_eq!((error.kind(), moved), (ErrorKind::BrokenPipe, 1000));
            client.write_all(&[7; 10]).await.unwrap();
            stdin.close().await.unwrap();
            let error = splice(&stream, &stdin, 10, &mut moved).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        })
        .unwrap();
}

#[cfg(all(target_os = "linux", not(libruntime_portable)))]
#[test]
fn two_sockets_can_not_be_spliced() {
    use libruntime_core::net::AsyncFd;
    use std::os::unix::net::UnixStream;
    runtime()
        .block_on(async {
            let (stream, _client) = connection().await;
            let (other, _peer) = UnixStream::pair().unwrap();
            other.set_nonblocking(true).unwrap();
            let mut moved = 0;
            let error = splice(&stream, &AsyncFd::new(other), 10, &mut moved)
                .await
                .unwrap_err();
            assert_eq!((error.kind(), moved), (ErrorKind::InvalidInput, 0));
        })
        .unwrap();
}
