//! A caller's hooks as core's.

use std::sync::Arc;

use super::{Hooks, rt_hook_fn};
use crate::callback::UserData;
use crate::thread;

/// Three functions that share their user data.
pub(super) fn make(
    before_wait: rt_hook_fn,
    after_wait: rt_hook_fn,
    after_turn: rt_hook_fn,
    user: UserData,
) -> Hooks {
    let user = Arc::new(user);
    let hook = |function: rt_hook_fn| {
        let user = user.clone();
        function.map(|function| -> Box<dyn Fn() + Send> {
            Box::new(move || {
                // SAFETY: the caller gave the function for this data, which the closure keeps.
                let _ = thread::callback(|| unsafe { function(user.data()) });
            })
        })
    };
    Hooks {
        before_wait: hook(before_wait),
        after_wait: hook(after_wait),
        after_turn: hook(after_turn),
    }
}
