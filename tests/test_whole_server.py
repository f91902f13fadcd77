"""The whole server on the mocked clock: everything but sockets and nats-server, with real WebSockets on both ends."""

import random
import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from mudserver.broker.memory import MemoryHub
from mudserver.config import Limits
from mudserver.game.areas import SHIPPED_WORLD, load_map
from mudserver.game.ids import RoomId
from mudserver.realtime.connection import SHUTDOWN
from mudserver.server import FAREWELL
from mudserver.transport.turnstile import HURRIED_SECONDS
from tests.players import Client, JsonPlayer, Play, TextPlayer, open_play


def rises_strictly(envelopes: list[dict[str, Any]]) -> bool:
    numbers = [envelope["sequence_number"] for envelope in envelopes]
    return all(one < other for one, other in pairwise(numbers))


# --- from sign-in to goodbye --------------------------------------------------------------------------------------


async def test_a_text_players_visit_from_sign_in_to_goodbye(autojump_clock: MockClock, play: Play) -> None:
    alice = await play.connect_text()
    await alice.hears("By what name shall they know you?")
    await alice.send("x")
    await alice.hears("2 to 16 letters")
    await alice.send("\n")
    await alice.hears("By what name")
    await alice.send("look")
    await alice.hears("That name is reserved: it is a command")
    await alice.send("help")
    await alice.hears("A name has 2 to 16 letters; guest makes you anybody.")
    for _ in range(Limits().resume_failures_max):
        await alice.send("resume")
        await alice.hears("Resume with which word?")
    await alice.send("alice\nlook lantern\nn\nwho")
    entered = await alice.hears("You are alice.")
    assert "The Quay\r\nStones, and no sea.\r\nExits: north, in.\r\n" in entered
    await alice.hears("You are alone in the world.")
    assert alice.messages[-4:] == [
        "It is lit.\r\n",
        "You go north.\r\n",
        "The Row\r\nShut shops.\r\nExits: south, up.\r\n",
        "In the world:\r\n  alice\r\nYou are alone in the world.\r\n",
    ]
    await alice.send("fly")
    await alice.hears('"fly" is nothing you know how to do.')
    await alice.send("west")
    await alice.hears("You cannot go that way.")
    await alice.send("quit\nlook")
    await alice.hears("Goodbye.")
    await alice.is_closed(1000)
    assert alice.close_reason == "goodbye"
    await play.settle()
    assert not play.node.world.players
    assert not play.node.sessions.open
    assert trio.current_time() < 1


async def test_a_json_players_visit_from_sign_in_to_goodbye(autojump_clock: MockClock, play: Play) -> None:
    jane = await play.connect_json()
    assert jane.websocket.subprotocol == "v1.json.mudserver"
    await jane.hears("welcome")
    await jane.command("look")
    await jane.hears("error", error_type="not_signed_in")
    await jane.send_json("login", {"name": "admin"})
    await jane.hears("error", error_type="login_refused")
    await jane.send_json("login", {"name": "Jane"})
    state = await jane.hears("game_state", player={"id": "n1-p1", "name": "Jane"}, occupants=["Jane"])
    assert (state["data"]["room"]["id"], state["room_id"], state["player_id"]) == ("quay", "quay", "n1-p1")
    assert state["timestamp"] == "2026-11-23T08:11:00Z"
    await jane.hears("room_occupants", occupants=["Jane"], count=1)
    await jane.send_json("ping")
    await jane.hears("pong")
    await jane.send("what?")
    await jane.hears("error", error_type="invalid_format")
    await jane.send(b"{}")
    await jane.hears("error", error_type="invalid_format")
    await jane.send_json("login", {"name": "Jane"})
    await jane.hears("error", error_type="login_refused")
    await jane.command("fly")
    response = await jane.hears("command_response")
    assert "nothing you know" in response["data"]["result"]
    await jane.command("quit")
    await jane.hears("command_response", result="You let go of the world. Goodbye.")
    await jane.is_closed(1000)
    assert rises_strictly(jane.envelopes())


async def test_a_client_that_can_offer_no_subprotocol_asks_in_the_address(
    autojump_clock: MockClock, play: Play
) -> None:
    jane = await play.connect_json("/?dialect=json")
    await jane.hears("welcome")
    await jane.send_json("login", {"guest": True})
    await jane.hears("game_state", player={"id": "n1-p1", "name": "Guest1"})


async def test_a_name_is_unique_while_its_owner_is_here(
    autojump_clock: MockClock, play: Play, alice: TextPlayer
) -> None:
    other = await play.connect_text()
    await other.send("ALICE")
    await other.hears("Alice is here already.")
    await alice.send("quit")
    await alice.is_closed(1000)
    await other.send("ALICE")
    await other.hears("You are ALICE.")


async def test_whoever_gives_no_name_in_a_minute_is_sent_away(autojump_clock: MockClock, play: Play) -> None:
    silent = await play.connect_text()
    await trio.sleep(59.9)
    assert silent.close_code is None
    await silent.hears("By what name")
    await trio.sleep(0.2)
    await silent.hears("That took too long.")
    await silent.is_closed(1008)


async def test_a_message_too_large_ends_that_connection_alone(
    autojump_clock: MockClock, play: Play, alice: TextPlayer, bob: TextPlayer
) -> None:
    await alice.send("say " + "x" * 5000)
    await alice.is_closed(1009)
    await bob.send("say still here")
    await bob.hears("You say: still here")


# --- meeting ------------------------------------------------------------------------------------------------------


async def test_two_players_meet_and_talk(
    autojump_clock: MockClock, play: Play, alice: TextPlayer, bob: TextPlayer
) -> None:
    """One room, one player and the world are three streams; order holds within each, so each has its turn here."""
    await alice.hears("Bob enters the room.")
    await alice.send("'hello\n:waves")
    await play.settle()
    await alice.send("tell bob psst")
    await play.settle()
    assert bob.new() == ["Alice says: hello\r\n", "Alice waves\r\n", "Alice tells you: psst\r\n"]
    assert alice.new() == ["You say: hello\r\n", "Alice waves\r\n", "You tell Bob: psst\r\n"]
    for line in ("reply what?", "n", "shout hey"):
        await bob.send(line)
        await play.settle()
    assert alice.new() == ["Bob tells you: what?\r\n", "Bob leaves the room, heading north.\r\n", "Bob shouts: hey\r\n"]


async def test_the_order_of_a_move_for_everybody_concerned(autojump_clock: MockClock, play: Play) -> None:
    stayer, mover, waiter = [await play.json_player(name) for name in ("Stayer", "Mover", "Waiter")]
    await waiter.command("north")
    await play.settle()
    for each in (stayer, mover, waiter):
        each.new()
    await mover.command("go", "north")
    await play.settle()
    assert [(e["event_type"], e.get("room_id")) for e in stayer.new_envelopes()] == [
        ("player_left", "quay"),
        ("room_occupants", "quay"),
    ]
    arrived = waiter.new_envelopes()
    assert [(e["event_type"], e.get("room_id")) for e in arrived] == [
        ("player_entered", "row"),
        ("room_occupants", "row"),
    ]
    assert arrived[0]["data"]["message"] == "Mover enters the room."
    assert arrived[1]["data"]["occupants"] == ["Waiter", "Mover"]
    moved = mover.new_envelopes()
    assert [e["event_type"] for e in moved] == ["command_response", "room_update"]
    assert moved[1]["data"]["occupants"] == ["Waiter", "Mover"]


async def test_the_actor_never_gets_their_own_event(autojump_clock: MockClock, play: Play, jane: JsonPlayer) -> None:
    for line in ("north", "south", "say hi", "shout hi", "emote waves", "in"):
        await jane.command(*line.split())
    await play.settle()
    assert set(jane.new_types()) == {"command_response", "room_update"}


async def test_nothing_is_shown_twice_and_numbers_rise_strictly(
    autojump_clock: MockClock, play: Play, jane: JsonPlayer, alice: TextPlayer
) -> None:
    for number in range(10):
        await alice.send(f"say {number}\nn\ns")
        await trio.sleep(1)
    await play.settle()
    spoken = [e["data"]["message"] for e in jane.envelopes() if e["event_type"] == "chat_message"]
    assert spoken == [f"Alice says: {number}" for number in range(10)]
    ids = [e["data"]["message_id"] for e in jane.envelopes() if e["event_type"] == "chat_message"]
    assert len(set(ids)) == 10
    passings = [e["event_type"] for e in jane.envelopes() if e["event_type"] in ("player_entered", "player_left")]
    assert passings == ["player_left", "player_entered"] * 10
    assert rises_strictly(jane.envelopes())


async def test_settings_are_each_players_own(
    autojump_clock: MockClock, play: Play, alice: TextPlayer, bob: TextPlayer
) -> None:
    await alice.send("color on\nticks on")
    await trio.sleep(10)
    await play.settle()
    assert alice.new()[-1] == "\x1b[90m[tick 1, 17:02, day]\x1b[0m\r\n"
    await bob.send("say hi")
    assert await alice.hears("Bob says: hi") == "\x1b[36mBob says: hi\x1b[0m\r\n"
    assert not any("\x1b" in message or "tick" in message for message in bob.messages)


async def test_no_control_character_reaches_another_screen(
    autojump_clock: MockClock, play: Play, alice: TextPlayer, bob: TextPlayer, jane: JsonPlayer
) -> None:
    await jane.command("say", "\x1b[2Jone\x9b\u202e\x07\ntwo")
    await jane.command("emote", "\x1b]52;c;eA==\x07")
    await alice.send("say \x1b[31m red \u2028 \u200b")
    await play.settle()
    for message in bob.messages:
        assert message.replace("\r\n", "").isprintable()
    assert "Jane says: [2Jone two\r\n" in bob.new()


# --- going --------------------------------------------------------------------------------------------------------


async def test_a_socket_that_just_dies_is_told_and_in_the_end_is_a_departure(
    autojump_clock: MockClock, play: Play, alice: TextPlayer, jane: JsonPlayer
) -> None:
    await alice.die()
    await play.settle()
    assert jane.new_types() == ["player_linkdead"]
    await trio.sleep(29)
    assert "player_left" not in jane.new_types()
    await trio.sleep(2)
    await jane.hears("player_left", player_name="Alice")
    await jane.hears("room_occupants", occupants=["Jane"])
    assert play.node.publisher.published["player_left_game"] == 1
    assert list(play.node.world.players) == ["n1-p2"]


async def test_a_reader_who_stops_is_ended_as_slow_and_nobody_waits_for_them(autojump_clock: MockClock) -> None:
    async with open_play(limits=Limits(outbox_frames_max=20)) as play:
        alice, bob = await play.text_player("Alice"), await play.text_player("Bob")
        sloth = await play.text_player("Sloth", pair=lockstep_stream_pair)
        await play.settle()
        for each in (alice, bob):
            each.new()
        sloth.stall()
        for number in range(40):
            await alice.send(f"say {number}")
            await play.settle()
            assert f"Alice says: {number}\r\n" in bob.new()
            await trio.sleep(0.1)
        await trio.sleep(Limits().close_seconds_max)
        assert play.node.sessions.closes == {"slow": 1}
        # Nothing could be sent to a client that takes nothing, not even why.
        sloth.go_on()
        await sloth.is_closed(1006)
        # As after any line that died: they have half a minute to come back.
        await alice.hears("Sloth stops in the middle of a thought")
        await trio.sleep(Limits().linkdead_seconds)
        await alice.hears("Sloth leaves the room.")


async def test_a_slow_reader_who_wakes_in_time_is_told_why(autojump_clock: MockClock) -> None:
    async with open_play(limits=Limits(outbox_frames_max=5)) as play:
        alice = await play.text_player("Alice")
        sloth = await play.text_player("Sloth", pair=lockstep_stream_pair)
        sloth.stall()
        while not play.node.sessions.closes["slow"] and all(
            visit.connection.ended is None for visit in play.node.sessions.open
        ):
            await alice.send("say are you asleep?")
            await trio.sleep(0.1)
        sloth.go_on()
        await sloth.is_closed(3008)
        assert sloth.close_reason == "slow"


async def test_when_the_server_stops_everybody_hears_why(
    autojump_clock: MockClock, play: Play, alice: TextPlayer, jane: JsonPlayer
) -> None:
    play.node.sessions.end_all(SHUTDOWN, FAREWELL)
    await alice.hears(FAREWELL)
    await alice.is_closed(1001)
    await jane.is_closed(1001)
    await play.settle()
    assert not play.node.sessions.open
    assert not play.node.world.players


async def test_a_stranger_who_speaks_no_websocket_disturbs_nobody(
    autojump_clock: MockClock, play: Play, alice: TextPlayer, bob: TextPlayer
) -> None:
    for bytes_sent in (b"\x16\x03\x01" * 10, b"GET / HTTP/1.1\r\nHost: m\xff\r\n\r\n", b"", b"GET /"):
        stranger, server_side = memory_stream_pair()
        play.attach(server_side)
        await stranger.send_all(bytes_sent)
        await play.settle()
        await stranger.aclose()
    await alice.send("say who was that")
    await bob.hears("Alice says: who was that")


async def test_an_error_in_one_session_ends_that_session_alone(
    autojump_clock: MockClock, play: Play, alice: TextPlayer, bob: TextPlayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    perform = play.node.manager.perform

    def trip(*arguments: Any) -> None:
        if arguments[-1] == "trip":
            raise RuntimeError("a bug in a command")
        perform(*arguments)

    monkeypatch.setattr(play.node.manager, "perform", trip)
    await alice.send("trip")
    await alice.is_closed(1011)
    await bob.send("say still here")
    await bob.hears("You say: still here")


# --- time and broker ----------------------------------------------------------------------------------------------


async def test_ticks_reach_json_players_at_exactly_ten_twenty_thirty_seconds(
    autojump_clock: MockClock, play: Play, jane: JsonPlayer
) -> None:
    for number in (1, 2, 3):
        await trio.sleep_until(number * 10 - 0.001)
        assert jane.new() == []
        await trio.sleep_until(number * 10 + 0.001)
        (tick,) = jane.new_envelopes()
        assert (tick["event_type"], tick["data"]["tick_number"]) == ("game_tick", number)
        assert tick["timestamp"] == f"2026-11-23T08:11:{number}0Z"


async def test_play_goes_on_while_the_broker_is_away_and_nothing_is_lost_or_shown_twice(
    autojump_clock: MockClock, play: Play, alice: TextPlayer, bob: TextPlayer
) -> None:
    await play.settle()
    alice.new()
    play.broker.lose_link("killed")
    await alice.send("say one")
    await bob.hears("The aether falls silent")
    for line in ("say two", "n", "s"):
        await play.settle()
        await alice.send(line)
    await play.settle()
    play.broker.restore_link()
    await play.settle()
    await alice.send("say three")
    await play.settle()
    assert bob.new() == [
        "Alice says: one\r\n",
        "Alice says: two\r\n",
        "Alice leaves the room, heading north.\r\n",
        "Alice enters the room from the north.\r\n",
        "The aether hums again, full of distant voices.\r\n",
        "Alice says: three\r\n",
    ]
    assert [message for message in alice.new() if "aether" in message] == [
        "The aether falls silent; you hear only those nearby.\r\n",
        "The aether hums again, full of distant voices.\r\n",
    ]


# --- two nodes ----------------------------------------------------------------------------------------------------


async def test_a_player_of_one_node_sees_a_player_of_another_come_speak_and_go(autojump_clock: MockClock) -> None:
    hub = MemoryHub()
    async with open_play(hub=hub, node_name="n1") as here, open_play(hub=hub, node_name="n2") as there:
        alice = await here.json_player("Alice")
        bob = await there.text_player("Bob")
        await here.settle()
        assert alice.new_types() == ["player_entered_game", "player_entered", "room_occupants"]
        for line in ("say hello over there", "shout all of you", "n", "s"):
            await bob.send(line)
            await here.settle()
        heard = alice.new_envelopes()
        assert [(e["event_type"], e["data"].get("message")) for e in heard if e["event_type"] != "room_occupants"] == [
            ("chat_message", "Bob says: hello over there"),
            ("chat_message", "Bob shouts: all of you"),
            ("player_left", "Bob leaves the room."),
            ("player_entered", "Bob enters the room."),
        ]
        assert heard[-1]["data"]["occupants"] == ["Alice", "Bob"]
        await alice.command("say", "hello yourself")
        await bob.hears("Alice says: hello yourself")
        alice.new()
        await bob.send("quit")
        await bob.is_closed(1000)
        await here.settle()
        assert [t for t in alice.new_types() if t != "room_occupants"] == ["player_left", "player_left_game"]
        assert rises_strictly(alice.envelopes())


async def test_a_node_hears_nothing_of_rooms_where_none_of_its_players_is(autojump_clock: MockClock) -> None:
    hub = MemoryHub()
    async with open_play(hub=hub, node_name="n1") as here, open_play(hub=hub, node_name="n2") as there:
        alice = await here.text_player("Alice")
        await alice.send("north")
        await here.text_player("Carol")
        bob = await there.text_player("Bob")
        await bob.send("in")  # to the cell: nobody of n1 was ever there
        await here.settle()
        received = here.node.handler.counts["received"]
        await bob.send("say can anybody hear me\n:knocks")
        await here.settle()
        assert here.node.handler.counts["received"] == received


# --- an hour ------------------------------------------------------------------------------------------------------

PLAYERS = 50
JSON_PLAYERS = 20
SECONDS = 3600
SECONDS_BETWEEN_COMMANDS = 2


async def test_an_hour_of_fifty_players_loses_nothing_doubles_nothing_and_keeps_order(
    autojump_clock: MockClock,
) -> None:
    chance = random.Random(2)
    map_ = load_map(SHIPPED_WORLD)
    due: dict[str, list[str]] = {f"P{letters}": [] for letters in names(PLAYERS)}
    async with open_play(map_=map_) as play:
        json_people = {name: await play.json_player(name) for name in list(due)[:JSON_PLAYERS]}
        text_people = {name: await play.text_player(name) for name in list(due)[JSON_PLAYERS:]}
        people: dict[str, Client] = {**json_people, **text_people}
        everybody_is_here = {name: len(person.messages) for name, person in people.items()}
        inside = dict.fromkeys(due, map_.starting_room)
        for number in range(0, SECONDS, SECONDS_BETWEEN_COMMANDS):
            name = chance.choice(list(people))
            if chance.random() < 0.4:
                way = chance.choice(list(map_.rooms[inside[name]].exits))
                there = map_.rooms[inside[name]].exits[way]
                tell_room(due, inside, name, f"{name} leaves the room.")
                inside[name] = there
                tell_room(due, inside, name, f"{name} enters the room.")
                line = way.value
            else:
                line = f"say number {number}"
                tell_room(due, inside, name, f"{name} says: number {number}")
            verb, _, words = line.partition(" ")
            if name in json_people:
                await json_people[name].command(verb, words)
            else:
                await people[name].send(line)
            await trio.sleep(SECONDS_BETWEEN_COMMANDS)
        await play.settle()
        for name, person in json_people.items():
            envelopes = person.envelopes()
            assert rises_strictly(envelopes)
            ticks = [e["data"]["tick_number"] for e in envelopes if e["event_type"] == "game_tick"]
            assert ticks == list(range(1, SECONDS // 10 + 1))
            kinds = ("chat_message", "player_entered", "player_left")
            later = envelopes[everybody_is_here[name] :]
            assert [e["data"]["message"] for e in later if e["event_type"] in kinds] == due[name]
        for name, text_person in text_people.items():
            heard = [m.removesuffix("\r\n") for m in text_person.messages[everybody_is_here[name] :]]
            spoken = [m for m in due[name] if " says: " in m]
            assert [m for m in heard if re.match(r"P\w\w says: ", m)] == spoken
        assert play.node.publisher.awaited == 0
        assert play.node.handler.dropped == Counter()
        assert sum(len(each) for each in due.values()) > 1000


def tell_room(due: dict[str, list[str]], inside: dict[str, RoomId], actor: str, words: str) -> None:
    """Notes what everybody else in the actor's room is to see."""
    for other, room_id in inside.items():
        if other != actor and room_id == inside[actor]:
            due[other].append(words)


def names(count: int) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [letters[number // 26] + letters[number % 26] for number in range(count)]


# --- in a hurry -----------------------------------------------------------------------------------------------------


async def test_whose_lines_wait_for_their_turns_is_not_taken_for_dead(autojump_clock: MockClock) -> None:
    """Seen to fail with a keepalive that asks while we read nothing: the answer lay unread, and the line was cut."""
    async with open_play(limits=Limits(ping_after_seconds=1.0, pong_seconds_max=1.0)) as play:
        alice = await play.connect_text()
        await alice.send("Alice")
        await alice.hears("You are Alice.")
        turnstile = play.node.sessions.turnstile

        async def hurry() -> None:
            while True:
                await turnstile.wait_turn_of_hurried()

        async with trio.open_nursery() as hurried:
            for _ in range(150):
                hurried.start_soon(hurry)
            await alice.send("\n".join(f"say {n}" for n in range(15)))
            for n in range(15):
                await alice.hears(f"You say: {n}")
            hurried.cancel_scope.cancel()
        assert trio.current_time() > 3


async def test_lines_behind_the_name_are_done_even_if_the_time_for_a_name_runs_out(autojump_clock: MockClock) -> None:
    """Seen to fail with a deadline that goes on after the sign-in: it ended the pile in its middle."""
    async with open_play(limits=Limits(sign_in_seconds_max=1.0)) as play:
        alice = await play.connect_text()
        await trio.sleep(1.0 - HURRIED_SECONDS)
        await alice.send("alice\n" + "\n".join(f"say {n}" for n in range(10)))
        for n in range(10):
            await alice.hears(f"You say: {n}")


# --- at the prompt --------------------------------------------------------------------------------------------------


async def test_whoever_wants_to_leave_before_they_came_may(autojump_clock: MockClock, play: Play) -> None:
    alice = await play.connect_text()
    await alice.send("quit")
    await alice.hears("Goodbye.")
    await alice.is_closed(1000)


async def test_whoever_guesses_is_told_why_they_are_shown_out(autojump_clock: MockClock, play: Play) -> None:
    alice = await play.connect_text()
    for _ in range(Limits().resume_failures_max):
        await alice.send("resume bisamumadufuva")
    await alice.hears("Those were too many wrong words.")
    await alice.is_closed(1008)


async def test_a_program_is_not_told_that_it_turned_off_what_it_cannot(autojump_clock: MockClock, play: Play) -> None:
    dora = await play.connect_json()
    await dora.send('{"type": "login", "data": {"name": "Dora"}}')
    await dora.send('{"type": "command", "data": {"command": "ticks", "args": ["off"]}}')
    answer = await dora.hears("command_response")
    assert answer["data"]["result"].startswith("That is for people")
