"""What each verb does, on plain values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mudserver.game import rules
from mudserver.game.commands import parse_command
from mudserver.game.events import (
    ChatMessage,
    Event,
    Everywhere,
    InRoom,
    LookedAround,
    Occupants,
    Outcome,
    PlayerEntered,
    PlayerEnteredGame,
    PlayerLeft,
    PlayerLeftGame,
    PlayerLinkdead,
    PlayerReturned,
    Problem,
    Quit,
    Reply,
    RoomShown,
    RoomView,
    SetColour,
    SetTicks,
    SignedIn,
    ToPlayer,
    Wish,
)
from mudserver.game.ids import Direction
from mudserver.game.text import split_lines
from mudserver.game.world import Player, World
from tests.game.conftest import enter
from tests.worlds import CELL, LOFT, QUAY, ROW, small_map


def do(world: World, player: Player, line: str) -> Outcome:
    return rules.apply(world, player.id, parse_command(line))


def answer(world: World, player: Player, line: str) -> str:
    """The words of a command that changes nothing for anybody else."""
    outcome = do(world, player, line)
    assert outcome.events == ()
    (said,) = outcome.answers
    assert isinstance(said, Reply)
    return said.text


def quay_as_seen_by(viewer: str, *occupants: str) -> RoomView:
    exits = ((Direction.NORTH, ROW), (Direction.IN, CELL))
    return RoomView(QUAY, "The Quay", "Stones, and no sea.", "Harbour", exits, occupants, viewer)


# --- coming and going ---------------------------------------------------------------------------------------------


def test_somebody_new_sees_the_starting_room_and_everybody_hears_of_it(world: World, alice: Player) -> None:
    entered = rules.enter_game(world, "Bob")
    assert not isinstance(entered, Problem)
    bob, events = entered
    assert rules.sign_in_answers(world, bob, "key") == (
        SignedIn(bob.id, "Bob", quay_as_seen_by("Bob", "Alice", "Bob"), "key"),
        Occupants(QUAY, ("Alice", "Bob")),
    )
    assert events == (
        Event(PlayerEnteredGame(bob.id, "Bob"), Everywhere(), actor=bob.id),
        Event(PlayerEntered(bob.id, "Bob", QUAY, "The Quay"), InRoom(QUAY), actor=bob.id),
    )


@pytest.mark.parametrize("name", ["Alice", "alice", "ALICE"])
def test_a_name_is_not_given_twice_whatever_the_case(world: World, alice: Player, name: str) -> None:
    refused = rules.enter_game(world, name)
    assert refused == Problem(
        "login_refused",
        "Alice is here already. Please choose another name. If that is you: resume, and the word you were told.",
    )
    assert list(world.players.values()) == [alice]


def test_a_name_is_free_again_after_its_owner_left(world: World, alice: Player) -> None:
    rules.leave_game(world, alice)
    assert enter(world, "alice").name == "alice"


@pytest.mark.parametrize("name", ["", "x", "admin", "Al ice", "Guest1"])
def test_a_bad_name_is_refused_for_a_reason(world: World, name: str) -> None:
    refused = rules.enter_game(world, name)
    assert isinstance(refused, Problem)
    assert refused.kind == "login_refused"
    assert not world.players


def test_guests_get_names_of_their_own(world: World) -> None:
    assert [enter(world, word).name for word in ("guest", "Guest", "GUEST")] == ["Guest1", "Guest2", "Guest3"]


def test_leaving_the_game_is_told_to_the_room_and_then_to_everybody(world: World, alice: Player, bob: Player) -> None:
    assert rules.leave_game(world, alice) == (
        Event(PlayerLeft(alice.id, "Alice", QUAY, "The Quay"), InRoom(QUAY), actor=alice.id),
        Event(PlayerLeftGame(alice.id, "Alice"), Everywhere(), actor=alice.id),
    )
    assert list(world.inside(QUAY)) == [bob]
    assert world.named("Alice") is None


def test_somebody_who_lost_the_line_stands_there_still_and_it_shows(world: World, alice: Player, bob: Player) -> None:
    fact = PlayerLinkdead(bob.id, "Bob", QUAY, "The Quay")
    assert rules.lose_line(world, bob) == Event(fact, InRoom(QUAY), actor=bob.id)
    assert answer(world, alice, "look bob") == "Bob is here, but stares at nothing: the line is lost."
    assert "Bob (has lost the line)" in answer(world, alice, "who")
    refused = rules.enter_game(world, "bob")
    assert isinstance(refused, Problem)
    assert "kept for a while" in refused.text


def test_somebody_who_is_back_is_as_before(world: World, alice: Player, bob: Player) -> None:
    rules.lose_line(world, bob)
    fact = PlayerReturned(bob.id, "Bob", QUAY, "The Quay")
    assert rules.find_line(world, bob) == Event(fact, InRoom(QUAY), actor=bob.id)
    assert answer(world, alice, "look bob") == "Bob is here, and looks back at you."


# --- walking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["north", "n", "nor", "go north", "go n", "GO NORTH"])
def test_walking_changes_the_room_and_tells_both_rooms_where_to_and_where_from(
    world: World, alice: Player, line: str
) -> None:
    outcome = do(world, alice, line)
    exits = ((Direction.SOUTH, QUAY), (Direction.UP, LOFT))
    view = RoomView(ROW, "The Row", "Shut shops.", "Harbour", exits, ("Alice",), "Alice")
    assert outcome.answers == (Reply("You go north."), RoomShown(view))
    assert outcome.events == (
        Event(PlayerLeft(alice.id, "Alice", QUAY, "The Quay"), InRoom(QUAY), alice.id, via=Direction.NORTH),
        Event(PlayerEntered(alice.id, "Alice", ROW, "The Row"), InRoom(ROW), alice.id, via=Direction.SOUTH),
    )
    assert list(world.inside(ROW)) == [alice]
    assert not world.is_inhabited(QUAY)


@pytest.mark.parametrize("way", list(Direction))
def test_every_direction_can_be_walked_where_it_exists_and_is_refused_where_it_does_not(
    world: World, alice: Player, way: Direction
) -> None:
    before = alice.room_id
    if way in world.room_of(alice).exits:
        assert do(world, alice, way.value).answers[0] == Reply(f"You go {way.value}.")
        assert alice.room_id != before
    else:
        assert answer(world, alice, way.value) == "You cannot go that way."
        assert answer(world, alice, f"go {way.value}") == "You cannot go that way."
        assert alice.room_id == before


def test_go_without_a_way_lists_the_exits(world: World, alice: Player) -> None:
    assert answer(world, alice, "go") == "Go where? Exits: north, in."


def test_go_nonsense_goes_nowhere(world: World, alice: Player) -> None:
    assert answer(world, alice, "go home") == "You cannot go that way."


def test_a_walk_there_and_back_ends_where_it_began(world: World, alice: Player) -> None:
    for line in ("n", "u", "d", "s"):
        do(world, alice, line)
    assert alice.room_id == QUAY


# --- seeing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["look", "l", "look around"])
def test_look_shows_the_room_and_who_is_in_it(world: World, alice: Player, bob: Player, line: str) -> None:
    assert do(world, alice, line) == Outcome((LookedAround(quay_as_seen_by("Alice", "Alice", "Bob")),))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("look iron lantern", "It is lit."),
        ("l lantern", "It is lit."),
        ("l lant", "It is lit."),
        ("l ir", 'You see no "ir" here.'),
        ("look at the Lantern", "It is lit."),
        ("read notice", "It says: welcome."),
        ("look bob", "Bob is here, and looks back at you."),
        ("look at BO", "Bob is here, and looks back at you."),
        ("look north", "That way: The Row."),
        ("look n", "That way: The Row."),
        ("look in", "That way: The Cell."),
        ("look east", "There is nothing to see that way."),
        ("look unicorn", 'You see no "unicorn" here.'),
        ("look me", "You look at your hands, and count the fingers. The number is right."),
        ("look alice", "You look at your hands, and count the fingers. The number is right."),
    ],
)
def test_look_at_something_shows_it(world: World, alice: Player, bob: Player, line: str, words: str) -> None:
    assert answer(world, alice, line) == words


def test_somebody_in_another_room_is_not_seen(world: World, alice: Player, bob: Player) -> None:
    do(world, bob, "n")
    assert answer(world, alice, "look bob") == 'You see no "bob" here.'


def test_exits_says_where_each_way_leads(world: World, alice: Player) -> None:
    assert answer(world, alice, "exits") == "You can go:\n  north - The Row\n  in - The Cell"


def test_exits_of_a_room_without_any(world: World, alice: Player) -> None:
    do(world, alice, "in")
    assert answer(world, alice, "exits") == "There is no way out of here."
    assert answer(world, alice, "go") == "Go where? There is no way out of here."


# --- speaking -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["say Hello all", "'Hello all", '"Hello all', "sa Hello all"])
def test_say_is_heard_by_the_room(world: World, alice: Player, line: str) -> None:
    fact = ChatMessage(alice.id, "Alice", "say", "Alice says: Hello all", "n1-m1")
    assert do(world, alice, line) == Outcome(
        (Reply("You say: Hello all"),), (Event(fact, InRoom(QUAY), actor=alice.id),)
    )


@pytest.mark.parametrize(
    ("line", "seen"),
    [(":waves", "Alice waves"), ("emote waves", "Alice waves"), (":'s hat falls", "Alice's hat falls")],
)
def test_emote_shows_a_deed_to_the_room(world: World, alice: Player, line: str, seen: str) -> None:
    fact = ChatMessage(alice.id, "Alice", "emote", seen, "n1-m1")
    assert do(world, alice, line) == Outcome((Reply(seen),), (Event(fact, InRoom(QUAY), actor=alice.id),))


def test_shout_is_heard_everywhere(world: World, alice: Player) -> None:
    fact = ChatMessage(alice.id, "Alice", "shout", "Alice shouts: fire!", "n1-m1")
    assert do(world, alice, "shout fire!") == Outcome(
        (Reply("You shout: fire!"),), (Event(fact, Everywhere(), actor=alice.id),)
    )


@pytest.mark.parametrize("line", ["tell Bob come here", "tell bob come here", "t b come here", "whisper bob come here"])
def test_tell_is_heard_by_one_person_wherever_they_are(world: World, alice: Player, bob: Player, line: str) -> None:
    do(world, bob, "n")
    fact = ChatMessage(alice.id, "Alice", "tell", "Alice tells you: come here", "n1-m1")
    assert do(world, alice, line) == Outcome(
        (Reply("You tell Bob: come here"),), (Event(fact, ToPlayer(bob.id), actor=alice.id),)
    )


def test_reply_answers_whoever_spoke_last(world: World, alice: Player, bob: Player) -> None:
    carol = enter(world, "Carol")
    do(world, alice, "tell bob one")
    do(world, carol, "tell bob two")
    outcome = do(world, bob, "reply three")
    assert outcome.answers == (Reply("You tell Carol: three"),)
    assert outcome.events[0].to == ToPlayer(carol.id)


def test_reply_has_nobody_to_answer_at_first_or_when_they_left(world: World, alice: Player, bob: Player) -> None:
    assert answer(world, bob, "reply hi") == "Nobody has told you anything yet."
    do(world, alice, "tell bob one")
    rules.leave_game(world, alice)
    assert answer(world, bob, "reply hi") == "Whoever that was is no longer in the world."


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("say", "Say what?"),
        ("'", "Say what?"),
        ("emote", "Do what?"),
        (":", "Do what?"),
        ("shout", "Shout what?"),
        ("tell", "Tell whom what?"),
        ("tell bob", "Tell Bob what?"),
        ("tell nobody hi", 'Nobody called "nobody" is in the world.'),
        ("tell alice hi", "You mutter to yourself, and nobody minds."),
    ],
)
def test_words_that_are_missing_are_asked_for(world: World, alice: Player, bob: Player, line: str, words: str) -> None:
    assert answer(world, alice, line) == words


@pytest.mark.parametrize("verb", ["say", "emote", "shout", "tell bob"])
def test_too_many_words_are_refused_and_the_most_are_not(world: World, alice: Player, bob: Player, verb: str) -> None:
    assert do(world, alice, f"{verb} {'x' * 1000}").events != ()
    assert "1000 is the most" in answer(world, alice, f"{verb} {'x' * 1001}")


# --- asking and setting -------------------------------------------------------------------------------------------


def test_who_lists_everybody_by_name(world: World, bob: Player, alice: Player) -> None:
    do(world, bob, "n")
    assert answer(world, alice, "who") == "In the world:\n  Alice\n  Bob\n2 people are in the world."


def test_who_says_so_if_there_is_nobody_else(world: World, alice: Player) -> None:
    assert answer(world, alice, "who") == "In the world:\n  Alice\nYou are alone in the world."


def test_time_tells_the_time_of_the_game(world: World, alice: Player) -> None:
    assert answer(world, alice, "time") == "It is 17:00 on 27 October 1911, by day."


@pytest.mark.parametrize(
    ("line", "words", "wish"),
    [
        ("ticks on", "Ticks: on.", SetTicks(True)),
        ("ticks OFF", "Ticks: off.", SetTicks(False)),
        ("color on", "Color: on.", SetColour(True)),
        ("colour off", "Color: off.", SetColour(False)),
        ("quit", "You let go of the world. Goodbye.", Quit()),
    ],
)
def test_a_wish_goes_to_the_players_own_connection(
    world: World, alice: Player, line: str, words: str, wish: Wish
) -> None:
    assert do(world, alice, line) == Outcome((Reply(words),), (), wish)


@pytest.mark.parametrize(
    ("line", "words"), [("ticks", "Type ticks on, or ticks off."), ("color blue", "Type color on")]
)
def test_a_switch_is_on_or_off_and_nothing_else(world: World, alice: Player, line: str, words: str) -> None:
    assert answer(world, alice, line).startswith(words)
    assert do(world, alice, line).wish is None


def test_commands_names_every_verb(world: World, alice: Player) -> None:
    listed = answer(world, alice, "commands").removeprefix("You can: ").removesuffix(".").split(", ")
    assert listed == [verb.name for verb in rules.VERBS]


def test_help_explains_every_verb(world: World, alice: Player) -> None:
    for verb in rules.VERBS:
        assert answer(world, alice, f"help {verb.name}") == f"{verb.usage}\n  {verb.help}"
    overview = answer(world, alice, "help")
    for verb in rules.VERBS:
        assert verb.name in WAYS or verb.usage in overview


def test_help_takes_abbreviations_and_admits_what_it_does_not_know(world: World, alice: Player) -> None:
    assert answer(world, alice, "help sh").startswith("shout <words>")
    assert answer(world, alice, "help dancing") == 'There is no help on "dancing". Type commands for a list.'


# --- what is no command -------------------------------------------------------------------------------------------


def test_an_unknown_command_gets_an_answer_in_the_game(world: World, alice: Player) -> None:
    assert answer(world, alice, "dance") == '"dance" is nothing you know how to do. Type help to see what is.'


def test_a_very_long_unknown_command_is_not_repeated_at_length(world: World, alice: Player) -> None:
    assert len(answer(world, alice, "z" * 4000)) < 120


def test_an_empty_line_gets_a_short_answer(world: World, alice: Player) -> None:
    assert answer(world, alice, "") == "Pardon? Type help to see what you can do."


WAYS = [way.value for way in Direction]
SOME_LINES = [verb.name for verb in rules.VERBS if verb.name != "quit"] + "n s u d go,n look,me tell,b,hi 'x :x".split()
typed = st.lists(
    st.tuples(st.integers(0, 1), st.one_of(st.sampled_from(SOME_LINES).map(lambda s: s.replace(",", " ")), st.text())),
    max_size=30,
)


@given(typed)
def test_whatever_players_type_nothing_raises_and_everybody_stays_in_one_room(lines: list[tuple[int, str]]) -> None:
    world = World(small_map(), "n1")
    players = [enter(world, "Alice"), enter(world, "Bob")]
    for number, text in lines:
        for line in split_lines(text):
            outcome = do(world, players[number], line)
            assert outcome.answers, "a command is always answered"
            for event in outcome.events:
                assert event.actor == players[number].id
                assert all(value.isprintable() for value in vars_of(event) if isinstance(value, str))
    where = {room.id: list(world.inside(room.id)) for room in world.map.rooms.values()}
    assert sorted(player.name for inside in where.values() for player in inside) == ["Alice", "Bob"]
    assert all(player in where[player.room_id] for player in players)


def vars_of(event: Event) -> list[object]:
    return [getattr(event.fact, field) for field in event.fact.__struct_fields__]
