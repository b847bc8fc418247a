"""What one item costs as the number of items grows: timers, tasks, connections, workers."""

from __future__ import annotations

import resource

from harness.model import Batch, Curve, Program, Server, Suite, Workload

from . import Settings
from .core import OURS, PEER, PEERS, program, versions

CANDIDATES = (OURS, *(peer for peer in PEERS if peer != "tokio-unstable"))
MILLION = 1_000_000
#: What the largest sizes need, with the most generous allocator of the candidates.
BYTES_PER_ITEM = 900
#: Descriptors that a process needs beside its connections.
DESCRIPTORS = 100
TIMEOUT = 120.0
ROUNDS = 3

ITEMS = (1_000, 10_000, 100_000, MILLION, 10 * MILLION)
CONNECTIONS = (1, 10, 100, 1_000, 10_000, 100_000)
WORKERS = (1, 2, 4, 8)
#: Of work in a task, about a nanosecond each.
STEPS = (1, 10, 100, 1_000, 10_000, 100_000)

BATCHES = (
    ("tasks", "grow-tasks", "A task that waits", "tasks that wait at the same time", ("create", "end", "bytes")),
    ("timers", "grow-timers", "A timer that is armed", "timers armed at the same time", ("arm", "cancel", "bytes")),
    ("sleeps", "grow-sleeps", "A task that sleeps and ends", "tasks asleep at the same time", ("cpu",)),
)
BY_WORKERS = (
    ("workers-spawn", "spawn-inside", "A spawn from a task"),
    ("workers-yield", "yield", "A yield"),
    ("workers-ping-pong", "ping-pong-own", "A message and its answer"),
)


def suites(settings: Settings) -> tuple[Suite, ...]:
    curves: list[Curve] = []
    workloads: list[Workload] = []

    def add(curve: Curve, programs: dict[int, dict[str, Program]]) -> None:
        curves.append(curve)
        workloads.extend(
            Workload(curve.workload(size), curve.about, curve.metrics, programs[size], ROUNDS) for size in curve.sizes
        )

    items = possible(ITEMS, memory_available() // BYTES_PER_ITEM)
    for name, workload, about, axis, metrics in BATCHES:
        add(
            Curve(name, about, axis, metrics, items, left_out(ITEMS, items, "by the memory that is free")),
            {
                size: {
                    c: Batch(program(c, settings, workload, "--size", str(size)), timeout=TIMEOUT) for c in CANDIDATES
                }
                for size in items
            },
        )

    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = CONNECTIONS[-1] if descriptors == resource.RLIM_INFINITY else descriptors - DESCRIPTORS
    # A client has one address here, and so no more connections to one port than it has ports.
    connections = possible(CONNECTIONS, min(limit, client_ports()))
    note = left_out(CONNECTIONS, connections, "by descriptors and ports")
    add(
        Curve(
            "connections",
            "A message of 64 B over one of many connections",
            "connections, each with a message in flight",
            ("cpu_per_message",),
            connections,
            note,
        ),
        {
            size: {
                c: Server(program(c, settings, "echo-small"), settings.load(size, 64), timeout=TIMEOUT)
                for c in CANDIDATES
            }
            for size in connections
        },
    )
    # What a few weigh is lost in what a runtime sets up for the first.
    many = possible(connections, connections[-1], at_least=1_000)
    curves.append(
        Curve("connections-memory", "A connection", "connections", ("rss_per_connection",), many, of="connections")
    )

    for name, workload, about in BY_WORKERS:
        add(
            Curve(name, about, "workers", ("time", "cpu"), WORKERS),
            {
                workers: {c: Batch(program(c, settings, workload, workers=workers)) for c in CANDIDATES}
                for workers in WORKERS
            },
        )
    add(
        Curve(
            "work",
            "A task that works and is joined",
            "steps of work in each",
            ("time", "cpu"),
            STEPS,
            "What a task costs beside its work is `each`: with it, n workers do n / (`each` + steps x `for each unit`) tasks, for both "
            "are of all workers' time where that is `cpu`, and shared by them where it is `time`.",
            linear=True,
        ),
        {
            size: {c: Batch(program(c, settings, "grow-work", "--size", str(size))) for c in CANDIDATES}
            for size in STEPS
        },
    )
    known = versions()
    return (
        Suite(
            name="growth",
            title="Growth",
            ours=OURS,
            peer=PEER,
            versions={c: known[c] for c in CANDIDATES},
            workloads=tuple(workloads),
            notes="2 workers where nothing else is said. The last column is what one item costs at the top by what it costs at the "
            "bottom; the target is 1.5, caches allowed for.",
            curves=tuple(curves),
        ),
    )


def possible(sizes: tuple[int, ...], limit: int, at_least: int = 0) -> tuple[int, ...]:
    return tuple(size for size in sizes if at_least <= size <= limit) or sizes[:1]


def left_out(wanted: tuple[int, ...], sizes: tuple[int, ...], why: str) -> str:
    missing = [f"{size:,}" for size in wanted if size not in sizes]
    return f"Not possible on this machine, {why}: {', '.join(missing)}." if missing else ""


def memory_available() -> int:
    """Bytes that can be had without swapping."""
    with open("/proc/meminfo") as info:
        for line in info:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def client_ports() -> int:
    with open("/proc/sys/net/ipv4/ip_local_port_range") as ports:
        low, high = ports.read().split()
    return int(high) - int(low)
