//! Which public types and futures are `Send`, `Sync`, `Unpin`, `UnwindSafe` and `RefUnwindSafe`. What
//! is here is part of the interface: a change of it breaks programs.
//!
//! The check is in the types: a trait that two blanket implementations compete for, unless the type
//! lacks the marker.

use libruntime_core::event_loop::{
    BlockOnError, EventLoop, Hooks, KeepAlive, LoopClosed, LoopHandle, LoopTimer, NoLoopError,
    Turn, Watch,
};
use libruntime_core::metrics;
use libruntime_core::runtime::{
    self, EnterError, EnterGuard, Handle, Lifecycle, NoRuntimeError, Runtime, ShutdownReport,
};
use libruntime_core::task::{
    self, AbortHandle, AccessError, Id, JoinError, JoinHandle, JoinSet, LocalKey, Scope, YieldNow,
    coop, join_set,
};
use libruntime_core::topology::Topology;
use libruntime_core::tune;
use std::cell::Cell;
use std::future::Ready;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

/// Fails to compile with "type annotations needed" if the type has a marker that it must not have.
macro_rules! has_not {
    ($type:ty, $marker:path) => {
        const _: fn() = || {
            trait Either<A> {
                fn name() {}
            }
            impl<T: ?Sized> Either<()> for T {}
            struct Other;
            impl<T: ?Sized + $marker> Either<Other> for T {}
            let _ = <$type as Either<_>>::name;
        };
    };
}

macro_rules! has {
    ($type:ty, $marker:path) => {
        const _: fn() = || {
            fn has<T: ?Sized + $marker>() {}
            has::<$type>();
        };
    };
}

macro_rules! one {
    ($type:ty, $marker:path, yes) => {
        has!($type, $marker);
    };
    ($type:ty, $marker:path, no) => {
        has_not!($type, $marker);
    };
}

/// Send, Sync, Unpin, UnwindSafe and RefUnwindSafe, in this order.
macro_rules! table {
    ($($type:ty: $send:ident $sync:ident $unpin:ident $unwind:ident $ref_unwind:ident;)*) => {
        $(
            one!($type, Send, $send);
            one!($type, Sync, $sync);
            one!($type, Unpin, $unpin);
            one!($type, UnwindSafe, $unwind);
            one!($type, RefUnwindSafe, $ref_unwind);
        )*
    };
}

/// Send, not Sync.
type S = Cell<u32>;
/// Neither.
type N = Rc<u32>;

table! {
    Runtime: yes yes yes yes yes;
    Topology: yes yes yes yes yes;
    runtime::Affinity: yes yes yes yes yes;
    runtime::Builder: yes yes yes no no;
    Handle: yes yes yes yes yes;
    EnterGuard: no no yes no no;
    EnterError: yes yes yes yes yes;
    NoRuntimeError: yes yes yes yes yes;
    Lifecycle: yes yes yes yes yes;
    ShutdownReport: yes yes yes yes yes;
    tune::Profile: yes yes yes yes yes;
    tune::Tuning: yes yes yes yes yes;
    tune::Decision: yes yes yes yes yes;
    tune::Reason: yes yes yes yes yes;
    tune::Setting: yes yes yes yes yes;
    metrics::Histogram: yes yes yes yes yes;
    metrics::Bucket: yes yes yes yes yes;

    JoinHandle<u32>: yes yes yes yes yes;
    JoinHandle<S>: yes yes yes yes yes;
    JoinHandle<N>: no no yes yes yes;
    AbortHandle: yes yes yes yes yes;
    JoinError: yes yes yes yes yes;
    Id: yes yes yes yes yes;
    task::Builder: yes yes yes yes yes;
    YieldNow: yes yes yes yes yes;
    JoinSet<u32>: yes yes yes yes yes;
    JoinSet<S>: yes yes yes yes yes;
    JoinSet<N>: no no yes yes yes;
    join_set::Builder<'static, u32>: yes yes yes no yes;
    join_set::Builder<'static, N>: no no yes no yes;
    LocalKey<u32>: yes yes yes yes yes;
    LocalKey<N>: yes yes yes yes yes;
    AccessError: yes yes yes yes yes;
    Scope<u32, Ready<()>>: yes yes yes yes yes;
    Scope<S, Ready<()>>: yes no yes yes no;
    Scope<N, Ready<()>>: no no yes yes yes;
    coop::Unconstrained<Ready<u32>>: yes yes yes yes yes;
    coop::Unconstrained<Ready<N>>: no no yes yes yes;
    coop::Coop<Ready<u32>>: yes yes yes yes yes;

    EventLoop: no no yes no no;
    LoopHandle: yes yes yes yes yes;
    KeepAlive: yes yes yes yes yes;
    LoopTimer: no no yes no no;
    Watch: no no yes no no;
    Hooks: no no yes no no;
    LoopClosed: yes yes yes yes yes;
    BlockOnError: yes yes yes no no;
    NoLoopError: yes yes yes yes yes;
    Turn: yes yes yes yes yes;
}

/// Futures that functions return are Send if what they wait for is, and so can be spawned.
#[test]
fn futures_of_a_set_can_be_spawned_if_its_outputs_can() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let mut set = JoinSet::<S>::new();
    drop(send(set.join_next()));
    drop(send(set.join_next_with_id()));
    drop(send(set.shutdown()));
    drop(send(set.join_all()));
    drop(send(coop::consume_budget()));
}
