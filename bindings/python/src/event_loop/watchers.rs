//! `add_reader`, `add_writer` and their opposites: one watch for each descriptor, a handle for each
//! direction, found by index.

use std::cell::RefCell;

use pyo3::ffi;

use super::{LoopObject, LoopState, object};
use crate::driver::{self, Error, Interest, Ready, Watch};
use crate::globals::names;
use crate::handle::{self, Call};
use crate::py::{self, Obj, PyRes, Raised, Ref, Slot};
use crate::transport::TransportState;
use crate::typespec::TypeBuilder;

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Read,
    Write,
}

/// The handles of one descriptor, and the watch that covers both.
struct Entry {
    reader: Slot,
    writer: Slot,
    watch: Option<Watch>,
}

impl Entry {
    fn slot(&self, direction: Direction) -> &Slot {
        match direction {
            Direction::Read => &self.reader,
            Direction::Write => &self.writer,
        }
    }

    fn interest(&self) -> Interest {
        Interest::new(!self.reader.get().is_null(), !self.writer.get().is_null())
    }
}

/// The watched descriptors of one loop.
pub(super) struct Watchers(RefCell<Vec<Option<Box<Entry>>>>);

impl Watchers {
    pub(super) const fn new() -> Watchers {
        Watchers(RefCell::new(Vec::new()))
    }

    /// Stops every watch and releases every handle.
    pub(super) fn clear(&self) {
        for entry in self.0.take().into_iter().flatten() {
            drop(entry.watch);
            entry.reader.clear();
            entry.writer.clear();
        }
    }

    pub(super) fn visit(&self, mut f: impl FnMut(Obj) -> i32) -> i32 {
        let entries = self.0.borrow();
        entries
            .iter()
            .flatten()
            .flat_map(|entry| [entry.reader.get(), entry.writer.get()])
            .map(&mut f)
            .find(|&result| result != 0)
            .unwrap_or(0)
    }

    /// Puts `handle` (none to remove) in its place, adjusts the watch, and returns what was there.
    fn replace(
        &self,
        event_loop: &LoopObject,
        fd: i32,
        direction: Direction,
        handle: Option<Ref>,
    ) -> PyRes<Option<Ref>> {
        let mut entries = self.0.borrow_mut();
        let at = fd as usize;
        if entries.len() <= at {
            if handle.is_none() {
                return Ok(None);
            }
            entries.resize_with(at + 1, || None);
        }
        if handle.is_none() && entries[at].is_none() {
            return Ok(None);
        }
        let entry = entries[at].get_or_insert_with(|| {
            Box::new(Entry {
                reader: Slot::empty(),
                writer: Slot::empty(),
                watch: None,
            })
        });
        let added = handle.is_some();
        let old = entry.slot(direction).replace(handle);
        if added && old.is_some() {
            // The number may have been closed and opened again since: only a new watch is sure to
            // mean what it means now.
            entry.watch = None;
        }
        let interest = entry.interest();
        if interest.is_empty() {
            let entry = entries[at].take();
            drop(entries);
            drop(entry);
            return Ok(old);
        }
        match watch(event_loop, fd, entry, interest) {
            Ok(()) => Ok(old),
            Err(error) => {
                // A failed registration leaves nothing behind.
                let new = entry.slot(direction).replace(None);
                if entry.interest().is_empty() {
                    entries[at] = None;
                }
                drop(entries);
                drop((new, old));
                driver::raise(error)
            }
        }
    }

    /// The handles to run for an event on `fd`.
    fn handles(&self, fd: i32, ready: Ready) -> [(Direction, Option<Ref>); 2] {
        let entries = self.0.borrow();
        let entry = entries.get(fd as usize).and_then(Option::as_ref);
        let of = |direction, wanted: bool| {
            let handle = entry
                .filter(|_| wanted)
                .and_then(|entry| entry.slot(direction).cloned());
            (direction, handle)
        };
        [
            of(Direction::Read, ready.readable()),
            of(Direction::Write, ready.writable()),
        ]
    }
}

/// Makes the driver watch `fd` for `interest`. A watch whose descriptor was closed and opened
/// again since is replaced.
fn watch(
    event_loop: &LoopObject,
    fd: i32,
    entry: &mut Entry,
    interest: Interest,
) -> Result<(), Error> {
    if let Some(watch) = &entry.watch {
        match watch.set_interest(interest) {
            Ok(()) => return Ok(()),
            Err(Error::Os(libc::ENOENT | libc::EBADF)) => entry.watch = None,
            Err(error) => return Err(error),
        }
    }
    let driver = event_loop.state.driver.borrow();
    let Some(driver) = &*driver else {
        return Err(Error::Shutdown);
    };
    let state: *const LoopState = &event_loop.state;
    let callback = move |ready: Ready| {
        // SAFETY: the watch belongs to the loop's table and is dropped before the loop's state.
        on_event(unsafe { &*state }, fd, ready);
    };
    entry.watch = Some(driver.watch(fd, interest, callback)?);
    Ok(())
}

fn on_event(state: &LoopState, fd: i32, ready: Ready) {
    for (direction, handle) in state.watchers.handles(fd, ready) {
        let Some(handle) = handle else { continue };
        if !handle::is_cancelled(handle.as_ptr()) {
            state.ready.push(handle);
        } else if let Some(event_loop) = handle::loop_of(handle.as_ptr())
            && let Err(raised) =
                state
                    .watchers
                    .replace(object(event_loop.as_ptr()), fd, direction, None)
        {
            // The descriptor is gone: the entry that complained has been removed.
            drop(py::take_exception(raised));
        }
    }
}

/// Reads a descriptor: an int, or an object with `fileno()`.
pub(super) fn descriptor(fd: Obj) -> PyRes<i32> {
    // SAFETY: a live object; exceptions are set on failure.
    unsafe {
        let number = ffi::PyObject_AsFileDescriptor(fd);
        if number >= 0 {
            return Ok(number);
        }
        if ffi::PyErr_ExceptionMatches(ffi::PyExc_TypeError) != 0
            || ffi::PyErr_ExceptionMatches(ffi::PyExc_AttributeError) != 0
        {
            ffi::PyErr_Clear();
            let text = c"Invalid file object: %R";
            ffi::PyErr_Format(ffi::PyExc_ValueError, text.as_ptr(), fd);
        }
    }
    Err(Raised)
}

fn is_closing(transport: Obj) -> PyRes<bool> {
    if let Some(state) = TransportState::try_of(transport) {
        return Ok(state.is_closing());
    }
    // SAFETY: a live transport; the answer is a live object.
    unsafe {
        let closing = py::call_method(names().is_closing, [transport])?;
        Ok(ffi::PyObject_IsTrue(closing.as_ptr()) == 1)
    }
}

/// Refuses a descriptor that belongs to an open transport.
fn refuse_transport(state: &LoopState, given: Obj, fd: i32) -> PyRes<()> {
    let transport = state.transport(fd);
    if transport.is_null() || is_closing(transport)? {
        return Ok(());
    }
    // SAFETY: live objects; %R prints any.
    unsafe {
        let text = c"File descriptor %R is used by transport %R";
        ffi::PyErr_Format(ffi::PyExc_RuntimeError, text.as_ptr(), given, transport);
    }
    Err(Raised)
}

/// `add_reader(fd, callback, *args)` and its kin.
unsafe fn add(
    slf: Obj,
    args: *mut Obj,
    nargs: isize,
    direction: Direction,
    public: bool,
) -> PyRes<Ref> {
    // SAFETY: CPython's arguments.
    let args = unsafe { py::arguments(args, nargs) };
    let [fd, callback, args @ ..] = args else {
        return py::raise(
            py::type_error(),
            c"a file descriptor and a callback are required",
        );
    };
    let event_loop = object(slf);
    let state = &event_loop.state;
    let number = descriptor(*fd)?;
    if public {
        refuse_transport(state, *fd, number)?;
    }
    state.check_closed()?;
    let call = Call {
        callback: *callback,
        args,
        context: std::ptr::null_mut(),
    };
    let handle = handle::new_handle(event_loop, &call)?;
    // SAFETY: just made.
    let entry = unsafe { Ref::borrowed(handle.as_ptr()) };
    if let Some(old) = state
        .watchers
        .replace(event_loop, number, direction, Some(entry))?
    {
        handle::cancel_handle(old.as_ptr())?;
    }
    Ok(handle)
}

/// `remove_reader(fd)` and its kin: whether there was one.
fn remove(slf: Obj, fd: Obj, direction: Direction, public: bool) -> PyRes<Ref> {
    let event_loop = object(slf);
    let state = &event_loop.state;
    let number = descriptor(fd)?;
    if public {
        refuse_transport(state, fd, number)?;
    }
    if state.closed.get() {
        return Ok(Ref::bool(false));
    }
    match state
        .watchers
        .replace(event_loop, number, direction, None)?
    {
        Some(old) => handle::cancel_handle(old.as_ptr()).map(|()| Ref::bool(true)),
        None => Ok(Ref::bool(false)),
    }
}

macro_rules! entry_points {
    ($($add:ident, $remove:ident: $direction:ident, $public:literal;)*) => {$(
        unsafe extern "C" fn $add(slf: Obj, args: *mut Obj, nargs: isize) -> Obj {
            // SAFETY: CPython's arguments.
            py::object(|| unsafe { add(slf, args, nargs, Direction::$direction, $public) })
        }

        unsafe extern "C" fn $remove(slf: Obj, fd: Obj) -> Obj {
            py::object(|| remove(slf, fd, Direction::$direction, $public))
        }
    )*};
}

entry_points! {
    add_reader, remove_reader: Read, true;
    add_writer, remove_writer: Write, true;
    inner_add_reader, inner_remove_reader: Read, false;
    inner_add_writer, inner_remove_writer: Write, false;
}

unsafe extern "C" fn add_reader_public(slf: Obj, args: *mut Obj, nargs: isize) -> Obj {
    // SAFETY: CPython's arguments.
    py::nothing(|| unsafe { Ref::owned(add_reader(slf, args, nargs)).map(drop) })
}

unsafe extern "C" fn add_writer_public(slf: Obj, args: *mut Obj, nargs: isize) -> Obj {
    // SAFETY: CPython's arguments.
    py::nothing(|| unsafe { Ref::owned(add_writer(slf, args, nargs)).map(drop) })
}

unsafe extern "C" fn ensure_no_transport(slf: Obj, fd: Obj) -> Obj {
    py::nothing(|| refuse_transport(&object(slf).state, fd, descriptor(fd)?))
}

/// Adds this file's methods to the loop's type. Those with an underscore do not look at transports
/// and return the handle.
pub(super) fn methods(builder: TypeBuilder) -> TypeBuilder {
    builder
        .positional(c"add_reader", add_reader_public)
        .one(c"remove_reader", remove_reader)
        .positional(c"add_writer", add_writer_public)
        .one(c"remove_writer", remove_writer)
        .positional(c"_add_reader", inner_add_reader)
        .one(c"_remove_reader", inner_remove_reader)
        .positional(c"_add_writer", inner_add_writer)
        .one(c"_remove_writer", inner_remove_writer)
        .one(c"_ensure_fd_no_transport", ensure_no_transport)
}
