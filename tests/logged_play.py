"""A running node that writes an event log, and log lines made by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import trio

from mudserver.broker.memory import MemoryHub
from mudserver.config import Config, Limits
from mudserver.game import events as e
from mudserver.game.ids import PlayerId, RoomId
from mudserver.server import Node
from mudserver.services.event_log import encode_line
from mudserver.wire.envelope import Stamped
from mudserver.wire.subjects import Subjects
from tests.players import START_SECOND, Play
from tests.worlds import QUAY, small_map

SUBJECTS = Subjects("mud")


@asynccontextmanager
async def open_logged_play(
    path: Path, limits: Limits | None = None, hub: MemoryHub | None = None
) -> AsyncIterator[Play]:
    """A running node in the small world; the whole log is on disk when this is over.

    It ends with the lines of all who are still there being lost.
    """
    hub = hub or MemoryHub()
    broker = hub.connect()
    config = Config(event_log=path, limits=limits or Limits())
    node = Node(config, small_map(), broker, "n1", now=lambda: START_SECOND + trio.current_time())
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        try:
            # The players first, then the node, as when a server stops: what ends a visit is in the log, too.
            async with trio.open_nursery() as players:
                yield Play(node, hub, broker, players)
                players.cancel_scope.cancel()
        finally:
            nursery.cancel_scope.cancel()


def moment(seconds: float) -> datetime:
    """So many seconds after the tests' clock began."""
    return datetime.fromtimestamp(START_SECOND + seconds, UTC)


def told(seconds: float) -> str:
    """The same as log and screen write it: '2026-11-23T08:11:00Z'."""
    return moment(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamped(event: e.Event, seconds: float = 0, node: str = "n1", number: int = 1000) -> Stamped:
    return Stamped(event, node, number, told(seconds))


def line(event: e.Event, seconds: float = 0, node: str = "n1", dropped_before: int = 0) -> bytes:
    """A line of the log."""
    return encode_line(SUBJECTS, stamped(event, seconds, node), dropped_before)


def first_line() -> bytes:
    """What a server writes first of all: somebody comes, of whom nothing else is told."""
    return line(e.Event(e.PlayerEnteredGame(PlayerId("n1-p1"), "Early"), e.Everywhere()))


def entered(name: str, room_id: RoomId = QUAY) -> e.Event:
    player_id = PlayerId(f"n1-{name}")
    return e.Event(e.PlayerEntered(player_id, name, room_id, f"The {room_id.title()}"), e.InRoom(room_id), player_id)


def left(name: str, room_id: RoomId = QUAY) -> e.Event:
    player_id = PlayerId(f"n1-{name}")
    return e.Event(e.PlayerLeft(player_id, name, room_id, f"The {room_id.title()}"), e.InRoom(room_id), player_id)


def said(name: str, words: str, room_id: RoomId = QUAY) -> e.Event:
    player_id = PlayerId(f"n1-{name}")
    fact = e.ChatMessage(player_id, name, "say", f"{name} says: {words}", "n1-m1")
    return e.Event(fact, e.InRoom(room_id), player_id)
