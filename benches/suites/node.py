"""The Node package's sockets with handlers beside node:net, under the raw epoll server as the ceiling."""

from __future__ import annotations

from harness.model import Program, Server, Suite, Workload

from . import BENCHES, BUILT, Settings, output_of, own_version
from .c import size_name

CANDIDATES = ("libruntime", "node:net")
#: (connections, bytes)
ECHOES = ((1, 64), (50, 64), (50, 1024), (50, 16 * 1024), (50, 100 * 1024))


def suites(settings: Settings) -> tuple[Suite, ...]:
    def servers(load: tuple[str, ...]) -> dict[str, Program]:
        ours = {c: Server(("node", str(BENCHES / "node" / "echo.js"), c), load) for c in CANDIDATES}
        return {**ours, "raw epoll": Server((str(BUILT / "raw_echo"),), load)}

    echoes = [
        Workload(
            f"echo-{size_name(size)}-x{connections}",
            f"TCP echo, {size_name(size)} over {connections} connections",
            ("main_thread_cpu_per_message", "cpu_per_message", "messages_per_s", "p50", "p99"),
            servers(settings.load(connections, size)),
        )
        for connections, size in ECHOES
    ]
    churn = Workload(
        "churn-x20",
        "connect, echo 64 B, reset; 20 at a time",
        ("main_thread_cpu_per_message", "cpu_per_message", "messages_per_s"),
        servers(settings.load(20, 64, churn=True)),
    )
    return (
        Suite(
            name="node",
            title="Node",
            ours="libruntime",
            peer="node:net",
            versions={
                "libruntime": own_version(),
                "node:net": output_of(["node", "--version"]) or "?",
                "raw epoll": "no library",
            },
            workloads=(*echoes, churn),
            notes="The main thread is the one that runs JavaScript. `raw epoll` is a C server without a library.",
            ceilings=frozenset({"raw epoll"}),
        ),
    )
