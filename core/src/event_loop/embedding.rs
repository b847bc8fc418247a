//! A loop inside a host that sleeps on the loop's descriptor.
//!
//! The descriptor is that of the set itself, so it is readable whenever a watch, a registration or
//! the bell has something to report. Three things are not reports, and are made so: work that a turn
//! left over rings the bell at the turn's end; a timer sets the alarm, at the turn's end or, between
//! turns, at once; and so does work that is added between turns. An alarm costs a system call, so it is
//! only set if no earlier one is.

use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::core::Core;
use crate::reactor::sys::{Alarm, Bell, Mode};
use crate::reactor::token;

/// What a host needs that sleeps on the loop's descriptor.
pub(super) struct Embedding {
    alarm: Option<Alarm>,
    /// When the alarm goes off.
    set_for: Option<Instant>,
}

impl Core {
    /// Whether somebody else than the loop may sleep between its turns.
    pub(super) fn has_host(&self) -> bool {
        self.embedding.borrow().is_some() || self.shared.has_notify()
    }

    pub(super) fn alarm_went_off(&self) {
        if let Some(embedding) = &mut *self.embedding.borrow_mut() {
            embedding.set_for = None;
        }
    }

    /// The end of a turn: sees to it that the host comes back for what is left, or due later.
    pub(super) fn leave_to_host(&self, more: bool) -> io::Result<()> {
        if self.embedding.borrow().is_none() {
            return Ok(());
        }
        if more {
            self.shared.ring_bell();
        } else if let Some(deadline) = self.next_deadline() {
            self.set_alarm(deadline)?;
        }
        Ok(())
    }

    pub(super) fn enable_embedding(&self) -> io::Result<RawFd> {
        let poller = self.poller();
        if self.embedding.borrow().is_none() {
            let alarm = Alarm::new(&poller, token::ALARM)?;
            *self.embedding.borrow_mut() = Some(Embedding {
                alarm,
                set_for: None,
            });
            if self.next_timeout() == Some(Duration::ZERO) {
                self.shared.ring_bell();
            }
            if let Some(deadline) = self.next_deadline() {
                self.set_alarm(deadline)?;
            }
        }
        Ok(poller.fd())
    }

    /// Sees to it that the descriptor is readable at `deadline`. An alarm that goes off earlier
    /// is left as it is: the turn that it causes sets the next one.
    fn set_alarm(&self, deadline: Instant) -> io::Result<()> {
        let mut embedding = self.embedding.borrow_mut();
        let Some(Embedding {
            alarm: Some(alarm),
            set_for,
        }) = &mut *embedding
        else {
            return Ok(());
        };
        if set_for.is_some_and(|earlier| earlier <= deadline) {
            return Ok(());
        }
        alarm.set(deadline.saturating_duration_since(Instant::now()))?;
        *set_for = Some(deadline);
        Ok(())
    }

    /// A task was queued on the loop's own thread. Inside a turn the turn's end sees to it.
    pub(super) fn task_queued(&self) {
        if !self.is_turning() && self.has_host() {
            self.shared.wake();
        }
    }

    /// A timer was set. Inside a turn the turn's end sees to it; between turns a host may be
    /// asleep, or about to be.
    pub(super) fn deadline_set(&self) {
        if self.is_turning() {
            return;
        }
        if self.embedding.borrow().is_some() {
            let armed = self
                .next_deadline()
                .map_or(Ok(()), |next| self.set_alarm(next));
            if armed.is_err() {
                self.shared.wake();
            }
        }
        if self.shared.has_notify() {
            self.shared.wake();
        }
    }

    /// Makes a new set out of the live watches; see the system module on ghosts.
    #[cold]
    pub(super) fn exorcise(&self) -> io::Result<()> {
        let watches = self.watches.borrow();
        let replaced = self.driver().reactor.replace_set(|filler| {
            self.shared
                .with_bell(|bell| bell.refill(filler, token::BELL));
            if let Some(Embedding {
                alarm: Some(alarm), ..
            }) = &*self.embedding.borrow()
            {
                let _ = alarm.refill(filler, token::ALARM);
            }
            for watch in watches.iter().filter(|watch| watch.registered.get()) {
                let owns = watches
                    .by_fd(watch.fd)
                    .is_some_and(|owner| owner.key == watch.key);
                let (fd, interest) = (watch.fd, watch.interest.get());
                if !owns
                    || filler
                        .add(fd, watch.key.of_watch(), interest, Mode::Level)
                        .is_err()
                {
                    // Its descriptor is closed. It is silent from now on.
                    watch.registered.set(false);
                }
            }
        });
        drop(watches);
        let told = replaced? && self.embedding.borrow().is_some();
        let on_replaced = self.on_replaced.borrow().clone();
        if let (true, Some(on_replaced)) = (told, on_replaced) {
            self.contain(|| on_replaced());
        }
        Ok(())
    }

    /// See [`EventLoop::after_fork`](super::EventLoop::after_fork).
    pub(super) fn after_fork(&self) -> io::Result<()> {
        if self.is_turning() {
            return Err(io::Error::from(io::ErrorKind::ResourceBusy));
        }
        self.shared.with_bell(Bell::renew).transpose()?;
        if let Some(Embedding { alarm, set_for }) = &mut *self.embedding.borrow_mut() {
            alarm.as_ref().map(Alarm::renew).transpose()?;
            *set_for = None;
        }
        self.exorcise()?;
        // What was under way is looked at anew.
        self.shared.wake();
        self.shared.ring_bell();
        Ok(())
    }
}
