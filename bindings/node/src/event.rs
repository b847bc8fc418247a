//! What an I/O back end tells JavaScript, and the shared memory that it says it through.

use crate::io::Id;
use crate::js::{Js, Ref, Value};

/// The system call that failed, numbered as in `lib/errors.js`.
#[derive(Clone, Copy)]
#[repr(i32)]
pub(crate) enum Syscall {
    Read = 0,
    Write = 1,
    Connect = 2,
    Accept = 3,
    EpollCtl = 4,
}

/// One event of one handle. `errno` is positive, as the kernel has it.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    /// A connection is established.
    Open,
    /// Bytes that were read, by their place in the slab.
    Data { offset: usize, length: usize },
    /// Bytes that the kernel had refused are all gone.
    Drain,
    /// The peer has ended its side.
    End,
    /// The connection is broken; `Close` follows.
    Error { errno: i32, syscall: Syscall },
    /// The last event of a connection.
    Close,
    /// No connection came about: the last event of one that never opened.
    ConnectError { errno: i32 },
    /// A listener could not accept; it tries again by itself.
    AcceptError { errno: i32 },
}

impl Event {
    /// Kind and two details, numbered as in `lib/dispatch.js`.
    fn numbers(self) -> [i32; 3] {
        match self {
            Self::Open => [0, 0, 0],
            Self::Data { offset, length } => [1, offset as i32, length as i32],
            Self::Drain => [2, 0, 0],
            Self::End => [3, 0, 0],
            Self::Error { errno, syscall } => [4, errno, syscall as i32],
            Self::Close => [5, 0, 0],
            Self::ConnectError { errno } => [6, errno, Syscall::Connect as i32],
            Self::AcceptError { errno } => [7, errno, Syscall::Accept as i32],
        }
    }
}

/// Memory that V8 owns and native code writes: a slab for bytes that were read, and a ring of events,
/// four 32-bit integers each. JavaScript reads both directly, so an event costs one call with one
/// small integer, and no object is made for it.
pub(crate) struct Mailbox {
    slab: *mut u8,
    ring: *mut [i32; 4],
    next: std::cell::Cell<usize>,
    // V8 keeps the memory for as long as these are there.
    _buffers: [Ref; 2],
}

/// Bytes that one read may yield. A larger slab means fewer calls for a bulk transfer, until it no
/// longer fits beside everything else in a core's second-level cache.
const SLAB_BYTES: usize = 256 * 1024;

/// Events that may be outstanding. A back end on JavaScript's own thread has one at a time.
const RING_EVENTS: usize = 256;

impl Mailbox {
    /// Makes the memory; returns the two `ArrayBuffer`s (slab, ring) for JavaScript as well.
    pub(crate) fn new(js: Js) -> Option<(Self, [Value; 2])> {
        let (slab, slab_bytes) = js.array_buffer(SLAB_BYTES)?;
        let (ring, ring_bytes) = js.array_buffer(RING_EVENTS * size_of::<[i32; 4]>())?;
        let mailbox = Self {
            slab: slab_bytes,
            ring: ring_bytes.cast(),
            next: std::cell::Cell::new(0),
            _buffers: [Ref::new(js, slab)?, Ref::new(js, ring)?],
        };
        Some((mailbox, [slab, ring]))
    }

    /// Lends the slab to `f`, which must not run JavaScript.
    pub(crate) fn with_slab<R>(&self, f: impl FnOnce(&mut [u8]) -> R) -> R {
        // SAFETY: the buffer is kept alive by its reference and never detached; only this thread
        // reads or writes it, and JavaScript does not run before `f` returns.
        f(unsafe { std::slice::from_raw_parts_mut(self.slab, SLAB_BYTES) })
    }

    /// Puts an event into the ring and returns the index of its first integer.
    pub(crate) fn put(&self, id: Id, event: Event) -> i32 {
        let at = self.next.get();
        self.next.set((at + 1) % RING_EVENTS);
        let [kind, first, second] = event.numbers();
        // SAFETY: `at` is below the ring's length; as in `with_slab` for the rest.
        unsafe { self.ring.add(at).write([kind, id.number(), first, second]) };
        at as i32 * 4
    }
}
