//! What children leave behind: nothing. One after the other, in a process of their own: they count what
//! the whole process has.

use std::time::Duration;

use futures_lite::future;
use libruntime_core::event_loop::EventLoop;
use libruntime_core::fs::File;
use libruntime_core::process::{Child, Command, Stdio};
use libruntime_core::runtime::{Builder, Runtime};
use libruntime_core::signal::unix::{SignalKind, signal};
use libruntime_core::time::sleep;

fn runtime() -> Runtime {
    Builder::new().worker_threads(2).build().unwrap()
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

/// The children of this process, zombies included.
fn children() -> usize {
    let parent = |entry: &std::fs::DirEntry| -> Option<u32> {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(1)?.parse().ok()
    };
    std::fs::read_dir("/proc")
        .expect("procfs")
        .filter_map(Result::ok)
        .filter(|entry| parent(entry) == Some(std::process::id()))
        .count()
}

async fn no_children() {
    while children() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
}

fn sleeper(kill: bool) -> Child {
    Command::new("sleep")
        .arg("1000")
        .kill_on_drop(kill)
        .spawn()
        .expect("started")
}

fn kill(child: &Child) {
    let id = child.id().expect("alive") as i32;
    // SAFETY: a child that was not waited for.
    assert_eq!(unsafe { libc::kill(id, libc::SIGKILL) }, 0);
}

fn killed_on_drop_is_reaped_by_the_runtime() {
    runtime()
        .block_on(async {
            let mut child = sleeper(true);
            assert!(future::poll_once(child.wait()).await.is_none());
            drop(child);
            drop(sleeper(true));
            let waiting = libruntime_core::spawn(async { sleeper(true).wait().await });
            libruntime_core::task::yield_now().await;
            waiting.abort();
            let mut command = Command::new("sleep");
            drop(command.arg("1000").kill_on_drop(true).output());
            no_children().await;
        })
        .expect("entered");
}

fn orphan_is_reaped_by_the_runtime_when_it_ends() {
    runtime()
        .block_on(async {
            let child = Command::new("cat")
                .stdin(Stdio::piped())
                .spawn()
                .expect("started");
            // Its input goes with it, and so it ends.
            drop(child);
            no_children().await;
        })
        .expect("entered");
}

fn killed_child_is_reaped_when_its_runtime_is_shut_down() {
    let runtime = runtime();
    let (started, seen) = std::sync::mpsc::channel();
    drop(runtime.spawn(async move {
        let mut child = sleeper(true);
        started.send(()).expect("the test waits");
        child.wait().await
    }));
    seen.recv().expect("started");
    drop(runtime);
    assert_eq!(children(), 0);
}

fn killed_child_is_reaped_without_a_runtime() {
    drop(sleeper(true));
    assert_eq!(children(), 0);
    let el = EventLoop::new().expect("a loop");
    el.block_on(async { drop(sleeper(true)) }).expect("entered");
    assert_eq!(children(), 0);
}

fn orphan_without_a_runtime_is_reaped_by_the_next_use() {
    let child = sleeper(false);
    let id = child.id().expect("alive") as i32;
    drop(child);
    assert_eq!(children(), 1);
    // SAFETY: not waited for.
    assert_eq!(unsafe { libc::kill(id, libc::SIGKILL) }, 0);
    runtime()
        .block_on(async {
            while children() > 0 {
                sleep(Duration::from_millis(1)).await;
                let status = Command::new("true").status().await.expect("started");
                assert!(status.success());
            }
        })
        .expect("entered");
}

fn failed_starts_and_many_children_leave_no_descriptor() {
    let before = open_descriptors();
    let runtime = runtime();
    runtime
        .block_on(async {
            for _ in 0..20 {
                let piped = || Stdio::piped();
                let mut missing = Command::new("/no/such/program");
                missing
                    .stdin(piped())
                    .stdout(piped())
                    .spawn()
                    .expect_err("not there");
                let output = Command::new("echo")
                    .arg("x")
                    .output()
                    .await
                    .expect("started");
                assert_eq!(output.stdout, b"x\n");
                let child = sleeper(false);
                kill(&child);
                drop(child);
            }
            no_children().await;
        })
        .expect("entered");
    drop(runtime);
    assert_eq!(open_descriptors(), before);
}

/// What a program would inherit, by number.
fn inheritable() -> Vec<i32> {
    std::fs::read_dir("/proc/self/fd")
        .expect("procfs")
        .map(|entry| entry.expect("procfs").file_name())
        .map(|name| name.to_string_lossy().parse().expect("a number"))
        // SAFETY: a query; the directory itself, closed by then, is not inheritable either way.
        .filter(|&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } == 0)
        .collect()
}

fn nothing_of_ours_is_inherited() {
    let before = inheritable();
    let runtime = runtime();
    let mut cat = Command::new("cat");
    cat.stdin(Stdio::piped()).stdout(Stdio::piped());
    let others: Vec<_> = (0..5).map(|_| cat.spawn().expect("started")).collect();
    let _signal = signal(SignalKind::hangup()).expect("listening");
    runtime
        .block_on(async move {
            let file = File::open("/dev/null").await.expect("opened");
            assert_eq!(inheritable(), before);
            drop((file, others));
            no_children().await;
        })
        .expect("entered");
}

#[test]
fn children_leave_nothing_behind() {
    killed_on_drop_is_reaped_by_the_runtime();
    orphan_is_reaped_by_the_runtime_when_it_ends();
    killed_child_is_reaped_when_its_runtime_is_shut_down();
    killed_child_is_reaped_without_a_runtime();
    orphan_without_a_runtime_is_reaped_by_the_next_use();
    failed_starts_and_many_children_leave_no_descriptor();
    nothing_of_ours_is_inherited();
    assert_eq!(children(), 0);
}
