//! Sockets, below the handles: system calls, addresses, and streams at home on a loop or on
//! workers.

pub(crate) mod address;
pub(crate) mod loop_connect;
pub(crate) mod loop_listener;
pub(crate) mod loop_stream;
pub(crate) mod pieces;
pub(crate) mod sys;
pub(crate) mod task_connect;
pub(crate) mod task_listener;
pub(crate) mod task_stream;

use crate::callback::UserData;
use crate::status::Error;
use crate::task::{DoneFn, rt_done_fn, rt_result};
use crate::thread;

/// What a submission did.
pub(crate) enum Submitted {
    /// It is done, with so many bytes; nobody will call back.
    Done(usize),
    /// The callback will come.
    Pending,
}

/// A function that is called again and again.
pub(crate) struct Subscription {
    call: DoneFn,
    user: UserData,
}

impl Subscription {
    /// `Error::Inval` without a function; `user` is dropped then.
    pub(crate) fn new(call: rt_done_fn, user: UserData) -> Result<Subscription, Error> {
        Ok(Subscription {
            call: call.ok_or(Error::Inval)?,
            user,
        })
    }

    pub(crate) fn call(&self, result: &rt_result) {
        // SAFETY: the caller of the API gave the function for this data.
        let _ = thread::callback(|| unsafe { (self.call)(self.user.data(), result) });
    }
}
