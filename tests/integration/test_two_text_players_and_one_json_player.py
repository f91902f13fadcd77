"""Three people in one room, on the real server: what each of them sees of the others."""

import re

import trio
from trio.to_thread import run_sync as in_thread

from tests.integration.outsider import Outsider
from tests.integration.players import Door, JsonPlayer, TextPlayer, types_of


async def test_everybody_in_the_room_sees_somebody_come(door: Door, alice: TextPlayer, carol: JsonPlayer) -> None:
    await door.text("Dora")

    assert await alice.see("Dora") == ["Dora enters the room."]
    entered = (await carol.hear("player_entered", player_name="Dora"))[-1]
    assert entered["data"]["message"] == "Dora enters the room."


async def test_who_comes_sees_who_is_there(door: Door, alice: TextPlayer, carol: JsonPlayer) -> None:
    dora = await door.connect_text("Dora")
    dora.forget_rest_of_frame()
    await dora.type("Dora")

    greeting, way_back, *rest = await dora.see("Also here")
    assert greeting == "You are Dora. Type help to see what you can do."
    assert re.fullmatch(r"If the line drops, come back soon and type: resume \w+", way_back)
    assert rest == [
        "",
        "The Hall",
        "A hall with two doors.",
        "Exits: north, east.",
        "Also here: Alice, Bob, Carol.",
    ]


async def test_what_is_said_reaches_the_others_and_not_the_speaker(
    alice: TextPlayer, bob: TextPlayer, carol: JsonPlayer
) -> None:
    await alice.type("'hello, you two")
    await alice.type("say and goodbye")

    assert await bob.see("goodbye") == ["Alice says: hello, you two", "Alice says: and goodbye"]
    heard = await carol.hear("chat_message", message="Alice says: and goodbye")
    assert types_of(heard) == ["chat_message", "chat_message"]
    assert await alice.see("You say: and goodbye") == ["You say: hello, you two", "You say: and goodbye"]
    await alice.type("who")
    assert not any("Alice says" in line for line in await alice.see("people are in the world"))


async def test_a_json_player_speaks_to_text_players(alice: TextPlayer, carol: JsonPlayer) -> None:
    await carol.command("say", "good", "evening")

    assert await alice.see("good evening") == ["Carol says: good evening"]
    await carol.hear("command_response", result="You say: good evening")


async def test_a_walker_is_seen_to_leave_and_to_arrive(alice: TextPlayer, bob: TextPlayer, carol: JsonPlayer) -> None:
    await carol.command("go", "north")
    await carol.hear("room_update")
    await bob.type("north")

    assert await alice.see("Bob") == ["Carol leaves the room, heading north.", "Bob leaves the room, heading north."]
    await carol.hear("player_entered", player_name="Bob", room_id="garden")
    assert (await bob.see("Also here"))[-5:] == [
        "You go north.",
        "The Garden",
        "A garden with a wall around it.",
        "Exits: south.",
        "Also here: Carol.",
    ]
    await bob.type("south")
    assert (await alice.see("Bob"))[-1] == "Bob enters the room from the north."


async def test_what_is_said_in_another_room_is_not_heard(alice: TextPlayer, bob: TextPlayer) -> None:
    await bob.type("north", "say nobody hears this", "south", "say everybody hears this")

    assert await alice.see("everybody") == [
        "Bob leaves the room, heading north.",
        "Bob enters the room from the north.",
        "Bob says: everybody hears this",
    ]


async def test_several_lines_in_one_frame_run_in_order(alice: TextPlayer, bob: TextPlayer) -> None:
    await bob.type("say one", "say two", "emote waves", "east")

    assert await alice.see("heading east") == [
        "Bob says: one",
        "Bob says: two",
        "Bob waves",
        "Bob leaves the room, heading east.",
    ]
    assert await bob.see("You go east.") == ["You say: one", "You say: two", "Bob waves", "You go east."]


async def test_lines_behind_quit_in_the_same_frame_are_not_done(alice: TextPlayer, bob: TextPlayer) -> None:
    await bob.type("quit", "say too late")
    assert await bob.read_to_close() == (1000, "goodbye")

    assert await alice.see("Bob") == ["Bob leaves the room."]


async def test_who_quits_is_told_goodbye_and_the_others_see_it(
    alice: TextPlayer, bob: TextPlayer, carol: JsonPlayer
) -> None:
    await bob.type("quit")

    assert "Goodbye" in (await bob.see("Goodbye"))[-1]
    assert await bob.read_to_close() == (1000, "goodbye")
    assert (await alice.see("Bob"))[-1] == "Bob leaves the room."
    heard = await carol.hear("player_left_game", player_name="Bob")
    assert {"player_left", "player_left_game"} <= set(types_of(heard))


LOST_AND_GIVEN_UP = ["Bob stops in the middle of a thought: the line is lost.", "Bob leaves the room."]


async def test_a_reset_connection_is_seen_by_the_others_as_leaving(
    bob: TextPlayer, alice: TextPlayer, carol: JsonPlayer, outsider: Outsider
) -> None:
    since = outsider.mark()
    await bob.reset()

    assert [line for line in await alice.see("Bob leaves") if "Bob" in line] == LOST_AND_GIVEN_UP
    heard = types_of(await carol.hear("player_left_game", player_name="Bob"))
    assert heard.index("player_linkdead") < heard.index("player_left_game")
    await _outsider_hears_leaving(outsider, since, "Bob")


async def test_a_connection_that_ends_without_goodbye_is_seen_by_the_others_as_leaving(
    bob: TextPlayer, alice: TextPlayer, carol: JsonPlayer, outsider: Outsider
) -> None:
    since = outsider.mark()
    await bob.drop()

    assert [line for line in await alice.see("Bob leaves") if "Bob" in line] == LOST_AND_GIVEN_UP
    heard = types_of(await carol.hear("player_left_game", player_name="Bob"))
    assert heard.index("player_linkdead") < heard.index("player_left_game")
    await _outsider_hears_leaving(outsider, since, "Bob")


async def _outsider_hears_leaving(outsider: Outsider, since: int, name: str) -> None:
    for event_type in ("player_linkdead", "player_left", "player_left_game"):
        await in_thread(lambda kind: outsider.hear_event(kind, since, player_name=name), event_type)


async def test_a_name_is_free_again_after_its_bearer_is_gone(door: Door, alice: TextPlayer, bob: TextPlayer) -> None:
    await bob.drop()
    await alice.see("Bob leaves the room.")

    await door.text("bob")
    assert (await alice.see("bob"))[-1] == "bob enters the room."


async def test_ticks_are_shown_to_who_asks_for_them_and_count_one_by_one(alice: TextPlayer, bob: TextPlayer) -> None:
    await bob.type("ticks on")
    lines = [line for _ in range(3) for line in await bob.see("[tick ")]
    numbers = [int(match[1]) for line in lines if (match := re.match(r"\[tick (\d+), \d\d:\d\d, \w+\]", line))]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]

    await bob.type("ticks off")
    await bob.see("Ticks: off.")
    await alice.type("say none of you saw a tick")
    assert await alice.see("none of you") == ["You say: none of you saw a tick"]


async def test_ticks_come_at_their_interval(carol: JsonPlayer) -> None:
    first = (await carol.hear("game_tick"))[-1]["data"]
    began = trio.current_time()
    while (last := (await carol.hear("game_tick"))[-1]["data"])["tick_number"] < first["tick_number"] + 5:
        assert last["tick_interval"] == 0.3

    # Five intervals; a tick may be late on a busy machine, but none is early by more than the first was late.
    assert 1.2 <= trio.current_time() - began <= 2.5


async def test_a_shout_is_heard_in_every_room_and_a_tell_by_one_alone(
    alice: TextPlayer, bob: TextPlayer, carol: JsonPlayer
) -> None:
    await carol.command("north")
    await carol.hear("room_update")
    await alice.type("tell carol psst", "shout is anybody there")

    heard = await carol.hear("chat_message", channel="shout")
    tells = [each for each in heard if each["event_type"] == "chat_message"]
    assert [each["data"]["message"] for each in tells] == [
        "Alice tells you: psst",
        "Alice shouts: is anybody there",
    ]
    assert not any("psst" in line for line in await bob.see("is anybody there"))


async def test_colour_comes_only_to_who_wants_it(alice: TextPlayer, bob: TextPlayer) -> None:
    await bob.type("color on")
    await bob.see("Color: on.")
    await alice.type("say how colourful")
    assert (await bob.see("colourful"))[-1] == "\x1b[36mAlice says: how colourful\x1b[0m"
    await bob.type("say quite")
    assert (await alice.see("quite"))[-1] == "Bob says: quite"
