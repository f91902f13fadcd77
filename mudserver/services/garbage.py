"""Keeps Python's garbage collector from stopping the world in the middle of play.

It looks for objects that hold each other in cycles, and stops everything while it looks: some milliseconds each time a
few thousand objects were made, half a second for all there are when there are thousands of players. There is next to
nothing to find: what a session leaves is freed by reference counts at once, however it ended, and the tests hold it to
that. So it is turned off, but for one look at everything after very many sessions.
"""

import gc
import logging
import time
from collections.abc import Callable

import trio

logger = logging.getLogger(__name__)

SESSIONS_ENDED_MAX = 100_000
"""Sessions that may end before everything is looked through, for cycles that nobody has thought of: a busy day."""

ASK_SECONDS = 10.0
"""How often that is asked."""


class GarbageKeeper:
    """Collects garbage in Python's stead. `sessions_ended` counts the sessions that have ended so far."""

    def __init__(self, sessions_ended: Callable[[], int]) -> None:
        self._sessions_ended = sessions_ended
        self._ended_before = 0

    async def run(self) -> None:
        """Takes over from Python until cancelled; what exists at the beginning is never looked at again."""
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            while True:
                await trio.sleep(ASK_SECONDS)
                self._collect_if_due()
        finally:
            gc.enable()
            gc.unfreeze()

    def _collect_if_due(self) -> None:
        ended = self._sessions_ended()
        if ended - self._ended_before < SESSIONS_ENDED_MAX:
            return
        self._ended_before = ended
        began = time.perf_counter()
        found = gc.collect()
        logger.info("collected %d objects of garbage in %.0f ms", found, (time.perf_counter() - began) * 1000)
