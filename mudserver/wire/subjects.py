"""Where an event travels: NATS subjects and back. Player text never gets into one."""

from mudserver.errors import MalformedMessage
from mudserver.game.events import Address, Everywhere, InRoom, ToPlayer
from mudserver.game.ids import PlayerId, RoomId, is_token


class Subjects:
    """The subjects under one prefix (design, section 4)."""

    def __init__(self, prefix: str) -> None:
        if not is_token(prefix):
            raise ValueError(f"{prefix!a} is no NATS token")
        self._prefix = prefix
        self._rooms = f"{prefix}.room."
        self.everywhere = f"{prefix}.global.*"

    def of_room(self, room_id: RoomId) -> str:
        """What a node subscribes to while the room is awake."""
        return f"{self._prefix}.room.{room_id}.*"

    def of_player(self, player_id: PlayerId) -> str:
        """What a node subscribes to while it hosts the player."""
        return f"{self._prefix}.player.{player_id}.*"

    def subject(self, to: Address, event_type: str) -> str:
        """Where an event of this type to this address is published."""
        match to:
            case InRoom(room_id):
                return f"{self._prefix}.room.{room_id}.{event_type}"
            case Everywhere():
                return f"{self._prefix}.global.{event_type}"
            case ToPlayer(player_id):
                return f"{self._prefix}.player.{player_id}.{event_type}"

    def is_within_room(self, subject: str) -> bool:
        """Whether what travels there is heard in one room only, by people who have been there before."""
        return subject.startswith(self._rooms) and not subject.endswith(".player_entered")

    def parse(self, subject: str) -> tuple[Address, str]:
        """The address and event type of a subject. Raises MalformedMessage('subject') for anything else."""
        match subject.split("."):
            case [prefix, "global", event_type] if prefix == self._prefix:
                return Everywhere(), event_type
            case [prefix, "room", room_id, event_type] if prefix == self._prefix and is_token(room_id):
                return InRoom(RoomId(room_id)), event_type
            case [prefix, "player", player_id, event_type] if prefix == self._prefix and is_token(player_id):
                return ToPlayer(PlayerId(player_id)), event_type
        raise MalformedMessage("subject")
