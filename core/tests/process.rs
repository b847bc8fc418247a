//! Children. What counts the whole process's descriptors and children is in `process_leaks.rs`.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use libruntime_core::event_loop::EventLoop;
use libruntime_core::process::{Command, Stdio};
use libruntime_core::runtime::{Builder, Runtime};
use libruntime_core::time::sleep;

fn runtime() -> Runtime {
    Builder::new().worker_threads(2).build().unwrap()
}

/// Runs each test in `block_on`, in a task, and on an event loop that has no runtime.
macro_rules! in_homes {
    ($($name:ident;)*) => {
        $(mod $name {
            use super::*;
            #[test] fn block_on() { runtime().block_on(super::$name()).unwrap() }
            #[test] fn task() {
                let runtime = runtime();
                runtime.block_on(runtime.spawn(super::$name())).unwrap().unwrap();
            }
            #[test] fn event_loop() {
                EventLoop::new().unwrap().block_on(super::$name()).unwrap();
            }
        })*
    };
}

in_homes! {
    output_and_status_are_told;
    pipes_carry_both_ways;
    large_output_does_not_stop_the_child;
    killed_child_has_ended_by_a_signal;
    wait_can_be_given_up_and_repeated;
    failure_to_start_says_why;
    children_hear_signals;
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script);
    command
}

async fn output_and_status_are_told() {
    let mut command = sh("cat; echo out; echo err >&2; exit 3");
    command.env("X", "1").current_dir("/");
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(output.stderr, b"err\n");
    let again = command.stdout(Stdio::null()).output().await.unwrap();
    assert_eq!(
        (&again.stdout[..], &again.stderr[..]),
        (&b""[..], &b"err\n"[..])
    );

    let mut status = sh("test \"$X$(pwd)\" = 1/");
    status.env("X", "1").current_dir("/");
    assert!(status.status().await.unwrap().success());
    status.env_remove("X");
    assert!(!status.status().await.unwrap().success());
}

async fn pipes_carry_both_ways() {
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(child.id().is_some());
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let data: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    let mut back = Vec::new();
    let write = async {
        stdin.write_all(&data).await.unwrap();
        stdin.close().await.unwrap();
        assert_eq!(
            stdin.write(b"x").await.unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
    };
    future::zip(write, stdout.read_to_end(&mut back))
        .await
        .1
        .unwrap();
    assert!(back == data);
    assert!(child.wait().await.unwrap().success());
    assert_eq!(child.id(), None);
}

async fn large_output_does_not_stop_the_child() {
    let script =
        "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2";
    let output = sh(script).output().await.unwrap();
    assert_eq!(
        (output.stdout.len(), output.stderr.len()),
        (300_000, 600_000)
    );
}

async fn killed_child_has_ended_by_a_signal() {
    use std::os::unix::process::ExitStatusExt;
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    assert!(child.try_wait().unwrap().is_none());
    child.kill().await.unwrap();
    let status = child.try_wait().unwrap().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    assert_eq!(
        child.start_kill().unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

async fn wait_can_be_given_up_and_repeated() {
    let mut child = sh("read line; exit 7")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take();
    for _ in 0..3 {
        assert!(future::poll_once(child.wait()).await.is_none());
    }
    let waited = future::or(async { Some(child.wait().await) }, async {
        sleep(Duration::from_millis(1)).await;
        None
    });
    assert!(waited.await.is_none());
    drop(stdin);
    assert_eq!(child.wait().await.unwrap().code(), Some(7));
    assert_eq!(child.wait().await.unwrap().code(), Some(7));
}

async fn failure_to_start_says_why() {
    let error = Command::new("/no/such/program").spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("/no/such/program"), "{error}");
    let error = Command::new("true")
        .current_dir("/no/such/dir")
        .spawn()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("/no/such/dir"), "{error}");
    let error = Command::new("/etc/passwd").output().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let error = Command::new("a\0b").status().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// Threads of a runtime block signals; what they start must not.
async fn children_hear_signals() {
    let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let output = Command::new("grep")
        .args(["SigBlk", "/proc/self/status"])
        .output()
        .await
        .unwrap();
    let blocked = String::from_utf8(output.stdout).unwrap();
    assert_eq!(blocked.trim(), "SigBlk:\t0000000000000000");
    let after = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let mask = |status: &str| {
        status
            .lines()
            .find(|line| line.starts_with("SigBlk"))
            .map(str::to_owned)
    };
    if std::thread::current().name() == Some("libruntime") {
        assert_ne!(mask(&after), Some(blocked.trim().to_owned()));
    } else {
        assert_eq!(mask(&own), mask(&after));
    }
}

#[test]
fn write_to_a_child_that_is_gone_is_an_error_and_no_signal() {
    // SAFETY: no handler. Rust ignores the signal; a host need not.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let write = || async {
        let mut child = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        child.wait().await.unwrap();
        // A child that another test starts has the other end until it has become its program.
        let error = loop {
            if let Err(error) = stdin.write_all(&[0; 1000]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        // Neither later.
        Command::new("true").status().await.unwrap();
    };
    let runtime = runtime();
    runtime.block_on(write()).unwrap();
    runtime.block_on(runtime.spawn(write())).unwrap().unwrap();
}

#[test]
fn output_of_one_child_is_the_input_of_another() {
    runtime()
        .block_on(async {
            let mut first = sh("echo hello").stdout(Stdio::piped()).spawn().unwrap();
            let pipe = Stdio::try_from(first.stdout.take().unwrap()).unwrap();
            let output = Command::new("cat").stdin(pipe).output().await.unwrap();
            assert_eq!(output.stdout, b"hello\n");
            assert!(first.wait().await.unwrap().success());
        })
        .unwrap();
}

#[test]
fn command_is_the_standard_library_s() {
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo $0 $A $B"])
        .arg0("name")
        .env_clear()
        .envs([("A", "1"), ("B", "2")]);
    command
        .process_group(0)
        .uid(unsafe_id(libc::getuid))
        .gid(unsafe_id(libc::getgid));
    // SAFETY: the function makes one system call.
    unsafe {
        command.pre_exec(|| {
            libc::umask(0o77);
            Ok(())
        })
    };
    assert_eq!(command.as_std().get_args().count(), 2);
    let output = runtime().block_on(command.output()).unwrap().unwrap();
    assert_eq!(output.stdout, b"name 1 2\n");
}

fn unsafe_id(get: unsafe extern "C" fn() -> u32) -> u32 {
    // SAFETY: these two take nothing and always succeed.
    unsafe { get() }
}

// Without pidfds the timers that outlive a runtime go on with the wait.
#[cfg(all(target_os = "linux", not(libruntime_portable)))]
#[test]
fn wait_ends_with_an_error_when_its_runtime_does() {
    let (first, second) = (runtime(), runtime());
    let mut child = Command::new("sleep")
        .arg("1000")
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    {
        let _first = first.enter();
        first
            .block_on(async { assert!(future::poll_once(child.wait()).await.is_none()) })
            .unwrap();
    }
    let waiting = second.spawn(async move { child.wait().await });
    drop(first);
    assert!(second.block_on(waiting).unwrap().unwrap().is_err());
}

#[test]
fn program_path_may_be_any_path() {
    let output = runtime().block_on(Command::new(Path::new("/bin/echo")).arg("x").output());
    assert_eq!(output.unwrap().unwrap().stdout, b"x\n");
}
