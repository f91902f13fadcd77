"""What a player gets to see of the world: views made of plain values."""

from mudserver.game.events import RoomView
from mudserver.game.ids import Direction
from mudserver.game.world import Player, Room, World

BEGINNING_CHARS_MIN = 3
"""Shorter, and a beginning would mean something in nearly every room."""


def room_view(world: World, player: Player) -> RoomView:
    """The room around a player, as it is now."""
    room = world.room_of(player)
    return RoomView(
        room_id=room.id,
        name=room.name,
        description=room.description,
        area=room.area,
        exits=tuple((way, room.exits[way]) for way in Direction if way in room.exits),
        occupants=tuple(each.name for each in world.inside(room.id)),
        viewer=player.name,
        linkdead=tuple(each.name for each in world.inside(room.id) if each.is_linkdead),
    )


def list_of_exits(room: Room) -> str:
    """'Exits: north, up.'"""
    ways = [way.value for way in Direction if way in room.exits]
    return f"Exits: {', '.join(ways)}." if ways else "There is no way out of here."


def detail_named(room: Room, target: str) -> str | None:
    """What a closer look at `target` shows: a detail's whole name, or any of its words."""
    folded = target.casefold()
    if folded in room.details:
        return room.details[folded]
    return next((text for name, text in room.details.items() if folded in name.split()), None)


def detail_named_like(room: Room, beginning: str) -> str | None:
    """The same for the beginning of a word, from three letters on."""
    folded = beginning.casefold()
    if len(folded) < BEGINNING_CHARS_MIN:
        return None
    words = ((word, text) for name, text in room.details.items() for word in name.split())
    return next((text for word, text in words if word.startswith(folded)), None)
