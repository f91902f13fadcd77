"""How each kind of client wants its frames, and what its frames mean: plain text or JSON envelopes.

A dialect is a value: two connections with equal dialects get the very same bytes.
"""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice
from typing import Any, assert_never

import msgspec

from mudserver.errors import MalformedFrame
from mudserver.game import events as e
from mudserver.game.clock import GAME_SECONDS_PER_SECOND, GameTime, turn_of_day
from mudserver.game.text import split_lines
from mudserver.wire.envelope import event_type_of
from mudserver.wire.frames import text_frame

JSON_SUBPROTOCOL = "v1.json.mudserver"

TEXT_COLUMNS = 78
"""Width to which prose is wrapped for text clients: a terminal of 80 columns."""


NAMES_SHOWN_MAX = 30
"""How many of those who are here a text client is shown by name: six lines; a crowd would take the screen away."""


@dataclass(frozen=True, slots=True)
class JsonDialect:
    """One JSON envelope in each frame."""


@dataclass(frozen=True, slots=True)
class TextDialect:
    """Lines for a person's terminal; `colour` uses ANSI escapes, `ticks` shows each game tick."""

    colour: bool = False
    ticks: bool = False


Dialect = JsonDialect | TextDialect

JSON = JsonDialect()


@cache
def text_dialect(*, colour: bool, ticks: bool) -> TextDialect:
    """The text dialect with these settings, always the same object: fan-out compares dialects by identity first."""
    return TextDialect(colour, ticks)


Shown = e.Event | e.Answer
"""Whatever can be put on a player's screen."""


@dataclass(frozen=True, slots=True)
class Line:
    """A client's line of play."""

    text: str


@dataclass(frozen=True, slots=True)
class Login:
    """A client asks to come in under a name; 'guest' asks for any free name."""

    name: str


@dataclass(frozen=True, slots=True)
class Resume:
    """A client asks for the player it had. `seen` is the last sequence number it got; None if it does not count."""

    key: str
    seen: int | None


@dataclass(frozen=True, slots=True)
class Ping:
    """A JSON client asks whether we are there."""


Request = Line | Login | Resume | Ping


def encode(dialect: Dialect, shown: Shown, sequence_number: int, timestamp: str) -> bytes | None:
    """The frame that shows `shown` in this dialect; None if this dialect has nothing to show for it.

    `timestamp` is UTC in ISO 8601, ending in Z. Text dialects use neither number nor time.
    """
    match dialect:
        case JsonDialect():
            return _json_frame(shown, sequence_number, timestamp)
        case TextDialect():
            text = as_text(shown, dialect)
            return None if text is None else text_frame(text.replace("\n", "\r\n").encode() + b"\r\n")


def decode(dialect: Dialect, message: str | bytes) -> Iterable[Request]:
    """What a client asks for in one WebSocket message, in order. Raises MalformedFrame, at once.

    Lines of text are read one by one, as they are asked for: of a thousand in one message only a few will be done.
    """
    match dialect:
        case JsonDialect():
            return [_json_request(message)]
        case TextDialect():
            text = message if isinstance(message, str) else message.decode(errors="replace")
            return map(Line, split_lines(text))


# --- JSON ---------------------------------------------------------------------------------------------------------


class _Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    event_type: str
    timestamp: str
    sequence_number: int
    data: Any
    room_id: str | None = None
    player_id: str | None = None


_encoder = msgspec.json.Encoder()


def _json_frame(shown: Shown, sequence_number: int, timestamp: str) -> bytes:
    event_type, data, room_id, player_id = _json_parts(shown)
    return text_frame(_encoder.encode(_Envelope(event_type, timestamp, sequence_number, data, room_id, player_id)))


def _json_parts(shown: Shown) -> tuple[str, Any, str | None, str | None]:
    """Event type, data, and the envelope's room_id and player_id, of design section 5."""
    match shown:
        case e.Event(fact):
            room_id = shown.to.room_id if isinstance(shown.to, e.InRoom) else None
            return event_type_of(fact), _fact_data(fact), room_id, shown.actor
        case e.Reply(text):
            return "command_response", {"result": text}, None, None
        case e.LookedAround(view):
            return "command_response", {"result": room_in_words(view)}, view.room_id, None
        case e.RoomShown(view):
            return "room_update", _room_data(view), view.room_id, None
        case e.SignedIn(player_id, player_name, view, resume_key):
            data = {
                "player": {"id": player_id, "name": player_name},
                "room": _room_data(view)["room"],
                "occupants": view.occupants,
                "resume_token": resume_key,
            }
            return "game_state", data, view.room_id, player_id
        case e.Occupants(room_id, names):
            data = {"players": names, "npcs": (), "occupants": names, "count": len(names)}
            return "room_occupants", data, room_id, None
        case e.Welcome(text):
            return "welcome", {"message": text}, None, None
        case e.Notice(text):
            return "system_notice", {"message": text}, None, None
        case e.Pong():
            return "pong", {}, None, None
        case e.Problem(kind, text):
            return "error", {"error_type": kind, "message": text}, None, None
    assert_never(shown)


def _fact_data(fact: e.AnyFact) -> Any:
    if isinstance(fact, e.PlayerEntered | e.PlayerLeft | e.PlayerLinkdead | e.PlayerReturned):
        # The original's client shows `message` and nothing where it is missing.
        return {**msgspec.structs.asdict(fact), "message": _coming_or_going(fact)}
    return fact


def _room_data(view: e.RoomView) -> dict[str, Any]:
    room = {
        "id": view.room_id,
        "name": view.name,
        "description": view.description,
        "exits": dict(view.exits),
        "area": view.area,
    }
    return {
        "room": room,
        "players": view.occupants,
        "occupants": view.occupants,
        "occupant_count": len(view.occupants),
    }


class _LoginData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str = ""
    guest: bool = False
    resume_token: str = ""
    last_sequence_number: int | None = None


class _CommandData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    command: str
    args: list[str] = []


class _Frame(msgspec.Struct, frozen=True):
    type: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


_frame_decoder = msgspec.json.Decoder(_Frame)
_login_decoder = msgspec.json.Decoder(_LoginData)
_command_decoder = msgspec.json.Decoder(_CommandData)


def _json_request(message: str | bytes) -> Request:
    if isinstance(message, bytes):
        raise MalformedFrame("Send TEXT frames; this was a BINARY one.")
    example = '{"type": "command", "data": {"command": "look", "args": []}}'
    try:
        frame = _frame_decoder.decode(message)
        match frame.type:
            case "command" | "game_command":
                data = _command_decoder.decode(frame.data)
                # One line, whatever the client put into it: a newline in an argument is no second command.
                return Line(" ".join(split_lines(" ".join((data.command, *data.args)).replace("\n", " "))))
            case "login":
                example = '{"type": "login", "data": {"name": "Ithaqua"}}'
                login = _login_decoder.decode(frame.data)
                if login.resume_token:
                    return Resume(login.resume_token, login.last_sequence_number)
                return Login("guest" if login.guest else login.name)
            case "ping":
                return Ping()
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise MalformedFrame(f"Send {example} or the like.") from None
    raise MalformedFrame(f"There is no frame type {frame.type[:40]!a}; use command, login or ping.")


# --- text ---------------------------------------------------------------------------------------------------------

_RESET, _BOLD, _GREEN, _YELLOW, _MAGENTA, _CYAN, _GREY = (f"\x1b[{n}m" for n in (0, 1, 32, 33, 35, 36, 90))
_CHANNEL_COLOURS = {"say": _CYAN, "emote": _CYAN, "tell": _MAGENTA, "shout": _YELLOW}


def as_text(shown: Shown, dialect: TextDialect) -> str | None:
    """The lines a text client reads, separated by '\\n'; None if it has nothing to show."""
    match shown:
        case e.Event(fact):
            return _event_as_text(shown, fact, dialect)
        case e.Reply(text):
            return _wrapped(text)
        case e.LookedAround(view) | e.RoomShown(view):
            return room_in_words(view, colour=dialect.colour)
        case e.SignedIn(_, player_name, view, resume_key, is_back):
            greeting = f"You are {player_name}{' again' if is_back else ''}. Type help to see what you can do."
            way_back = f"If the line drops, come back soon and type: resume {resume_key}"
            return f"{_wrapped(greeting)}\n{way_back}\n\n{room_in_words(view, colour=dialect.colour)}"
        case e.Welcome(text) | e.Problem(_, text):
            return _wrapped(text)
        case e.Notice(text):
            return _painted(_wrapped(text), _YELLOW, dialect)
        case e.Occupants() | e.Pong():
            return None
    assert_never(shown)


def _event_as_text(event: e.Event, fact: e.AnyFact, dialect: TextDialect) -> str | None:
    match fact:
        case e.PlayerEntered():
            origin = f" from {event.via.as_origin}" if event.via else ""
            return _painted(_coming_or_going(fact, origin), _GREEN, dialect)
        case e.PlayerLeft():
            target = f", heading {event.via.value}" if event.via else ""
            return _painted(_coming_or_going(fact, target), _GREEN, dialect)
        case e.PlayerLinkdead() | e.PlayerReturned():
            return _painted(_coming_or_going(fact), _GREEN, dialect)
        case e.ChatMessage():
            return _painted(_wrapped(fact.message), _CHANNEL_COLOURS.get(fact.channel, ""), dialect)
        case e.GameTick():
            return _tick_as_text(fact, dialect)
        case e.PlayerEnteredGame() | e.PlayerLeftGame():
            return None
    assert_never(fact)


def _coming_or_going(fact: e.PlayerEntered | e.PlayerLeft | e.PlayerLinkdead | e.PlayerReturned, way: str = "") -> str:
    match fact:
        case e.PlayerEntered():
            return f"{fact.player_name} enters the room{way}."
        case e.PlayerLeft():
            return f"{fact.player_name} leaves the room{way}."
        case e.PlayerLinkdead():
            return f"{fact.player_name} stops in the middle of a thought: the line is lost."
        case e.PlayerReturned():
            return f"{fact.player_name} blinks, and is back."
    assert_never(fact)


def _tick_as_text(tick: e.GameTick, dialect: TextDialect) -> str | None:
    lines = []
    if dialect.ticks:
        lines.append(_painted(f"[tick {tick.tick_number}, {tick.mythos_clock}, {tick.daypart}]", _GREY, dialect))
    now = GameTime.from_iso(tick.mythos_datetime)
    if turn := turn_of_day(now.earlier(tick.tick_interval * GAME_SECONDS_PER_SECOND), now):
        lines.append(_painted(_wrapped(turn), _YELLOW, dialect))
    return "\n".join(lines) or None


def room_in_words(view: e.RoomView, *, colour: bool = False) -> str:
    """The room as a text client reads it: name, description, exits, and who else is here."""
    dialect = TextDialect(colour=colour)
    ways = ", ".join(way.value for way, _ in view.exits)
    parts = [
        _painted(view.name, _BOLD, dialect),
        _wrapped(view.description),
        _painted(f"Exits: {ways}." if ways else "There is no way out of here.", _CYAN, dialect),
    ]
    names = list(islice((name for name in view.occupants if name != view.viewer), NAMES_SHOWN_MAX))
    away = frozenset(view.linkdead)
    others = [f"{name} (has lost the line)" if name in away else name for name in names]
    more = len(view.occupants) - len(names) - (view.viewer in view.occupants)
    if more:
        others.append(f"and {more} others")
    if others:
        parts.append(_painted(_wrapped(f"Also here: {', '.join(others)}."), _GREEN, dialect))
    return "\n".join(parts)


def _painted(text: str, colour: str, dialect: TextDialect) -> str:
    if not dialect.colour or not colour:
        return text
    return "\n".join(f"{colour}{line}{_RESET}" for line in text.split("\n"))


def _wrapped(text: str) -> str:
    """Long lines broken at TEXT_COLUMNS; lines that fit are left as they are, their spacing too."""
    return "\n".join(line if len(line) <= TEXT_COLUMNS else _wrapped_line(line) for line in text.split("\n"))


@lru_cache(maxsize=4096)
def _wrapped_line(line: str) -> str:
    # Kept, because wrapping a room's description takes longer than everything else about showing the room.
    return "\n".join(textwrap.wrap(line, TEXT_COLUMNS, break_on_hyphens=False))
