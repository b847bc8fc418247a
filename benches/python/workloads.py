"""The workloads without sockets: `workloads.py --loop NAME WORKLOAD [--quick]`, one process for one of them.

A workload is a coroutine function that does `n` operations on the running loop. It is repeated for a fixed time
and the best half of the repetitions counts, so that a scheduler's hiccup does not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import gc
import json
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from loops import loop_factory

Workload = Callable[[int], Awaitable[None]]


async def call_soon_chain(n: int) -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = n

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            done.set_result(None)

    loop.call_soon(step)
    await done


async def call_soon_fanout(n: int) -> None:
    loop = asyncio.get_running_loop()

    def nothing() -> None:
        pass

    for _ in range(n // 100):
        for _ in range(100):
            loop.call_soon(nothing)
        await asyncio.sleep(0)


async def call_soon_args(n: int) -> None:
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()

    def nothing(first: object, second: object) -> None:
        pass

    for _ in range(n // 100):
        for _ in range(100):
            loop.call_soon(nothing, 1, 2, context=context)
        await asyncio.sleep(0)


async def threadsafe_flood(n: int) -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = n

    def arrive() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    def flood() -> None:
        for _ in range(n):
            loop.call_soon_threadsafe(arrive)

    thread = threading.Thread(target=flood)
    thread.start()
    await done
    thread.join()


async def timer_create_cancel(n: int) -> None:
    loop = asyncio.get_running_loop()

    def never() -> None:
        raise AssertionError("a cancelled timer fired")

    for _ in range(n // 100):
        for _ in range(100):
            loop.call_later(60.0, never).cancel()
        await asyncio.sleep(0)


async def timer_held_cancel(n: int) -> None:
    loop = asyncio.get_running_loop()

    def never() -> None:
        raise AssertionError("a cancelled timer fired")

    held = [loop.call_later(60.0 + i % 1000, never) for i in range(n)]
    for timer in held:
        timer.cancel()
    await asyncio.sleep(0)


async def timer_fire(n: int) -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = n

    def fire() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    start = loop.time() + 0.002
    for i in range(n):
        loop.call_at(start + 0.1 * i / n, fire)
    await done


async def task_create_await(n: int) -> None:
    loop = asyncio.get_running_loop()

    async def answer() -> int:
        return 42

    for _ in range(n):
        assert await loop.create_task(answer()) == 42


async def task_gather(n: int) -> None:
    async def answer() -> int:
        return 42

    for _ in range(n // 1000):
        await asyncio.gather(*(answer() for _ in range(1000)))


async def task_sleep0(n: int) -> None:
    async def turns() -> None:
        for _ in range(n // 2):
            await asyncio.sleep(0)

    await asyncio.gather(turns(), turns())


async def future_wake(n: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(n):
        future: asyncio.Future[None] = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future


async def sleep_lateness(sleeps: int) -> None:
    loop = asyncio.get_running_loop()
    late = []
    for _ in range(sleeps):
        deadline = time.perf_counter() + 0.001
        await asyncio.sleep(0.001)
        late.append((time.perf_counter() - deadline) * 1e6)
    late.sort()
    report("p50", late[len(late) // 2], "us")
    report("p99", late[len(late) * 99 // 100], "us")
    assert loop.is_running()


#: Operations in one repetition, about 20 to 100 ms of work each.
WORKLOADS: dict[str, tuple[Workload, int]] = {
    "call_soon-chain": (call_soon_chain, 50_000),
    "call_soon-fanout": (call_soon_fanout, 100_000),
    "call_soon-args": (call_soon_args, 100_000),
    "threadsafe-flood": (threadsafe_flood, 50_000),
    "timer-create-cancel": (timer_create_cancel, 50_000),
    "timer-held-cancel": (timer_held_cancel, 100_000),
    "timer-fire": (timer_fire, 20_000),
    "task-create-await": (task_create_await, 20_000),
    "task-gather": (task_gather, 20_000),
    "task-sleep0": (task_sleep0, 50_000),
    "future-wake": (future_wake, 30_000),
}


async def repeat(workload: Workload, n: int, seconds: float) -> None:
    await workload(n // 10)
    cpus: list[float] = []
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        gc.collect()
        cpu, began = time.process_time(), time.perf_counter()
        await workload(n)
        cpus.append(time.process_time() - cpu)
        times.append(time.perf_counter() - began)
    for metric, values in (("cpu", cpus), ("time", times)):
        best = sorted(values)[: (len(values) + 1) // 2]
        report(metric, sum(best) / len(best) / n * 1e6, "us")


def report(metric: str, value: float, unit: str) -> None:
    print(json.dumps({"metric": metric, "value": value, "unit": unit}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("workload", choices=(*WORKLOADS, "sleep-lateness"))
    options = parser.parse_args()
    loop = loop_factory(options.loop)()
    work: Any
    if options.workload == "sleep-lateness":
        work = sleep_lateness(20 if options.quick else 200)
    else:
        workload, n = WORKLOADS[options.workload]
        work = repeat(workload, n // 10 if options.quick else n, 0.05 if options.quick else 0.4)
    loop.run_until_complete(work)
    loop.close()


if __name__ == "__main__":
    main()
