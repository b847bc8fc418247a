"""libruntime-core beside tokio, smol and async-std: one binary, a runtime and a workload for each process."""

from __future__ import annotations

from harness.model import Batch, Program, Server, Suite, Workload

from . import ROOT, Settings, locked_version, own_version

CANDIDATES = ("libruntime", "tokio", "smol", "async-std")
BINARY = str(ROOT / "target" / "release" / "bench-core")
WORKERS = "2"

BATCHES = (
    ("spawn-outside", "10,000 empty tasks spawned by a thread that is no worker", ("time", "cpu")),
    ("spawn-inside", "10,000 empty tasks spawned by a task", ("time", "cpu")),
    ("spawn-join", "a task spawns a task and awaits it, one after the other", ("time", "cpu")),
    ("spawn-chain", "each task spawns the next and ends, 1,000 links", ("time", "cpu")),
    ("yield", "200 tasks yield 500 times each", ("time", "cpu")),
    ("ping-pong", "1,000 pairs of tasks, a message and its answer over oneshot channels", ("time", "cpu")),
    ("timer-cancel", "10,000 timers set and held, then dropped", ("time", "cpu")),
    ("timer-fire", "10,000 tasks asleep, due 1 us apart", ("cpu",)),
    ("sleep-lateness", "a task sleeps 0.5 ms; how late it runs", ("p50", "p99")),
)
ECHOES = (1, 50, 500)


def suite(settings: Settings) -> Suite:
    def command(candidate: str, workload: str) -> tuple[str, ...]:
        quick = ("--quick",) if settings.quick else ()
        return (BINARY, "--runtime", candidate, "--workload", workload, "--workers", WORKERS, *quick)

    workloads = [
        Workload(name, about, metrics, {c: Batch(command(c, name)) for c in CANDIDATES})
        for name, about, metrics in BATCHES
    ]
    for connections in ECHOES:
        servers: dict[str, Program] = {
            c: Server(command(c, "echo"), settings.load(connections, 64)) for c in CANDIDATES
        }
        about = f"TCP echo, 64 B over {connections} connections"
        workloads.append(
            Workload(f"echo-64B-x{connections}", about, ("cpu_per_message", "messages_per_s", "p50", "p99"), servers)
        )
    return Suite(
        name="core",
        title="Core",
        ours="libruntime",
        peer="tokio",
        versions={"libruntime": own_version()} | {c: locked_version(c) for c in CANDIDATES[1:]},
        workloads=tuple(workloads),
        notes=f"{WORKERS} workers each, default settings.",
    )
