"""A world made for measuring: as many rooms as asked for, none far from the start, and a walk through them all.

The rooms form a tree with nine ways down from each room (and `out` back up), so that any of 820 rooms is at most three
moves from the start; and a ring (`east` to the next room, `west` to the one before), so that there are no dead ends.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

DOWNWARDS: Final = ("north", "south", "northeast", "northwest", "southeast", "southwest", "up", "down", "in")


@dataclass(frozen=True, slots=True)
class BenchRoom:
    """A room: `name` is a text that occurs nowhere else, `exits` maps direction to room number."""

    number: int
    exits: dict[str, int]

    @property
    def id(self) -> str:
        return f"bench-{self.number}"

    @property
    def name(self) -> str:
        return f"Bench Room {self.number:06d}"


class BenchWorld:
    """`rooms[0]` is where players begin."""

    def __init__(self, room_count: int) -> None:
        self.rooms = [BenchRoom(number, self._exits(number, room_count)) for number in range(room_count)]

    @staticmethod
    def _exits(number: int, room_count: int) -> dict[str, int]:
        first_below = number * len(DOWNWARDS) + 1
        below = range(first_below, min(first_below + len(DOWNWARDS), room_count))
        exits = dict(zip(DOWNWARDS, below, strict=False))
        if number > 0:
            exits["out"] = (number - 1) // len(DOWNWARDS)
        if room_count > 1:
            exits["east"] = (number + 1) % room_count
            exits["west"] = (number - 1) % room_count
        return exits

    def route_to(self, number: int) -> list[tuple[str, BenchRoom]]:
        """The way from the start to a room: (direction, room one is in afterwards) for each move."""
        route: list[tuple[str, BenchRoom]] = []
        while number > 0:
            above, nth = divmod(number - 1, len(DOWNWARDS))
            route.append((DOWNWARDS[nth], self.rooms[number]))
            number = above
        return route[::-1]

    def write(self, directory: Path) -> Path:
        """Write the area file that `python -m mudserver --world DIRECTORY` reads; makes the directory and gives it."""
        directory.mkdir()
        (directory / "bench.toml").write_text(self._as_toml())
        return directory

    def _as_toml(self) -> str:
        lines = [
            "[area]",
            'id = "bench"',
            'name = "The Proving Ground"',
            'description = "Rooms to be counted in."',
            'author = "scripts/bench"',
            f'starting_room = "{self.rooms[0].id}"',
        ]
        for room in self.rooms:
            lines += ["", "[[room]]", f'id = "{room.id}"', f'name = "{room.name}"', f'description = "{DESCRIPTION}"']
            lines += ["  [room.exits]"]
            lines += [f'  {direction} = "{self.rooms[number].id}"' for direction, number in room.exits.items()]
        return "\n".join(lines) + "\n"


DESCRIPTION: Final = (
    "A bare chamber of dressed stone, as long as it is wide. Somebody has scratched tallies into every wall, in fives, "
    "and has worn the floor smooth with walking to and fro between them."
)
