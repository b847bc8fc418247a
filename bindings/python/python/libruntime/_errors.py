"""Log lines that native code cannot write itself."""

import logging

#: asyncio's logger: programs configure that one.
logger = logging.getLogger("asyncio")

#: Writes to a lost connection before each further one is logged; asyncio's figure.
_LATE_WRITES = 5


def log_late_write(count: int) -> None:
    """Note the write number ``count`` to a connection that is gone."""
    if count >= _LATE_WRITES:
        logger.warning("socket.send() raised exception.")
