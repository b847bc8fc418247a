"""Unix sockets, datagrams, pipes and child processes."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import libruntime


def run(loop: libruntime.EventLoop, main: Any) -> Any:
    return loop.run_until_complete(asyncio.wait_for(main, 20))


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.read()).upper())
    writer.close()


def test_unix_streams(loop: libruntime.EventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "socket"
        async with await asyncio.start_unix_server(shout, path):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"hello" * 100_000)
            writer.write_eof()
            assert await reader.read() == b"HELLO" * 100_000
            writer.close()
            await writer.wait_closed()
        assert path.exists() is (sys.version_info < (3, 13))
        # A stale socket is replaced.
        (await asyncio.start_unix_server(shout, path)).close()

    run(loop, main())


def test_unix_errors(loop: libruntime.EventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        missing = tmp_path / "missing"
        regular = tmp_path / "regular"
        regular.write_text("")
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(asyncio.Protocol, missing)
        with pytest.raises(OSError, match="is already in use"):
            await loop.create_unix_server(asyncio.Protocol, regular)
        with pytest.raises(ValueError, match="no path and sock"):
            await loop.create_unix_connection(asyncio.Protocol)
        with pytest.raises(ValueError, match="path was not specified"):
            await loop.create_unix_server(asyncio.Protocol)
        with socket.socket() as tcp:
            with pytest.raises(ValueError, match="A UNIX Domain Stream Socket was expected"):
                await loop.create_unix_server(asyncio.Protocol, sock=tcp)
            with pytest.raises(ValueError, match="at the same time"):
                await loop.create_unix_connection(asyncio.Protocol, missing, sock=tcp)
        with pytest.raises(ValueError, match="only meaningful with ssl"):
            await loop.create_unix_server(asyncio.Protocol, missing, ssl_handshake_timeout=1)
        with pytest.raises(TypeError, match="ssl argument"):
            await loop.create_unix_server(asyncio.Protocol, missing, ssl=True)

    run(loop, main())


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[Any] = asyncio.Queue()
        self.lost = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.put_nowait((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.received.put_nowait(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


def test_datagrams(loop: libruntime.EventLoop) -> None:
    async def main() -> None:
        local = ("127.0.0.1", 0)
        one, first = await loop.create_datagram_endpoint(Datagrams, local_addr=local)
        address = one.get_extra_info("sockname")
        two, second = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
        assert isinstance(one, asyncio.DatagramTransport)
        two.sendto(b"ping")
        data, sender = await first.received.get()
        assert data == b"ping"
        one.sendto(b"pong", sender)
        assert await second.received.get() == (b"pong", address)
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(one.get_extra_info("socket"), print)
        one.close()
        assert await first.lost is None
        two.sendto(b"nobody")
        assert isinstance(await second.received.get(), ConnectionRefusedError)
        assert "DatagramTransport" in repr(two)
        two.abort()
        assert await second.lost is None

    run(loop, main())


def test_pipes(loop: libruntime.EventLoop) -> None:
    async def main() -> None:
        reading, writing = os.pipe()
        reader = asyncio.StreamReader()
        read_end, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
        )
        write_end, _ = await loop.connect_write_pipe(
            asyncio.BaseProtocol, os.fdopen(writing, "wb", 0)
        )
        write_end.write(b"x" * 200_000)
        write_end.close()
        assert await reader.read() == b"x" * 200_000
        read_end.close()

    run(loop, main())


def test_child_talks_and_ends(loop: libruntime.EventLoop) -> None:
    async def main() -> None:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import sys; print(sys.stdin.read().upper(), end=''); sys.exit(7)",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        out, _ = await child.communicate(b"hello")
        assert out == b"HELLO" and child.returncode == 7

    run(loop, main())


def test_child_can_be_killed(loop: libruntime.EventLoop) -> None:
    async def main() -> None:
        child = await asyncio.create_subprocess_shell("exec cat", stdin=subprocess.PIPE)
        child.kill()
        assert await child.wait() == -signal.SIGKILL

    run(loop, main())


def test_child_that_does_not_exist(loop: libruntime.EventLoop) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/no/such/program")

    run(loop, main())


def test_children_of_a_loop_in_another_thread() -> None:
    import threading

    codes: list[int] = []

    async def main() -> None:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", "exit(5)")
        codes.append(await child.wait())

    thread = threading.Thread(target=lambda: libruntime.run(main()))
    thread.start()
    thread.join()
    assert codes == [5]


def test_loop_closed_before_its_child_ends() -> None:
    async def main() -> Any:
        return await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE)

    loop = libruntime.EventLoop()
    child = loop.run_until_complete(main())
    child.kill()
    child._transport.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del child
