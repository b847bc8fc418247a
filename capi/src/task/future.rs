//! A caller's poll function as a future.

use std::ffi::{c_int, c_void};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::rt_result;
use super::shared::Shared;
use crate::callback::UserData;
use crate::net::task_listener::Places;
use crate::status::{RT_ECANCELED, RT_EINVAL, RT_EPANIC, RT_PENDING};
use crate::thread;
use crate::waker::{rt_context, with_context};

pub(super) type PollFn =
    unsafe extern "C-unwind" fn(*mut c_void, *mut rt_context, *mut rt_result) -> c_int;

/// Polls the caller's function. The user data is dropped after the last poll and before anybody
/// hears of the result, whether the task ends by itself or its future is dropped.
pub(super) struct UserTask {
    poll: PollFn,
    user: Option<UserData>,
    shared: Option<Arc<Shared>>,
    places: Places,
}

impl UserTask {
    pub(super) fn new(poll: PollFn, user: UserData, shared: Option<Arc<Shared>>) -> UserTask {
        UserTask {
            poll,
            user: Some(user),
            shared,
            places: Places::default(),
        }
    }

    fn finish(&mut self, result: rt_result) {
        let Some(user) = self.user.take() else { return };
        drop(user);
        if let Some(shared) = self.shared.take() {
            shared.complete(result);
        }
    }
}

impl Future for UserTask {
    type Output = rt_result;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<rt_result> {
        let Some(user) = &self.user else {
            return Poll::Ready(rt_result::of(RT_EINVAL));
        };
        let mut result = rt_result::of(0);
        let polled = with_context(cx.waker(), &self.places, |cx| {
            // SAFETY: the caller of the API gave the function for this data, which lives until
            // `finish`; the executor never polls a task on two threads at once.
            thread::callback(|| unsafe { (self.poll)(user.data(), cx, &mut result) })
        });
        match polled {
            Ok(RT_PENDING) => return Poll::Pending,
            Ok(status) if status > 0 => result = rt_result::of(RT_EINVAL),
            Ok(status) => result.status = status,
            Err(_) => result = rt_result::of(RT_EPANIC),
        }
        self.finish(result);
        Poll::Ready(result)
    }
}

impl Drop for UserTask {
    fn drop(&mut self) {
        self.finish(rt_result::of(RT_ECANCELED));
    }
}
