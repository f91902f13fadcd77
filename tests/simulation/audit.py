"""What must be true whenever everything is quiet, and when everybody has gone home."""

import gc
from collections import Counter, deque
from collections.abc import Iterable

import trio

from mudserver.server import Node
from tests.simulation.bots import HALF_OPEN_SECONDS_MAX, Bot
from tests.simulation.bus import StormyBroker
from tests.simulation.client import JsonClient
from tests.simulation.oracle import STALE_OCCUPANTS, Oracle

OVERDUE_SINCE_SECONDS = 5.0
"""How far back a story reaches that begins with something missing."""


_MAY_LINGER = (
    "mudserver.broker.base.Message",
    "mudserver.realtime.connection.Connection",
)
"""Of these one may be left, in the variable of a loop that waits for the next."""


class Auditor:
    """Looks at the server from inside, and compares."""

    def __init__(self, node: Node, broker: StormyBroker, oracle: Oracle, bots: list[Bot]) -> None:
        self._node = node
        self._broker = broker
        self._oracle = oracle
        self._bots = bots
        self.audits = 0

    def audit(self) -> None:
        """Call when all tasks wait: whatever follows from what was done has happened."""
        self.audits += 1
        self._audit_bots()
        self._audit_rooms()
        self._audit_books()

    def _audit_bots(self) -> None:
        oracle = self._oracle
        now = trio.current_time()
        for bot in self._bots:
            client = bot.client
            if client is None or not bot.is_playing or client.is_leaving or client.is_flooding:
                continue
            visit = client.visit
            assert visit is not None
            if oracle.visits.get(visit.player_id) is not visit or visit.is_linkdead:
                oracle.fail(f"{bot.name} plays on, but the world thinks them gone", bot.name, since=now - 10)
                continue
            if (entry := visit.overdue()) is not None:
                actor = oracle.visits.get(entry.actor) if entry.actor else None
                who = (bot.name, actor.name) if actor else (bot.name,)
                missing = entry.told(visit.dialect)
                oracle.fail(f"{bot.name} was never shown {missing!a}", *who, since=entry.seconds - 1)
            if client.room_id != visit.room_id:
                oracle.fail(f"{bot.name} sees {client.room_id}, but is in {visit.room_id}", bot.name, since=now - 10)
            if isinstance(client, JsonClient) and visit.room_id is not None and oracle.is_quiet(visit.room_id):
                told = [name for name in client.occupants.get(visit.room_id, []) if not name.startswith("Far")]
                present = oracle.present(visit.room_id)
                if told != present:
                    what = f"{bot.name} believes that {told} are in {visit.room_id}, but it is {present}"
                    if visit.is_back_early:
                        oracle.fail_unless_known(STALE_OCCUPANTS, what, bot.name)
                    else:
                        oracle.fail(what, bot.name, *sorted({*told} ^ {*present}), since=now - 10)

    def _audit_rooms(self) -> None:
        world, oracle = self._node.world, self._oracle
        found = [(player.id, room_id) for room_id in world.map.rooms for player in world.inside(room_id)]
        expected = {player_id: visit.room_id for player_id, visit in oracle.visits.items()}
        if len(found) != len(expected) or dict(found) != expected:
            oracle.fail(f"the world has {sorted(found)}, but it should have {sorted(expected.items())}")
        if any(player.room_id != expected.get(player.id) for player in world.players.values()):
            oracle.fail("a player is in another room than the room knows")
        if world.players.keys() != expected.keys():
            oracle.fail("those in the world are not those who came in and have not left")

    def _audit_books(self) -> None:
        node, oracle = self._node, self._oracle
        players = node.world.players.keys()
        if node.audience.screens.keys() != players:
            oracle.fail(f"there are screens of {sorted(node.audience.screens.keys() ^ players)} who are not there")
        sleeping = {player.room_id for player in node.world.players.values()} - node.audience.rooms.keys()
        if sleeping:
            oracle.fail(f"{sorted(sleeping)} sleep, though somebody is there")
        wanted = {"mud.global.*", *(f"mud.room.{each}.*" for each in node.audience.rooms)}
        wanted |= {f"mud.player.{each}.*" for each in players}
        if self._broker.subscriptions != wanted:
            oracle.fail(f"subscribed to {sorted(self._broker.subscriptions ^ wanted)} without need, or not")
        if node.publisher.awaited != len(oracle.pending):
            oracle.fail(f"{node.publisher.awaited} events are awaited, but {len(oracle.pending)} are on their way")
        lines = sum(visit.connection.outbox_depth for visit in node.sessions.open)
        if lines and all(bot.client is None or bot.client.is_reading or bot.client.is_ended for bot in self._bots):
            oracle.fail(f"{lines} frames wait for clients who all read")
        alone = [each for each in oracle.visits.values() if each.is_linkdead]
        away = node.manager.absences.away()
        if sorted(away) != sorted(visit.player_id for visit in alone):
            oracle.fail(f"{away} count as away, but it is {[each.name for each in alone]}")


class Baseline:
    """How much of everything there is before anybody comes; `leaks` says what is more afterwards."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._before = self._count()

    def leaks(self) -> list[str]:
        """What has not returned to its start, one line each."""
        after = self._count()
        return [
            f"{name}: {self._before[name]} at the start, {count} at the end"
            for name, count in sorted(after.items())
            if count > self._before[name] + (name in _MAY_LINGER)
        ]

    def _count(self) -> Counter[str]:
        gc.collect()
        counts = Counter(name for each in gc.get_objects() if (name := _counted_name(type(each))))
        counts["tasks"] = trio.lowlevel.current_statistics().tasks_living
        counts["elements in the node's containers"] = _elements(self._node)
        counts["events awaited"] = self._node.publisher.awaited
        counts["open sessions"] = len(self._node.sessions.open)
        return counts


def _counted_name(kind: type) -> str | None:
    """Under which name objects of this type are counted; None for those of the simulation itself and of the rules."""
    module = kind.__module__
    if module.startswith("mudserver.") and not module.startswith(("mudserver.game.events", "mudserver.wire")):
        return f"{module}.{kind.__qualname__}"
    if module.startswith("trio_websocket") or kind in (trio.MemorySendChannel, trio.MemoryReceiveChannel):
        return f"{module}.{kind.__qualname__}"
    return None


def _elements(root: object) -> int:
    """Entries in all dicts, lists, sets and deques that hang together with `root`; counters and the map do not grow."""
    seen: set[int] = set()
    waiting: list[object] = [root]
    elements = 0
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, Counter):
            continue
        if isinstance(each, dict | list | set | deque):
            elements += len(each)
            waiting += _members(each)
        elif isinstance(each, tuple):
            waiting += each
        elif type(each).__module__.startswith("mudserver."):
            waiting += gc.get_referents(each)
    return elements


def _members(container: dict[object, object] | list[object] | set[object] | deque[object]) -> Iterable[object]:
    return [*container.keys(), *container.values()] if isinstance(container, dict) else container


GONE_SECONDS_MAX = HALF_OPEN_SECONDS_MAX + 30.0 + 5.0
"""After this long without a sign of life nobody is in the world."""
