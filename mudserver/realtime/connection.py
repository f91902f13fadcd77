"""One socket to a client: its outbox, the send task that joins what has piled up, and how it ends."""

from dataclasses import dataclass
from enum import IntEnum

import trio

from mudserver.config import Limits
from mudserver.transport.stream import PlayerStream
from mudserver.wire.frames import PING_FRAME


class CloseCode(IntEnum):
    """Why a connection ended, as the client is told it in the WebSocket close frame."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL = 1002
    INVALID_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    ERROR = 1011
    SLOW = 3008
    UNANSWERED = 3010
    TAKEN_OVER = 3011


@dataclass(frozen=True, slots=True)
class Close:
    """A close code and the words that go with it (at most 123 bytes of UTF-8, RFC 6455)."""

    code: CloseCode
    reason: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.code.value})"


QUIT = Close(CloseCode.NORMAL, "goodbye")
HUNG_UP = Close(CloseCode.NORMAL, "you hung up")
SLOW = Close(CloseCode.SLOW, "slow")
NO_NAME = Close(CloseCode.POLICY, "no name given in time")
SHUTDOWN = Close(CloseCode.GOING_AWAY, "the server stops")
BROKE_PROTOCOL = Close(CloseCode.PROTOCOL, "that is no WebSocket frame")
INVALID_DATA = Close(CloseCode.INVALID_DATA, "that is no UTF-8")
TOO_BIG = Close(CloseCode.TOO_BIG, "message too big")
FLOOD_OF_LINES = Close(CloseCode.POLICY, "too many lines")
FLOOD_OF_BYTES = Close(CloseCode.POLICY, "too much data")
FLOOD_OF_PINGS = Close(CloseCode.POLICY, "too many pings or pongs")
FRAGMENTS = Close(CloseCode.POLICY, "too many fragments")
TOO_MANY_GUESSES = Close(CloseCode.POLICY, "too many wrong words")
UNANSWERED = Close(CloseCode.UNANSWERED, "no answer to a ping")
TAKEN_OVER = Close(CloseCode.TAKEN_OVER, "taken over by another connection")
BROKEN = Close(CloseCode.ERROR, "an error in the server")


class Connection:
    """The way to one client's socket. Everything but `run_sender` and `finish` is synchronous.

    Frames wait in the outbox until `flush_nowait` puts them all on the stream in one write; only what the socket does
    not take at once is left to the send task. An outbox over its limit ends the connection: a reader so far behind
    has lost the story, and nobody waits for it.
    """

    __slots__ = (
        "_bytes",
        "_dropped",
        "_frames",
        "_is_ping_due",
        "_limits",
        "_stream",
        "_waiting",
        "_wake",
        "ended",
        "pinged_at",
        "scope",
    )

    def __init__(self, stream: PlayerStream, limits: Limits) -> None:
        self.ended: Close | None = None
        self._stream = stream
        self._limits = limits
        self._waiting: list[bytes] = []
        self._frames = 0
        self._bytes = 0
        self._dropped = 0
        self._is_ping_due = False
        self._wake = trio.Event()
        self.pinged_at: float | None = None
        """When a ping was sent that waits for an answer (trio's clock, seconds)."""
        self.scope = trio.CancelScope()
        """Cancelled when the connection is ended; the session runs inside it."""

    def offer(self, data: bytes, frames: int = 1) -> None:
        """Puts whole frames into the outbox. `flush_nowait` must follow, once for any number of frames."""
        if self.ended is not None:
            self._dropped += frames
            return
        self._waiting.append(data)
        self._frames += frames
        self._bytes += len(data)
        if self._frames > self._limits.outbox_frames_max or self._bytes > self._limits.outbox_bytes_max:
            self.end(SLOW)

    def send_nowait(self, data: bytes, frames: int = 1) -> None:
        """`offer` and `flush_nowait` in one: the short way to a client that is not behind."""
        if not self._frames and self.ended is None and self._stream.offer(data):
            if self._stream.is_behind:
                self._wake.set()
            return
        self.offer(data, frames)
        self.flush_nowait()

    def flush_nowait(self) -> None:
        """Writes what waits, as far as the socket takes it without waiting."""
        if (self._frames or self._is_ping_due) and self._stream.offer(self._joined()):
            self._clear()
        if self._frames or self._is_ping_due or self._stream.is_behind:
            self._wake.set()

    def ping(self) -> None:
        """Asks the client for a sign of life. No frame of the screen's: it does not count as one that is unsent."""
        self._is_ping_due = True
        self.flush_nowait()

    def discard(self) -> int:
        """Throws away what waits; returns how many of the frames offered last were never written."""
        unsent = self._frames + self._dropped
        self._clear()
        return unsent

    def _joined(self) -> bytes:
        return b"".join((*self._waiting, PING_FRAME)) if self._is_ping_due else b"".join(self._waiting)

    def _clear(self) -> None:
        self._waiting = []
        self._frames = 0
        self._bytes = 0
        self._is_ping_due = False

    def end(self, close: Close) -> None:
        """Ends the connection for this reason; the first reason counts. A slow reader's outbox is thrown away."""
        if self.ended is not None:
            return
        self.ended = close
        if close is SLOW:
            self._dropped = self._frames
            self._clear()
        self.scope.cancel()

    @property
    def last_heard(self) -> float:
        """When the last bytes came in (trio's clock, seconds)."""
        return self._stream.last_heard

    @property
    def is_listening(self) -> bool:
        """Whether we read what the client sends as soon as it comes; not while its last lines wait for their turn."""
        return self._stream.is_listening

    @property
    def outbox_depth(self) -> int:
        """Frames that wait."""
        return self._frames

    async def run_sender(self) -> None:
        """The send task: writes what the socket did not take at once. Ends the connection if that takes too long."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            try:
                await self._send_waiting()
            except trio.TooSlowError:
                self.end(SLOW)
                return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the reader notices the same and ends the session

    async def finish(self, last_frame: bytes) -> None:
        """Sends what still waits, and this behind it. Raises trio.BrokenResourceError (nobody listens) or
        trio.TooSlowError.
        """
        self._waiting.append(last_frame)
        await self._send_waiting()

    async def _send_waiting(self) -> None:
        # At least once: there may be nothing left but the end of a frame, which the stream keeps. Whether the stream
        # is behind is no question to ask here, where somebody else may be sending: two would ask in turns for ever.
        while True:
            joined = self._joined()
            self._clear()
            with trio.fail_after(self._limits.write_seconds_max):
                await self._stream.send_all(joined)
            if not self._frames:
                return
