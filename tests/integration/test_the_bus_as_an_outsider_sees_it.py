"""What travels on NATS, seen and sent by a client that knows nothing of mudserver."""

import json
import re
from datetime import datetime
from typing import Any

import pytest
from trio.to_thread import run_sync as in_thread

from tests.integration.outsider import Heard, Outsider
from tests.integration.players import Door, JsonPlayer, TextPlayer, types_of

TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")

STRANGER: dict[str, Any] = {
    "event_type": "player_entered",
    "timestamp": "2026-11-23T08:31:00Z",
    "sequence_number": 1,
    "data": {"player_id": "elsewhere-p1", "player_name": "Stranger", "room_id": "hall", "room_name": "The Hall"},
    "metadata": {"node": "elsewhere", "schema": 1},
}


def stranger_says(message: str) -> dict[str, Any]:
    data = {"sender_id": "elsewhere-p1", "player_name": "Stranger", "channel": "say", "message_id": "elsewhere-m1"}
    return {**STRANGER, "event_type": "chat_message", "data": {**data, "message": message}}


async def hear(outsider: Outsider, event_type: str, since: int = 0, **data: Any) -> Heard:
    return await in_thread(lambda: outsider.hear_event(event_type, since, **data))


async def publish(outsider: Outsider, subject: str, content: Any) -> None:
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    await in_thread(outsider.publish, subject, payload)


@pytest.fixture
async def alice(door: Door, outsider: Outsider) -> TextPlayer:
    """A text player whose arrival has gone the round of the bus: from here on she hears what outsiders send."""
    since = outsider.mark()
    alice = await door.text("Alice")
    await hear(outsider, "player_entered", since, player_name="Alice")
    return alice


def assert_is_envelope(heard: Heard, subject: str) -> None:
    content = heard.content
    assert heard.subject == subject
    assert set(content) == {"event_type", "timestamp", "sequence_number", "data", "metadata"}
    assert content["event_type"] == subject.rpartition(".")[2]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", content["timestamp"])
    assert type(content["sequence_number"]) is int
    assert content["metadata"]["schema"] == 1
    assert TOKEN.fullmatch(content["metadata"]["node"])


async def test_an_arrival_is_published_with_the_seeds_payload(door: Door, outsider: Outsider) -> None:
    since = outsider.mark()
    carol = await door.json("Carol")
    player_id = next(each for each in carol.received if each["event_type"] == "game_state")["data"]["player"]["id"]

    entered_game = await hear(outsider, "player_entered_game", since, player_name="Carol")
    assert_is_envelope(entered_game, "mud.global.player_entered_game")
    assert entered_game.content["data"] == {"player_id": player_id, "player_name": "Carol"}

    entered = await hear(outsider, "player_entered", since, player_name="Carol")
    assert_is_envelope(entered, "mud.room.hall.player_entered")
    assert entered.content["data"] == {
        "player_id": player_id,
        "player_name": "Carol",
        "room_id": "hall",
        "room_name": "The Hall",
    }
    assert TOKEN.fullmatch(player_id)


async def test_a_move_is_published_in_the_old_room_and_then_in_the_new(alice: TextPlayer, outsider: Outsider) -> None:
    since = outsider.mark()
    await alice.type("north")

    entered = await hear(outsider, "player_entered", since, player_name="Alice", room_id="garden")
    left = await hear(outsider, "player_left", since, player_name="Alice", room_id="hall")
    assert_is_envelope(left, "mud.room.hall.player_left")
    assert_is_envelope(entered, "mud.room.garden.player_entered")
    assert (left.content["data"]["room_name"], entered.content["data"]["room_name"]) == ("The Hall", "The Garden")
    assert left.content["sequence_number"] < entered.content["sequence_number"]
    heard = outsider.heard(since)
    assert heard.index(left) < heard.index(entered)


async def test_a_departure_is_published_to_the_room_and_to_the_world(alice: TextPlayer, outsider: Outsider) -> None:
    since = outsider.mark()
    await alice.quit()

    left_game = await hear(outsider, "player_left_game", since, player_name="Alice")
    assert_is_envelope(left_game, "mud.global.player_left_game")
    assert set(left_game.content["data"]) == {"player_id", "player_name"}
    left = await hear(outsider, "player_left", since, player_name="Alice")
    assert_is_envelope(left, "mud.room.hall.player_left")
    assert set(left.content["data"]) == {"player_id", "player_name", "room_id", "room_name"}


async def test_speech_is_published_to_the_room_the_world_or_one_player(
    alice: TextPlayer, carol: JsonPlayer, outsider: Outsider
) -> None:
    since = outsider.mark()
    carol_id = carol.received[1]["data"]["player"]["id"]
    await alice.type("say here", "shout everywhere", "tell carol only you")

    for channel, subject in (
        ("say", "mud.room.hall.chat_message"),
        ("shout", "mud.global.chat_message"),
        ("tell", f"mud.player.{carol_id}.chat_message"),
    ):
        said = await hear(outsider, "chat_message", since, channel=channel)
        assert_is_envelope(said, subject)
        assert set(said.content["data"]) == {"sender_id", "player_name", "channel", "message", "message_id"}
        assert said.content["data"]["player_name"] == "Alice"


async def test_ticks_are_published_to_the_world_one_number_after_the_other(outsider: Outsider) -> None:
    since = outsider.mark()
    first = await hear(outsider, "game_tick", since)
    number = first.content["data"]["tick_number"]
    second = await hear(outsider, "game_tick", since, tick_number=number + 1)

    assert_is_envelope(second, "mud.global.game_tick")
    data = second.content["data"]
    assert set(data) == {
        "tick_number",
        "server_time",
        "tick_interval",
        "mythos_clock",
        "mythos_datetime",
        "daypart",
        "is_daytime",
    }
    assert data["tick_interval"] == 0.3
    datetime.fromisoformat(data["server_time"])
    assert datetime.fromisoformat(data["mythos_datetime"]).strftime("%H:%M") == data["mythos_clock"]
    assert 0.1 < second.at - first.at < 1.0


async def test_the_game_publishes_nothing_else_and_all_of_it_in_the_one_format(
    alice: TextPlayer, outsider: Outsider
) -> None:
    await alice.type("say the end")
    await hear(outsider, "chat_message", message="Alice says: the end")

    ours = [heard for heard in outsider.heard() if b'"elsewhere"' not in heard.payload]
    numbers = [heard.content["sequence_number"] for heard in ours]
    assert numbers == sorted(set(numbers))
    for heard in ours:
        assert_is_envelope(heard, heard.subject)


async def test_an_outsiders_arrival_in_the_right_format_is_seen_in_the_room(
    alice: TextPlayer, carol: JsonPlayer, outsider: Outsider
) -> None:
    await publish(outsider, "mud.room.hall.player_entered", STRANGER)

    assert await alice.see("Stranger") == ["Stranger enters the room."]
    entered = (await carol.hear("player_entered", player_name="Stranger"))[-1]
    assert entered["data"] == {**STRANGER["data"], "message": "Stranger enters the room."}
    assert entered["room_id"] == "hall"
    occupants = (await carol.hear("room_occupants"))[-1]
    assert "Stranger" in occupants["data"]["occupants"]

    await publish(outsider, "mud.room.hall.chat_message", stranger_says("Stranger says: good evening"))
    await publish(outsider, "mud.room.hall.player_left", {**STRANGER, "event_type": "player_left"})
    assert await alice.see("leaves") == ["Stranger says: good evening", "Stranger leaves the room."]
    await carol.hear("player_left", player_name="Stranger")
    assert "Stranger" not in (await carol.hear("room_occupants"))[-1]["data"]["occupants"]


async def test_an_outsiders_event_in_a_room_where_nobody_is_reaches_nobody(
    alice: TextPlayer, outsider: Outsider
) -> None:
    elsewhere = {**STRANGER, "data": {**STRANGER["data"], "room_id": "shed", "room_name": "The Shed"}}
    await publish(outsider, "mud.room.shed.player_entered", elsewhere)
    await publish(outsider, "mud.room.hall.chat_message", stranger_says("Stranger says: marker"))

    assert await alice.see("marker") == ["Stranger says: marker"]


def changed(**changes: Any) -> dict[str, Any]:
    return {**STRANGER, **changes}


def with_data(**changes: Any) -> dict[str, Any]:
    return {**STRANGER, "data": {**STRANGER["data"], **changes}}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in STRANGER.items() if name != key}


ENTERED = "mud.room.hall.player_entered"

TICK = {
    "tick_number": 7,
    "server_time": "2026-11-23T08:31:00Z",
    "tick_interval": 10.0,
    "mythos_clock": "05:00",
    "mythos_datetime": "1911-10-27T05:00:00",
    "daypart": "dawn",
    "is_daytime": True,
}

MALFORMED: dict[str, tuple[str, Any]] = {
    "nothing": (ENTERED, b""),
    "no JSON": (ENTERED, b"Stranger enters the room."),
    "no object": (ENTERED, [STRANGER]),
    "no UTF-8": (ENTERED, json.dumps(STRANGER).encode().replace(b"Stranger", b"Str\xffnger")),
    "a thousand brackets deep": (ENTERED, b'{"data":' + b"[" * 30_000),
    "without metadata": (ENTERED, without("metadata")),
    "without data": (ENTERED, without("data")),
    "an unknown key": (ENTERED, changed(extra=1)),
    "an unknown key in its data": (ENTERED, with_data(level=9)),
    "another schema": (ENTERED, changed(metadata={"node": "elsewhere", "schema": 2})),
    "a number as text": (ENTERED, changed(sequence_number="1")),
    "a name that is a number": (ENTERED, with_data(player_name=7)),
    "a name with an escape sequence": (ENTERED, with_data(player_name="\x1b[2JStranger")),
    "a name with a line end": (ENTERED, with_data(player_name="Stranger\r\nAlice says: me")),
    "a name with a bidi override": (ENTERED, with_data(player_name="\u202eregnartS")),
    "a name with a lone surrogate": (ENTERED, json.dumps(STRANGER).encode().replace(b"Stranger", b"Str\\ud800nger")),
    "an empty name": (ENTERED, with_data(player_name="")),
    "a name of 100 KB": (ENTERED, with_data(player_name="S" * 100_000)),
    "a player id that is no token": (ENTERED, with_data(player_id="elsewhere.p1")),
    "data of another room": (ENTERED, with_data(room_id="garden")),
    "another type than its subject": (ENTERED, changed(event_type="player_left")),
    "a type nobody knows": ("mud.room.hall.player_exploded", changed(event_type="player_exploded")),
    "the type of a global event": ("mud.room.hall.game_tick", changed(event_type="game_tick", data=TICK)),
    "a room event to the world": ("mud.global.player_entered", STRANGER),
    "a tell to a room": (
        "mud.room.hall.chat_message",
        {**stranger_says("x"), "data": {**stranger_says("Stranger tells you: x")["data"], "channel": "tell"}},
    ),
    "a tick at no time": (
        "mud.global.game_tick",
        changed(event_type="game_tick", data={**TICK, "mythos_datetime": "never"}),
    ),
}


@pytest.mark.parametrize(("subject", "content"), MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_message_reaches_nobody_and_stops_nothing(
    alice: TextPlayer, carol: JsonPlayer, outsider: Outsider, subject: str, content: Any
) -> None:
    await publish(outsider, subject, content)
    await publish(outsider, "mud.room.hall.chat_message", stranger_says("Stranger says: marker"))
    come = {"player_id": "stranger-1", "player_name": "Stranger"}
    await publish(outsider, "mud.global.player_entered_game", changed(event_type="player_entered_game", data=come))

    assert await alice.see("marker") == ["Stranger says: marker"]
    heard = await carol.hear("player_entered_game", player_name="Stranger")
    assert types_of(heard[:-1]) == ["chat_message"]
    await alice.type("say still here")
    await carol.hear("chat_message", message="Alice says: still here")


async def test_players_feel_the_ticks_of_their_own_node_and_no_others(carol: JsonPlayer, outsider: Outsider) -> None:
    await publish(outsider, "mud.global.game_tick", changed(event_type="game_tick", data=TICK))
    come = {"player_id": "stranger-1", "player_name": "Stranger"}
    await publish(outsider, "mud.global.player_entered_game", changed(event_type="player_entered_game", data=come))

    heard = await carol.hear("player_entered_game", player_name="Stranger")
    assert "05:00" not in [each["data"].get("mythos_clock") for each in heard]


async def test_an_outsider_cannot_speak_for_a_player_of_this_server(
    alice: TextPlayer, carol: JsonPlayer, outsider: Outsider
) -> None:
    carol_id = carol.received[1]["data"]["player"]["id"]
    forged = with_data(player_id=carol_id, player_name="Carol")
    await publish(outsider, "mud.room.hall.player_left", {**forged, "event_type": "player_left"})
    await publish(outsider, "mud.room.hall.chat_message", stranger_says("Stranger says: marker"))

    assert await alice.see("marker") == ["Stranger says: marker"]
    await carol.hear("chat_message", message="Stranger says: marker")  # she still listens in the room


async def test_our_own_message_sent_once_more_by_an_outsider_is_not_shown_again(
    alice: TextPlayer, bob: TextPlayer, outsider: Outsider
) -> None:
    since = outsider.mark()
    await alice.type("say only once")
    said = await hear(outsider, "chat_message", since, message="Alice says: only once")
    await publish(outsider, said.subject, said.payload)
    await alice.type("say marker")

    assert await bob.see("marker") == ["Alice says: only once", "Alice says: marker"]
