"""``sock_*``: coroutines over a non-blocking socket, and ``sendfile``.

Each tries at once; only if the socket is not ready does it wait for the descriptor, and then it
tries again in the coroutine, so that a cancelled call has taken nothing from the socket.
"""

import asyncio
import errno
import io
import os
import socket
from typing import TYPE_CHECKING, Any

from . import _asyncio

if TYPE_CHECKING:
    from ._transports import SocketTransport

_BLOCKED = (BlockingIOError, InterruptedError)
_INTERNET = (socket.AF_INET, socket.AF_INET6)
#: Most that one ``sendfile`` call is asked for, in bytes.
_SENDFILE_MOST = 2**30


class SocketMixin:
    """The low-level socket methods of ``EventLoop``."""

    if TYPE_CHECKING:
        _debug: bool

        def create_future(self) -> asyncio.Future[Any]: ...
        def _ensure_fd_no_transport(self, fd: Any) -> None: ...
        def _add_reader(self, fd: Any, callback: Any, *args: Any) -> asyncio.Handle: ...
        def _remove_reader(self, fd: Any) -> bool: ...
        def _add_writer(self, fd: Any, callback: Any, *args: Any) -> asyncio.Handle: ...
        def _remove_writer(self, fd: Any) -> bool: ...
        async def sock_sendfile(
            self,
            sock: socket.socket,
            file: Any,
            offset: int = 0,
            count: int | None = None,
            *,
            fallback: bool | None = None,
        ) -> int: ...
        async def _ensure_resolved(self, address: Any, **kwargs: Any) -> Any: ...

    def _check_socket(self, sock: socket.socket) -> None:
        _asyncio.check_ssl_socket(sock)
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")

    async def _readable(self, sock: socket.socket) -> None:
        fd = sock.fileno()
        self._ensure_fd_no_transport(fd)
        ready = self.create_future()
        handle = self._add_reader(fd, _set_ready, ready)
        try:
            await ready
        finally:
            # Another caller may have replaced the handle: that one is not ours to remove.
            if not handle.cancelled():
                self._remove_reader(fd)

    async def _writable(self, sock: socket.socket) -> None:
        fd = sock.fileno()
        self._ensure_fd_no_transport(fd)
        ready = self.create_future()
        handle = self._add_writer(fd, _set_ready, ready)
        try:
            await ready
        finally:
            if not handle.cancelled():
                self._remove_writer(fd)

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive up to ``n`` bytes; ``b""`` at the end of the stream."""
        self._check_socket(sock)
        while True:
            try:
                return sock.recv(n)
            except _BLOCKED:
                await self._readable(sock)

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receive into a writable buffer and return the number of bytes."""
        self._check_socket(sock)
        while True:
            try:
                return sock.recv_into(buf)
            except _BLOCKED:
                await self._readable(sock)

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram and the address it came from."""
        self._check_socket(sock)
        while True:
            try:
                return sock.recvfrom(bufsize)
            except _BLOCKED:
                await self._readable(sock)

    async def sock_recvfrom_into(
        self, sock: socket.socket, buf: Any, nbytes: int = 0
    ) -> tuple[int, Any]:
        """Receive a datagram into a writable buffer: its size and the address it came from."""
        self._check_socket(sock)
        nbytes = nbytes or len(buf)
        while True:
            try:
                return sock.recvfrom_into(buf, nbytes)
            except _BLOCKED:
                await self._readable(sock)

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Send all of ``data``. After an error it is unknown how much has gone out."""
        self._check_socket(sock)
        try:
            sent = sock.send(data)
        except _BLOCKED:
            sent = 0
        if sent == len(data):
            return
        with memoryview(data) as view, view.cast("B") as rest:
            while sent < len(rest):
                await self._writable(sock)
                try:
                    sent += sock.send(rest[sent:])
                except _BLOCKED:
                    continue

    async def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> int:
        """Send a datagram to ``address``."""
        self._check_socket(sock)
        while True:
            try:
                return sock.sendto(data, address)
            except _BLOCKED:
                await self._writable(sock)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect to ``address``; a host name in it is resolved first."""
        self._check_socket(sock)
        if sock.family in _INTERNET:
            resolved = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = resolved[0][4]
        try:
            sock.connect(address)
        except _BLOCKED:
            # After EINTR, too, the connection goes on in the background.
            await self._writable(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, f"Connect call failed {address}") from None

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection: a non-blocking socket and the peer's address."""
        self._check_socket(sock)
        while True:
            try:
                connection, address = sock.accept()
            except _BLOCKED:
                await self._readable(sock)
            else:
                connection.setblocking(False)
                return connection, address

    # -- sendfile -----------------------------------------------------------------------------

    async def _sock_sendfile_native(
        self, sock: socket.socket, file: Any, offset: int, count: int | None
    ) -> int:
        """Let the kernel copy; asyncio falls back to reading if this says it cannot."""
        try:
            fd = file.fileno()
            size = os.fstat(fd).st_size
        except (AttributeError, io.UnsupportedOperation, OSError):
            raise _asyncio.SendfileNotAvailableError("not a regular file") from None
        if not (count or size):
            return 0
        sent = 0
        try:
            while count is None or sent < count:
                most = _SENDFILE_MOST if count is None else min(count - sent, _SENDFILE_MOST)
                try:
                    copied = os.sendfile(sock.fileno(), fd, offset + sent, most)
                except _BLOCKED:
                    await self._writable(sock)
                    continue
                except OSError as exc:
                    if sent == 0 and exc.errno != errno.ENOTCONN:
                        raise _asyncio.SendfileNotAvailableError("os.sendfile call failed") from exc
                    if exc.errno == errno.ENOTCONN:
                        # Other systems say it this way when the peer goes away.
                        raise ConnectionError(errno.ENOTCONN, "socket is not connected") from exc
                    raise
                if copied == 0:
                    break
                sent += copied
                # Other callbacks run between two pieces of a long file.
                await self._writable(sock)
        finally:
            if sent > 0:
                os.lseek(fd, offset + sent, os.SEEK_SET)
        return sent

    async def _sendfile_native(
        self, transp: "SocketTransport", file: Any, offset: int, count: int | None
    ) -> int:
        reading = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        sock = transp._sock
        transp._suspend()
        try:
            assert sock is not None
            return await self.sock_sendfile(sock, file, offset, count, fallback=False)
        finally:
            transp._reset_empty_waiter()
            transp._resume()
            if reading:
                transp.resume_reading()


def _set_ready(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
