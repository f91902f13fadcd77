"""Numbers and times for everything this node sends: to clients and to other nodes."""

from collections.abc import Callable
from datetime import UTC, datetime

WallClock = Callable[[], float]
"""Seconds since 1970; `time.time`, or a clock that tests turn."""


class Stamps:
    """A strictly increasing number and the time, for each thing sent."""

    def __init__(self, now: WallClock) -> None:
        self._now = now
        self._number = 0
        self._second = -1
        self._text = ""

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def timestamp(self) -> str:
        """Now, UTC, to the second: '2026-11-23T08:31:00Z'."""
        second = int(self._now())
        if second != self._second:  # the same text serves all frames of a second
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._text
