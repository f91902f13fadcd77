"""Numbers and times for everything this node sends: to clients and to other nodes."""

from collections.abc import Callable
from datetime import UTC, datetime

WallClock = Callable[[], float]
"""Seconds since 1970; `time.time`, or a clock that tests turn."""


FIRST_NUMBER = 1000
"""Where a node begins to number. Lower numbers are for what a connection is sent before sign-in, so that frames from
before its time may follow when a player comes back, and numbers on a connection still rise."""


class Stamps:
    """A strictly increasing number, from `first` on, and the time, for each thing sent."""

    def __init__(self, now: WallClock, first: int = FIRST_NUMBER) -> None:
        self._now = now
        self._number = first - 1
        self._second = -1
        self._text = ""

    def next_number(self) -> int:
        self._number += 1
        return self._number

    @property
    def last_number(self) -> int:
        """The number given last."""
        return self._number

    def before_sign_in(self) -> "Stamps":
        """Stamps for one connection that has no player yet."""
        return Stamps(self._now, first=1)

    def timestamp(self) -> str:
        """Now, UTC, to the second: '2026-11-23T08:31:00Z'."""
        second = int(self._now())
        if second != self._second:  # the same text serves all frames of a second
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._text
