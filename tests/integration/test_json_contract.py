"""What a JSON client gets, row by row of the table of events in the design: exact keys, types and order."""

import json
import re
from typing import Any

import pytest
import trio

from tests.integration.outsider import Outsider
from tests.integration.players import (
    JSON_SUBPROTOCOL,
    SECONDS_MAX,
    Door,
    Envelope,
    JsonPlayer,
    TextPlayer,
    types_of,
    without_ticks,
)
from tests.integration.programs import Server

HALL = {
    "id": "hall",
    "name": "The Hall",
    "description": "A hall with two doors.",
    "exits": {"north": "garden", "east": "shed"},
    "area": "The Small House",
}


def assert_envelope(envelope: Envelope, event_type: str, data_keys: str, extra_keys: str = "") -> None:
    """Exactly these keys, and the right types in the outer part."""
    assert envelope["event_type"] == event_type
    assert set(envelope) == {"event_type", "timestamp", "sequence_number", "data", *extra_keys.split()}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", envelope["timestamp"])
    assert type(envelope["sequence_number"]) is int
    assert set(envelope["data"]) == set(data_keys.split())


async def answer_to(player: JsonPlayer, frame: str | bytes) -> Envelope:
    """What the player gets after sending a raw frame, ticks aside."""
    await player.send_frame(frame)
    while (envelope := await player.next_envelope())["event_type"] == "game_tick":
        pass
    return envelope


@pytest.fixture
async def newcomer(door: Door) -> JsonPlayer:
    """Connected, welcomed, and not signed in."""
    return await door.connect_json("Newcomer")


# --- signing in ---------------------------------------------------------------------------------------------------


async def test_a_client_is_welcomed_on_connecting(door: Door) -> None:
    newcomer = await door.connect_json()
    [welcome] = newcomer.received
    assert_envelope(welcome, "welcome", "message")
    assert isinstance(welcome["data"]["message"], str)


async def test_signing_in_is_answered_by_the_state_of_the_game_and_who_is_here(newcomer: JsonPlayer) -> None:
    await newcomer.send("login", {"name": "Newcomer"})

    state, occupants = without_ticks(await newcomer.hear("room_occupants"))
    assert_envelope(state, "game_state", "player room occupants resume_token", "room_id player_id")
    assert state["data"]["player"] == {"id": state["player_id"], "name": "Newcomer"}
    assert state["data"]["room"] == HALL
    assert state["data"]["occupants"] == ["Newcomer"]
    assert_envelope(occupants, "room_occupants", "players npcs occupants count", "room_id")
    names = ["Newcomer"]
    assert occupants["data"] == {"players": names, "npcs": [], "occupants": names, "count": 1}
    assert occupants["room_id"] == "hall"


async def test_a_guest_gets_a_free_guest_name_each_time(door: Door) -> None:
    names = []
    for _ in range(2):
        guest = await door.connect_json("a guest")
        await guest.send("login", {"guest": True})
        names.append((await guest.hear("game_state"))[-1]["data"]["player"]["name"])

    assert names == ["Guest1", "Guest2"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Alice", "Alice is here already"),
        ("aLICE", "is here already"),
        ("Admin", "reserved"),
        ("x", "2 to 16 letters"),
        ("Seventeen-letters", "2 to 16 letters"),
        ("Guest7", "2 to 16 letters"),
        ("Al ice", "2 to 16 letters"),
        ("\u0410lice", "2 to 16 letters"),  # the Cyrillic A
        ("Zo\u200be", "2 to 16 letters"),
        ("", "2 to 16 letters"),
    ],
)
async def test_a_name_that_will_not_do_is_refused_and_another_try_is_open(
    alice: TextPlayer, newcomer: JsonPlayer, name: str, why: str
) -> None:
    await newcomer.send("login", {"name": name})

    refused = (await newcomer.hear("error"))[-1]
    assert_envelope(refused, "error", "error_type message")
    assert refused["data"]["error_type"] == "login_refused"
    assert why in refused["data"]["message"]
    await newcomer.send("login", {"name": "Newcomer"})
    await newcomer.hear("game_state")
    assert await alice.see("Newcomer") == ["Newcomer enters the room."]


async def test_a_command_before_signing_in_is_refused(alice: TextPlayer, newcomer: JsonPlayer) -> None:
    await newcomer.command("say", "boo")
    assert (await newcomer.hear("error"))[-1]["data"]["error_type"] == "not_signed_in"

    await alice.type("say marker")
    assert await alice.see("marker") == ["You say: marker"]


async def test_a_second_sign_in_is_refused_and_changes_nothing(alice: TextPlayer, carol: JsonPlayer) -> None:
    await carol.send("login", {"name": "Caroline"})
    assert (await carol.hear("error"))[-1]["data"]["error_type"] == "login_refused"

    await carol.command("say", "still me")
    assert await alice.see("still me") == ["Carol says: still me"]


# --- choosing the dialect -----------------------------------------------------------------------------------------


async def test_the_subprotocol_that_was_picked_is_echoed(door: Door) -> None:
    assert (await door.connect_json()).websocket.subprotocol == JSON_SUBPROTOCOL


async def test_a_client_that_cannot_offer_a_subprotocol_picks_json_by_query(door: Door) -> None:
    player = await door.connect_json("Newcomer", by_query=True)
    assert player.websocket.subprotocol is None
    await player.send("login", {"name": "Newcomer"})
    await player.hear("game_state")


async def test_a_client_that_offers_only_unknown_subprotocols_gets_400(server: Server) -> None:
    head = await answer_to_handshake(server.port, "Sec-WebSocket-Protocol: v9.cbor.example, soap\r\n")
    assert head.startswith("HTTP/1.1 400 ")
    assert "sec-websocket-protocol" not in head.lower()


async def test_a_known_subprotocol_among_unknown_ones_is_picked(server: Server) -> None:
    head = await answer_to_handshake(server.port, f"Sec-WebSocket-Protocol: soap, {JSON_SUBPROTOCOL}\r\n")
    assert head.startswith("HTTP/1.1 101 ")
    assert re.findall(r"(?im)^sec-websocket-protocol: *(.*?)\r$", head) == [JSON_SUBPROTOCOL]


async def answer_to_handshake(port: int, header: str) -> str:
    """The head of the answer to a WebSocket request with one more header."""
    request = (
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{header}\r\n"
    )
    answer = b""
    with trio.fail_after(SECONDS_MAX):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(request.encode())
            while b"\r\n\r\n" not in answer:
                data = await stream.receive_some()
                assert data, f"the answer ended after {answer!r}"
                answer += data
    return answer.partition(b"\r\n\r\n")[0].decode() + "\r\n"


# --- what a client sends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "look",
        "[]",
        "{}",
        "null",
        '{"type": 5}',
        '{"type": "dance", "data": {}}',
        '{"type": "command"}',
        '{"type": "command", "data": {}}',
        '{"type": "command", "data": {"command": 5}}',
        '{"type": "command", "data": {"command": "say", "args": "hi"}}',
        '{"type": "command", "data": {"command": "say", "args": [1]}}',
        '{"type": "command", "data": {"command": "say", "argv": []}}',
        '{"type": "login", "data": {"name": null}}',
        '{"type": "command", "data": ' + "[" * 2000 + "]" * 2000 + "}",
        '{"type": "command", "data": {"command": "say", "args": ["\\ud800"]}}',
        '{"type": "command", "data": {"command": "look"}} {}',
        b'{"type": "command", "data": {"command": "look"}}',
    ],
)
async def test_a_frame_that_cannot_be_read_is_answered_by_invalid_format_and_nothing_ends(
    alice: TextPlayer, carol: JsonPlayer, frame: str | bytes
) -> None:
    answer = await answer_to(carol, frame)

    assert_envelope(answer, "error", "error_type message")
    assert answer["data"]["error_type"] == "invalid_format"
    if isinstance(frame, str) and '"login"' in frame:
        assert '"login"' in answer["data"]["message"]
    await carol.command("say", "marker")
    assert await alice.see("marker") == ["Carol says: marker"]


@pytest.mark.parametrize("frame_type", ["command", "game_command"])
async def test_a_command_may_be_sent_as_either_type(carol: JsonPlayer, frame_type: str) -> None:
    await carol.send(frame_type, {"command": "look", "args": []})

    answer = (await carol.hear("command_response"))[-1]
    assert_envelope(answer, "command_response", "result", "room_id")
    assert answer["data"]["result"].startswith("The Hall\nA hall with two doors.\nExits: north, east.")


async def test_an_unknown_command_is_an_answer_and_no_error(carol: JsonPlayer) -> None:
    await carol.command("xyzzy")

    answer = without_ticks(await carol.hear("command_response"))
    assert types_of(answer) == ["command_response"]
    assert_envelope(answer[0], "command_response", "result")
    assert "xyzzy" in answer[0]["data"]["result"]


async def test_a_newline_inside_an_argument_is_no_second_command(alice: TextPlayer, carol: JsonPlayer) -> None:
    await carol.command("say", "one\nnorth\r\n\u2028south")
    await carol.command("say", "marker")

    assert await alice.see("marker") == ["Carol says: one north south", "Carol says: marker"]


async def test_a_ping_is_answered_by_a_pong_before_and_after_signing_in(
    newcomer: JsonPlayer, carol: JsonPlayer
) -> None:
    for player in (newcomer, carol):
        pong = await answer_to(player, '{"type": "ping"}')
        assert_envelope(pong, "pong", "")


async def test_fields_that_are_not_ours_beside_type_and_data_are_allowed(carol: JsonPlayer) -> None:
    assert (await answer_to(carol, '{"type": "ping", "id": 7, "timestamp": 1}'))["event_type"] == "pong"


# --- what a client sees -------------------------------------------------------------------------------------------


async def test_the_walker_gets_an_answer_then_the_new_room_and_never_their_own_coming_or_going(
    bob: TextPlayer, carol: JsonPlayer
) -> None:
    await bob.type("north")
    await carol.hear("player_left", player_name="Bob")
    await carol.hear("room_occupants")
    await carol.command("go", "north")
    await bob.see("Carol enters")
    await bob.type("say marker")

    heard = without_ticks(await carol.hear("chat_message"))
    assert types_of(heard) == ["command_response", "room_update", "chat_message"]
    answer, update, _ = heard
    assert answer["data"] == {"result": "You go north."}
    assert_envelope(update, "room_update", "room players occupants occupant_count", "room_id")
    assert update["room_id"] == "garden"
    assert update["data"]["room"] == {
        "id": "garden",
        "name": "The Garden",
        "description": "A garden with a wall around it.",
        "exits": {"south": "hall"},
        "area": "The Small House",
    }
    assert update["data"]["occupants"] == update["data"]["players"] == ["Bob", "Carol"]
    assert update["data"]["occupant_count"] == 2


async def test_others_in_the_old_room_get_player_left_then_room_occupants(bob: TextPlayer, carol: JsonPlayer) -> None:
    await bob.type("north")
    await bob.see("The Garden")
    await carol.command("say", "marker")

    heard = without_ticks(await carol.hear("room_occupants"))
    left, occupants = [each for each in heard if each["event_type"] != "command_response"]
    assert_envelope(left, "player_left", "player_id player_name room_id room_name message", "room_id player_id")
    assert left["data"] == {
        "player_id": left["player_id"],
        "player_name": "Bob",
        "room_id": "hall",
        "room_name": "The Hall",
        "message": "Bob leaves the room.",
    }
    assert left["room_id"] == "hall"
    assert_envelope(occupants, "room_occupants", "players npcs occupants count", "room_id")
    assert occupants["data"]["occupants"] == ["Alice", "Carol"]
    assert occupants["data"]["count"] == 2


async def test_others_in_the_new_room_get_player_entered_then_room_occupants(
    bob: TextPlayer, carol: JsonPlayer
) -> None:
    await carol.command("north")
    await carol.hear("room_update")
    await bob.type("north")

    entered, occupants = without_ticks(await carol.hear("room_occupants"))
    assert_envelope(entered, "player_entered", "player_id player_name room_id room_name message", "room_id player_id")
    assert entered["data"] == {
        "player_id": entered["player_id"],
        "player_name": "Bob",
        "room_id": "garden",
        "room_name": "The Garden",
        "message": "Bob enters the room.",
    }
    assert occupants["room_id"] == "garden"
    assert occupants["data"]["occupants"] == ["Carol", "Bob"]


async def test_comings_and_goings_of_the_game_are_told_to_everybody_but_their_subject(
    door: Door, carol: JsonPlayer
) -> None:
    dora = await door.json("Dora")
    entered = (await carol.hear("player_entered_game"))[-1]
    assert_envelope(entered, "player_entered_game", "player_id player_name", "player_id")
    assert entered["data"] == {"player_id": entered["player_id"], "player_name": "Dora"}

    await dora.quit()
    left = (await carol.hear("player_left_game"))[-1]
    assert_envelope(left, "player_left_game", "player_id player_name", "player_id")
    assert left["data"] == entered["data"]
    assert not {"player_entered_game", "player_entered"} & set(types_of(dora.received))


async def test_speech_is_a_chat_message(alice: TextPlayer, carol: JsonPlayer) -> None:
    await alice.type("say hi", "shout hey", "tell carol psst")

    said: dict[str, Envelope] = {}
    while set(said) != {"say", "shout", "tell"}:
        envelope = (await carol.hear("chat_message"))[-1]
        said[envelope["data"]["channel"]] = envelope
    keys = "sender_id player_name channel message message_id"
    assert_envelope(said["say"], "chat_message", keys, "room_id player_id")
    assert_envelope(said["shout"], "chat_message", keys, "player_id")
    assert_envelope(said["tell"], "chat_message", keys, "player_id")
    assert said["say"]["data"]["message"] == "Alice says: hi"
    assert said["say"]["data"]["player_name"] == "Alice"
    assert len({each["data"]["message_id"] for each in said.values()}) == 3
    assert {each["data"]["sender_id"] for each in said.values()} == {said["say"]["player_id"]}


async def test_a_tick_tells_the_time_of_the_server_and_of_the_game(carol: JsonPlayer) -> None:
    tick = (await carol.hear("game_tick"))[-1]

    keys = "tick_number server_time tick_interval mythos_clock mythos_datetime daypart is_daytime"
    assert_envelope(tick, "game_tick", keys)
    types = {key: type(value) for key, value in tick["data"].items()}
    assert types == {
        "tick_number": int,
        "server_time": str,
        "tick_interval": float,
        "mythos_clock": str,
        "mythos_datetime": str,
        "daypart": str,
        "is_daytime": bool,
    }


async def test_numbers_strictly_rise_and_nothing_comes_twice_through_a_busy_minute(
    door: Door, alice: TextPlayer, carol: JsonPlayer, outsider: Outsider
) -> None:
    del outsider  # only there to share the bus
    begins = len(carol.received)
    for number in range(5):
        await carol.command("say", f"c{number}")
        await alice.type(f"say a{number}", "north", "south")
        await (await door.json("Visitor")).quit()
    await alice.type("say marker")
    await carol.hear("chat_message", message="Alice says: marker")

    heard = carol.received[begins:]
    numbers = [each["sequence_number"] for each in heard]
    assert numbers == sorted(set(numbers))
    said = [each["data"]["message"] for each in heard if each["event_type"] == "chat_message"]
    assert said == [*(f"Alice says: a{number}" for number in range(5)), "Alice says: marker"]
    moves = [_move(each) for each in heard if each["event_type"] in ("player_left", "player_entered")]
    assert [move for move in moves if move[1] == "Alice"] == [
        ("player_left", "Alice"),
        ("player_entered", "Alice"),
    ] * 5
    assert [move for move in moves if move[1] == "Visitor"] == [
        ("player_entered", "Visitor"),
        ("player_left", "Visitor"),
    ] * 5


def _move(envelope: Envelope) -> tuple[str, Any]:
    return envelope["event_type"], envelope["data"]["player_name"]


async def test_a_frame_is_compact_json_on_one_line(carol: JsonPlayer) -> None:
    await carol.command("look")
    while json.loads(frame := await carol.next_frame())["event_type"] != "command_response":
        pass
    assert "\n" not in frame
