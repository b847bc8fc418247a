"""libruntime-core beside tokio, smol and async-std: one binary, a runtime and a workload for each process.

To add a workload: its function and a line in `benches/core/src/workload/`, and a line in `LINES` here.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.model import Batch, Program, Server, Suite, Traced, Workload
from harness.process import can_trace

from . import ROOT, Settings, locked_version, own_version, policies

OURS, PEER, UNSTABLE, TUNED = "libruntime", "tokio", "tokio-unstable", "libruntime-tuned"
PEERS = (PEER, UNSTABLE, "smol", "async-std")
CANDIDATES = (OURS, *PEERS)
BINARY = str(ROOT / "target" / "release" / "bench-core")
#: The same program, built with `--cfg tokio_unstable`.
UNSTABLE_BINARY = str(ROOT / "target" / "tokio-unstable" / "release" / "bench-core")

WORKERS = 2
OTHER_WORKERS = (1, 8)
WINDOW, SHORT_WINDOW, LONG_WINDOW = 300, 150, 500
#: With time enough for a tuner to decide, and in seconds the same before messages are counted.
TUNED_WINDOW, TUNED_WARMUP = 1500, "1.0"
#: Rounds of what takes long or is only shown as a ratio.
FEW_ROUNDS = 3


@dataclass(frozen=True)
class Line:
    """A workload of the program by its name in the report; the first metric is the headline."""

    name: str
    about: str
    metrics: tuple[str, ...] = ("time", "cpu")
    #: The program's name for it, if it is another.
    workload: str = ""
    #: Also with 1 and with 8 workers, in the compact tables.
    compact: bool = False
    workers: int = WORKERS
    window: int = WINDOW
    #: What tokio's users would set for this kind of work, among the unstable settings.
    unstable: tuple[str, ...] = ()
    candidates: tuple[str, ...] = CANDIDATES
    rounds: int | None = None


LATE = ("p50", "p99")
IDLE = ("switches_per_wake", "cpu_per_wake", "noop_parks")
#: The eager driver hand-off, and no LIFO slot.
BLOCKS = ("--blocks",)

LINES = (
    Line("spawn-outside", "10,000 empty tasks spawned by a thread that is no worker", compact=True),
    Line("spawn-inside", "10,000 empty tasks spawned by a task", compact=True),
    Line("spawn-join-all", "a task spawns 10,000 empty tasks and joins them all", compact=True),
    Line("spawn-join", "a task spawns a task and awaits it, one after the other", compact=True),
    Line("spawn-chain", "each task spawns the next and ends, 1,000 links", compact=True),
    Line("remote-spawn-1", "a foreign thread spawns 12,800 empty tasks"),
    Line("remote-spawn-2", "2 foreign threads share that"),
    Line("remote-spawn-4", "4 foreign threads share that"),
    Line("remote-spawn-8", "8 foreign threads share that", compact=True),
    Line("remote-busy-yield", "1,000 tasks spawned from outside beside tasks that stall 10 us and yield", compact=True),
    Line("remote-busy-spawn", "the same beside tasks that stall 10 us and spawn their successor", compact=True),
    Line("yield", "200 tasks yield 500 times each", compact=True),
    Line("fork-join", "Fibonacci of 16, a task for each fork", compact=True),
    Line("ping-pong", "1,000 pairs of tasks, a message and its answer, futures' oneshot for all", compact=True),
    Line("mutex", "100 tasks hold one mutex across a yield, futures' for all", compact=True),
    Line("channel", "5 tasks send to one, room for 100, futures' mpsc for all", compact=True),
    Line("ping-pong-own", "the same as ping-pong, each runtime's own channels", compact=True),
    Line("mutex-own", "the same as mutex, each runtime's own mutex", compact=True),
    Line("channel-own", "the same as channel, each runtime's own channel", compact=True),
    Line("timer-cancel", "10,000 timers set and held, then dropped", compact=True),
    Line("timer-fire", "10,000 tasks asleep, due 1 us apart", ("cpu",), compact=True),
    Line("timers-million", "a million timers in one array, due over one second", ("set", "bytes", "fire", "late")),
    Line("timers-million-by-all", "a million timers, set by all workers at once", ("set",)),
    Line("sleep-lateness", "a task sleeps 0.5 ms; how late it runs", LATE, compact=True),
    Line("blocking-jobs", "16 tasks run empty jobs on the pool for blocking, one after the other", compact=True),
    Line("blocking-burst", "a task hands 1,000 empty jobs to that pool at once", compact=True),
    Line("wake-task", "a thread wakes a task while all workers sleep", LATE),
    Line("wake-eventfd", "the same with one worker, asleep in the reactor", LATE, workload="wake-task", workers=1),
    Line("wake-futex", "a thread wakes a future of block_on", LATE, workload="wake-block-on"),
    Line("behind-blocked", "a task wakes another, then blocks its worker for 10 ms", LATE, unstable=BLOCKS),
    Line("timer-behind-blocked", "1 ms sleeps beside a task that blocks its worker for 20 ms", LATE, unstable=BLOCKS),
    Line("idle-0", "nothing to do", ("switches", "cpu"), window=LONG_WINDOW),
    Line("idle-100", "100 wakes per s from a thread", IDLE, window=LONG_WINDOW),
    Line("idle-2000", "2,000 wakes per s from a thread", IDLE, window=LONG_WINDOW),
    Line("idle-sleeps", "a task sleeps 0.5 ms again and again", IDLE, window=LONG_WINDOW),
    Line("idle-tasks", "a million tasks that wait", ("bytes", "time", "cpu"), rounds=FEW_ROUNDS),
    Line("idle-timers", "a million timers armed by one task", ("bytes",), rounds=FEW_ROUNDS),
    Line("burst", "300,000 tasks wait at once, then end: memory kept after it", ("kept", "peak"), rounds=FEW_ROUNDS),
)
#: Those that the tuner is measured with.
TUNED_LINES = ("spawn-inside", "yield", "fork-join", "ping-pong", "channel")
ECHOES = (1, 4, 50, 500)
ECHO_METRICS = ("cpu_per_message", "messages_per_s", "p50", "p99")
CHURN = 20
IDLE_CONNECTIONS = 2000

#: What repeats from run to run: workloads whose batches are counted instead of timed, and the system calls that count.
COUNTED = (
    ("spawn-outside", ("futex", "write")),
    ("spawn-inside", ("futex",)),
    ("spawn-join", ()),
    ("yield", ("futex",)),
    ("ping-pong-own", ("futex",)),
    ("mutex-own", ("futex",)),
    ("timer-cancel", ("futex", "write")),
    ("blocking-jobs", ("futex", "write")),
)


def program(
    candidate: str, settings: Settings, workload: str, *options: str, workers: int = WORKERS
) -> tuple[str, ...]:
    binary = UNSTABLE_BINARY if candidate == UNSTABLE else BINARY
    quick = ("--quick",) if settings.quick else ()
    return (binary, "--runtime", candidate, "--workload", workload, "--workers", str(workers), *options, *quick)


def versions() -> dict[str, str]:
    """Of all candidates; the unstable settings are another build of the same tokio."""
    return {c: own_version() if c == OURS else locked_version("tokio" if c == UNSTABLE else c) for c in CANDIDATES}


def suites(settings: Settings) -> tuple[Suite, ...]:
    main = Suite(
        name="core",
        title="Core",
        ours=OURS,
        peer=PEER,
        versions=versions(),
        workloads=(*(timed(line, settings) for line in LINES), *servers(settings)),
        notes=f"{WORKERS} workers each; tokio-unstable has the alternative timer and the sharded blocking queue, and where a "
        "task blocks also the eager driver hand-off, and no LIFO slot; the others have default settings.",
    )
    others = (
        Suite(
            name=f"core-{workers}",
            title=f"Core with {workers} worker{'s' if workers > 1 else ''}",
            ours=OURS,
            peer=PEER,
            versions=versions(),
            workloads=tuple(timed(line, settings, workers) for line in LINES if line.compact),
            notes="First metrics only."
            if workers == 1
            else "First metrics only; more workers than this machine has cores.",
            compact=True,
        )
        for workers in OTHER_WORKERS
    )
    return (main, *others, tuned(settings), policies.suite(settings), counts(settings))


def timed(line: Line, settings: Settings, workers: int | None = None) -> Workload:
    window = line.window if workers is None else SHORT_WINDOW

    def batch(candidate: str) -> Program:
        options = ("--window", str(window), *(line.unstable if candidate == UNSTABLE else ()))
        argv = program(candidate, settings, line.workload or line.name, *options, workers=workers or line.workers)
        return Batch(argv)

    rounds = line.rounds if workers is None else FEW_ROUNDS
    return Workload(line.name, line.about, line.metrics, {c: batch(c) for c in line.candidates}, rounds)


def tuned(settings: Settings) -> Suite:
    """More workers than cores, as where a container has less than the machine: the tuner on against off."""
    workers = max(OTHER_WORKERS)
    options = {OURS: (), TUNED: ("--tuner",)}

    def argv(candidate: str, workload: str, *more: str) -> tuple[str, ...]:
        return program(OURS, settings, workload, *options[candidate], *more, workers=workers)

    window = ("--window", str(TUNED_WINDOW))
    batches = [
        Workload(
            line.name, line.about, line.metrics, {c: Batch(argv(c, line.name, *window)) for c in options}, FEW_ROUNDS
        )
        for line in LINES
        if line.name in TUNED_LINES
    ]
    load = settings.load(500, 64, warmup=TUNED_WARMUP)
    echo = Workload(
        "echo-64B-x500",
        "TCP echo, 64 B over 500 connections",
        ("p99", "p50", "cpu_per_message", "messages_per_s"),
        {c: Server(argv(c, "echo"), load) for c in options},
        FEW_ROUNDS,
    )
    return Suite(
        name="core-tuned",
        title=f"Core with {workers} workers, tuned",
        ours=TUNED,
        peer=OURS,
        versions=dict.fromkeys(options, own_version()),
        workloads=(*batches, echo),
        notes="The same runtime with its tuner and without.",
        compact=True,
    )


def servers(settings: Settings) -> list[Workload]:
    def serving(name: str, about: str, metrics: tuple[str, ...], load: tuple[str, ...], server: str) -> Workload:
        return Workload(name, about, metrics, {c: Server(program(c, settings, server), load) for c in CANDIDATES})

    echoes = [
        serving(
            f"echo-64B-x{connections}",
            f"TCP echo, 64 B over {connections} connection{'s' if connections > 1 else ''}",
            ECHO_METRICS,
            settings.load(connections, 64),
            "echo",
        )
        for connections in ECHOES
    ]
    churn = serving(
        f"churn-x{CHURN}",
        f"connect, echo 64 B, reset; {CHURN} at a time",
        ("cpu_per_message", "messages_per_s"),
        settings.load(CHURN, 64, churn=True),
        "echo",
    )
    idle = serving(
        "idle-connections",
        f"{IDLE_CONNECTIONS} connections whose tasks have a buffer of 64 B: memory of one",
        ("rss_per_connection",),
        settings.load(IDLE_CONNECTIONS, 64),
        "echo-small",
    )
    return [*echoes, churn, idle]


def counts(settings: Settings) -> Suite:
    """Allocations by a counting allocator, system calls by strace; one round, for they repeat."""
    tracing = can_trace()
    workloads = []
    for name, calls in COUNTED:
        programs: dict[str, Program] = {c: Batch(program(c, settings, name, "--count")) for c in CANDIDATES}
        workloads.append(Workload(name, "", ("allocations", "allocated", "switches"), programs, rounds=1))
        if tracing and calls:
            # A tracer slows system calls down, so what depends on their speed is not counted beside it.
            traced: dict[str, Program] = {
                c: Traced(batch, "operations") for c, batch in programs.items() if not isinstance(batch, Traced)
            }
            workloads.append(Workload(f"{name}, traced", "", calls, traced, rounds=1))
    if tracing:
        for name, load, metrics in (
            ("echo-64B-x1, traced", settings.load(1, 64), ("syscalls", "epoll_wait", "futex", "epoll_ctl")),
            ("echo-64B-x50, traced", settings.load(50, 64), ("syscalls", "epoll_wait", "futex", "epoll_ctl")),
            ("churn-x20, traced", settings.load(CHURN, 64, churn=True), ("epoll_ctl", "syscalls", "futex")),
        ):
            served: dict[str, Program] = {
                c: Traced(Server(program(c, settings, "echo"), load), "all_messages") for c in CANDIDATES
            }
            workloads.append(Workload(name, "", metrics, served, rounds=1))
    return Suite(
        name="core-counts",
        title="Core, counted",
        ours=OURS,
        peer=PEER,
        versions=versions(),
        workloads=tuple(workloads),
        notes="For one operation, message or short connection: allocations, bytes allocated, context switches, system calls."
        + ("" if tracing else " System calls are left out: strace is not there, or may not trace."),
        plotted=False,
    )
