"""Small worlds for tests."""

from types import MappingProxyType

from mudserver.game.ids import AreaId, Direction, RoomId
from mudserver.game.world import Area, Map, Room

QUAY, ROW, LOFT, CELL = (RoomId(each) for each in ("quay", "row", "loft", "cell"))


def small_map() -> Map:
    """Four rooms: the quay (start), the row north of it, a loft above that, and a cell without any way out."""
    rooms = (
        Room(
            QUAY,
            "The Quay",
            "Stones, and no sea.",
            "Harbour",
            {Direction.NORTH: ROW, Direction.IN: CELL},
            {"iron lantern": "It is lit.", "notice": "It says: welcome."},
        ),
        Room(ROW, "The Row", "Shut shops.", "Harbour", {Direction.SOUTH: QUAY, Direction.UP: LOFT}),
        Room(LOFT, "The Loft", "Dust.", "Harbour", {Direction.DOWN: ROW}),
        Room(CELL, "The Cell", "Four walls.", "Harbour", {}),
    )
    area = Area(AreaId("harbour"), "Harbour", "A harbour.", "tests")
    return Map(MappingProxyType({area.id: area}), MappingProxyType({room.id: room for room in rooms}), QUAY)
