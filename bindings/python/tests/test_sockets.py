"""sock_* coroutines and sendfile."""

import asyncio
import io
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

import libruntime

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def run(loop: libruntime.EventLoop, main: Any) -> Any:
    return loop.run_until_complete(asyncio.wait_for(main, 20))


def test_methods_are_coroutines(loop: libruntime.EventLoop, pair: Pair) -> None:
    async def main() -> None:
        task = loop.create_task(loop.sock_recv(pair[0], 10))
        await loop.sock_sendall(pair[1], b"hello")
        assert await task == b"hello"

    run(loop, main())


def test_recv_into_and_end_of_stream(loop: libruntime.EventLoop, pair: Pair) -> None:
    async def main() -> None:
        buffer = bytearray(10)
        task = loop.create_task(loop.sock_recv_into(pair[0], buffer))
        await asyncio.sleep(0)
        await loop.sock_sendall(pair[1], b"abc")
        assert await task == 3 and buffer[:3] == b"abc"
        pair[1].close()
        assert await loop.sock_recv(pair[0], 10) == b""

    run(loop, main())


def test_sendall_of_more_than_the_socket_takes(loop: libruntime.EventLoop, pair: Pair) -> None:
    async def main() -> None:
        data = bytes(range(256)) * 20_000
        task = loop.create_task(loop.sock_sendall(pair[0], memoryview(data)))
        received = bytearray()
        while len(received) < len(data):
            received += await loop.sock_recv(pair[1], 100_000)
        await task
        assert received == data

    run(loop, main())


def test_connect_and_accept(loop: libruntime.EventLoop) -> None:
    async def main() -> None:
        with socket.socket() as listener, socket.socket() as client:
            listener.setblocking(False)
            client.setblocking(False)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            task = loop.create_task(loop.sock_accept(listener))
            await loop.sock_connect(client, ("localhost", listener.getsockname()[1]))
            connection, address = await task
            assert address == client.getsockname() and connection.gettimeout() == 0
            connection.close()

    run(loop, main())


def test_connect_refused_names_the_address(loop: libruntime.EventLoop) -> None:
    async def main() -> None:
        with socket.socket() as unused, socket.socket() as client:
            unused.bind(("127.0.0.1", 0))
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError, match=r"127\.0\.0\.1"):
                await loop.sock_connect(client, unused.getsockname())

    run(loop, main())


def test_datagrams(loop: libruntime.EventLoop) -> None:
    async def main() -> None:
        kind = socket.SOCK_DGRAM
        with socket.socket(type=kind) as one, socket.socket(type=kind) as two:
            for sock in (one, two):
                sock.setblocking(False)
                sock.bind(("127.0.0.1", 0))
            task = loop.create_task(loop.sock_recvfrom(two, 100))
            assert await loop.sock_sendto(one, b"hello", two.getsockname()) == 5
            assert await task == (b"hello", one.getsockname())
            buffer = bytearray(10)
            await loop.sock_sendto(one, b"again", two.getsockname())
            assert await loop.sock_recvfrom_into(two, buffer) == (5, one.getsockname())
            assert buffer[:5] == b"again"

    run(loop, main())


def test_cancelled_call_takes_nothing(loop: libruntime.EventLoop, pair: Pair) -> None:
    async def main() -> None:
        task = loop.create_task(loop.sock_recv(pair[0], 10))
        await asyncio.sleep(0)
        # The data and the cancellation come in the same turn.
        pair[1].send(b"kept")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert loop.remove_reader(pair[0]) is False
        assert await loop.sock_recv(pair[0], 10) == b"kept"

    run(loop, main())


def test_blocking_socket_is_refused_in_debug_mode(loop: libruntime.EventLoop, pair: Pair) -> None:
    loop.set_debug(True)
    pair[0].setblocking(True)
    calls: list[Any] = [
        loop.sock_recv(pair[0], 1),
        loop.sock_recv_into(pair[0], bytearray(1)),
        loop.sock_recvfrom(pair[0], 1),
        loop.sock_recvfrom_into(pair[0], bytearray(1)),
        loop.sock_sendall(pair[0], b"x"),
        loop.sock_sendto(pair[0], b"x", "y"),
        loop.sock_connect(pair[0], ("127.0.0.1", 1)),
        loop.sock_accept(pair[0]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            run(loop, call)


def test_closed_socket_is_an_error(loop: libruntime.EventLoop) -> None:
    sock = socket.socket()
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        run(loop, loop.sock_recv(sock, 1))


@pytest.mark.parametrize(("offset", "count"), [(0, None), (100, None), (100, 5000)])
def test_sock_sendfile(
    loop: libruntime.EventLoop, pair: Pair, offset: int, count: int | None
) -> None:
    async def main() -> None:
        data = bytes(range(256)) * 4000
        expected = data[offset:] if count is None else data[offset : offset + count]
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            task = loop.create_task(loop.sock_sendfile(pair[0], file, offset, count))
            received = bytearray()
            while len(received) < len(expected):
                received += await loop.sock_recv(pair[1], 65536)
            assert await task == len(expected)
            assert file.tell() == offset + len(expected)
        assert received == expected

    run(loop, main())


def test_sendfile_through_a_transport(loop: libruntime.EventLoop) -> None:
    """Natively from a file, and by reading from what is none."""

    async def main() -> None:
        data = bytes(range(256)) * 4000

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            transport: Any = writer.transport
            writer.write(b"before ")
            with tempfile.TemporaryFile() as file:
                file.write(data)
                file.flush()
                assert await loop.sendfile(transport, file) == len(data)
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await loop.sendfile(transport, io.BytesIO(data), fallback=False)
            assert await loop.sendfile(transport, io.BytesIO(data)) == len(data)
            writer.write(b" after")
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await reader.read() == b"before " + data + data + b" after"
            writer.close()
            await writer.wait_closed()

    run(loop, main())
