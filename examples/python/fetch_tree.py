"""Fetches every file of a tree over HTTP and compares each byte with the disk.

python fetch_tree.py --base http://127.0.0.1:8080 --dir TREE [--connections 100] [--json OUT]

The server is expected to serve TREE; the client is aiohttp's, on `libruntime.run`. Left out, as in
the other languages' versions: `.git`, `target`, `build` and `node_modules`. Exit status 1 if a file
differs or could not be fetched.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import aiohttp
import libruntime
from yarl import URL

LEFT_OUT = {".git", "target", "build", "node_modules"}
#: Bytes compared at a time: large files are never held whole.
PIECE = 256 * 1024


@dataclass
class Tally:
    requests: int = 0
    bytes: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)

    def percentile(self, part: float) -> float:
        """Milliseconds within which `part` of the requests ended."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1e3 if ordered else 0.0

    def report(self) -> dict[str, object]:
        return {
            "language": "Python",
            "requests": self.requests,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "p50_ms": self.percentile(0.5),
            "p99_ms": self.percentile(0.99),
            "mismatches": len(self.mismatches),
        }


def files_of(folder: Path) -> Iterator[Path]:
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        for name in names:
            path = Path(top, name)
            if path.is_file() and not path.is_symlink():
                yield path


async def same(response: aiohttp.ClientResponse, path: Path, tally: Tally) -> bool:
    """Whether the body is the file, byte for byte, and no longer."""
    with path.open("rb") as file:
        async for piece in response.content.iter_chunked(PIECE):
            tally.bytes += len(piece)
            if file.read(len(piece)) != piece:
                return False
        return not file.read(1)


async def fetch(session: aiohttp.ClientSession, base: str, folder: Path, path: Path, tally: Tally) -> None:
    url = URL(f"{base}/{quote(path.relative_to(folder).as_posix())}", encoded=True)
    began = time.perf_counter()
    try:
        async with session.get(url) as response:
            good = response.status == 200 and await same(response, path, tally)
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
        print(f"{path}: {error!r}", file=sys.stderr)
        good = False
    tally.latencies.append(time.perf_counter() - began)
    tally.requests += 1
    if not good:
        tally.mismatches.append(str(path))


async def main(base: str, folder: Path, connections: int) -> Tally:
    tally = Tally()
    waiting = sorted(files_of(folder), reverse=True)
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def worker() -> None:
            while waiting:
                await fetch(session, base, folder, waiting.pop(), tally)

        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(connections)))
        tally.seconds = time.perf_counter() - began
    return tally


def run() -> int:
    parser = argparse.ArgumentParser(description="Fetches a tree over HTTP and compares it with the disk.")
    parser.add_argument("--base", required=True, help="http://HOST:PORT of the server")
    parser.add_argument("--dir", type=Path, required=True, help="the tree that the server serves")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--json", type=Path, help="where to write the report")
    options = parser.parse_args()
    tally = libruntime.run(main(options.base.rstrip("/"), options.dir, options.connections))
    report = tally.report()
    if options.json is not None:
        options.json.write_text(json.dumps(report))
    print(json.dumps(report))
    for path in tally.mismatches:
        print(f"differs: {path}", file=sys.stderr)
    return 1 if tally.mismatches else 0


if __name__ == "__main__":
    sys.exit(run())
