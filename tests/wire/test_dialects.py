"""What a client sees and says: a contract test for each row of the design's table (section 5)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from mudserver.errors import MalformedFrame
from mudserver.game import events as e
from mudserver.game.ids import Direction, RoomId
from mudserver.wire.dialects import (
    JSON,
    Line,
    Login,
    Ping,
    Resume,
    Shown,
    TextDialect,
    decode,
    encode,
    text_dialect,
)
from tests.wire.facts import (
    ALICE,
    ENTERED,
    ENTERED_GAME,
    LEFT,
    LEFT_GAME,
    LINKDEAD,
    QUAY,
    RETURNED,
    SAID,
    TICK,
    events,
)

SECOND = "2026-11-23T08:31:00Z"
PLAIN = text_dialect(colour=False, ticks=False)
COLOURED = text_dialect(colour=True, ticks=True)
VIEW = e.RoomView(
    QUAY,
    "The Quay",
    "Stones, and no sea.",
    "Harbour",
    ((Direction.NORTH, RoomId("row")), (Direction.IN, RoomId("cell"))),
    ("Alice", "Bob"),
    "Alice",
)
ROOM = {
    "id": "quay",
    "name": "The Quay",
    "description": "Stones, and no sea.",
    "exits": {"north": "row", "in": "cell"},
    "area": "Harbour",
}
SOMEBODY = {"player_id": ALICE, "player_name": "Alice"}
SOMEBODY_IN_A_ROOM = SOMEBODY | {"room_id": "quay", "room_name": "The Quay"}
IN_ROOM, EVERYWHERE = e.InRoom(QUAY), e.Everywhere()


def content(frame: bytes | None) -> str:
    """The text of a frame, by wsproto."""
    assert frame is not None
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(frame)
    pieces = list(client.events())
    assert all(isinstance(piece, TextMessage) for piece in pieces)
    assert pieces[-1].message_finished  # type: ignore[attr-defined]
    return "".join(piece.data for piece in pieces)  # type: ignore[attr-defined]


def as_json(shown: Shown, number: int = 7) -> Any:
    return json.loads(content(encode(JSON, shown, number, SECOND)))


# Each row: what is shown, event type, data, and what else stands in the envelope.
ROWS: dict[str, tuple[Shown, str, dict[str, Any], dict[str, str]]] = {
    "player_entered": (
        e.Event(ENTERED, IN_ROOM, ALICE, via=Direction.SOUTH),
        "player_entered",
        SOMEBODY_IN_A_ROOM | {"message": "Alice enters the room."},
        {"room_id": "quay", "player_id": ALICE},
    ),
    "player_left": (
        e.Event(LEFT, IN_ROOM, ALICE, via=Direction.NORTH),
        "player_left",
        SOMEBODY_IN_A_ROOM | {"message": "Alice leaves the room."},
        {"room_id": "quay", "player_id": ALICE},
    ),
    "player_entered_game": (
        e.Event(ENTERED_GAME, EVERYWHERE, ALICE),
        "player_entered_game",
        SOMEBODY,
        {"player_id": ALICE},
    ),
    "player_left_game": (e.Event(LEFT_GAME, EVERYWHERE, ALICE), "player_left_game", SOMEBODY, {"player_id": ALICE}),
    "game_tick": (
        e.Event(TICK, EVERYWHERE),
        "game_tick",
        {
            "tick_number": 7,
            "server_time": "2026-11-23T08:31:00.000Z",
            "tick_interval": 10.0,
            "mythos_clock": "17:14",
            "mythos_datetime": "1911-10-27T17:14:00",
            "daypart": "day",
            "is_daytime": True,
        },
        {},
    ),
    "room_occupants": (
        e.Occupants(QUAY, ("Alice", "Bob")),
        "room_occupants",
        {"players": ["Alice", "Bob"], "npcs": [], "occupants": ["Alice", "Bob"], "count": 2},
        {"room_id": "quay"},
    ),
    "room_update": (
        e.RoomShown(VIEW),
        "room_update",
        {"room": ROOM, "players": ["Alice", "Bob"], "occupants": ["Alice", "Bob"], "occupant_count": 2},
        {"room_id": "quay"},
    ),
    "command_response": (e.Reply("You say: hi"), "command_response", {"result": "You say: hi"}, {}),
    "chat_message": (
        e.Event(SAID, IN_ROOM, ALICE),
        "chat_message",
        {
            "sender_id": ALICE,
            "player_name": "Alice",
            "channel": "say",
            "message": "Alice says: hi",
            "message_id": "n1-m1",
        },
        {"room_id": "quay", "player_id": ALICE},
    ),
    "game_state": (
        e.SignedIn(ALICE, "Alice", VIEW, "key"),
        "game_state",
        {"player": {"id": ALICE, "name": "Alice"}, "room": ROOM, "occupants": ["Alice", "Bob"], "resume_token": "key"},
        {"room_id": "quay", "player_id": ALICE},
    ),
    "welcome": (e.Welcome("Hello."), "welcome", {"message": "Hello."}, {}),
    "pong": (e.Pong(), "pong", {}, {}),
    "error": (e.Problem("invalid_format", "No."), "error", {"error_type": "invalid_format", "message": "No."}, {}),
    "player_linkdead": (
        e.Event(LINKDEAD, IN_ROOM, ALICE),
        "player_linkdead",
        SOMEBODY_IN_A_ROOM | {"message": "Alice stops in the middle of a thought: the line is lost."},
        {"room_id": "quay", "player_id": ALICE},
    ),
    "player_returned": (
        e.Event(RETURNED, IN_ROOM, ALICE),
        "player_returned",
        SOMEBODY_IN_A_ROOM | {"message": "Alice blinks, and is back."},
        {"room_id": "quay", "player_id": ALICE},
    ),
    "system_notice": (
        e.Notice("The aether falls silent."),
        "system_notice",
        {"message": "The aether falls silent."},
        {},
    ),
}


@pytest.mark.parametrize(("shown", "event_type", "data", "more"), ROWS.values(), ids=ROWS)
def test_an_envelope_has_exactly_the_keys_and_types_of_the_contract(
    shown: Shown, event_type: str, data: dict[str, Any], more: dict[str, str]
) -> None:
    wanted = {"event_type": event_type, "timestamp": SECOND, "sequence_number": 7, "data": data} | more
    # Compared as written, sorted: 1 and 1.0 and true are three things to a client.
    assert json.dumps(as_json(shown), sort_keys=True) == json.dumps(wanted, sort_keys=True)


def test_looking_around_answers_with_the_room_in_words() -> None:
    envelope = as_json(e.LookedAround(VIEW))
    assert envelope["event_type"] == "command_response"
    words = "The Quay\nStones, and no sea.\nExits: north, in.\nAlso here: Bob."
    assert envelope["data"] == {"result": words}


TEXTS: dict[str, tuple[Shown, str]] = {
    "entered": (e.Event(ENTERED, IN_ROOM), "Alice enters the room."),
    "entered from": (e.Event(ENTERED, IN_ROOM, via=Direction.SOUTH), "Alice enters the room from the south."),
    "entered from above": (e.Event(ENTERED, IN_ROOM, via=Direction.UP), "Alice enters the room from above."),
    "left": (e.Event(LEFT, IN_ROOM), "Alice leaves the room."),
    "left north": (e.Event(LEFT, IN_ROOM, via=Direction.NORTH), "Alice leaves the room, heading north."),
    "said": (e.Event(SAID, IN_ROOM), "Alice says: hi"),
    "reply": (e.Reply("You say: hi"), "You say: hi"),
    "room": (e.RoomShown(VIEW), "The Quay\r\nStones, and no sea.\r\nExits: north, in.\r\nAlso here: Bob."),
    "looked": (e.LookedAround(VIEW), "The Quay\r\nStones, and no sea.\r\nExits: north, in.\r\nAlso here: Bob."),
    "welcome": (e.Welcome("Hello.\nName?"), "Hello.\r\nName?"),
    "notice": (e.Notice("The aether hums."), "The aether hums."),
    "error": (e.Problem("login_refused", "Taken."), "Taken."),
    "linkdead": (e.Event(LINKDEAD, IN_ROOM), "Alice stops in the middle of a thought: the line is lost."),
    "returned": (e.Event(RETURNED, IN_ROOM), "Alice blinks, and is back."),
}


@pytest.mark.parametrize(("shown", "text"), TEXTS.values(), ids=TEXTS)
def test_a_text_client_reads_lines(shown: Shown, text: str) -> None:
    assert content(encode(PLAIN, shown, 7, SECOND)) == text + "\r\n"


UNSEEN: list[Shown] = [
    e.Event(ENTERED_GAME, EVERYWHERE),
    e.Event(LEFT_GAME, EVERYWHERE),
    e.Event(TICK, EVERYWHERE),
    e.Occupants(QUAY, ("Alice",)),
    e.Pong(),
]


@pytest.mark.parametrize("shown", UNSEEN)
def test_a_text_client_is_spared_what_only_programs_want(shown: Shown) -> None:
    assert encode(PLAIN, shown, 7, SECOND) is None


def test_ticks_are_shown_to_those_who_asked() -> None:
    asked = text_dialect(colour=False, ticks=True)
    assert content(encode(asked, e.Event(TICK, EVERYWHERE), 7, SECOND)) == "[tick 7, 17:14, day]\r\n"


def test_everybody_sees_night_fall_once() -> None:
    def told(clock: str, moment: str, daypart: str) -> bytes | None:
        tick = e.GameTick(1, SECOND, 10.0, clock, moment, daypart, False)
        return encode(PLAIN, e.Event(tick, EVERYWHERE), 7, SECOND)

    assert told("19:58", "1911-10-27T19:58:00", "dusk") is None
    assert content(told("20:00", "1911-10-27T20:00:00", "night")) == "Night comes up out of the sea.\r\n"
    assert told("20:02", "1911-10-27T20:02:00", "night") is None


@pytest.mark.parametrize("shown", [row[0] for row in TEXTS.values()], ids=TEXTS)
def test_colour_is_switched_off_again_on_each_line_it_was_switched_on(shown: Shown) -> None:
    for line in content(encode(COLOURED, shown, 7, SECOND)).split("\r\n"):
        assert ("\x1b[" in line) == line.endswith("\x1b[0m")


def test_colour_changes_nothing_but_colour() -> None:
    frame = content(encode(COLOURED, e.Event(LEFT, IN_ROOM), 7, SECOND))
    assert frame == "\x1b[32mAlice leaves the room.\x1b[0m\r\n"


def test_long_prose_is_wrapped_for_a_terminal() -> None:
    words = " ".join(["word"] * 100)
    lines = content(encode(PLAIN, e.Reply(words), 7, SECOND)).removesuffix("\r\n").split("\r\n")
    assert max(len(line) for line in lines) <= 78
    assert " ".join(lines) == words


def test_equal_settings_are_one_and_the_same_dialect() -> None:
    assert text_dialect(colour=True, ticks=False) is text_dialect(colour=True, ticks=False)
    assert text_dialect(colour=True, ticks=False) == TextDialect(True, False) != TextDialect(False, False)


@given(events(), st.integers(0, 2**53))
def test_any_event_is_one_whole_frame_in_every_dialect(event: e.Event, number: int) -> None:
    assert as_json(event, number)["sequence_number"] == number
    for dialect in (PLAIN, COLOURED):
        frame = encode(dialect, event, number, SECOND)
        assert frame is None or content(frame).endswith("\r\n")


# --- what clients say ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "request_"),
    [
        ('{"type":"command","data":{"command":"go","args":["north"]}}', Line("go north")),
        ('{"type":"game_command","data":{"command":"say","args":["hello","you"]}}', Line("say hello you")),
        ('{"type":"command","data":{"command":"look"}}', Line("look")),
        ('{"type":"ping"}', Ping()),
        ('{"type":"ping","data":{"at":1}}', Ping()),
        ('{"type":"login","data":{"name":"Ithaqua"}}', Login("Ithaqua")),
        ('{"type":"login","data":{"guest":true}}', Login("guest")),
        ('{"type":"login","data":{"resume_token":"k","last_sequence_number":4}}', Resume("k", 4)),
        ('{"type":"command","data":{"command":"say","args":["a\\nquit"]}}', Line("say a quit")),
        ('{"type":"command","data":{"command":"say","args":["a\\u001b[2Jb"]}}', Line("say a[2Jb")),
    ],
)
def test_a_json_client_is_understood(message: str, request_: object) -> None:
    assert list(decode(JSON, message)) == [request_]


@pytest.mark.parametrize(
    "message",
    [
        "",
        "look",
        "[]",
        "{}",
        "null",
        '{"type":"dance"}',
        '{"type":7}',
        '{"type":"command"}',
        '{"type":"command","data":{}}',
        '{"type":"command","data":{"command":7}}',
        '{"type":"command","data":{"command":"go","args":"north"}}',
        '{"type":"command","data":{"command":"go","args":[1]}}',
        '{"type":"command","data":{"command":"go","hp":1}}',
        '{"type":"login","data":{"name":7}}',
        '{"type":"login","data":{"name":"a","admin":true}}',
        "[" * 4000,
        '{"type":"command","data":' + "[" * 4000,
        '{"type":"command","data":' + "9" * 4000 + "}",
        b'{"type":"ping"}',
    ],
)
def test_a_frame_that_cannot_be_read_is_malformed(message: str | bytes) -> None:
    with pytest.raises(MalformedFrame):
        decode(JSON, message)


@given(st.text() | st.binary())
def test_only_malformed_frame_comes_out_of_anything(message: str | bytes) -> None:
    with pytest.raises(MalformedFrame) as caught:
        decode(JSON, message)
    assert str(caught.value).isprintable()


@given(st.text() | st.binary())
def test_a_text_client_may_send_anything(message: str | bytes) -> None:
    for request in decode(PLAIN, message):
        assert isinstance(request, Line)
        assert request.text.isprintable()


@given(st.text(), st.lists(st.text()))
def test_one_json_command_is_one_clean_line(command: str, args: list[str]) -> None:
    message = json.dumps({"type": "command", "data": {"command": command, "args": args}})
    try:
        (request,) = decode(JSON, message)
    except MalformedFrame:
        return  # lone surrogates
    assert isinstance(request, Line)
    assert request.text.isprintable()


def test_several_lines_in_one_text_message_keep_their_order() -> None:
    assert list(decode(PLAIN, "n\r\nlook\n'hi")) == [Line("n"), Line("look"), Line("'hi")]
    assert list(decode(PLAIN, b"say gr\xc3\xbc\xc3\x9f\xff\n")) == [Line("say grüß�")]
