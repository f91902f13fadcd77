"""A world small enough that its people keep meeting: ten rooms, of which some have one way out and one is a hub."""

from types import MappingProxyType

from mudserver.game.ids import AreaId, Direction, RoomId
from mudserver.game.world import Area, Map, Room

_D = Direction
_WAYS = (
    ("gate", _D.NORTH, "square"),
    ("gate", _D.EAST, "mill"),
    ("square", _D.NORTH, "temple"),
    ("square", _D.EAST, "market"),
    ("square", _D.WEST, "inn"),
    ("inn", _D.UP, "attic"),
    ("inn", _D.DOWN, "cellar"),
    ("market", _D.NORTHEAST, "wharf"),
    ("mill", _D.NORTH, "market"),
    ("temple", _D.IN, "crypt"),
)

ROOM_NAMES = {"The " + name.capitalize(): RoomId(name) for way in _WAYS for name in (way[0], way[2])}
"""Room ids by the name that players read."""


def simulated_map() -> Map:
    """The map; people come in at the gate."""
    exits: dict[str, dict[Direction, RoomId]] = {room_id: {} for room_id in ROOM_NAMES.values()}
    for one, way, other in _WAYS:
        exits[one][way] = RoomId(other)
        exits[other][way.opposite] = RoomId(one)
    rooms = {
        room_id: Room(room_id, name, "Bare walls.", "Town", exits[room_id]) for name, room_id in ROOM_NAMES.items()
    }
    area = Area(AreaId("town"), "Town", "A town.", "tests")
    return Map(MappingProxyType({area.id: area}), MappingProxyType(rooms), RoomId("gate"))
