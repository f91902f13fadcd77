"""Keeps Python's garbage collector from stopping the world in the middle of play.

A full collection looks at every object there is: with thousands of players that is a pause of half a second, and Python
makes one whenever objects have grown by a quarter. Nearly everything here is freed by reference counts at once; what
is left in cycles comes from sessions that ended. So full collections are made then, and only then, at a game tick.
"""

import gc
import logging
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

YOUNG_OBJECTS_MAX = 20_000
"""New objects before the youngest are looked through: a few milliseconds."""

YOUNG_ROUNDS_MAX = 5
"""Such rounds before the next older generation is looked through as well: about ten milliseconds."""

NEVER = 1_000_000_000
"""Rounds of that before Python makes a full collection of its own accord."""

SESSIONS_ENDED_MAX = 500
"""Sessions that may end before a full collection: each leaves some hundred objects, some tens of KiB, in cycles."""


class GarbageKeeper:
    """Makes the full collections. `sessions_ended` counts the sessions that have ended so far."""

    def __init__(self, sessions_ended: Callable[[], int]) -> None:
        self._sessions_ended = sessions_ended
        self._ended_before = 0

    def take_over(self) -> None:
        """From here on Python makes no full collection itself, and what exists now is never looked at again."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS_MAX, YOUNG_ROUNDS_MAX, NEVER)

    def collect_if_due(self) -> None:
        """A full collection, if enough sessions have ended since the last."""
        ended = self._sessions_ended()
        if ended - self._ended_before < SESSIONS_ENDED_MAX:
            return
        self._ended_before = ended
        began = time.perf_counter()
        found = gc.collect()
        logger.info("collected %d objects of garbage in %.0f ms", found, (time.perf_counter() - began) * 1000)
