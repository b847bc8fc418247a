//! The core suite: `bench-core --runtime NAME --workload NAME [options]`.
//!
//! One process runs one workload on one runtime and prints one JSON object for each metric (see
//! `benches/README.md`). The workload `echo` serves until the process is killed and is driven by the load
//! generator instead.
//!
//! A workload is written once, against [`candidate::Candidate`]; a runtime is one small file in `candidate/`.

mod allocator;
mod candidate;
mod measure;
mod workload;

use candidate::{AsyncStd, Candidate, Options, Smol, Tokio};
use measure::Settings;

const USAGE: &str = "\
usage: bench-core --runtime libruntime|tokio|tokio-unstable|smol|async-std --workload NAME
  --workers N   worker threads (2)
  --window MS   how long a batch is repeated (400)
  --size N      how many items, for the workloads that grow
  --blocks      tokio-unstable: what its users set if tasks block their worker
  --tuner       libruntime: with its tuner
  --count       counts allocations and context switches instead of time
  --batches N   how many batches --count counts (8): a cache simulator's figures for two numbers, one
                taken from the other, are free of what starts and ends the program
  --quick       too short to mean anything";

fn main() {
    let mut runtime = String::new();
    let mut name = String::new();
    let mut options = Options {
        workers: 2,
        blocks: false,
        tuner: false,
    };
    let mut settings = Settings::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| usage());
        match argument.as_str() {
            "--runtime" => runtime = value(),
            "--workload" => name = value(),
            "--workers" => options.workers = value().parse().unwrap_or_else(|_| usage()),
            "--window" => settings.window_ms = value().parse().unwrap_or_else(|_| usage()),
            "--size" => settings.size = value().parse().unwrap_or_else(|_| usage()),
            "--blocks" => options.blocks = true,
            "--tuner" => options.tuner = true,
            "--count" => settings.count = true,
            "--batches" => settings.batches = value().parse().unwrap_or_else(|_| usage()),
            "--quick" => settings.quick = true,
            _ => usage(),
        }
    }
    settings.workers = options.workers;
    match runtime.as_str() {
        "libruntime" => run(&name, options, settings, workload::find_ours),
        "tokio" | "tokio-unstable" if (runtime == "tokio-unstable") != cfg!(tokio_unstable) => {
            eprintln!(
                "{runtime} is another build of this program (RUSTFLAGS=\"--cfg tokio_unstable\", or without)"
            );
            std::process::exit(2);
        }
        "tokio" | "tokio-unstable" => run(&name, options, settings, workload::find::<Tokio>),
        "smol" => run(&name, options, settings, workload::find::<Smol>),
        "async-std" => run(&name, options, settings, workload::find::<AsyncStd>),
        _ => usage(),
    }
}

fn run<C: Candidate>(
    name: &str,
    options: Options,
    settings: Settings,
    find: fn(&str) -> Option<workload::Workload<C>>,
) {
    let Some(workload) = find(name) else {
        eprintln!(
            "no workload {name:?}; there are: {}",
            workload::names().join(", ")
        );
        std::process::exit(2);
    };
    workload(&C::start(options), &settings);
    // What a workload leaves behind (a million tasks, say) is the kernel's to clear away.
    std::process::exit(0);
}

fn usage() -> ! {
    eprintln!("{USAGE}");
    std::process::exit(2);
}
