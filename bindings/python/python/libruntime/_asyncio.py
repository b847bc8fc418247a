"""The parts of asyncio that have no public name and that a loop must share with it.

Each is used on purpose: a protocol stack (TLS), a transport that is not native yet, or a helper
whose exact output programs and tests rely on. Gathering them here shows how far the coupling goes.
"""

from asyncio import (
    base_events,
    constants,
    exceptions,
    format_helpers,
    futures,
    selector_events,
    sslproto,
    trsock,
    unix_events,
)
from typing import Any, cast

#: ``Server``: listening sockets and their connections; also ``asyncio.Server``.
Server = base_events.Server
SSLProtocol = sslproto.SSLProtocol
TransportSocket = trsock.TransportSocket

SSL_HANDSHAKE_TIMEOUT: float = constants.SSL_HANDSHAKE_TIMEOUT
#: Absent before Python 3.11, whose TLS has no time limit for its shutdown.
SSL_SHUTDOWN_TIMEOUT: float = getattr(constants, "SSL_SHUTDOWN_TIMEOUT", 30.0)
ACCEPT_RETRY_DELAY: float = constants.ACCEPT_RETRY_DELAY
TRY_NATIVE_SENDFILE: object = constants._SendfileMode.TRY_NATIVE

SendfileNotAvailableError = exceptions.SendfileNotAvailableError

_base = cast(Any, base_events)
_selector = cast(Any, selector_events)
_unix = cast(Any, unix_events)

check_ssl_socket: Any = _base._check_ssl_socket
format_handle: Any = _base._format_handle
format_callback_source: Any = cast(Any, format_helpers)._format_callback_source
set_result_unless_cancelled: Any = cast(Any, futures)._set_result_unless_cancelled

SelectorDatagramTransport: Any = _selector._SelectorDatagramTransport
ReadPipeTransport: Any = _unix._UnixReadPipeTransport
WritePipeTransport: Any = _unix._UnixWritePipeTransport
SubprocessTransport: Any = _unix._UnixSubprocessTransport

#: From Python 3.13 on a server knows its transports (``close_clients``).
SERVER_KEEPS_CLIENTS: bool = hasattr(Server, "close_clients")
