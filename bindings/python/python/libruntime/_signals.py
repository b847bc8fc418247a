"""Signals: handlers that run as callbacks, and waking an idle loop for Python's own handlers."""

import asyncio
import contextvars
import errno
import inspect
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._errors import logger


def _ignore(signum: int, frame: object) -> None:
    """Handler of a signal that the loop handles itself."""


class SignalMixin:
    """``add_signal_handler`` and ``remove_signal_handler`` of ``EventLoop``.

    While the loop runs in the main thread, the interpreter writes the number of each signal that
    comes to a socket that the loop watches: the wait ends, Python's handlers run (Ctrl-C raises or
    cancels as usual), and the loop's own handlers are scheduled.
    """

    if TYPE_CHECKING:
        call_soon: Any

        def _check_closed(self) -> None: ...
        def is_running(self) -> bool: ...
        def _add_reader(self, fd: Any, callback: Any, *args: Any) -> asyncio.Handle: ...
        def _remove_reader(self, fd: Any) -> bool: ...

    def _init_signals(self) -> None:
        self._signal_handlers: dict[
            int, tuple[Callable[..., object], tuple[Any, ...], contextvars.Context]
        ] = {}
        self._ssock: socket.socket | None = None
        self._csock: socket.socket | None = None
        #: The wake-up descriptor of whoever had it before this loop began to run.
        self._previous_wakeup_fd: int | None = None

    def _signal_fd(self) -> int:
        if self._csock is None:
            self._ssock, self._csock = socket.socketpair()
            self._ssock.setblocking(False)
            self._csock.setblocking(False)
            self._add_reader(self._ssock.fileno(), self._read_signals)
        return self._csock.fileno()

    def _begin_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            fd = self._signal_fd()
            try:
                self._previous_wakeup_fd = signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
            except ValueError:
                # The main thread of a subinterpreter receives no signals.
                self._previous_wakeup_fd = None

    def _end_signals(self) -> None:
        previous, self._previous_wakeup_fd = self._previous_wakeup_fd, None
        if previous is None:
            return
        keep = self._signal_handlers and self._csock is not None
        if previous == -1 and keep:
            # Signals that come between two runs are handled by the next one.
            return
        try:
            signal.set_wakeup_fd(previous)
        except (ValueError, OSError) as exc:
            logger.info("set_wakeup_fd(%d) failed: %s", previous, exc)
            signal.set_wakeup_fd(-1)

    def _close_signals(self) -> None:
        if sys.is_finalizing():
            if self._signal_handlers:
                warnings.warn(
                    f"Closing the loop {self!r} on interpreter shutdown stage, "
                    "skipping signal handlers removal",
                    ResourceWarning,
                    source=self,
                    stacklevel=2,
                )
                self._signal_handlers.clear()
        else:
            for signum in list(self._signal_handlers):
                self.remove_signal_handler(signum)
        if self._ssock is not None and self._csock is not None:
            self._remove_reader(self._ssock.fileno())
            self._ssock.close()
            self._csock.close()
            self._ssock = self._csock = None

    def _read_signals(self) -> None:
        assert self._ssock is not None
        while True:
            try:
                numbers = self._ssock.recv(4096)
            except InterruptedError:
                continue
            except BlockingIOError:
                return
            for signum in numbers:
                self._handle_signal(signum)

    def _handle_signal(self, signum: int) -> None:
        handler = self._signal_handlers.get(signum)
        if handler is not None:
            callback, args, context = handler
            self.call_soon(callback, *args, context=context)

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback(*args)`` in the loop when ``sig`` comes.

        Only the main thread may do this (``RuntimeError``). ``ValueError`` if the number is no
        signal, ``RuntimeError`` if the signal cannot be caught.
        """
        if asyncio.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_closed()
        try:
            # Also refuses any thread but the main one.
            previous = signal.set_wakeup_fd(self._signal_fd(), warn_on_full_buffer=False)
        except (ValueError, OSError) as exc:
            raise RuntimeError(str(exc)) from exc
        had = self._signal_handlers.get(sig)
        self._signal_handlers[sig] = (callback, args, contextvars.copy_context())
        try:
            # A Python handler must be set for the interpreter to write the number.
            signal.signal(sig, _ignore)
            # System calls restart where they can.
            signal.siginterrupt(sig, False)
        except OSError as exc:
            if had is None:
                del self._signal_handlers[sig]
            if not self._signal_handlers and not self.is_running():
                signal.set_wakeup_fd(previous)
            if exc.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from None
            raise

    def remove_signal_handler(self, sig: int) -> bool:
        """Give ``sig`` its default action back; whether there was a handler."""
        self._check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        default: Any = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from None
            raise
        if not self._signal_handlers and not self.is_running():
            try:
                signal.set_wakeup_fd(-1)
            except (ValueError, OSError) as exc:
                logger.info("set_wakeup_fd(-1) failed: %s", exc)
        return True

    def _check_signal(self, sig: int) -> None:
        if not isinstance(sig, int):
            raise TypeError(f"sig must be an int, not {sig!r}")
        if sig not in signal.valid_signals():
            raise ValueError(f"invalid signal number {sig}")
