"""Connections and listeners: their making, their failures and their end."""

import asyncio
import errno
import gc
import socket
import struct
import subprocess
import sys
import textwrap
import weakref
from typing import Any

import pytest

import libruntime
from conftest import descriptors
from peers import Recorder, Run, connected, finish


def test_peer_that_resets_in_mid_write(run: Run, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        server.transport.pause_reading()
        client.transport.write(b"x" * 20_000_000)
        sock = server.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.transport.abort()
        assert isinstance(await client.lost, (ConnectionResetError, BrokenPipeError))
        await server.lost
        client.transport.write(b"into the void")
        listener.close()
        await listener.wait_closed()

    run(main())
    assert reports == []


def test_connection_refused_names_the_address(run: Run) -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = unused.getsockname()
            with pytest.raises(ConnectionRefusedError, match="Connect call failed"):
                await asyncio.get_running_loop().create_connection(Recorder, *address)

    run(main())


def test_port_in_use_names_the_address(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = await loop.create_server(Recorder, "127.0.0.1", 0)
        port = first.sockets[0].getsockname()[1]
        with pytest.raises(OSError, match=rf"\('127.0.0.1', {port}\)") as info:
            await loop.create_server(Recorder, "127.0.0.1", port)
        assert info.value.errno == errno.EADDRINUSE
        first.close()
        await first.wait_closed()

    run(main())


def test_unknown_host_is_a_gaierror(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(socket.gaierror):
            await loop.create_connection(Recorder, "no-such-host.invalid", 80)

    run(main())


def test_cancelled_connect_leaves_nothing(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        # A listener that accepts nothing, its queue full: the next connect waits.
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            fillers = []
            for _ in range(3):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
                fillers.append(filler)
            task = loop.create_task(loop.create_connection(Recorder, *listener.getsockname()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for filler in fillers:
                filler.close()

    run(main())


def test_failing_factory_closes_the_connection(run: Run) -> None:
    async def main() -> None:
        def factory() -> asyncio.Protocol:
            raise LookupError

        loop = asyncio.get_running_loop()
        listener = await loop.create_server(factory, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        listener.close()
        await listener.wait_closed()

    run(main())


def test_factory_may_close_its_server(run: Run, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []

        def factory() -> Recorder:
            listener.close()
            made.append(Recorder())
            return made[-1]

        listener = await loop.create_server(factory, "127.0.0.1", 0)
        address = listener.sockets[0].getsockname()
        clients = [socket.create_connection(address) for _ in range(3)]
        while not made:
            await asyncio.sleep(0)
        for client in clients:
            client.close()
        for protocol in made:
            if protocol.transport is not None:
                await protocol.lost
        await asyncio.sleep(0)

    run(main())
    assert reports == []


def test_add_reader_on_a_transports_descriptor_is_refused(
    run: Run, loop: libruntime.EventLoop
) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        fd = client.transport.get_extra_info("socket").fileno()
        calls: list[Any] = [
            lambda: loop.add_reader(fd, print),
            lambda: loop.add_writer(fd, print),
            lambda: loop.remove_reader(fd),
            lambda: loop.remove_writer(fd),
        ]
        for call in calls:
            with pytest.raises(RuntimeError, match="is used by transport"):
                call()
        await finish(client, server, listener)

    run(main())


def test_streams(run: Run) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
            reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
            for i in range(100):
                writer.write(b"line %d\n" % i)
                assert await reader.readline() == b"LINE %d\n" % i
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    run(main())


def test_server_close_and_sockets(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(Recorder, "127.0.0.1", 0, start_serving=False)
        assert not listener.is_serving()
        await listener.start_serving()
        assert listener.is_serving() and isinstance(listener.sockets, tuple)
        assert isinstance(listener, asyncio.AbstractServer) and listener.get_loop() is loop
        address = listener.sockets[0].getsockname()
        listener.close()
        listener.close()
        await listener.wait_closed()
        assert listener.sockets == ()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *address)

    run(main())


def test_unclosed_transport_warns(loop: libruntime.EventLoop) -> None:
    ours, theirs = socket.socketpair()
    connecting = loop.create_connection(asyncio.Protocol, sock=ours)
    del ours
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        loop.run_until_complete(connecting)
        loop.close()
        gc.collect()
    theirs.close()


def test_closing_a_transport_after_its_loop_is_refused(loop: libruntime.EventLoop) -> None:
    ours, theirs = socket.socketpair()
    transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))
    del ours
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.close()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del transport
        gc.collect()
    theirs.close()


def test_no_descriptors_left_pauses_the_listener_without_losing_it() -> None:
    """Accept reports, does not spin, and goes on once there are descriptors again."""
    program = """
        import asyncio, resource, socket, libruntime

        from libruntime import _serving
        _serving._asyncio.ACCEPT_RETRY_DELAY = 0.05

        async def main():
            loop = asyncio.get_running_loop()
            reports = []
            reported = asyncio.Event()
            def report(_, context):
                reports.append(context["message"])
                reported.set()
            loop.set_exception_handler(report)
            async def serve(reader, writer):
                writer.write(b"served")
                writer.close()
            listener = await asyncio.start_server(serve, "127.0.0.1", 0)
            client = socket.socket()
            client.setblocking(False)
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            hogs = []
            try:
                while True:
                    hogs.append(socket.socket())
            except OSError:
                pass
            await loop.sock_connect(client, listener.sockets[0].getsockname())
            await reported.wait()
            # The connection still waits, and the loop does not try again each time it looks.
            for _ in range(50):
                receiving = loop.create_task(loop.sock_recv(ours, 1))
                await asyncio.sleep(0)
                theirs.send(b"x")
                await receiving
            print(len(reports) < 10, set(reports))
            for hog in hogs:
                hog.close()
            print(await loop.sock_recv(client, 100))
            for sock in (client, ours, theirs, listener):
                sock.close()

        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        libruntime.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    expected = "True {'socket.accept() out of system resource'}\nb'served'\n"
    assert done.stdout == expected, done.stderr


def test_ten_thousand_connections_leave_nothing(run: Run, loop: libruntime.EventLoop) -> None:
    class Brief(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write(b"bye")
            transport.close()

    async def main() -> int:
        listener = await loop.create_server(Brief, "127.0.0.1", 0)
        address = listener.sockets[0].getsockname()
        before = descriptors()
        sizes = []

        async def visit() -> None:
            for _ in range(500):
                reader, writer = await asyncio.open_connection(*address)
                assert await reader.read() == b"bye"
                writer.close()
                await writer.wait_closed()

        for _ in range(2):
            await asyncio.gather(*(visit() for _ in range(10)))
            gc.collect()
            sizes.append(len(gc.get_objects()))
        while descriptors() != before:
            await asyncio.sleep(0)
        listener.close()
        await listener.wait_closed()
        return sizes[1] - sizes[0]

    assert loop.run_until_complete(main()) < 1000


def test_transports_are_freed_without_the_collector(run: Run) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        transports = [weakref.ref(client.transport), weakref.ref(server.transport)]
        await finish(client, server, listener)
        client.transport = server.transport = None
        await asyncio.sleep(0)
        assert [ref() for ref in transports] == [None, None]

    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()
