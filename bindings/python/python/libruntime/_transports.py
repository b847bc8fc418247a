"""Transports: what happens once per connection."""

import asyncio
import socket
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _asyncio, _native
from ._errors import logger

if TYPE_CHECKING:
    from ._loop import EventLoop

#: Plain numbers, without the enums that `socket.socket` wraps around them at each look.
_INTERNET = (int(socket.AF_INET), int(socket.AF_INET6))
_STREAM = int(socket.SOCK_STREAM)
_family: Callable[[socket.socket], int] = socket.SocketType.family.__get__
_type: Callable[[socket.socket], int] = socket.SocketType.type.__get__


class SocketTransport(_native.StreamTransport):
    """A connected stream socket, TCP or Unix. Reading and writing are native."""

    #: The loop may switch such a transport to TLS (``start_tls``).
    _start_tls_compatible = True
    #: ``loop.sendfile`` may let the kernel copy.
    _sendfile_compatible = _asyncio.TRY_NATIVE_SENDFILE

    _server: Any
    _empty_waiter: "asyncio.Future[None] | None"

    def __init__(
        self,
        loop: "EventLoop",
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: "asyncio.Future[None] | None" = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> None:
        extra = {} if extra is None else extra
        self._server = None
        self._empty_waiter = None
        if _family(sock) in _INTERNET and _type(sock) == _STREAM:
            # Small writes leave at once; the socket's protocol number does not matter (a socket
            # made with 0 is TCP all the same).
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if server is not None:
            # First, because a server that is closed already refuses.
            loop._attach_to_server(server, self)
            self._server = server
        self._attach(loop, sock, sock.fileno(), protocol, extra)
        if "peername" not in extra:
            # Now, because a connection that the peer has reset does not know any more.
            extra["peername"] = _address(sock.getpeername)
        loop.call_soon(protocol.connection_made, self)
        # Data may come only after the protocol knows its transport.
        loop.call_soon(self._start)
        if waiter is not None:
            loop.call_soon(_asyncio.set_result_unless_cancelled, waiter, None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``socket``, ``sockname``, ``peername``, or what TLS adds.

        The first two are made when they are asked for, and remembered; that is, not before the
        connection is closed for good.
        """
        try:
            return self._extra[name]
        except KeyError:
            sock = self._sock
            if sock is None or name not in ("socket", "sockname"):
                return default
        if name == "socket":
            self._extra[name] = _asyncio.TransportSocket(sock)
        else:
            self._extra[name] = _address(sock.getsockname)
        return self._extra[name]

    def can_write_eof(self) -> bool:
        return True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = 64 * 1024 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._set_limits(low, high)

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._sock is None:
            info.append("closed")
        elif self.is_closing():
            info.append("closing")
        info.append(f"fd={self._sock_fd}")
        if self._loop is not None and not self._loop.is_closed():
            reading, writing = self._polling
            info.append(f"read={'polling' if reading else 'idle'}")
            state = "polling" if writing else "idle"
            info.append(f"write=<{state}, bufsize={self.get_write_buffer_size()}>")
        return f"<{' '.join(info)}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        sock = self._sock
        if sock is not None:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            sock.close()
            self._detach_from_server()

    def _fatal_error(self, exc: BaseException, message: str) -> None:
        """End the connection because of ``exc``; only what is not an OS error is reported."""
        if isinstance(exc, OSError):
            if self._loop is not None and self._loop.get_debug():
                logger.debug("%r: %s", self, message, exc_info=exc)
        else:
            self._report_protocol(exc, message)
        self._force_close(exc)

    def _report_protocol(self, exc: BaseException, message: str) -> None:
        loop = self._loop
        if loop is not None:
            loop.call_exception_handler(
                {
                    "message": message,
                    "exception": exc,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )

    def _read_eof(self) -> None:
        """The peer will send no more: ask the protocol whether the other direction stays open."""
        if self._loop is not None and self._loop.get_debug():
            logger.debug("%r received EOF", self)
        if self._protocol.eof_received():
            self._end_reading()
        else:
            self.close()

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        protocol, sock = self._protocol, self._sock
        try:
            if protocol is not None:
                protocol.connection_lost(exc)
        finally:
            self._release()
            if sock is not None:
                sock.close()
            self._detach_from_server()
            if self._empty_waiter is not None:
                self._drained(ConnectionError("Connection is closed by peer"))

    def _detach_from_server(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            _detach(server, self)

    def _make_empty_waiter(self) -> "asyncio.Future[None]":
        """A future that is done when everything written so far has been sent."""
        if self._empty_waiter is not None:
            raise RuntimeError("Empty waiter is already set")
        assert self._loop is not None
        self._empty_waiter = self._loop.create_future()
        if self.get_write_buffer_size() == 0:
            self._empty_waiter.set_result(None)
        self._tell_drained(True)
        return self._empty_waiter

    def _reset_empty_waiter(self) -> None:
        self._empty_waiter = None
        self._tell_drained(False)

    def _drained(self, exc: BaseException | None) -> None:
        waiter = self._empty_waiter
        if waiter is not None and not waiter.done():
            if exc is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(exc)


def _address(ask: Any) -> Any:
    try:
        return ask()
    except OSError:
        return None


def _detach(server: Any, transport: object) -> None:
    """``Server._detach``, which takes the transport from Python 3.13 on."""
    if _asyncio.SERVER_KEEPS_CLIENTS:
        server._detach(transport)
    else:
        server._detach()


class DatagramTransport(_asyncio.SelectorDatagramTransport, asyncio.DatagramTransport):  # type: ignore[misc]
    """A datagram socket. asyncio's own transport on this loop's descriptor callbacks."""

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._sock is None:
            info.append("closed")
        elif self._closing:
            info.append("closing")
        info.append(f"fd={self._sock_fd}")
        return f"<{' '.join(info)}>"

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        loop = self._loop
        try:
            super()._call_connection_lost(exc)
        finally:
            loop._transports.discard(self._sock_fd, self)
