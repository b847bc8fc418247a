//! Prints what a runtime says of itself, as exporters want it:
//!
//! ```text
//! cargo run --example export_metrics [prometheus|otlp] [CLASS]
//! ```
//!
//! CLASS is the name of a class of blocking jobs that it adds, to be seen as a label.

use libruntime_core::runtime::Builder;
use libruntime_core::task::yield_now;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let format = arguments.next().unwrap_or("prometheus".to_owned());
    let class = arguments.next().unwrap_or("reports".to_owned());

    let mut builder = Builder::new();
    builder
        .worker_threads(2)
        .poll_time_histogram(true)
        .schedule_latency_histogram(true);
    let class = builder.add_blocking_class(class, 2);
    let runtime = builder.build()?;

    let tasks: Vec<_> = (0..100)
        .map(|_| runtime.spawn(async { yield_now().await }))
        .collect();
    for task in tasks {
        runtime.block_on(task)??;
    }
    runtime.block_on(runtime.spawn_blocking_in(class, || ()))??;

    let metrics = runtime.metrics();
    match &*format {
        "prometheus" => print!("{}", metrics.to_prometheus()),
        "otlp" => println!("{}", metrics.to_otlp_json(&[("service.name", "example")])),
        other => return Err(format!("{other} is neither prometheus nor otlp").into()),
    }
    Ok(())
}
