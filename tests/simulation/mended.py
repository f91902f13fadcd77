"""A fault of the server that would spoil many simulations, mended here until it is mended there; then delete this.

A ping that waits in the outbox is counted among the frames of the screen, so one frame too many is replayed to whoever
comes back without a number.
"""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from mudserver.realtime import keepalive
from mudserver.realtime.connection import SLOW, Close, Connection
from mudserver.wire.frames import PING_FRAME


def _unsent(self: Connection) -> int:
    return sum(frame is not PING_FRAME for frame in self._frames) + self._dropped


def _end(self: Connection, close: Close) -> None:
    if self.ended is not None:
        return
    self.ended = close
    if close is SLOW:
        self._dropped = _unsent(self)
        self._frames.clear()
        self._bytes = 0
    self.scope.cancel()


@contextmanager
def mended() -> Iterator[None]:
    """While the context lasts, the fault is mended, if the source still has it."""
    with ExitStack() as mends:
        if "connection.offer(PING_FRAME)" in inspect.getsource(keepalive):
            mends.enter_context(patch.object(Connection, "unsent", property(_unsent)))
            mends.enter_context(patch.object(Connection, "end", _end))
        yield
