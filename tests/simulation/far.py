"""Another node on the same bus, which publishes on its own and now and then loses a message."""

import random

import trio

from mudserver.broker.memory import MemoryHub
from mudserver.game import events as e
from mudserver.game.ids import PlayerId, RoomId
from mudserver.game.world import Map
from mudserver.wire.envelope import Stamped, encode_payload, event_type_of
from mudserver.wire.subjects import Subjects
from tests.simulation.bots import Stage
from tests.simulation.plan import GRID

SHARE_DROPPED = 0.05
NODE = "far"
PEOPLE = ("Farah", "Farid", "Faron")


class FarNode:
    """Three people who wander about on another node. `published` and `dropped` count messages."""

    def __init__(self, dice: random.Random, hub: MemoryHub, map_: Map, stage: Stage) -> None:
        self._dice = dice
        self._hub = hub
        self._map = map_
        self._stage = stage
        self._subjects = Subjects("mud")
        self._where = dict.fromkeys(PEOPLE, map_.starting_room)
        self._number = 0
        self.published = 0
        self.dropped = 0

    async def run(self) -> None:
        """Until the curtain falls."""
        rate = self._stage.plan.actions_per_second / 8
        while trio.current_time() < self._stage.curtain:
            await trio.sleep_until(int((trio.current_time() + self._dice.expovariate(rate)) * GRID + 1) / GRID)
            self._act(self._dice.choice(PEOPLE))

    def _act(self, name: str) -> None:
        player_id = PlayerId(f"{NODE}-{name}")
        match self._dice.choices(("walk", "say", "shout", "tell", "rubbish"), (6, 6, 0.5, 2, 1))[0]:
            case "walk":
                here = self._where[name]
                way = self._dice.choice(list(self._map.rooms[here].exits))
                there = self._where[name] = self._map.rooms[here].exits[way]
                self._publish(e.Event(e.PlayerLeft(player_id, name, *self._room(here)), e.InRoom(here), player_id, way))
                entered = e.PlayerEntered(player_id, name, *self._room(there))
                self._publish(e.Event(entered, e.InRoom(there), player_id, way.opposite))
            case "say":
                self._publish(self._chat(player_id, name, "say", "says", e.InRoom(self._where[name])))
            case "shout":
                self._publish(self._chat(player_id, name, "shout", "shouts", e.Everywhere()))
            case "tell":
                if visits := list(self._stage.oracle.visits.values()):
                    to = e.ToPlayer(self._dice.choice(visits).player_id)
                    self._publish(self._chat(player_id, name, "tell", "tells you", to))
            case "rubbish":
                self._hub.publish_nowait("mud.global.game_tick", b'{"event_type": "game_tick", "far": "too short"}')

    def _room(self, room_id: RoomId) -> tuple[RoomId, str]:
        return room_id, self._map.rooms[room_id].name

    def _chat(self, player_id: PlayerId, name: str, channel: str, verb: str, to: e.Address) -> e.Event:
        word = self._stage.new_word()
        fact = e.ChatMessage(player_id, name, channel, f"{name} {verb}: {word}", f"{NODE}-{word.rstrip('~')}")
        return e.Event(fact, to, player_id)

    def _publish(self, event: e.Event) -> None:
        self._number += 1
        if self._dice.random() < SHARE_DROPPED:
            self.dropped += 1
            return
        self.published += 1
        event_type = event_type_of(event.fact)
        stamped = Stamped(event, NODE, self._number, "2026-11-23T08:11:00Z")
        self._hub.publish_nowait(self._subjects.subject(event.to, event_type), encode_payload(stamped))
