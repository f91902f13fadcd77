"""Names for things: ids that are safe as one NATS token, and the directions of the compass."""

import re
from enum import StrEnum
from typing import NewType

PlayerId = NewType("PlayerId", str)
RoomId = NewType("RoomId", str)
AreaId = NewType("AreaId", str)

TOKEN_PATTERN = r"\A[A-Za-z0-9_-]{1,64}\Z"
_TOKEN = re.compile(TOKEN_PATTERN)


def is_token(text: str) -> bool:
    """Whether `text` may stand as one token of a NATS subject (letters, digits, '_' and '-', at most 64)."""
    return _TOKEN.match(text) is not None


class Direction(StrEnum):
    """The ways an exit can lead. The order is the order in which exits are listed to players."""

    NORTH = "north"
    EAST = "east"
    SOUTH = "south"
    WEST = "west"
    NORTHEAST = "northeast"
    NORTHWEST = "northwest"
    SOUTHEAST = "southeast"
    SOUTHWEST = "southwest"
    UP = "up"
    DOWN = "down"
    IN = "in"
    OUT = "out"

    @property
    def opposite(self) -> "Direction":
        return _OPPOSITES[self]

    @property
    def as_origin(self) -> str:
        """Where somebody comes from who arrives from this side: 'the north', 'above'."""
        return _ORIGINS.get(self, f"the {self.value}")


_PAIRS = (
    (Direction.NORTH, Direction.SOUTH),
    (Direction.EAST, Direction.WEST),
    (Direction.NORTHEAST, Direction.SOUTHWEST),
    (Direction.NORTHWEST, Direction.SOUTHEAST),
    (Direction.UP, Direction.DOWN),
    (Direction.IN, Direction.OUT),
)
_OPPOSITES = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])}
_ORIGINS = {Direction.UP: "above", Direction.DOWN: "below", Direction.IN: "inside", Direction.OUT: "outside"}

SHORT_DIRECTIONS = {
    "n": Direction.NORTH,
    "e": Direction.EAST,
    "s": Direction.SOUTH,
    "w": Direction.WEST,
    "ne": Direction.NORTHEAST,
    "nw": Direction.NORTHWEST,
    "se": Direction.SOUTHEAST,
    "sw": Direction.SOUTHWEST,
    "u": Direction.UP,
    "d": Direction.DOWN,
}
