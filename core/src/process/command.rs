//! What is to be started, and how.

use super::{Child, orphans};
use crate::thread::with_signals_as_for_a_program;
use crate::topology::unpinned;
use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};

/// A program to start, with its arguments, environment and standard streams: the standard library's
/// builder, whose children do not block.
///
/// No descriptor of this process is inherited except the three standard streams.
#[derive(Debug)]
pub struct Command {
    std: std::process::Command,
    kill_on_drop: bool,
    /// Which of the standard streams were chosen.
    chosen: [bool; 3],
}

impl Command {
    /// A program, by its path, or by its name, which is looked for in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        std::process::Command::new(program).into()
    }

    /// The standard library's builder inside.
    pub fn as_std(&self) -> &std::process::Command {
        &self.std
    }

    /// As [`as_std`](Self::as_std), to change it. Standard streams chosen there are unknown to
    /// [`output`](Self::output), which chooses its own.
    pub fn as_std_mut(&mut self) -> &mut std::process::Command {
        &mut self.std
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        self.std.arg(arg);
        self
    }

    /// Adds several arguments.
    pub fn args<S: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = S>) -> &mut Command {
        self.std.args(args);
        self
    }

    /// Sets the name that the program sees as its own.
    pub fn arg0(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        self.std.arg0(arg);
        self
    }

    /// Sets a variable of the child's environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.std.env(key, value);
        self
    }

    /// Sets several variables.
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        vars: impl IntoIterator<Item = (K, V)>,
    ) -> &mut Command {
        self.std.envs(vars);
        self
    }

    /// Takes a variable out of the child's environment.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Command {
        self.std.env_remove(key);
        self
    }

    /// Gives the child an empty environment.
    pub fn env_clear(&mut self) -> &mut Command {
        self.std.env_clear();
        self
    }

    /// Sets the child's working directory.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Command {
        self.std.current_dir(dir);
        self
    }

    /// Sets the child's standard input; inherited if it is not set, except by
    /// [`output`](Self::output).
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Command {
        self.std.stdin(stdio);
        self.chosen[0] = true;
        self
    }

    /// Sets the child's standard output, likewise.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Command {
        self.std.stdout(stdio);
        self.chosen[1] = true;
        self
    }

    /// Sets the child's standard error, likewise.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Command {
        self.std.stderr(stdio);
        self.chosen[2] = true;
        self
    }

    /// Sets the child's user.
    pub fn uid(&mut self, id: u32) -> &mut Command {
        self.std.uid(id);
        self
    }

    /// Sets the child's group.
    pub fn gid(&mut self, id: u32) -> &mut Command {
        self.std.gid(id);
        self
    }

    /// Sets the child's process group; 0 makes one of its own.
    pub fn process_group(&mut self, group: i32) -> &mut Command {
        self.std.process_group(group);
        self
    }

    /// Whether a [`Child`] that is dropped before its end is killed. It is not unless this is set.
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Command {
        self.kill_on_drop = kill;
        self
    }

    /// A function that the child calls before it executes the program. It makes the start slower: this
    /// process is forked then.
    ///
    /// # Safety
    /// It may only do what a signal handler may: see the standard library's
    /// [`pre_exec`](CommandExt::pre_exec).
    pub unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Command
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        // SAFETY: the caller's promise.
        unsafe { self.std.pre_exec(f) };
        self
    }

    /// Starts the program. The [module](super) says how long that takes.
    ///
    /// # Errors
    /// `NotFound` if the program or the working directory is not there, and which; `PermissionDenied` if
    /// it may not be executed; `QuotaExceeded` if there are too many processes; what the system says
    /// when it has no descriptors left for the pipes.
    pub fn spawn(&mut self) -> io::Result<Child> {
        orphans::reap();
        let child = with_signals_as_for_a_program(|| unpinned(|| self.std.spawn()));
        Child::new(
            child.map_err(|error| self.explain(error))?,
            self.kill_on_drop,
        )
    }

    #[cold]
    fn explain(&self, error: io::Error) -> io::Error {
        let program = self.std.get_program();
        match (error.kind(), self.std.get_current_dir()) {
            (kind @ (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory), Some(dir))
                if !dir.is_dir() =>
            {
                io::Error::new(kind, format!("no working directory {dir:?}: {error}"))
            }
            (kind @ (io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied), _) => {
                io::Error::new(kind, format!("can not execute {program:?}: {error}"))
            }
            // What fork says. It is not of the kind that an event would mend.
            (io::ErrorKind::WouldBlock, _) => io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!("too many processes: {error}"),
            ),
            _ => error,
        }
    }

    /// Starts the program, and waits for its end. Pipes to and from it are closed.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn) and [`Child::wait`], all from the future. The program starts at once.
    pub fn status(&mut self) -> impl Future<Output = io::Result<ExitStatus>> + Send + use<> {
        let child = self.spawn();
        async {
            let mut child = child?;
            drop((child.stdin.take(), child.stdout.take(), child.stderr.take()));
            child.wait().await
        }
    }

    /// Starts the program, and waits for its end and for all that it writes. Its standard input is empty,
    /// and the other two are collected, unless they were chosen otherwise.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn) and [`Child::wait_with_output`], all from the future. The program starts
    /// at once.
    pub fn output(&mut self) -> impl Future<Output = io::Result<Output>> + Send + use<> {
        let [stdin, stdout, stderr] = self.chosen;
        if !stdin {
            self.std.stdin(Stdio::null());
        }
        if !stdout {
            self.std.stdout(Stdio::piped());
        }
        if !stderr {
            self.std.stderr(Stdio::piped());
        }
        let child = self.spawn();
        // As they were, for the next start.
        if !stdin {
            self.std.stdin(Stdio::inherit());
        }
        if !stdout {
            self.std.stdout(Stdio::inherit());
        }
        if !stderr {
            self.std.stderr(Stdio::inherit());
        }
        async { child?.wait_with_output().await }
    }
}

impl From<std::process::Command> for Command {
    fn from(std: std::process::Command) -> Command {
        Command {
            std,
            kill_on_drop: false,
            chosen: [false; 3],
        }
    }
}
