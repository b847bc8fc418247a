//! The core suite: `bench-core --runtime NAME --workload NAME [--workers N] [--quick]`.
//!
//! One process runs one workload on one runtime and prints one JSON object for each metric (see
//! `benches/README.md`). The workload `echo` serves until the process is killed and is driven by the load
//! generator instead.
//!
//! A workload is written once, against [`candidate::Candidate`]; a runtime is one small file in `candidate/`.

mod candidate;
mod measure;
mod workload;

use candidate::{AsyncStd, Candidate, Ours, Smol, Tokio};
use measure::Settings;

const USAGE: &str = "usage: bench-core --runtime libruntime|tokio|smol|async-std --workload NAME [--workers N] [--quick]";

fn main() {
    let mut runtime = String::new();
    let mut name = String::new();
    let mut settings = Settings {
        workers: 2,
        quick: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| usage());
        match argument.as_str() {
            "--runtime" => runtime = value(),
            "--workload" => name = value(),
            "--workers" => settings.workers = value().parse().unwrap_or_else(|_| usage()),
            "--quick" => settings.quick = true,
            _ => usage(),
        }
    }
    match runtime.as_str() {
        "libruntime" => run::<Ours>(&name, settings),
        "tokio" => run::<Tokio>(&name, settings),
        "smol" => run::<Smol>(&name, settings),
        "async-std" => run::<AsyncStd>(&name, settings),
        _ => usage(),
    }
}

fn run<C: Candidate>(name: &str, settings: Settings) {
    let Some(workload) = workload::find::<C>(name) else {
        eprintln!(
            "no workload {name:?}; there are: {}",
            workload::names().join(", ")
        );
        std::process::exit(2);
    };
    workload(&C::start(settings.workers), &settings);
}

fn usage() -> ! {
    eprintln!("{USAGE}");
    std::process::exit(2);
}
