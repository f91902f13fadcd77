"""What one player sees: frames in their dialect, remembered for a while, so that a dropped line loses no word."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from mudserver.config import Limits
from mudserver.realtime.connection import Connection
from mudserver.realtime.stamps import Stamps
from mudserver.wire.dialects import Dialect, Shown, encode


class Frame(NamedTuple):
    """Bytes for a socket and the sequence number in them. One object serves everybody who gets it."""

    number: int
    data: bytes


def make_frame(dialect: Dialect, shown: Shown, stamps: Stamps) -> Frame | None:
    """The frame that shows `shown` in this dialect, with the next number; None if there is nothing to show."""
    number = stamps.next_number()
    data = encode(dialect, shown, number, stamps.timestamp())
    return None if data is None else Frame(number, data)


class Screen:
    """Stays with a player for the whole visit, while connections may come and go; `connection` is None meanwhile.

    Frames are remembered up to `history_frames_max` and `history_bytes_max`, whether or not there is a connection: a
    client that comes back says what it saw last, and is shown the rest. Once that can no longer be all of it, none is
    kept: in a crowd most of those who are away have missed too much, and cost nothing more.
    """

    __slots__ = (
        "_bytes_max",
        "_detached_at",
        "_forgotten",
        "_frames_max",
        "_history",
        "_history_bytes",
        "_stamps",
        "connection",
        "dialect",
    )

    def __init__(self, connection: Connection, dialect: Dialect, stamps: Stamps, limits: Limits) -> None:
        self.dialect = dialect
        self.connection: Connection | None = connection
        self._stamps = stamps
        # What is replayed goes through the outbox in one piece, so no more than fits there is worth keeping.
        self._frames_max = min(limits.history_frames_max, limits.outbox_frames_max - 1)
        self._bytes_max = min(limits.history_bytes_max, limits.outbox_bytes_max - 1)
        self._history: deque[Frame] = deque()
        self._history_bytes = 0
        self._forgotten = 0
        """The highest number that is no longer in the history."""
        self._detached_at = 0
        """The number of the last frame that was written before the line was lost."""

    def show(self, *shown: Shown) -> None:
        """Puts answers on this player's screen, and on no one else's."""
        frames = [frame for each in shown if (frame := make_frame(self.dialect, each, self._stamps)) is not None]
        if frames:
            self.send_nowait(frames, b"".join(frame.data for frame in frames))

    def send_nowait(self, frames: Sequence[Frame], joined: bytes) -> None:
        """Sends frames and remembers them; `joined` is the data of all of them, in their order."""
        if self._has_lost_the_story:
            return
        self._history.extend(frames)
        self._history_bytes += len(joined)
        self._trim()
        if self.connection is not None:
            self.connection.send_nowait(joined, len(frames))

    def _trim(self) -> None:
        history = self._history
        while len(history) > self._frames_max or self._history_bytes > self._bytes_max:
            oldest = history.popleft()
            self._history_bytes -= len(oldest.data)
            self._forgotten = oldest.number
        if self._has_lost_the_story:
            self._forget()

    @property
    def _has_lost_the_story(self) -> bool:
        """Whether the line is lost, and something is forgotten that came after that."""
        return self.connection is None and self._forgotten > self._detached_at

    def _forget(self) -> None:
        self._history.clear()
        self._history_bytes = 0

    def detach(self) -> None:
        """The line is lost; what happens from here on is kept for later."""
        unsent = 0 if self.connection is None else self.connection.discard()
        self.connection = None
        written = len(self._history) - unsent
        self._detached_at = self._history[written - 1].number if written > 0 else self._forgotten

    def attach(self, connection: Connection, dialect: Dialect, seen: int | None) -> bool:
        """Goes on with a new connection, whose client saw frames up to number `seen` (None: all until the line died).

        Puts the frames it missed on their way. Returns False, and replays nothing, if not all of them can be had, or
        `seen` is a number that was never sent.
        """
        last_seen = self._detached_at if seen is None else seen
        complete = dialect == self.dialect and self._forgotten <= last_seen <= self._detached_at
        self.connection = connection
        self.dialect = dialect
        if complete:
            for frame in self._history:
                if frame.number > last_seen:
                    connection.offer(frame.data)
            connection.flush_nowait()
        else:
            self._forget()
            self._forgotten = self._stamps.last_number
        return complete
