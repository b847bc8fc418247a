"""``EventLoop``: the Python half, what runs once per loop or per connection."""

import asyncio
import socket as _socket
import sys
import threading
from typing import TYPE_CHECKING, Any

from . import _asyncio, _native
from ._errors import logger
from ._processes import ProcessMixin
from ._serving import ServingMixin
from ._signals import SignalMixin
from ._sockets import SocketMixin


class EventLoop(  # type: ignore[misc]
    _native.LoopCore,
    SocketMixin,
    ServingMixin,
    SignalMixin,
    ProcessMixin,
    asyncio.BaseEventLoop,
):
    """An asyncio event loop on libruntime.

    ``LoopCore`` schedules callbacks and runs them, watches descriptors and moves bytes; the mixins
    make connections and children; ``asyncio.BaseEventLoop`` supplies what defines asyncio itself
    (tasks, the executor, exception reports, ``create_connection`` with its address races).

    As with any asyncio loop, only ``call_soon_threadsafe`` may be called from other threads.
    """

    if TYPE_CHECKING:
        # Of asyncio.BaseEventLoop, which its stubs leave out.
        _asyncgen_firstiter_hook: Any
        _asyncgen_finalizer_hook: Any

        def _check_running(self) -> None: ...
        def _check_thread(self) -> None: ...
        def _check_callback(self, callback: object, method: str) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...

    #: asyncio's loops have a selector; code that looks for one finds that there is none.
    _selector = None

    def __init__(self) -> None:
        super().__init__()
        self._init_signals()
        self._init_serving()
        self._init_processes()

    # -- running ------------------------------------------------------------------------------

    def run_forever(self) -> None:
        """Run until ``stop()``; an exception that no callback may swallow comes through."""
        self._check_closed()
        self._check_running()
        self._set_coroutine_origin_tracking(self._debug)
        hooks = sys.get_asyncgen_hooks()
        self._begin_signals()
        try:
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook,
                finalizer=self._asyncgen_finalizer_hook,
            )
            asyncio._set_running_loop(self)
            self._run()
        finally:
            self._stopping = False
            self._thread_id = None  # type: ignore[assignment]
            asyncio._set_running_loop(None)
            self._end_signals()
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)

    def close(self) -> None:
        """Release everything; nothing can be scheduled afterwards. Closing twice is harmless."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        self._close_signals()
        super().close()
        self._close_native()
        self._close_processes()

    def set_debug(self, enabled: bool) -> None:
        super().set_debug(enabled)
        self._set_native_debug(enabled)

    @property
    def _transports(self) -> "_DatagramTable":
        return _DatagramTable(self)

    def _write_to_self(self) -> None:
        self._wake()

    # -- what native code asks for ------------------------------------------------------------

    def _check_call(self, callback: object, method: str, any_thread: bool) -> None:
        """In debug mode, before a callback is scheduled."""
        if not any_thread:
            self._check_thread()
        self._check_callback(callback, method)

    def _callback_failed(self, handle: Any, exc: BaseException) -> None:
        """Report what a callback raised."""
        callback = _asyncio.format_callback_source(handle._callback, handle._args)
        context = {
            "message": f"Exception in callback {callback}",
            "exception": exc,
            "handle": handle,
        }
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        self.call_exception_handler(context)

    def _debug_run(self, handle: Any) -> None:
        """In debug mode: run a callback, and say so if it took long."""
        self._current_handle = handle
        try:
            began = self.time()
            handle._run()
            took = self.time() - began
            if took >= self.slow_callback_duration:
                what = _asyncio.format_handle(handle)
                logger.warning("Executing %s took %.3f seconds", what, took)
        finally:
            self._current_handle = None

    # -- names -------------------------------------------------------------------------------

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Resolve a name on the executor; an address needs no resolver and is answered here."""
        if not self._debug and _needs_no_resolver(host, port):
            return _socket.getaddrinfo(host, port, family, type, proto, flags)
        return await super().getaddrinfo(
            host, port, family=family, type=type, proto=proto, flags=flags
        )


class _DatagramTable:
    """``loop._transports`` as asyncio's own datagram transport knows it: by descriptor."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop

    def __setitem__(self, fd: int, transport: object) -> None:
        self._loop._set_transport(fd, transport)

    def discard(self, fd: int, transport: object) -> None:
        if self._loop._transport_of(fd) is transport:
            self._loop._set_transport(fd, None)


def _needs_no_resolver(host: object, port: object) -> bool:
    if not isinstance(host, str) or not (port is None or isinstance(port, int)):
        return False
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return True
    return False


def new_event_loop() -> EventLoop:
    """A new, unset event loop: the ``loop_factory`` of ``asyncio.Runner`` and its kin."""
    return EventLoop()
