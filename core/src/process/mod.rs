//! Children: programs that are started, talked to, waited for and killed.
//!
//! ```
//! use libruntime_core::process::Command;
//!
//! let runtime = libruntime_core::runtime::Runtime::new()?;
//! let output = runtime.block_on(Command::new("echo").arg("hello").output())??;
//! assert_eq!(output.stdout, b"hello\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The end of a child is awaited through a pidfd, a descriptor that becomes readable then; where the
//! system has none, by looking, after a millisecond first and every 32 in the end. No handler of `SIGCHLD`
//! is involved, and no child is waited for that was not started here. The pipes to and from a child are ordinary non-blocking descriptors. All of it works on a
//! runtime and on an [`EventLoop`](crate::event_loop::EventLoop).
//!
//! # Starting blocks
//!
//! [`Command::spawn`] returns when the child executes its program, or has failed to; that takes about half
//! a millisecond. A program that starts many may move that to a thread:
//! [`spawn_blocking_in`](crate::spawn_blocking_in) the class
//! [`PROCESSES`](crate::blocking::Class::PROCESSES).
//!
//! A child inherits the signal mask of the thread that starts it. The threads of a runtime block signals,
//! which would make a child deaf to `SIGTERM`; so they let signals through for as long as the
//! start takes, in which a handler of the host may run on them.
//!
//! # Children that nobody waits for
//!
//! A [`Child`] that is dropped goes on, unless [`kill_on_drop`](Command::kill_on_drop) was set. Either way
//! it leaves no zombie: a task of the current runtime waits for its end; where there is none, or when that
//! is shut down, every later use of this module looks after those that are left. A child that was
//! killed where no runtime can wait for it is waited for on the spot, 50 ms at most.

mod child;
mod command;
mod orphans;
mod pauses;
mod pipe;
mod sys;

pub use child::Child;
pub use command::Command;
pub use pipe::{ChildStderr, ChildStdin, ChildStdout};
pub use std::process::{ExitStatus, Output, Stdio};
