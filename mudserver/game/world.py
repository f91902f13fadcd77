"""The world and who stands where: the one mutable thing in the game."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mudserver.game.clock import GameTime
from mudserver.game.ids import AreaId, Direction, PlayerId, RoomId


@dataclass(frozen=True, slots=True)
class Room:
    """A place. `details` maps what can be looked at (lower case, one to three words) to what is seen."""

    id: RoomId
    name: str
    description: str
    area: str
    exits: Mapping[Direction, RoomId]
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Area:
    """A part of the map, made by one author in one file."""

    id: AreaId
    name: str
    description: str
    author: str


@dataclass(frozen=True, slots=True)
class Map:
    """Everything that area files say: it does not change while the server runs."""

    areas: Mapping[AreaId, Area]
    rooms: Mapping[RoomId, Room]
    starting_room: RoomId


@dataclass(slots=True)
class Player:
    """Somebody in the game. `told_by` is who spoke to them last in private; `is_linkdead`: they have no line now.

    `folded_name` is the name without regard to case, kept because many names are looked through in a crowd.
    """

    id: PlayerId
    name: str
    room_id: RoomId
    told_by: PlayerId | None = None
    is_linkdead: bool = False
    folded_name: str = field(init=False)

    def __post_init__(self) -> None:
        self.folded_name = self.name.casefold()


class World:
    """The map and the players of this node in it.

    `node` is this server process's name: ids made here begin with it, so that no other node makes the same ones.
    """

    def __init__(self, map_: Map, node: str) -> None:
        self.map = map_
        self.node = node
        self.time = GameTime()
        self.players: dict[PlayerId, Player] = {}
        self._by_name: dict[str, Player] = {}
        self._inside: dict[RoomId, dict[PlayerId, Player]] = {}
        self._guest_number = 1
        """No lower one is free: a crowd of guests is not counted through for each new one."""
        self._players_seen = 0
        self._messages_seen = 0

    def room_of(self, player: Player) -> Room:
        return self.map.rooms[player.room_id]

    def inside(self, room_id: RoomId) -> Iterable[Player]:
        """The players in a room, in the order of their arrival."""
        return self._inside.get(room_id, {}).values()

    def is_inside(self, player_id: PlayerId, room_id: RoomId) -> bool:
        """Whether that player of this node stands in the room now."""
        return player_id in self._inside.get(room_id, {})

    def is_inhabited(self, room_id: RoomId) -> bool:
        return bool(self._inside.get(room_id))

    def named(self, name: str) -> Player | None:
        """The player called so, whatever the case."""
        return self._by_name.get(name.casefold())

    def named_like(self, prefix: str) -> Player | None:
        """The player called so, or else the first whose name begins so."""
        folded = prefix.casefold()
        exact = self._by_name.get(folded)
        if exact or not folded:
            return exact
        return next((player for name, player in self._by_name.items() if name.startswith(folded)), None)

    def free_guest_name(self) -> str:
        """'Guest1' or the next that is free. Digits are in no chosen name, so nobody can take one first."""
        while f"guest{self._guest_number}" in self._by_name:
            self._guest_number += 1
        return f"Guest{self._guest_number}"

    def add(self, name: str, room_id: RoomId) -> Player:
        """A new player of that name, standing in the room. The name must be free."""
        assert self.named(name) is None
        self._players_seen += 1
        player = Player(PlayerId(f"{self.node}-p{self._players_seen}"), name, room_id)
        self.players[player.id] = player
        self._by_name[player.folded_name] = player
        self._inside.setdefault(room_id, {})[player.id] = player
        return player

    def move(self, player: Player, room_id: RoomId) -> None:
        self._take_out(player)
        player.room_id = room_id
        self._inside.setdefault(room_id, {})[player.id] = player

    def remove(self, player: Player) -> None:
        self._take_out(player)
        del self.players[player.id]
        del self._by_name[player.folded_name]
        if (digits := player.name.removeprefix("Guest")).isdecimal():
            self._guest_number = min(self._guest_number, int(digits))

    def new_message_id(self) -> str:
        """An id for something said, never given twice by any node."""
        self._messages_seen += 1
        return f"{self.node}-m{self._messages_seen}"

    def _take_out(self, player: Player) -> None:
        inside = self._inside[player.room_id]
        del inside[player.id]
        if not inside:
            del self._inside[player.room_id]
