"""Listening, accepting, TLS, datagrams, Unix sockets: making transports."""

import asyncio
import contextlib
import errno
import os
import socket
import stat
import sys
from typing import TYPE_CHECKING, Any

from . import _asyncio
from ._errors import logger
from ._transports import DatagramTransport, SocketTransport, _family

if TYPE_CHECKING:
    import ssl as ssl_module
    from collections.abc import Callable

#: No descriptors or memory left: accepting pauses, and is tried again after a while.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
#: A connection that ended before it was accepted; Linux reports its error on the new socket.
_NO_CONNECTION = (BlockingIOError, InterruptedError, ConnectionAbortedError)


class ServingMixin:
    """How ``EventLoop`` makes transports, for itself and for ``asyncio.BaseEventLoop``."""

    if TYPE_CHECKING:
        _debug: bool
        call_exception_handler: Callable[[dict[str, Any]], None]
        call_later: Any
        create_future: Any
        create_task: Any
        sock_connect: Any
        _create_connection_transport: Any

        def _ensure_fd_no_transport(self, fd: Any) -> None: ...
        def _add_reader(self, fd: Any, callback: Any, *args: Any) -> asyncio.Handle: ...
        def _remove_reader(self, fd: Any) -> bool: ...

    def _init_serving(self) -> None:
        #: Inode of each listening Unix socket whose path is ours to remove.
        self._unix_server_sockets: dict[socket.socket, int] = {}

    # -- transports ---------------------------------------------------------------------------

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: "asyncio.Future[None] | None" = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> SocketTransport:
        self._ensure_fd_no_transport(sock)
        return SocketTransport(self, sock, protocol, waiter, extra, server)  # type: ignore[arg-type]

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: "ssl_module.SSLContext",
        waiter: "asyncio.Future[None] | None" = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:
        self._ensure_fd_no_transport(rawsock)
        limits: dict[str, Any] = {"ssl_handshake_timeout": ssl_handshake_timeout}
        if sys.version_info >= (3, 11):
            limits["ssl_shutdown_timeout"] = ssl_shutdown_timeout
        tls: Any = _asyncio.SSLProtocol(
            self,  # type: ignore[arg-type]
            protocol,
            sslcontext,
            waiter,  # type: ignore[arg-type]
            server_side,
            server_hostname,
            **limits,
        )
        SocketTransport(self, rawsock, tls, None, extra, server)  # type: ignore[arg-type]
        return tls._app_transport

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.DatagramProtocol,
        address: Any = None,
        waiter: "asyncio.Future[None] | None" = None,
        extra: dict[str, Any] | None = None,
    ) -> DatagramTransport:
        self._ensure_fd_no_transport(sock)
        made: Any = DatagramTransport
        return made(self, sock, protocol, address, waiter, extra)  # type: ignore[no-any-return]

    def _attach_to_server(self, server: Any, transport: object) -> None:
        if _asyncio.SERVER_KEEPS_CLIENTS:
            server._attach(transport)
        else:
            server._attach()

    # -- accepting ----------------------------------------------------------------------------

    def _start_serving(
        self,
        protocol_factory: Any,
        sock: socket.socket,
        sslcontext: "ssl_module.SSLContext | None" = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        """Accept on ``sock`` from now on (called by ``asyncio.Server``)."""
        limits = {
            "ssl_handshake_timeout": ssl_handshake_timeout,
            "ssl_shutdown_timeout": ssl_shutdown_timeout,
        }
        self._add_reader(
            sock.fileno(), self._accept, protocol_factory, sock, sslcontext, server, backlog, limits
        )

    def _accept(
        self,
        protocol_factory: Any,
        sock: socket.socket,
        sslcontext: "ssl_module.SSLContext | None",
        server: Any,
        backlog: int,
        limits: dict[str, Any],
    ) -> None:
        """Accept what waits, up to ``backlog`` connections a turn."""
        for _ in range(backlog):
            if sock.fileno() < 0:
                # A protocol factory has closed the server.
                return
            try:
                connection, address = _accept(sock)
            except _NO_CONNECTION:
                return
            except OSError as exc:
                if exc.errno not in _EXHAUSTED:
                    raise
                # The listener stays ready: watching it now would spin.
                self._remove_reader(sock.fileno())
                self.call_exception_handler(
                    {
                        "message": "socket.accept() out of system resource",
                        "exception": exc,
                        "socket": _asyncio.TransportSocket(sock),
                    }
                )
                self.call_later(
                    _asyncio.ACCEPT_RETRY_DELAY,
                    self._resume_serving,
                    protocol_factory,
                    sock,
                    sslcontext,
                    server,
                    backlog,
                    limits,
                )
                return
            if self._debug:
                logger.debug("%r got a new connection from %r: %r", server, address, connection)
            connection.setblocking(False)
            extra = {"peername": address}
            if sslcontext is None:
                self._accepted(protocol_factory, connection, extra, server)
            else:
                self.create_task(
                    self._accepted_tls(
                        protocol_factory, connection, extra, sslcontext, server, limits
                    )
                )

    def _resume_serving(
        self,
        protocol_factory: Any,
        sock: socket.socket,
        sslcontext: "ssl_module.SSLContext | None",
        server: Any,
        backlog: int,
        limits: dict[str, Any],
    ) -> None:
        """Accept again after a shortage, unless the server was closed meanwhile."""
        if sock.fileno() >= 0:
            self._start_serving(protocol_factory, sock, sslcontext, server, backlog, **limits)

    def _accepted(
        self,
        protocol_factory: Any,
        connection: socket.socket,
        extra: dict[str, Any],
        server: Any,
    ) -> None:
        protocol = None
        try:
            protocol = protocol_factory()
            SocketTransport(self, connection, protocol, None, extra, server)  # type: ignore[arg-type]
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            connection.close()
            self._report_accept(exc, protocol, None)

    async def _accepted_tls(
        self,
        protocol_factory: Any,
        connection: socket.socket,
        extra: dict[str, Any],
        sslcontext: "ssl_module.SSLContext",
        server: Any,
        limits: dict[str, Any],
    ) -> None:
        protocol = transport = None
        try:
            try:
                protocol = protocol_factory()
            except BaseException:
                connection.close()
                raise
            waiter = self.create_future()
            transport = self._make_ssl_transport(
                connection,
                protocol,
                sslcontext,
                waiter,
                server_side=True,
                extra=extra,
                server=server,
                **limits,
            )
            try:
                await waiter
            except BaseException:
                transport.close()
                # The future's exception leads back to this frame.
                waiter = None
                raise
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._report_accept(exc, protocol, transport)

    def _report_accept(self, exc: BaseException, protocol: object, transport: object) -> None:
        """A connection could not be set up. As in asyncio, only debug mode tells."""
        if not self._debug:
            return
        context: dict[str, Any] = {
            "message": "Error on transport creation for incoming connection",
            "exception": exc,
        }
        if protocol is not None:
            context["protocol"] = protocol
        if transport is not None:
            context["transport"] = transport
        self.call_exception_handler(context)

    def _stop_serving(self, sock: socket.socket) -> None:
        """Close a listening socket, and remove the path of a Unix one (called by the server)."""
        inode = self._unix_server_sockets.pop(sock, None)
        path = None if inode is None else sock.getsockname()
        self._remove_reader(sock.fileno())
        sock.close()
        if path is None:
            return
        try:
            if os.stat(path).st_ino == inode:
                os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as exc:
            logger.error("Unable to clean up listening UNIX socket %r: %r", path, exc)

    # -- Unix sockets -------------------------------------------------------------------------

    async def create_unix_connection(
        self,
        protocol_factory: Any,
        path: Any = None,
        *,
        ssl: Any = None,
        sock: socket.socket | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[Any, Any]:
        """Connect to the Unix stream socket at ``path``, or use a connected ``sock``."""
        assert server_hostname is None or isinstance(server_hostname, str)
        if ssl:
            if server_hostname is None:
                raise ValueError("you have to pass server_hostname when using ssl")
        else:
            if server_hostname is not None:
                raise ValueError("server_hostname is only meaningful with ssl")
            _refuse_limits(ssl_handshake_timeout, ssl_shutdown_timeout)
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                await self.sock_connect(sock, os.fspath(path))
            except BaseException:
                sock.close()
                raise
        else:
            if sock is None:
                raise ValueError("no path and sock were specified")
            _require_unix_stream(sock)
            sock.setblocking(False)
        limits: dict[str, Any] = {"ssl_handshake_timeout": ssl_handshake_timeout}
        if sys.version_info >= (3, 11):
            limits["ssl_shutdown_timeout"] = ssl_shutdown_timeout
        made: tuple[Any, Any] = await self._create_connection_transport(
            sock, protocol_factory, ssl, server_hostname, **limits
        )
        return made

    async def create_unix_server(
        self,
        protocol_factory: Any,
        path: Any = None,
        *,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        cleanup_socket: bool = sys.version_info >= (3, 13),
    ) -> Any:
        """Serve on a Unix stream socket: a new one bound to ``path``, or ``sock``.

        A stale socket at ``path`` is replaced. The path is removed when the server closes if
        ``cleanup_socket`` is true, which it is by default where asyncio's is.
        """
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        if not ssl:
            _refuse_limits(ssl_handshake_timeout, ssl_shutdown_timeout)
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = _bind_unix(os.fspath(path))
        else:
            if sock is None:
                raise ValueError("path was not specified, and no sock specified")
            _require_unix_stream(sock)
        if cleanup_socket:
            bound = sock.getsockname()
            if not _is_abstract(bound):
                with contextlib.suppress(FileNotFoundError):
                    self._unix_server_sockets[sock] = os.stat(bound).st_ino
        sock.setblocking(False)
        limits: dict[str, Any] = {"ssl_handshake_timeout": ssl_handshake_timeout}
        if sys.version_info >= (3, 11):
            limits["ssl_shutdown_timeout"] = ssl_shutdown_timeout
        server = _asyncio.Server(self, [sock], protocol_factory, ssl, backlog, **limits)  # type: ignore[arg-type]
        if start_serving:
            await server.start_serving()
        return server


def _accept(sock: socket.socket) -> tuple[socket.socket, Any]:
    """``sock.accept()``, for a plain socket without the enums that cost more than the call."""
    if type(sock) is not socket.socket:
        return sock.accept()
    number, address = sock._accept()  # type: ignore[attr-defined]
    kind = socket.SOCK_STREAM
    return socket.socket(_family(sock), kind, sock.proto, fileno=number), address


def _refuse_limits(handshake: float | None, shutdown: float | None) -> None:
    if handshake is not None:
        raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
    if shutdown is not None:
        raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")


def _require_unix_stream(sock: socket.socket) -> None:
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")


def _is_abstract(path: Any) -> bool:
    """An address that is no file: Linux's abstract namespace, or none at all."""
    return not path or path[0] in (0, "\x00")


def _bind_unix(path: Any) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if not _is_abstract(path):
            try:
                if stat.S_ISSOCK(os.stat(path).st_mode):
                    os.remove(path)
            except FileNotFoundError:
                pass
            except OSError as exc:
                # The directory may allow no more than making the socket.
                logger.error("Unable to check or remove stale UNIX socket %r: %r", path, exc)
        sock.bind(path)
    except OSError as exc:
        sock.close()
        if exc.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, f"Address {path!r} is already in use") from None
        raise
    except BaseException:
        sock.close()
        raise
    return sock
