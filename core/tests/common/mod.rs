//! What several test programs share.
#![allow(dead_code, reason = "each program uses a part of it")]

pub(crate) mod home;
