"""The payload of a NATS message: how an event is written for other nodes, and read with suspicion.

JSON: {"event_type", "timestamp", "sequence_number", "data": {…}, "metadata": {"node", "schema": 1, "actor"?, "via"?}}.
"""

from dataclasses import dataclass

import msgspec

from mudserver.errors import MalformedMessage
from mudserver.game import events as e
from mudserver.game.clock import GAME_SECONDS_PER_SECOND, GameTime
from mudserver.game.ids import Direction, PlayerId, is_token

SCHEMA = 1

TICK_SECONDS_MAX = 86400
"""The longest tick interval anybody may claim; the option --tick-seconds takes no more either."""

FACT_TYPES: dict[str, type[e.AnyFact]] = {
    "player_entered": e.PlayerEntered,
    "player_left": e.PlayerLeft,
    "player_entered_game": e.PlayerEnteredGame,
    "player_left_game": e.PlayerLeftGame,
    "player_linkdead": e.PlayerLinkdead,
    "player_returned": e.PlayerReturned,
    "chat_message": e.ChatMessage,
    "game_tick": e.GameTick,
}
_EVENT_TYPES = {fact_type: name for name, fact_type in FACT_TYPES.items()}

_CHANNELS_OF = {e.InRoom: ("say", "emote"), e.Everywhere: ("shout",), e.ToPlayer: ("tell",)}
_ROOM_FACTS = (e.PlayerEntered, e.PlayerLeft, e.PlayerLinkdead, e.PlayerReturned, e.ChatMessage)
_GLOBAL_FACTS = (e.PlayerEnteredGame, e.PlayerLeftGame, e.GameTick, e.ChatMessage)


class Metadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who published, in which version of this format, whose doing it was, which way a walker went."""

    node: str
    schema: int
    actor: str | None = None
    via: str | None = None


class _Written(msgspec.Struct, frozen=True):
    event_type: str
    timestamp: str
    sequence_number: int
    data: e.Fact | None
    metadata: Metadata


class _Read(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    event_type: str
    timestamp: str
    sequence_number: int
    data: msgspec.Raw
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Stamped:
    """An event as published: with its number on the publishing node and the time (UTC, ISO 8601, ending in Z)."""

    event: e.Event
    node: str
    sequence_number: int
    timestamp: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A payload read as far as to say whose it is; `fact_of` reads the rest."""

    node: str
    sequence_number: int
    read: _Read


def event_type_of(fact: e.AnyFact) -> str:
    """The word for this kind of fact in subjects and envelopes."""
    return _EVENT_TYPES[type(fact)]


_encoder = msgspec.json.Encoder()
_opener = msgspec.json.Decoder(_Read)
_decoders = {name: msgspec.json.Decoder(fact_type) for name, fact_type in FACT_TYPES.items()}


def encode_payload(stamped: Stamped) -> bytes:
    """The NATS payload of an event."""
    event = stamped.event
    metadata = Metadata(stamped.node, SCHEMA, event.actor, event.via)
    return _encoder.encode(
        _Written(_EVENT_TYPES[type(event.fact)], stamped.timestamp, stamped.sequence_number, event.fact, metadata)
    )


def encode_place(stamped: Stamped) -> bytes:
    """A payload that only holds the place of an event too large to travel: our own node knows it by its number."""
    metadata = Metadata(stamped.node, SCHEMA)
    event_type = _EVENT_TYPES[type(stamped.event.fact)]
    return _encoder.encode(_Written(event_type, stamped.timestamp, stamped.sequence_number, None, metadata))


def open_payload(payload: bytes) -> Opened:
    """Reads the outer part. Raises MalformedMessage('payload') for what is no envelope of ours."""
    try:
        read = _opener.decode(payload)
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise MalformedMessage("payload") from None
    if read.metadata.schema != SCHEMA:
        raise MalformedMessage("schema")
    return Opened(read.metadata.node, read.sequence_number, read)


def decode_event(opened: Opened, to: e.Address, event_type: str) -> Stamped:
    """Reads the rest and checks it against the address and type that the subject names.

    Raises MalformedMessage, its reason one of: event_type, data, room, scope, text, player, tick.
    """
    read = opened.read
    if read.event_type != event_type or event_type not in _decoders:
        raise MalformedMessage("event_type")
    try:
        fact = _decoders[event_type].decode(read.data)
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise MalformedMessage("data") from None
    _check_scope(fact, to)
    _check_texts(fact)
    if isinstance(fact, e.GameTick):
        _check_tick(fact)
    actor = read.metadata.actor or whose(fact)
    via = next((way for way in Direction if way == read.metadata.via), None)
    event = e.Event(fact, to, actor=PlayerId(actor) if actor else None, via=via)
    return Stamped(event, opened.node, opened.sequence_number, read.timestamp)


def whose(fact: e.AnyFact) -> PlayerId | None:
    """The player whose doing a fact is; None for what nobody did."""
    match fact:
        case e.GameTick():
            return None
        case e.ChatMessage():
            return fact.sender_id
        case _:
            return fact.player_id


def _check_scope(fact: e.AnyFact, to: e.Address) -> None:
    match to:
        case e.InRoom(room_id):
            if not isinstance(fact, _ROOM_FACTS):
                raise MalformedMessage("scope")
            if not isinstance(fact, e.ChatMessage) and fact.room_id != room_id:
                raise MalformedMessage("room")
        case e.Everywhere():
            if not isinstance(fact, _GLOBAL_FACTS):
                raise MalformedMessage("scope")
        case e.ToPlayer():
            if not isinstance(fact, e.ChatMessage):
                raise MalformedMessage("scope")
    if isinstance(fact, e.ChatMessage) and fact.channel not in _CHANNELS_OF[type(to)]:
        raise MalformedMessage("scope")


def _check_texts(fact: e.AnyFact) -> None:
    """Another node's text reaches our players' terminals: it may hold nothing a player here could not have typed."""
    for field in fact.__struct_fields__:
        value = getattr(fact, field)
        if isinstance(value, str) and not value.isprintable():
            raise MalformedMessage("text")
    for field in ("player_id", "sender_id"):
        identity = getattr(fact, field, None)
        if identity is not None and not is_token(identity):
            raise MalformedMessage("player")
    name = getattr(fact, "player_name", None)
    if name is not None and not 1 <= len(name) <= 64:
        raise MalformedMessage("player")


def _check_tick(tick: e.GameTick) -> None:
    """A tick's times are reckoned with when it is shown, so they must be times."""
    if not 0 < tick.tick_interval <= TICK_SECONDS_MAX:
        raise MalformedMessage("tick")
    try:
        GameTime.from_iso(tick.mythos_datetime).earlier(tick.tick_interval * GAME_SECONDS_PER_SECOND)
    except (ValueError, OverflowError):
        raise MalformedMessage("tick") from None
