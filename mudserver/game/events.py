"""What can happen: events, which travel to everybody concerned, and answers, which go to one player alone.

An Event holds a fact and its address. The facts are what other nodes and the clients of the original read, so their
fields are a contract (design, section 5).
"""

from dataclasses import dataclass

import msgspec

from mudserver.game.ids import Direction, PlayerId, RoomId


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the facts. Fields are exactly the keys of `data` in the NATS payload."""


class PlayerEntered(Fact, frozen=True):
    """Somebody came into a room."""

    player_id: PlayerId
    player_name: str
    room_id: RoomId
    room_name: str


class PlayerLeft(Fact, frozen=True):
    """Somebody went out of a room."""

    player_id: PlayerId
    player_name: str
    room_id: RoomId
    room_name: str


class PlayerEnteredGame(Fact, frozen=True):
    """Somebody signed in."""

    player_id: PlayerId
    player_name: str


class PlayerLeftGame(Fact, frozen=True):
    """Somebody quit or lost the line."""

    player_id: PlayerId
    player_name: str


class PlayerLinkdead(Fact, frozen=True):
    """Somebody lost the line, and still stands there."""

    player_id: PlayerId
    player_name: str
    room_id: RoomId
    room_name: str


class PlayerReturned(Fact, frozen=True):
    """Somebody who had lost the line is back."""

    player_id: PlayerId
    player_name: str
    room_id: RoomId
    room_name: str


class ChatMessage(Fact, frozen=True):
    """Somebody said something. `channel`: say, emote, tell or shout; `message`: the whole line as others see it."""

    sender_id: PlayerId
    player_name: str
    channel: str
    message: str
    message_id: str


class GameTick(Fact, frozen=True):
    """The game's pulse. `server_time` and `mythos_datetime` are ISO 8601; `tick_interval` is in real seconds."""

    tick_number: int
    server_time: str
    tick_interval: float
    mythos_clock: str
    mythos_datetime: str
    daypart: str
    is_daytime: bool


AnyFact = (
    PlayerEntered
    | PlayerLeft
    | PlayerEnteredGame
    | PlayerLeftGame
    | PlayerLinkdead
    | PlayerReturned
    | ChatMessage
    | GameTick
)


@dataclass(frozen=True, slots=True)
class InRoom:
    """Heard by everybody in one room."""

    room_id: RoomId


@dataclass(frozen=True, slots=True)
class Everywhere:
    """Heard by every player of every node."""


@dataclass(frozen=True, slots=True)
class ToPlayer:
    """Heard by one player."""

    player_id: PlayerId


Address = InRoom | Everywhere | ToPlayer


@dataclass(frozen=True, slots=True)
class Event:
    """A fact, where it is heard, whose doing it was (`actor` is not shown it), and which way a walker went."""

    fact: AnyFact
    to: Address
    actor: PlayerId | None = None
    via: Direction | None = None


@dataclass(frozen=True, slots=True)
class RoomView:
    """A room as somebody standing in it sees it.

    `occupants` are names in the order of arrival, the viewer's too; `linkdead` those of them who have no line.
    """

    room_id: RoomId
    name: str
    description: str
    area: str
    exits: tuple[tuple[Direction, RoomId], ...]
    occupants: tuple[str, ...]
    viewer: str
    linkdead: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """Plain words in answer to a command."""

    text: str


@dataclass(frozen=True, slots=True)
class LookedAround:
    """The answer to `look`: the room in words."""

    view: RoomView


@dataclass(frozen=True, slots=True)
class RoomShown:
    """The room a player has just come into."""

    view: RoomView


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The first thing a player sees in the game, and on coming back. `resume_key` opens the way back, once."""

    player_id: PlayerId
    player_name: str
    view: RoomView
    resume_key: str = ""
    is_back: bool = False


@dataclass(frozen=True, slots=True)
class Occupants:
    """Who is in a room now; sent after each coming and going. Names in the order of arrival."""

    room_id: RoomId
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Welcome:
    """The greeting on connecting."""

    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """The server itself speaks to its players (the broker is away, the server stops)."""

    text: str


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a JSON client's ping."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A frame or a sign-in was refused. `kind` is a fixed word (`invalid_format`, `login_refused`, …)."""

    kind: str
    text: str


Answer = Reply | LookedAround | RoomShown | SignedIn | Occupants | Welcome | Notice | Pong | Problem


@dataclass(frozen=True, slots=True)
class SetColour:
    on: bool


@dataclass(frozen=True, slots=True)
class SetTicks:
    on: bool


@dataclass(frozen=True, slots=True)
class Quit:
    pass


Wish = SetColour | SetTicks | Quit
"""What a command asks of the player's own connection, which the rules know nothing of."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command led to: answers for the actor, events for the others, a wish for the actor's connection."""

    answers: tuple[Answer, ...] = ()
    events: tuple[Event, ...] = ()
    wish: Wish | None = None


def reply(text: str) -> Outcome:
    """The outcome of a command that only answers."""
    return Outcome(answers=(Reply(text),))
