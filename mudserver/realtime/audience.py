"""Everybody on this node who can hear something, and the one way to reach them."""

from mudserver.config import Limits
from mudserver.game.events import Event, Everywhere, InRoom, ToPlayer
from mudserver.game.ids import PlayerId, RoomId
from mudserver.realtime.rooms import Channel, GlobalChannel, IsInside, RoomChannel
from mudserver.realtime.screen import Screen
from mudserver.realtime.stamps import Stamps


class Audience:
    """The screens of the players in the game, the awake rooms, and the channel of the whole world."""

    def __init__(self, stamps: Stamps, limits: Limits, is_inside: IsInside) -> None:
        self._stamps = stamps
        self._limits = limits
        self._is_inside = is_inside
        self._past_deliveries = 0
        self.screens: dict[PlayerId, Screen] = {}
        self.rooms: dict[RoomId, RoomChannel] = {}
        self.everywhere = GlobalChannel(self.screens, stamps, limits)

    def open_room(self, room_id: RoomId) -> RoomChannel:
        """A channel for a room that was asleep."""
        room = RoomChannel(room_id, self.screens, self._stamps, self._limits, self._is_inside)
        self.rooms[room_id] = room
        return room

    def close_room(self, room_id: RoomId) -> None:
        """The room falls asleep."""
        self._past_deliveries += self.rooms.pop(room_id).deliveries

    def deliveries(self) -> int:
        """Frames that all channels have put into outboxes so far."""
        return self._past_deliveries + sum(each.deliveries for each in (self.everywhere, *self.rooms.values()))

    def deliver_waiting(self) -> None:
        """Delivers at once what waits in any channel: the server stops."""
        for channel in (self.everywhere, *self.rooms.values()):
            channel.deliver_waiting()

    def route(self, event: Event) -> Channel | None:
        """Hands an event to whoever hears it here; to nobody, if nobody does.

        Returns the channel it waits in, if it does: the caller sees to its delivery.
        """
        match event.to:
            case InRoom(room_id):
                if (room := self.rooms.get(room_id)) is not None:
                    room.post(event)
                return room
            case Everywhere():
                self.everywhere.post(event)
                return self.everywhere
            case ToPlayer(player_id):
                if (screen := self.screens.get(player_id)) is not None:
                    screen.show(event)
                return None

    def hears(self, event: Event) -> bool:
        """Whether this node is subscribed to where the event goes, so that it will come back to us."""
        match event.to:
            case InRoom(room_id):
                return room_id in self.rooms
            case Everywhere():
                return True
            case ToPlayer(player_id):
                return player_id in self.screens
