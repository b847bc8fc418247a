"""Stream transports: what they send, receive and report to their protocols."""

import asyncio
import socket
import struct
import weakref
from typing import Any

import pytest

import libruntime
from peers import Recorder, Run, connected, finish


def test_transport_is_asyncios_and_has_its_information(run: Run) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        transport = client.transport
        assert isinstance(transport, asyncio.Transport)
        port = listener.sockets[0].getsockname()[1]
        assert transport.get_extra_info("peername") == ("127.0.0.1", port)
        assert transport.get_extra_info("sockname") == server.transport.get_extra_info("peername")
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert server.transport.get_extra_info("socket").getsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY
        )
        assert transport.get_extra_info("nothing", 3) == 3
        assert transport.get_protocol() is client
        assert transport.can_write_eof() and transport.is_reading()
        assert "read=polling" in repr(transport) and "fd=" in repr(transport)
        # Programs and their tests set attributes and take weak references.
        transport.write_was = transport.write
        transport.write = print
        assert transport.write is print
        assert weakref.ref(transport)() is transport
        await finish(client, server, listener)
        assert "closed" in repr(transport)
        assert transport.get_extra_info("peername") == ("127.0.0.1", port)

    run(main())


def test_nodelay_goes_by_family_not_by_protocol_number(run: Run) -> None:
    async def main() -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
        sock.bind(("127.0.0.1", 0))
        accepted: list[int] = []

        class Server(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                inner = transport.get_extra_info("socket")
                accepted.append(inner.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                transport.close()

        listener = await asyncio.get_running_loop().create_server(Server, sock=sock)
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        listener.close()
        await listener.wait_closed()
        assert accepted and accepted[0]

    run(main())


@pytest.mark.parametrize("size", [1, 1000, 64 * 1024, 3_000_000])
def test_echo(run: Run, size: int) -> None:
    class Echo(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    async def main() -> None:
        client, server, listener = await connected(server=Echo)
        message = bytes(range(256)) * (size // 256) + bytes(size % 256)
        client.transport.write(message)
        await client.until(lambda: len(client.data) == size)
        assert client.data == message
        await finish(client, server, listener)

    run(main())


def test_order_of_events(run: Run) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        client.transport.write(b"hello")
        await server.until(lambda: server.data)
        client.transport.close()
        assert client.transport.is_closing()
        assert await client.lost is None and await server.lost is None
        assert client.events == ["made", "lost"]
        assert server.events == ["made", "data", "eof", "lost"]
        listener.close()
        await listener.wait_closed()

    run(main())


def test_close_sends_what_was_written(run: Run) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        server.transport.pause_reading()
        for _ in range(50):
            client.transport.write(b"x" * 100_000)
        client.transport.close()
        server.transport.resume_reading()
        assert await client.lost is None
        await server.lost
        assert len(server.data) == 5_000_000
        listener.close()
        await listener.wait_closed()

    run(main())


def test_abort_resets_and_drops_what_waits(run: Run) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        server.transport.pause_reading()
        sock = client.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.transport.write(b"x" * 10_000_000)
        client.transport.abort()
        assert client.transport.get_write_buffer_size() == 0
        assert await client.lost is None
        server.transport.resume_reading()
        assert isinstance(await server.lost, ConnectionResetError)
        listener.close()
        await listener.wait_closed()

    run(main())


def test_first_write_of_a_turn_leaves_at_once(run: Run) -> None:
    """A peer that is read in the same callback already has it."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        transport.write(b"now")
        assert theirs.recv(10) == b"now"
        transport.close()
        await protocol.lost
        theirs.close()

    run(main())


def test_later_writes_of_a_turn_leave_together(run: Run) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        parts = [b"one ", b"two ", bytearray(b"three "), memoryview(b"four "), b"5" * 10_000]
        for part in parts:
            transport.write(part)
        assert transport.get_write_buffer_size() == sum(map(len, parts[1:]))
        parts[2][:] = b"CHANGE"  # type: ignore[index]
        assert theirs.recv(100) == b"one "
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert theirs.recv(100_000) == b"two three four " + b"5" * 10_000
        assert transport.get_write_buffer_size() == 0
        transport.close()
        await protocol.lost
        theirs.close()

    run(main())


def test_many_pieces_of_every_size_arrive_in_order(run: Run) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        sent = bytearray()
        for i in range(3000):
            piece: Any = bytes([i % 256]) * (i * 37 % 9000)
            sent += piece
            client.transport.write(bytearray(piece) if i % 3 else piece)
            if i % 100 == 0:
                await asyncio.sleep(0)
        await server.until(lambda: len(server.data) == len(sent))
        assert server.data == sent
        await finish(client, server, listener)

    run(main())


def test_writelines(run: Run) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        client.transport.writelines([b"a", bytearray(b"b"), memoryview(b"c"), b""])
        client.transport.writelines([])
        client.transport.writelines(iter([b"d", b"e" * 100_000]))
        await server.until(lambda: len(server.data) == 100_004)
        assert server.data == b"abcd" + b"e" * 100_000
        await finish(client, server, listener)

    run(main())


def test_mutable_data_is_copied(run: Run) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        server.transport.pause_reading()
        data = bytearray(b"a" * 8_000_000)
        client.transport.write(data)
        assert client.transport.get_write_buffer_size() > 0
        data[:] = b"b" * len(data)
        server.transport.resume_reading()
        await server.until(lambda: len(server.data) == 8_000_000)
        assert server.data == b"a" * 8_000_000
        await finish(client, server, listener)

    run(main())


@pytest.mark.parametrize("keep", ["all", "some", "views", "hashes"])
def test_bulk_data_that_is_kept_stays_as_it_was(run: Run, keep: str) -> None:
    """Large reads go into recycled memory, unless somebody still holds it."""

    class Keeper(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.kept: list[tuple[int, Any]] = []
            self.received = 0

        def data_received(self, data: bytes) -> None:
            at, self.received = self.received, self.received + len(data)
            if keep == "all" or (keep == "some" and len(self.kept) < at // 1_000_000):
                self.kept.append((at, data))
            elif keep == "views":
                self.kept.append((at, memoryview(data)[1:]))
            elif keep == "hashes":
                assert hash(data) == hash(bytes(bytearray(data)))
            assert data == message[at : self.received]
            self.note("data")

    async def main() -> None:
        client, server, listener = await connected(server=Keeper)
        client.transport.write(message)
        await server.until(lambda: server.received == len(message))
        await finish(client, server, listener)
        for at, data in server.kept:
            at += keep == "views"
            assert data == message[at : at + len(data)]

    block = bytes(range(251)) * 4
    message = b"".join(i.to_bytes(4, "big") + block for i in range(8000))
    run(main())


@pytest.mark.parametrize("data", ["text", 3, None, [1], object()])
def test_only_bytes_can_be_written(run: Run, data: Any) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        with pytest.raises(TypeError, match="data argument must be a bytes-like object"):
            client.transport.write(data)
        with pytest.raises(TypeError):
            client.transport.writelines([b"good", data])
        await finish(client, server, listener)
        assert server.data == b""

    run(main())


def test_half_close(run: Run) -> None:
    class Open(Recorder):
        def eof_received(self) -> bool:
            self.note("eof")
            return True

    async def main() -> None:
        client, server, listener = await connected(server=Open)
        client.transport.write(b"question")
        client.transport.write_eof()
        client.transport.write_eof()
        with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"):
            client.transport.write(b"more")
        with pytest.raises(RuntimeError, match=r"Cannot call writelines\(\) after write_eof\(\)"):
            client.transport.writelines([b"more"])
        await server.until(lambda: "eof" in server.events)
        server.transport.write(b"answer")
        server.transport.close()
        await client.lost
        await server.lost
        assert server.data == b"question" and client.data == b"answer"
        listener.close()
        await listener.wait_closed()

    run(main())


def test_eof_waits_for_the_queue(run: Run) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        client.transport.write(b"x" * 5_000_000)
        client.transport.write_eof()
        await server.until(lambda: "eof" in server.events)
        assert len(server.data) == 5_000_000
        await finish(client, server, listener)

    run(main())


def test_write_after_close_is_silent_and_logged_later(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        transport = client.transport
        await finish(client, server, listener)
        for _ in range(10):
            transport.write(b"too late")
        transport.writelines([b"too late"])
        assert transport.get_write_buffer_size() == 0
        transport.close()
        transport.abort()
        transport.pause_reading()
        transport.resume_reading()

    run(main())
    assert "socket.send() raised exception." in caplog.text


def test_pause_and_resume_reading(run: Run) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        server.transport.pause_reading()
        server.transport.pause_reading()
        assert not server.transport.is_reading()
        client.transport.write(b"held back")
        probe, other, probes = await connected()
        probe.transport.write(b"x")
        await other.until(lambda: other.data)
        assert server.data == b""
        server.transport.resume_reading()
        server.transport.resume_reading()
        assert server.transport.is_reading()
        await server.until(lambda: server.data)
        await finish(probe, other, probes)
        await finish(client, server, listener)

    run(main())


def test_pause_inside_data_received_holds_at_once(run: Run) -> None:
    class Once(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def main() -> None:
        client, server, listener = await connected(server=Once)
        client.transport.write(b"x" * 2_000_000)
        await server.until(lambda: server.data)
        for _ in range(10):
            await asyncio.sleep(0)
        assert server.events.count("data") == 1
        await finish(client, server, listener)

    run(main())


def test_paused_transport_with_data_leaves_the_loop_idle(
    run: Run, loop: libruntime.EventLoop
) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        server.transport.pause_reading()
        client.transport.write(b"held back")
        client.transport.write_eof()
        before = loop._turns
        await asyncio.sleep(0.02)
        # It wakes for the data once, and then for the timer; thousands of times if it spins.
        assert loop._turns - before < 20
        server.transport.resume_reading()
        await server.until(lambda: "eof" in server.events)
        assert server.data == b"held back"
        await finish(client, server, listener)

    run(main())


def test_flow_control(run: Run) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        server.transport.pause_reading()
        client.transport.set_write_buffer_limits(high=1000, low=100)
        assert client.transport.get_write_buffer_limits() == (100, 1000)
        while "pause" not in client.events:
            client.transport.write(b"x" * 100_000)
        assert client.transport.get_write_buffer_size() > 1000
        server.transport.resume_reading()
        await client.until(lambda: "resume" in client.events)
        assert client.transport.get_write_buffer_size() <= 100
        assert client.events == ["made", "pause", "resume"]
        await finish(client, server, listener)

    run(main())


def test_buffer_limits_are_asyncios(run: Run) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        limits = client.transport
        assert limits.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        limits.set_write_buffer_limits(low=1000)
        assert limits.get_write_buffer_limits() == (1000, 4000)
        limits.set_write_buffer_limits(high=1000)
        assert limits.get_write_buffer_limits() == (250, 1000)
        for bad in ({"high": 1, "low": 2}, {"low": -1}, {"high": -1}):
            with pytest.raises(ValueError, match="must be >="):
                limits.set_write_buffer_limits(**bad)
        await finish(client, server, listener)

    run(main())


def test_buffered_protocol(run: Run) -> None:
    class Buffered(Recorder, asyncio.BufferedProtocol):
        def __init__(self) -> None:
            super().__init__()
            self.buffer = bytearray(1000)

        def get_buffer(self, sizehint: int) -> bytearray:
            assert sizehint == -1
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.buffer[:nbytes]
            self.note("data")

    async def main() -> None:
        client, server, listener = await connected(server=Buffered)
        message = bytes(range(256)) * 1000
        client.transport.write(message)
        await server.until(lambda: len(server.data) == len(message))
        assert server.data == message
        await finish(client, server, listener)

    run(main())


@pytest.mark.parametrize(
    ("buffer", "error"),
    [(bytearray(), RuntimeError), (b"read-only", BufferError), (3, TypeError), (None, TypeError)],
)
def test_bad_buffers_end_the_connection(
    run: Run, reports: list[dict[str, Any]], buffer: Any, error: type[Exception]
) -> None:
    class Bad(Recorder, asyncio.BufferedProtocol):
        def get_buffer(self, sizehint: int) -> Any:
            return buffer

        def buffer_updated(self, nbytes: int) -> None: ...

    async def main() -> None:
        client, server, listener = await connected(server=Bad)
        client.transport.write(b"x")
        assert isinstance(await server.lost, error)
        await client.lost
        listener.close()
        await listener.wait_closed()

    run(main())
    assert isinstance(reports[0]["exception"], error)


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
def test_protocol_errors_are_reported_and_end_the_connection(
    run: Run, reports: list[dict[str, Any]], method: str
) -> None:
    class Bad(Recorder):
        def fail(self, *args: Any) -> None:
            raise LookupError("in the protocol")

    setattr(Bad, method, Bad.fail)

    async def main() -> None:
        client, server, listener = await connected(server=Bad)
        client.transport.write(b"x")
        client.transport.write_eof()
        assert isinstance(await server.lost, LookupError)
        await client.lost
        listener.close()
        await listener.wait_closed()

    run(main())
    assert [str(report["exception"]) for report in reports] == ["in the protocol"]
    assert method in reports[0]["message"]


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_flow_control_errors_are_reported_only(
    run: Run, reports: list[dict[str, Any]], method: str
) -> None:
    class Bad(Recorder):
        def fail(self) -> None:
            raise LookupError("in the protocol")

    setattr(Bad, method, Bad.fail)

    async def main() -> None:
        client, server, listener = await connected(client=Bad)
        server.transport.pause_reading()
        client.transport.write(b"x" * 10_000_000)
        server.transport.resume_reading()
        await server.until(lambda: len(server.data) == 10_000_000)
        await finish(client, server, listener)

    run(main())
    assert [report["message"] for report in reports] == [f"protocol.{method}() failed"]


def test_keyboard_interrupt_in_a_protocol_leaves_the_loop(loop: libruntime.EventLoop) -> None:
    class Bad(Recorder):
        def data_received(self, data: bytes) -> None:
            raise KeyboardInterrupt

    parts: list[Any] = []

    async def main() -> None:
        parts.extend(await connected(server=Bad))
        parts[0].transport.write(b"x")
        await parts[1].lost

    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    parts[1].lost = loop.create_future()
    loop.run_until_complete(finish(*parts))


def test_what_was_gathered_before_an_interrupt_goes_out_later(loop: libruntime.EventLoop) -> None:
    ours, theirs = socket.socketpair()
    transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))

    def interrupted() -> None:
        transport.write(b"one ")
        transport.write(b"two")
        raise KeyboardInterrupt

    loop.call_soon(interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert transport.get_write_buffer_size() == 3
    loop.run_until_complete(asyncio.sleep(0))
    assert theirs.recv(10) == b"one two"
    transport.close()
    loop.run_until_complete(asyncio.sleep(0))
    theirs.close()


def test_set_protocol(run: Run) -> None:
    async def main() -> None:
        client, server, listener = await connected()
        other = Recorder()
        server.transport.set_protocol(other)
        assert server.transport.get_protocol() is other
        client.transport.write(b"x")
        await other.until(lambda: other.data)
        client.transport.close()
        await client.lost
        await other.lost
        assert server.data == b"" and other.events == ["data", "eof", "lost"]
        listener.close()
        await listener.wait_closed()

    run(main())


def test_protocol_callbacks_see_the_context_of_the_connection(run: Run) -> None:
    import contextvars

    var: contextvars.ContextVar[int] = contextvars.ContextVar("var", default=0)
    seen: list[int] = []

    class Client(Recorder):
        def data_received(self, data: bytes) -> None:
            seen.append(var.get())
            super().data_received(data)

    async def main() -> None:
        var.set(1)
        client, server, listener = await connected(client=Client)
        var.set(2)
        server.transport.write(b"x")
        await client.until(lambda: client.data)
        await finish(client, server, listener)

    run(main())
    assert seen == [1]
