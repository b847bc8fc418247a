"""TLS over native transports, with the program's own ssl contexts."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

import libruntime

#: A self-signed certificate for localhost and its key, valid for a century.
CERTIFICATE = Path(__file__).parent / "data" / "localhost.pem"


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATE))


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()


def test_server_and_client(loop: libruntime.EventLoop) -> None:
    async def main() -> None:
        context = server_context()
        async with await asyncio.start_server(shout, "127.0.0.1", 0, ssl=context) as server:
            assert server._ssl_context is context  # type: ignore[attr-defined]
            reader, writer = await asyncio.open_connection(
                *server.sockets[0].getsockname(),
                ssl=client_context(),
                server_hostname="localhost",
            )
            big = b"x" * 60_000 + b"\n"
            for message in (b"hello\n", big):
                writer.write(message)
                assert await reader.readline() == message.upper()
            assert writer.get_extra_info("cipher")
            assert writer.get_extra_info("peercert")["subject"]
            assert isinstance(writer.get_extra_info("ssl_object"), ssl.SSLObject)
            writer.close()
            await writer.wait_closed()

    loop.run_until_complete(asyncio.wait_for(main(), 20))


def test_untrusted_certificate_is_refused(
    loop: libruntime.EventLoop, reports: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        async with await asyncio.start_server(
            shout, "127.0.0.1", 0, ssl=server_context()
        ) as server:
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection(
                    *server.sockets[0].getsockname(),
                    ssl=ssl.create_default_context(),
                    server_hostname="localhost",
                )

    loop.run_until_complete(asyncio.wait_for(main(), 20))


@pytest.mark.skipif(not hasattr(asyncio.StreamWriter, "start_tls"), reason="came with 3.11")
def test_start_tls(loop: libruntime.EventLoop) -> None:
    async def main() -> None:
        async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"GO\n")
            await writer.drain()
            await writer.start_tls(server_context())
            writer.write((await reader.readline()).upper())
            writer.close()

        async with await asyncio.start_server(upgrade, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"GO\n"
            await writer.start_tls(client_context(), server_hostname="localhost")
            writer.write(b"secret\n")
            assert await reader.readline() == b"SECRET\n"
            writer.close()

    loop.run_until_complete(asyncio.wait_for(main(), 20))


def test_missing_host_name_is_refused(loop: libruntime.EventLoop) -> None:
    import socket

    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, pytest.raises(ValueError, match="server_hostname"):
            await loop.create_connection(asyncio.Protocol, sock=ours, ssl=client_context())

    loop.run_until_complete(main())
