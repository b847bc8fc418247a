"""The C API on one loop beside libuv, under a raw epoll server as the ceiling."""

from __future__ import annotations

from harness.model import Batch, Program, Server, Suite, Workload

from . import BUILT, Settings, output_of, own_version

PROGRAMS = {"libruntime": str(BUILT / "rt_bench"), "libuv": str(BUILT / "uv_bench")}
RAW = str(BUILT / "raw_echo")

BATCHES = (
    ("timer-cancel", "a million timers created, then all cancelled", ("create_cancel", "create")),
    ("timer-fire", "200,000 timers due along a tenth of a second", ("create_fire",)),
    ("wake", "two loops on two threads wake each other", ("round_trip", "round_trip_cpu")),
    ("turn", "a turn that finds nothing to do", ("turn",)),
)
#: (connections, bytes)
ECHOES = ((1, 64), (50, 64), (1000, 64), (50, 1024), (50, 16 * 1024), (50, 100 * 1024))


def suites(settings: Settings) -> tuple[Suite, ...]:
    def servers(load: tuple[str, ...]) -> dict[str, Program]:
        ours = {name: Server((program, "echo"), load) for name, program in PROGRAMS.items()}
        return {**ours, "raw epoll": Server((RAW,), load)}

    workloads = [
        Workload(name, about, metrics, {c: Batch((program, name)) for c, program in PROGRAMS.items()})
        for name, about, metrics in BATCHES
    ]
    for connections, size in ECHOES:
        workloads.append(
            Workload(
                f"echo-{size_name(size)}-x{connections}",
                f"TCP echo, {size_name(size)} over {connections} connections",
                ("cpu_per_message", "messages_per_s", "p50", "p99"),
                servers(settings.load(connections, size)),
            )
        )
    workloads.append(
        Workload(
            "churn-x20",
            "connect, echo 64 B, reset; 20 at a time",
            ("cpu_per_message", "messages_per_s"),
            servers(settings.load(20, 64, churn=True)),
        )
    )
    return (
        Suite(
            name="c",
            title="C API",
            ours="libruntime",
            peer="libuv",
            versions={
                "libruntime": own_version(),
                "libuv": output_of([PROGRAMS["libuv"], "version"]) or "?",
                "raw epoll": "no library",
            },
            workloads=tuple(workloads),
            notes="One loop, one thread. `raw epoll` has no library at all: it shows what the kernel leaves to win.",
            ceilings=frozenset({"raw epoll"}),
        ),
    )


def size_name(size: int) -> str:
    return f"{size // 1024}KiB" if size >= 1024 else f"{size}B"
