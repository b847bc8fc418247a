"""A TCP echo server on one event loop: `echo.py --loop NAME protocol|streams|sock`, until it is killed."""

from __future__ import annotations

import argparse
import asyncio
import socket
from typing import cast

from loops import loop_factory

CHUNK = 256 * 1024


class Echo(asyncio.Protocol):
    """Sends back whatever arrives."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked with isinstance: the transports of uvloop and rloop do not derive from asyncio.Transport.
        self.write = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:
        self.write(data)


async def for_ever(server: asyncio.Server) -> None:
    """Keeps the server alive. `serve_forever` would do, but rloop stops listening in it."""
    assert server.is_serving()
    await asyncio.get_running_loop().create_future()


async def by_protocol(listener: socket.socket) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, sock=listener)
    await for_ever(server)


async def by_streams(listener: socket.socket) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, sock=listener)
    await for_ever(server)


async def by_sock(listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    tasks = set()

    async def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while data := await loop.sock_recv(connection, CHUNK):
                    await loop.sock_sendall(connection, data)
            except ConnectionError:
                pass

    while True:
        connection, _ = await loop.sock_accept(listener)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(serve(connection))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", required=True)
    parser.add_argument("api", choices=("protocol", "streams", "sock"))
    options = parser.parse_args()
    # The protocol is named, because asyncio turns Nagle's algorithm off only for a socket that names it.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    listener.setblocking(False)
    print("listening {}:{}".format(*listener.getsockname()), flush=True)
    serve = {"protocol": by_protocol, "streams": by_streams, "sock": by_sock}[options.api]
    loop_factory(options.loop)().run_until_complete(serve(listener))


if __name__ == "__main__":
    main()
