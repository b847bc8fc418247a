"""An asyncio event loop whose scheduling, timers and sockets are native.

    import libruntime

    libruntime.run(main())

Where a program makes its own loop, use ``asyncio.Runner(loop_factory=libruntime.EventLoop)`` or
``libruntime.new_event_loop()``.
"""

from ._loop import EventLoop, new_event_loop
from ._run import run

__all__ = ["EventLoop", "new_event_loop", "run"]
