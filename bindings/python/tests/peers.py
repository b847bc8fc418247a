"""Protocols that note what happens to them, and connections between two of them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Run = Callable[[Awaitable[Any]], Any]


class Recorder(asyncio.Protocol):
    """Notes what happens to it."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.data = bytearray()
        self.transport: Any = None
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self.changed = asyncio.Event()

    def note(self, event: Any) -> None:
        self.events.append(event)
        self.changed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.note("made")

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.data += data
        self.note("data")

    def eof_received(self) -> bool | None:
        self.note("eof")
        return None

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.note("lost")
        self.lost.set_result(exc)

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


async def connected(
    client: Callable[[], asyncio.BaseProtocol] = Recorder,
    server: Callable[[], asyncio.BaseProtocol] = Recorder,
) -> tuple[Any, Any, asyncio.AbstractServer]:
    """A connection: the client's protocol, the server's, and the listener."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Any] = loop.create_future()

    def factory() -> asyncio.BaseProtocol:
        protocol = server()
        accepted.set_result(protocol)
        return protocol

    listener = await loop.create_server(factory, "127.0.0.1", 0)
    _, protocol = await loop.create_connection(client, *listener.sockets[0].getsockname())
    other = await accepted
    if isinstance(other, Recorder):
        await other.until(lambda: other.transport)
    return protocol, other, listener


async def finish(*parts: Any) -> None:
    """Close transports and wait for their ends, then close the listener."""
    *protocols, listener = parts
    for protocol in protocols:
        protocol.transport.close()
    for protocol in protocols:
        await protocol.lost
    listener.close()
    await listener.wait_closed()
