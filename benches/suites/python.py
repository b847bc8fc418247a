"""The Python package beside asyncio, uvloop and rloop, on one interpreter."""

from __future__ import annotations

from harness.model import Batch, Program, Server, Suite, Workload

from . import BENCHES, ROOT, Settings, output_of, own_version
from .c import size_name

PYTHON = str(ROOT / "build" / "bench-venv" / "bin" / "python")
CANDIDATES = ("libruntime", "uvloop", "asyncio", "rloop")

BATCHES = (
    ("call_soon-chain", "each callback schedules the next"),
    ("call_soon-fanout", "100 callbacks scheduled at once, again and again"),
    ("call_soon-args", "the same with two arguments and a context"),
    ("threadsafe-flood", "a foreign thread schedules as fast as it can"),
    ("timer-create-cancel", "call_later, then cancel, one by one"),
    ("timer-held-cancel", "100,000 timers held, then cancelled"),
    ("timer-fire", "timers due along a tenth of a second"),
    ("task-create-await", "create_task and await, one by one"),
    ("task-gather", "gather of 1,000 tasks"),
    ("task-sleep0", "two tasks take turns by sleep(0)"),
    ("future-wake", "a task awaits a future that call_soon resolves"),
)
#: (API, connections, bytes)
ECHOES = (
    ("protocol", 1, 64),
    ("protocol", 10, 1024),
    ("protocol", 100, 1024),
    ("protocol", 10, 100 * 1024),
    ("streams", 10, 1024),
    ("sock", 10, 1024),
)


def suites(settings: Settings) -> tuple[Suite, ...]:
    def command(script: str, candidate: str, what: str) -> tuple[str, ...]:
        return (PYTHON, str(BENCHES / "python" / script), "--loop", candidate, what)

    workloads = []
    for name, about in BATCHES:
        argv = {c: command("workloads.py", c, name) + (("--quick",) if settings.quick else ()) for c in CANDIDATES}
        workloads.append(Workload(name, about, ("cpu", "time"), {c: Batch(a) for c, a in argv.items()}))
    workloads.append(
        Workload(
            "sleep-lateness",
            "a task sleeps 1 ms; how late it runs",
            ("p50", "p99"),
            {
                c: Batch(command("workloads.py", c, "sleep-lateness") + (("--quick",) if settings.quick else ()))
                for c in CANDIDATES
            },
        )
    )
    for api, connections, size in ECHOES:
        load = settings.load(connections, size)
        servers: dict[str, Program] = {c: Server(command("echo.py", c, api), load) for c in CANDIDATES}
        workloads.append(
            Workload(
                f"echo-{api}-{size_name(size)}-x{connections}",
                f"TCP echo through {api}, {size_name(size)} over {connections} connections",
                ("cpu_per_message", "messages_per_s", "p50", "p99"),
                servers,
            )
        )
    return (
        Suite(
            name="python",
            title="Python",
            ours="libruntime",
            peer="uvloop",
            versions={"libruntime": own_version()}
            | {c: output_of([PYTHON, str(BENCHES / "python" / "loops.py"), c]) or "?" for c in CANDIDATES[1:]},
            workloads=tuple(workloads),
            notes="CPU is that of the whole process under test, for one operation.",
        ),
    )
