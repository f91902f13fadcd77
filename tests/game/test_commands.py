"""From what players type to commands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mudserver.game.commands import VERB_NAMES, Command, parse_command, verb_called
from mudserver.game.ids import SHORT_DIRECTIONS, Direction

HABITS = [
    ("l", "look", ""),
    ("l bob", "look", "bob"),
    ("look at the iron lantern", "look", "at the iron lantern"),
    ("examine lantern", "look", "lantern"),
    ("n", "north", ""),
    ("e", "east", ""),
    ("s", "south", ""),
    ("w", "west", ""),
    ("ne", "northeast", ""),
    ("nw", "northwest", ""),
    ("se", "southeast", ""),
    ("sw", "southwest", ""),
    ("u", "up", ""),
    ("d", "down", ""),
    ("in", "in", ""),
    ("out", "out", ""),
    ("enter", "in", ""),
    ("leave", "out", ""),
    ("go n", "go", "n"),
    ("'hello there", "say", "hello there"),
    ("' hello", "say", "hello"),
    ('"hello', "say", "hello"),
    (":waves", "emote", "waves"),
    (": waves", "emote", "waves"),
    ("'", "say", ""),
    ("ex", "exits", ""),
    ("exi", "exits", ""),
    ("exit", "out", ""),
    ("sa hi", "say", "hi"),
    ("em nods", "emote", "nods"),
    ("me nods", "emote", "nods"),
    ("t bob hi", "tell", "bob hi"),
    ("whisper bob hi", "tell", "bob hi"),
    ("r hi", "reply", "hi"),
    ("sh hi", "shout", "hi"),
    ("wh", "who", ""),
    ("ti", "time", ""),
    ("tic on", "ticks", "on"),
    ("colour on", "color", "on"),
    ("col off", "color", "off"),
    ("com", "commands", ""),
    ("h say", "help", "say"),
    ("?", "help", ""),
    ("q", "quit", ""),
    ("LOOK Bob", "look", "Bob"),
    ("SaY Hi There", "say", "Hi There"),
    ("say   two  spaces", "say", "two  spaces"),
]


@pytest.mark.parametrize(("line", "verb", "rest"), HABITS)
def test_what_players_are_used_to_typing_is_understood(line: str, verb: str, rest: str) -> None:
    command = parse_command(line)
    assert (command.verb, command.rest) == (verb, rest)


@pytest.mark.parametrize("name", VERB_NAMES)
def test_every_verb_answers_to_its_whole_name_and_every_beginning_means_some_verb(name: str) -> None:
    assert verb_called(name) == name
    for length in range(1, len(name)):
        assert verb_called(name[:length]) in VERB_NAMES


@pytest.mark.parametrize("short", SHORT_DIRECTIONS)
def test_a_short_direction_is_never_taken_for_another_verb(short: str) -> None:
    assert verb_called(short) == SHORT_DIRECTIONS[short].value


def test_every_direction_is_a_verb() -> None:
    assert {each.value for each in Direction} <= set(VERB_NAMES)


@pytest.mark.parametrize("line", ["xyzzy", "lookk", "sayhello", "4", "/who", "@dig", "ñorth"])
def test_an_unknown_word_is_no_verb_but_remembered_for_the_answer(line: str) -> None:
    assert parse_command(line) == Command(None, "", line)


def test_an_empty_line_is_a_command_of_nothing() -> None:
    assert parse_command("") == Command(None, "", "")


@given(st.text())
def test_no_line_is_too_strange_to_parse(line: str) -> None:
    assert parse_command(line).verb in (None, *VERB_NAMES)
