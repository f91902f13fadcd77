"""The world that comes along is one to walk in."""

from collections import Counter

import pytest

from mudserver.game import rules
from mudserver.game.areas import SHIPPED_WORLD, load_map
from mudserver.game.commands import parse_command
from mudserver.game.events import Reply, RoomShown
from mudserver.game.ids import RoomId
from mudserver.game.views import detail_named
from mudserver.game.world import Map, World
from tests.game.conftest import enter


@pytest.fixture(scope="module")
def shipped() -> Map:
    return load_map(SHIPPED_WORLD)


def reached_from(map_: Map, start: RoomId) -> set[RoomId]:
    reached: set[RoomId] = set()
    waiting = [start]
    while waiting:
        room_id = waiting.pop()
        if room_id not in reached:
            reached.add(room_id)
            waiting.extend(map_.rooms[room_id].exits.values())
    return reached


def test_it_has_at_least_forty_rooms_in_at_least_three_areas(shipped: Map) -> None:
    rooms_of = Counter(room.area for room in shipped.rooms.values())
    assert len(shipped.rooms) >= 40
    assert len([area for area, rooms in rooms_of.items() if rooms >= 5]) >= 3
    assert set(rooms_of) == {area.name for area in shipped.areas.values()}


def test_every_room_can_be_reached_and_none_is_a_trap(shipped: Map) -> None:
    assert reached_from(shipped, shipped.starting_room) == set(shipped.rooms)
    for room_id in shipped.rooms:
        assert shipped.starting_room in reached_from(shipped, room_id), f"no way back from {room_id}"


def test_rooms_have_names_and_words_of_their_own(shipped: Map) -> None:
    assert len({room.name for room in shipped.rooms.values()}) == len(shipped.rooms)
    assert len({room.description for room in shipped.rooms.values()}) == len(shipped.rooms)
    for room in shipped.rooms.values():
        assert len(room.description) > 100, room.id
        assert f"{room.name}{room.description}".replace("\n", "").isprintable()


def test_every_area_says_who_made_it_and_what_it_is(shipped: Map) -> None:
    assert all(area.author and area.description for area in shipped.areas.values())


def test_every_detail_can_be_looked_at_by_its_name(shipped: Map) -> None:
    details = [(room, name, text) for room in shipped.rooms.values() for name, text in room.details.items()]
    assert len(details) > len(shipped.rooms)
    for room, name, text in details:
        assert detail_named(room, name) == text


def test_every_exit_can_be_walked(shipped: Map) -> None:
    world = World(shipped, "n1")
    alice = enter(world, "Alice")
    for room in shipped.rooms.values():
        for way, there in room.exits.items():
            world.move(alice, room.id)
            answers = rules.apply(world, alice.id, parse_command(way.value)).answers
            assert answers[0] == Reply(f"You go {way.value}.")
            assert isinstance(answers[1], RoomShown)
            assert answers[1].view.room_id == there
