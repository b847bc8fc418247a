"""The scheduling policies of libruntime-core beside its plain one: what they are for, and what they cost."""

from __future__ import annotations

from harness.model import Batch, Suite, Workload

from . import ROOT, Settings, own_version

BINARY = str(ROOT / "target" / "release" / "bench-core")
WINDOW = 1000
POLICIES = ("fifo", "lifo", "priority", "fair")

LINES = (
    *(
        (
            f"critical-{by}",
            f"lateness of a critical task that {how}, beside 512 in the background with polls of 20 us",
            ("p99", "p50", "poll"),
            ("fifo", "priority"),
        )
        for by, how in (
            ("queue", "one of those in the background wakes"),
            ("timer", "sleeps for 0.5 ms again and again"),
            ("socket", "waits for a socket"),
            ("thread", "a thread wakes"),
        )
    ),
    ("share", "groups of weights 1, 2 and 4: the largest error of a share", ("error",), ("fifo", "fair")),
    ("yield", "200 tasks yield 500 times each", ("cpu", "time"), POLICIES),
    ("join", "a task spawns a task and awaits it, one after the other", ("cpu", "time"), POLICIES),
)


def suite(settings: Settings) -> Suite:
    def batch(workload: str, policy: str) -> Batch:
        quick = ("--quick",) if settings.quick else ("--window", str(WINDOW))
        return Batch((BINARY, "--runtime", "libruntime", "--workload", f"{workload}-{policy}", *quick))

    return Suite(
        name="core-policies",
        title="Core, scheduling policies",
        ours="priority",
        peer="fifo",
        versions={policy: own_version() for policy in POLICIES},
        workloads=tuple(
            Workload(name, about, metrics, {policy: batch(name, policy) for policy in policies})
            for name, about, metrics, policies in LINES
        ),
        notes="2 workers. The same runtime with each policy; only fifo is what the other suites measure.",
        plotted=False,
    )
