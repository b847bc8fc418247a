//! Level-triggered watches for owners outside this crate.
//!
//! The table maps a token to its watch: an index, checked by generation. A second table maps a
//! descriptor number to the watch that has it, so that a number that was closed and used again
//! behind our back is told from one that is watched twice. Neither is consulted with a borrow held
//! while foreign code runs.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use super::EventLoop;
use super::core::Core;
use crate::reactor::sys::Mode;
use crate::reactor::token::{Key, MAX_INDICES};
use crate::reactor::{Interest, Ready};

/// A watch in the table. The callback stands last, so that one allocation holds it too.
pub(super) struct WatchCell<F: ?Sized> {
    pub(super) fd: RawFd,
    pub(super) key: Key,
    pub(super) interest: Cell<Interest>,
    /// Whether the system's set has the descriptor under this watch's token.
    pub(super) registered: Cell<bool>,
    /// Whether it keeps `run` going.
    pub(super) referenced: Cell<bool>,
    pub(super) callback: RefCell<F>,
}

pub(super) type DynWatch = WatchCell<dyn FnMut(Ready)>;

struct Slot {
    generation: u32,
    /// The turn in which the slot's last watch was stopped.
    freed_in: u64,
    watch: Option<Rc<DynWatch>>,
}

/// What a token led to.
pub(super) enum Found {
    Watch(Rc<DynWatch>),
    /// Stopped earlier in this very turn: the report had been fetched before.
    Stopped,
    /// A report for a watch that is long gone: its descriptor was closed before the watch was
    /// stopped, and the open file lives on under another number.
    Ghost,
}

#[derive(Default)]
pub(super) struct WatchTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// By descriptor number: 1 + the index of the slot whose watch has it, or 0.
    by_fd: Vec<u32>,
}

impl WatchTable {
    pub(super) fn reserve(&mut self) -> io::Result<Key> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() == MAX_INDICES => {
                return Err(io::Error::from(io::ErrorKind::QuotaExceeded));
            }
            None => {
                let generation = Key::FIRST_GENERATION;
                self.slots.push(Slot {
                    generation,
                    freed_in: 0,
                    watch: None,
                });
                (self.slots.len() - 1) as u32
            }
        };
        Ok(Key {
            index,
            generation: self.slots[index as usize].generation,
        })
    }

    /// Gives back a key that was reserved and never used.
    pub(super) fn unreserve(&mut self, key: Key) {
        self.free.push(key.index);
    }

    pub(super) fn put(&mut self, watch: Rc<DynWatch>) {
        let fd = watch.fd as usize;
        if fd >= self.by_fd.len() {
            self.by_fd.resize(fd + 1, 0);
        }
        let index = watch.key.index;
        self.by_fd[fd] = index + 1;
        self.slots[index as usize].watch = Some(watch);
    }

    pub(super) fn find(&self, key: Key, turn: u64) -> Found {
        let Some(slot) = self.slots.get(key.index as usize) else {
            return Found::Ghost;
        };
        match &slot.watch {
            Some(watch) if slot.generation == key.generation => Found::Watch(watch.clone()),
            _ if slot.freed_in == turn => Found::Stopped,
            _ => Found::Ghost,
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&Rc<DynWatch>> {
        let slot = self.slots.get(key.index as usize)?;
        slot.watch
            .as_ref()
            .filter(|_| slot.generation == key.generation)
    }

    pub(super) fn by_fd(&self, fd: RawFd) -> Option<&Rc<DynWatch>> {
        let index = self.by_fd.get(usize::try_from(fd).ok()?)?.checked_sub(1)?;
        self.slots[index as usize].watch.as_ref()
    }

    /// Takes the watch out. Whether its descriptor number is still its own comes with it.
    pub(super) fn take(&mut self, key: Key, turn: u64) -> Option<(Rc<DynWatch>, bool)> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let watch = slot.watch.take()?;
        slot.generation = Key::next_generation(slot.generation);
        slot.freed_in = turn;
        self.free.push(key.index);
        let owner = &mut self.by_fd[watch.fd as usize];
        let owns = *owner == key.index + 1;
        if owns {
            *owner = 0;
        }
        Some((watch, owns))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Rc<DynWatch>> {
        self.slots.iter().filter_map(|slot| slot.watch.as_ref())
    }

    pub(super) fn take_all(&mut self) -> Vec<Rc<DynWatch>> {
        self.by_fd.clear();
        self.free.clear();
        self.slots.drain(..).filter_map(|slot| slot.watch).collect()
    }
}

impl EventLoop {
    /// Calls `callback` in every turn in which `fd` is ready for what `interest` asks, for as long
    /// as it is (level-triggered), until the [`Watch`] is stopped or dropped.
    ///
    /// The descriptor stays the caller's. It should be closed after the watch is stopped, not
    /// before: a callback that is told of a descriptor which is closed already does no harm here,
    /// but the system may go on reporting it if it was duplicated.
    ///
    /// An error or a hang-up is reported whatever `interest` says, unless it is empty.
    ///
    /// # Errors
    /// `AlreadyExists` if the descriptor is watched through this loop; one watch can ask for both
    /// directions. `EPERM` for a regular file or a directory, which are always ready. `EBADF`.
    pub fn watch<F>(&self, fd: RawFd, interest: Interest, callback: F) -> io::Result<Watch>
    where
        F: FnMut(Ready) + 'static,
    {
        let core = self.core();
        let key = core.watches.borrow_mut().reserve()?;
        if let Err(error) = core.register(fd, key, interest) {
            core.watches.borrow_mut().unreserve(key);
            return Err(error);
        }
        let watch = Rc::new(WatchCell {
            fd,
            key,
            interest: Cell::new(interest),
            registered: Cell::new(!interest.is_empty()),
            referenced: Cell::new(true),
            callback: RefCell::new(callback),
        });
        core.watches.borrow_mut().put(watch);
        core.hold();
        Ok(Watch {
            core: core.clone(),
            key,
        })
    }
}

impl Core {
    fn register(&self, fd: RawFd, key: Key, interest: Interest) -> io::Result<()> {
        let poller = self.poller();
        if !interest.is_empty() {
            return poller.add(fd, key.of_watch(), interest, Mode::Level);
            // If that succeeded although a watch has this number, the number was closed and opened
            // again: `put` makes it the new watch's, and the old one's end leaves it alone.
        }
        if self.watches.borrow().by_fd(fd).is_some() {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        // A paused watch is not in the set; what is wrong with the descriptor shows all the same.
        poller.add(fd, key.of_watch(), Interest::READ, Mode::Level)?;
        poller.remove(fd)
    }

    fn set_interest(&self, key: Key, interest: Interest) -> io::Result<()> {
        let watch = self.watches.borrow().get(key).cloned();
        let Some(watch) = watch else {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        };
        if watch.interest.get() == interest {
            return Ok(());
        }
        let (fd, token, poller) = (watch.fd, key.of_watch(), self.poller());
        let owns = self
            .watches
            .borrow()
            .by_fd(fd)
            .is_some_and(|owner| owner.key == key);
        if !owns {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        match (watch.registered.get(), interest.is_empty()) {
            (true, false) => poller.modify(fd, token, interest, Mode::Level)?,
            (false, false) => poller.add(fd, token, interest, Mode::Level)?,
            (true, true) => poller.remove(fd)?,
            (false, true) => {}
        }
        watch.registered.set(!interest.is_empty());
        watch.interest.set(interest);
        Ok(())
    }

    fn stop_watch(&self, key: Key) {
        let taken = self.watches.borrow_mut().take(key, self.turn_number());
        let Some((watch, owns_number)) = taken else {
            return;
        };
        if owns_number && watch.registered.get() {
            // If the number was closed behind our back this fails, and rightly so.
            let _ = self.poller().remove(watch.fd);
        }
        if watch.referenced.get() {
            self.release();
        }
        // The callback is dropped here, unless it is the one that is running.
        self.contain(move || drop(watch));
    }
}

/// A descriptor that is being watched; see [`EventLoop::watch`].
///
/// Threads: the loop's. Dropping it stops it.
#[must_use = "a watch is stopped when it is dropped"]
pub struct Watch {
    core: Rc<Core>,
    key: Key,
}

impl Watch {
    /// Asks for something else from now on. [`Interest::NONE`] pauses the watch.
    ///
    /// # Errors
    /// `NotFound` if the watch was stopped or the loop is gone, `EBADF` or `NotFound` if the
    /// descriptor was closed.
    pub fn set_interest(&self, interest: Interest) -> io::Result<()> {
        self.core.set_interest(self.key, interest)
    }

    /// What is asked for; empty once the watch is stopped.
    pub fn interest(&self) -> Interest {
        let watches = self.core.watches.borrow();
        watches
            .get(self.key)
            .map_or(Interest::NONE, |watch| watch.interest.get())
    }

    /// Whether the watch keeps [`run`](EventLoop::run) going, which it does at first.
    pub fn set_referenced(&self, referenced: bool) {
        let changed = {
            let watches = self.core.watches.borrow();
            let Some(watch) = watches.get(self.key) else {
                return;
            };
            watch.referenced.replace(referenced) != referenced
        };
        match (changed, referenced) {
            (true, true) => self.core.hold(),
            (true, false) => self.core.release(),
            (false, _) => {}
        }
    }

    /// Ends the watch at once: the callback is not called again, not even for a report that this
    /// turn has fetched already, and is dropped before this returns, or, if it is running, when
    /// it returns. Stopping twice does nothing.
    pub fn stop(&self) {
        self.core.stop_watch(self.key);
    }

    /// Lets the watch live as long as the loop.
    pub fn detach(self) {
        let mut this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is not used or dropped after its one field with a destructor was.
        unsafe { std::ptr::drop_in_place(&mut this.core) };
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("interest", &self.interest())
            .finish_non_exhaustive()
    }
}
