//! Tests of I/O and timers, each on a runtime of one, two and four workers, and on an event loop with a runtime
//! attached.

use libruntime_core::runtime::{Builder, Runtime};

pub(crate) fn runtime(workers: usize) -> Runtime {
    Builder::new()
        .worker_threads(workers)
        .build()
        .expect("a runtime")
}

macro_rules! on_runtimes {
    ($(async fn $name:ident() $body:block)*) => {
        $(mod $name {
            use super::*;
            async fn body() $body
            fn run(workers: usize) {
                let runtime = crate::on_runtimes::runtime(workers);
                let task = runtime.spawn(body());
                runtime.block_on(task).expect("entered").expect("the task");
            }
            #[test] fn on_one_worker() { run(1) }
            #[test] fn on_two_workers() { run(2) }
            #[test] fn on_four_workers() { run(4) }
            #[test] fn on_an_event_loop() {
                let runtime = crate::on_runtimes::runtime(1);
                let el = libruntime_core::event_loop::EventLoop::new().expect("a loop");
                el.set_runtime(Some(runtime.handle().clone()));
                el.block_on(body()).expect("blocked");
            }
        })*
    };
}
