"""What travels on NATS: written for others, and read with suspicion."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mudserver.errors import MalformedMessage
from mudserver.game import events as e
from mudserver.game.ids import PlayerId, RoomId
from mudserver.wire.dialects import JSON, encode, text_dialect
from mudserver.wire.envelope import (
    FACT_TYPES,
    Stamped,
    decode_event,
    encode_payload,
    event_type_of,
    open_payload,
)
from tests.wire.facts import ALICE, ENTERED, QUAY, SAID, TICK, events

SECOND = "2026-11-23T08:31:00Z"
GOOD = {
    "event_type": "player_entered",
    "timestamp": SECOND,
    "sequence_number": 7,
    "data": {"player_id": "x-p1", "player_name": "Ithaqua", "room_id": "quay", "room_name": "The Quay"},
    "metadata": {"node": "x", "schema": 1},
}
CHAT = GOOD | {
    "event_type": "chat_message",
    "data": {"sender_id": "x-p1", "player_name": "Ith", "channel": "say", "message": "hi", "message_id": "x-m1"},
}
TICKED = GOOD | {
    "event_type": "game_tick",
    "data": {
        "tick_number": 1,
        "server_time": SECOND,
        "tick_interval": 10.0,
        "mythos_clock": "17:00",
        "mythos_datetime": "1911-10-27T17:00:00",
        "daypart": "day",
        "is_daytime": True,
    },
}

IN_THE_QUAY = e.InRoom(QUAY)


def read(payload: bytes, to: e.Address, event_type: str) -> Stamped:
    return decode_event(open_payload(payload), to, event_type)


def read_json(payload: Any, to: e.Address = IN_THE_QUAY, event_type: str = "player_entered") -> Stamped:
    return read(json.dumps(payload).encode(), to, event_type)


def changed(payload: dict[str, Any], *path: str, value: Any) -> dict[str, Any]:
    """A copy of the payload in which one value is another."""
    if len(path) == 1:
        return payload | {path[0]: value}
    return payload | {path[0]: changed(payload[path[0]], *path[1:], value=value)}


def without(payload: dict[str, Any], *path: str) -> dict[str, Any]:
    if len(path) == 1:
        return {key: value for key, value in payload.items() if key != path[0]}
    return payload | {path[0]: without(payload[path[0]], *path[1:])}


def test_the_payload_is_the_one_of_the_design() -> None:
    stamped = Stamped(e.Event(ENTERED, e.InRoom(QUAY), actor=ALICE), "n1", 42, SECOND)
    assert json.loads(encode_payload(stamped)) == {
        "event_type": "player_entered",
        "timestamp": SECOND,
        "sequence_number": 42,
        "data": {"player_id": ALICE, "player_name": "Alice", "room_id": "quay", "room_name": "The Quay"},
        "metadata": {"node": "n1", "schema": 1, "actor": ALICE},
    }


def test_a_tick_has_the_payload_of_the_design() -> None:
    data = json.loads(encode_payload(Stamped(e.Event(TICK, e.Everywhere()), "n1", 1, SECOND)))["data"]
    assert data == {
        "tick_number": 7,
        "server_time": "2026-11-23T08:31:00.000Z",
        "tick_interval": 10.0,
        "mythos_clock": "17:14",
        "mythos_datetime": "1911-10-27T17:14:00",
        "daypart": "day",
        "is_daytime": True,
    }


@given(events(), st.integers(0, 2**53))
def test_what_one_node_writes_another_reads(event: e.Event, number: int) -> None:
    stamped = Stamped(event, "n1", number, SECOND)
    opened = open_payload(encode_payload(stamped))
    assert (opened.node, opened.sequence_number) == ("n1", number)
    assert decode_event(opened, event.to, event_type_of(event.fact)) == stamped


def test_an_outsider_needs_no_metadata_but_node_and_schema() -> None:
    event = read_json(GOOD).event
    fact = e.PlayerEntered(PlayerId("x-p1"), "Ithaqua", QUAY, "The Quay")
    assert event == e.Event(fact, e.InRoom(QUAY), actor=PlayerId("x-p1"))


BAD_PAYLOADS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"hello",
    "cut short": json.dumps(GOOD).encode()[:-1],
    "no object": b"[]",
    "null": b"null",
    "not UTF-8": b'{"event_type": "\xff"}',
    "deep nesting": b"[" * 100_000,
    "deep data": json.dumps(GOOD).encode().replace(b'"Ithaqua"', b"[" * 50_000),
    "endless number": json.dumps(GOOD).encode().replace(b": 7", b": " + b"9" * 5000),
    "no event_type": json.dumps(without(GOOD, "event_type")).encode(),
    "no data": json.dumps(without(GOOD, "data")).encode(),
    "no metadata": json.dumps(without(GOOD, "metadata")).encode(),
    "no node": json.dumps(without(GOOD, "metadata", "node")).encode(),
    "no schema": json.dumps(without(GOOD, "metadata", "schema")).encode(),
    "a key too many": json.dumps(GOOD | {"more": 1}).encode(),
    "number as text": json.dumps(changed(GOOD, "sequence_number", value="7")).encode(),
}


@pytest.mark.parametrize("payload", BAD_PAYLOADS.values(), ids=BAD_PAYLOADS)
def test_what_is_no_envelope_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedMessage, match=r"\Apayload\Z"):
        read(payload, e.InRoom(QUAY), "player_entered")


BAD_CONTENTS: dict[str, tuple[dict[str, Any], e.Address, str, str]] = {
    "another schema": (changed(GOOD, "metadata", "schema", value=2), e.InRoom(QUAY), "player_entered", "schema"),
    "subject names another type": (GOOD, e.InRoom(QUAY), "player_left", "event_type"),
    "a type nobody knows": (GOOD | {"event_type": "boom"}, e.InRoom(QUAY), "boom", "event_type"),
    "another room": (GOOD, e.InRoom(RoomId("row")), "player_entered", "room"),
    "entered a room everywhere": (GOOD, e.Everywhere(), "player_entered", "scope"),
    "entered a player": (GOOD, e.ToPlayer(ALICE), "player_entered", "scope"),
    "a tick in a room": (TICKED, e.InRoom(QUAY), "game_tick", "scope"),
    "a say to everybody": (CHAT, e.Everywhere(), "chat_message", "scope"),
    "a shout in a room": (changed(CHAT, "data", "channel", value="shout"), e.InRoom(QUAY), "chat_message", "scope"),
    "a say to a player": (CHAT, e.ToPlayer(ALICE), "chat_message", "scope"),
    "a field missing": (without(GOOD, "data", "room_name"), e.InRoom(QUAY), "player_entered", "data"),
    "a field too many": (changed(GOOD, "data", "hp", value=3), e.InRoom(QUAY), "player_entered", "data"),
    "a field of another type": (changed(GOOD, "data", "room_id", value=3), e.InRoom(QUAY), "player_entered", "data"),
    "escape in a message": (changed(CHAT, "data", "message", value="\x1b[2J"), e.InRoom(QUAY), "chat_message", "text"),
    "newline in a message": (changed(CHAT, "data", "message", value="a\nb"), e.InRoom(QUAY), "chat_message", "text"),
    "bidi in a name": (changed(GOOD, "data", "player_name", value="A\u202e"), e.InRoom(QUAY), "player_entered", "text"),
    "no name": (changed(GOOD, "data", "player_name", value=""), e.InRoom(QUAY), "player_entered", "player"),
    "a very long name": (
        changed(GOOD, "data", "player_name", value="x" * 65),
        e.InRoom(QUAY),
        "player_entered",
        "player",
    ),
    "an id that is no token": (
        changed(GOOD, "data", "player_id", value="a.b"),
        e.InRoom(QUAY),
        "player_entered",
        "player",
    ),
    "a tick of no time": (changed(TICKED, "data", "tick_interval", value=0), e.Everywhere(), "game_tick", "tick"),
    "a tick of ages": (changed(TICKED, "data", "tick_interval", value=1e9), e.Everywhere(), "game_tick", "tick"),
    "a tick at no time": (changed(TICKED, "data", "mythos_datetime", value="now"), e.Everywhere(), "game_tick", "tick"),
}


@pytest.mark.parametrize(("payload", "to", "event_type", "reason"), BAD_CONTENTS.values(), ids=BAD_CONTENTS)
def test_what_does_not_fit_is_malformed_for_a_named_reason(
    payload: dict[str, Any], to: e.Address, event_type: str, reason: str
) -> None:
    with pytest.raises(MalformedMessage) as caught:
        read_json(payload, to, event_type)
    assert caught.value.reason == reason


ADDRESSES: list[e.Address] = [e.InRoom(QUAY), e.Everywhere(), e.ToPlayer(ALICE)]
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
json_values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


def show_to_everybody(stamped: Stamped) -> None:
    """What was accepted will be shown, so it must be possible to show it."""
    for dialect in (JSON, text_dialect(colour=True, ticks=True), text_dialect(colour=False, ticks=False)):
        encode(dialect, stamped.event, 1, SECOND)


@given(st.binary(), st.sampled_from(ADDRESSES), st.sampled_from(sorted(FACT_TYPES)))
def test_only_malformed_message_comes_out_of_any_bytes(payload: bytes, to: e.Address, event_type: str) -> None:
    with pytest.raises(MalformedMessage):
        read(payload, to, event_type)


paths = st.sampled_from(
    [(payload, path) for payload in (GOOD, CHAT, TICKED) for path in payload if path not in ("data", "metadata")]
    + [(payload, f"data.{key}") for payload in (GOOD, CHAT, TICKED) for key in payload["data"]]  # type: ignore[attr-defined]
    + [(payload, f"metadata.{key}") for payload in (GOOD, CHAT, TICKED) for key in ("node", "schema", "actor", "via")]
    + [(payload, key) for payload in (GOOD, CHAT, TICKED) for key in ("data", "metadata")]
)


@settings(max_examples=400)
@given(paths, json_values, st.sampled_from(ADDRESSES))
def test_one_strange_value_anywhere_is_malformed_or_can_be_shown(
    where: tuple[dict[str, Any], str], value: Any, to: e.Address
) -> None:
    payload, path = where
    try:
        stamped = read_json(changed(payload, *path.split("."), value=value), to, str(payload["event_type"]))
    except MalformedMessage:
        return
    show_to_everybody(stamped)


moments = st.datetimes().map(lambda moment: moment.isoformat())


@given(moments, st.floats(min_value=0.01, max_value=86400), st.integers())
def test_a_tick_of_any_time_is_malformed_or_can_be_shown(moment: str, interval: float, number: int) -> None:
    data = TICKED["data"] | {"mythos_datetime": moment, "tick_interval": interval, "tick_number": number}  # type: ignore[operator]
    try:
        stamped = read_json(TICKED | {"data": data}, e.Everywhere(), "game_tick")
    except MalformedMessage:
        return
    show_to_everybody(stamped)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00", "9999-12-31T23:59:59", "1911-10-27T17:00:00+14:00"])
def test_a_tick_at_the_edge_of_time_is_malformed_or_can_be_shown(moment: str) -> None:
    try:
        stamped = read_json(changed(TICKED, "data", "mythos_datetime", value=moment), e.Everywhere(), "game_tick")
    except MalformedMessage:
        return
    show_to_everybody(stamped)


def test_a_say_keeps_its_actor_so_that_the_speaker_is_not_told_twice() -> None:
    stamped = Stamped(e.Event(SAID, e.InRoom(QUAY), actor=ALICE), "n1", 1, SECOND)
    assert read(encode_payload(stamped), e.InRoom(QUAY), "chat_message").event.actor == ALICE
