"""Child processes and pipes, on asyncio's own transports and this loop's descriptor callbacks."""

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

from . import _asyncio
from ._errors import logger


class ProcessMixin:
    """How ``EventLoop`` starts children, learns of their end and talks through pipes."""

    if TYPE_CHECKING:
        create_future: Any
        call_soon_threadsafe: Any

        def is_closed(self) -> bool: ...
        def _add_reader(self, fd: Any, callback: Any, *args: Any) -> asyncio.Handle: ...
        def _remove_reader(self, fd: Any) -> bool: ...

    def _init_processes(self) -> None:
        #: Descriptors of children that have not ended.
        self._pidfds: set[int] = set()

    def _make_read_pipe_transport(
        self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> Any:
        return _asyncio.ReadPipeTransport(self, pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(
        self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> Any:
        return _asyncio.WritePipeTransport(self, pipe, protocol, waiter, extra)

    async def _make_subprocess_transport(
        self,
        protocol: Any,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: Any = None,
        **kwargs: Any,
    ) -> Any:
        waiter = self.create_future()
        transport = _asyncio.SubprocessTransport(
            self,
            protocol,
            args,
            shell,
            stdin,
            stdout,
            stderr,
            bufsize,
            waiter=waiter,
            extra=extra,
            **kwargs,
        )
        self._watch_child(transport)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        return transport

    def _watch_child(self, transport: Any) -> None:
        """Tell ``transport`` when its child ends: through a pidfd, or a thread where there is none.

        Neither touches SIGCHLD, so a program's own handling of it stays as it is, and any thread's
        loop can have children.
        """
        pid = transport.get_pid()
        try:
            pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):
            name = f"libruntime-waitpid-{pid}"
            thread = threading.Thread(
                target=self._wait_for_child, name=name, args=(pid, transport), daemon=True
            )
            thread.start()
        else:
            self._pidfds.add(pidfd)
            self._add_reader(pidfd, self._child_ended, pid, pidfd, transport)

    def _close_processes(self) -> None:
        """Let go of children that are still running."""
        for pidfd in self._pidfds:
            os.close(pidfd)
        self._pidfds.clear()

    def _child_ended(self, pid: int, pidfd: int, transport: Any) -> None:
        self._remove_reader(pidfd)
        self._pidfds.discard(pidfd)
        os.close(pidfd)
        transport._process_exited(_reap(pid))

    def _wait_for_child(self, pid: int, transport: Any) -> None:
        code = _reap(pid)
        if self.is_closed():
            logger.warning("Loop %r that handles pid %r is closed", self, pid)
        else:
            self.call_soon_threadsafe(transport._process_exited, code)


def _reap(pid: int) -> int:
    """Wait for a child that has ended; its return code, negative for a signal."""
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        # Somebody else has reaped it, and the status with it.
        logger.warning("child process pid %d exit status already read: will report 255", pid)
        return 255
    try:
        return os.waitstatus_to_exitcode(status)
    except ValueError:
        return status
