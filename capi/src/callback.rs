//! User data.
//!
//! Every callback of the header is the triple `(fn, data, drop)`. `UserData` owns the pair
//! `(data, drop)`: a function of the header makes one before it checks anything, so that `drop`
//! runs exactly once whatever happens.

use std::ffi::c_void;

use crate::event_loop::DropHome;
use crate::thread;

/// Gives user data back: called exactly once for each time that the data was passed in, after the
/// last use of it, never while its function runs, also when the call that took the data failed.
/// May be NULL. Unless a function says otherwise it may run on any thread.
pub type rt_drop_fn = Option<unsafe extern "C-unwind" fn(data: *mut c_void)>;

/// User data of one callback. Dropping it calls the caller's `drop`.
pub(crate) struct UserData {
    data: *mut c_void,
    drop: rt_drop_fn,
    home: Option<DropHome>,
}

// SAFETY: the library only passes the pointer on; the header says on which threads.
unsafe impl Send for UserData {}
// SAFETY: as above, and no method gives access to what the pointer points to.
unsafe impl Sync for UserData {}

impl UserData {
    pub(crate) fn new(data: *mut c_void, drop: rt_drop_fn) -> UserData {
        UserData {
            data,
            drop,
            home: None,
        }
    }

    /// Asks for `drop` to run on the thread of a loop (`RT_DROP_ON_LOOP`).
    pub(crate) fn drop_on(&mut self, home: DropHome) {
        self.home = Some(home);
    }

    pub(crate) fn data(&self) -> *mut c_void {
        self.data
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        let Some(drop) = self.drop.take() else { return };
        let data = SendPtr(self.data);
        let call = move || {
            let data = data;
            // SAFETY: the caller of the API gave `drop` for this data; `take` above makes this the
            // only call.
            let _ = thread::callback(|| unsafe { drop(data.0) });
        };
        match self.home.take() {
            Some(home) => home.run(call),
            None => call(),
        }
    }
}

/// A caller's pointer on its way to another thread.
#[derive(Clone, Copy)]
pub(crate) struct SendPtr(pub(crate) *mut c_void);

// SAFETY: the library only passes the pointer on; the header says on which threads.
unsafe impl Send for SendPtr {}
