"""Players without WebSockets: a screen each, on a stream that only remembers what was written."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from wsproto.connection import Connection as Parser
from wsproto.connection import ConnectionType
from wsproto.events import TextMessage

from mudserver.broker.memory import MemoryHub
from mudserver.config import Limits
from mudserver.game.ids import PlayerId
from mudserver.realtime.connection import Connection
from mudserver.realtime.screen import Screen
from mudserver.realtime.stamps import Stamps
from mudserver.transport.stream import PlayerStream
from mudserver.wire.dialects import JSON, Dialect
from tests.players import START_SECOND, Play, open_play


class RecordingStream(PlayerStream):
    """A socket that takes everything at once, or nothing until it is let go. `writes` holds each write made."""

    def __init__(self, *, stuck: bool = False, seconds_per_write: float = 0.0) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self._free = trio.Event()
        self._seconds_per_write = seconds_per_write
        self._writing = 0
        if not stuck:
            self._free.set()

    def let_go(self) -> None:
        self._free.set()

    def offer(self, frames: bytes) -> bool:
        if not self._free.is_set() or self._seconds_per_write:
            return False
        self.writes.append(frames)
        return True

    @property
    def is_behind(self) -> bool:
        return self._writing > 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._writing += 1
        try:
            await self._free.wait()
            await trio.sleep(self._seconds_per_write)
            if data:
                self.writes.append(bytes(data))
        finally:
            self._writing -= 1

    async def see_off(self) -> None:
        await trio.lowlevel.checkpoint()

    async def _receive(self, max_bytes: int) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def wait_send_all_might_not_block(self) -> None:
        await self._free.wait()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def texts(data: bytes) -> list[str]:
    """The messages in these bytes, by wsproto."""
    client, messages, begun = Parser(ConnectionType.CLIENT), [], ""
    client.receive_data(data)
    for event in client.events():
        assert isinstance(event, TextMessage)
        begun += event.data
        if event.message_finished:
            messages.append(begun)
            begun = ""
    assert not begun
    return messages


class Seat:
    """A connection and a screen on a RecordingStream."""

    def __init__(self, stamps: Stamps, dialect: Dialect = JSON, limits: Limits | None = None) -> None:
        self.stream = RecordingStream()
        self.connection = Connection(self.stream, limits or Limits())
        self.screen = Screen(self.connection, dialect, stamps, limits or Limits())
        self._looked_at = 0

    def texts(self) -> list[str]:
        return texts(b"".join(self.stream.writes))

    def new(self) -> list[str]:
        """What was shown since the last look."""
        shown = self.texts()
        new = shown[self._looked_at :]
        self._looked_at = len(shown)
        return new

    def new_events(self) -> list[tuple[str, Any]]:
        """The same for JSON: event types, with the message or the names where there are any."""
        pairs = []
        for text in self.new():
            envelope = json.loads(text)
            data = envelope["data"]
            pairs.append((envelope["event_type"], data.get("message", data.get("occupants"))))
        return pairs


class SeatedPlayer(Seat):
    """Somebody signed in to a node, without a WebSocket."""

    def __init__(self, play: Play, name: str, dialect: Dialect = JSON) -> None:
        super().__init__(new_stamps(), dialect)
        self._play = play
        signed_in = play.node.manager.sign_in(self.connection, dialect, name)
        assert isinstance(signed_in, str), signed_in
        self.id: PlayerId = signed_in

    def does(self, line: str) -> None:
        """What the player types; nobody else has heard of it yet."""
        self._play.node.manager.perform(self.id, line)


class WatchedHub(MemoryHub):
    """A hub that can swallow messages, as a dying broker does, and bring them up again later."""

    def __init__(self) -> None:
        super().__init__()
        self.is_swallowing = False
        self.seen: list[tuple[str, bytes]] = []
        self.swallowed: list[tuple[str, bytes]] = []

    def publish_nowait(self, subject: str, payload: bytes) -> None:
        self.seen.append((subject, payload))
        if self.is_swallowing:
            self.swallowed.append((subject, payload))
        else:
            super().publish_nowait(subject, payload)

    def bring_up(self) -> None:
        """Delivers what was swallowed, late."""
        for subject, payload in self.swallowed:
            super().publish_nowait(subject, payload)
        self.swallowed.clear()


def new_stamps() -> Stamps:
    return Stamps(lambda: START_SECOND)


@pytest.fixture
def stamps() -> Stamps:
    return new_stamps()


@pytest.fixture
def hub() -> WatchedHub:
    return WatchedHub()


@pytest.fixture
async def play(autojump_clock: MockClock, hub: WatchedHub) -> AsyncIterator[Play]:
    async with open_play(hub=hub) as playing:
        await wait_all_tasks_blocked()
        yield playing
