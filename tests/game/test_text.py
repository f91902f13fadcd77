"""What may reach other people's screens, and what one may be called."""

from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mudserver.game.text import RESERVED_NAMES, clean, name_problem, split_lines

DANGERS = {
    "escape": "\x1b[2J",
    "bell": "\a",
    "eight-bit escape": "\x9b2J",
    "clipboard": "\x1b]52;c;aGk=\a",
    "bidi override": "\u202e",
    "zero-width space": "\u200b",
    "byte order mark": "\ufeff",
    "lone surrogate": "\ud800",
    "private use": "\ue000",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "unassigned": "\U000e0fff",
    "carriage return": "\r",
    "null": "\0",
    "soft hyphen": "\u00ad",
}


@pytest.mark.parametrize("danger", DANGERS.values(), ids=DANGERS)
def test_nothing_that_steers_a_terminal_or_hides_survives(danger: str) -> None:
    cleaned = clean(f"one{danger}two")
    assert not {category(character) for character in cleaned} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert cleaned.startswith("one")
    assert cleaned.endswith("two")


def test_honest_text_is_left_as_it_is() -> None:
    for line in ("Grüße, Ωμέγα, 日本, привет", "a  b", "it's \\fine\\ <b>", "👁"):
        assert clean(line) == line


def test_other_spaces_become_plain_ones_and_the_ends_are_trimmed() -> None:
    assert clean("\ta\u00a0b\u3000c \t") == "a b c"


@given(st.text())
def test_a_cleaned_line_is_printable_and_clean_for_good(line: str) -> None:
    cleaned = clean(line)
    assert cleaned.isprintable()
    assert clean(cleaned) == cleaned
    assert cleaned == cleaned.strip()


def test_only_a_newline_ends_a_line() -> None:
    assert list(split_lines("look\r\nsay a\x0bb\x85c\u2028d\nwho")) == ["look", "say abcd", "who"]


def test_a_newline_at_the_end_opens_no_further_line() -> None:
    assert list(split_lines("look\n")) == ["look"]
    assert list(split_lines("look\n\n")) == ["look", ""]
    assert list(split_lines("")) == [""]


@pytest.mark.parametrize("name", ["Al", "Ithaqua", "O'Neil", "Anne-Marie", "A" * 16, "zoe"])
def test_a_plain_name_will_do(name: str) -> None:
    assert name_problem(name) is None


LOOK_ALIKES = ["\u0410lice", "Alic\u0435", "\uff21lice", "\u3164\u3164\u3164", "Al\u0131ce", "Zoë"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "A" * 17,
        "Al ice",
        "4lice",
        "Alice2",
        "-Alice",
        "'Alice",
        "Al.ice",
        "Al*",
        "Al>",
        "Alice\n",
        *LOOK_ALIKES,
    ],
)
def test_a_name_of_other_letters_or_another_length_is_refused_with_a_reason(name: str) -> None:
    problem = name_problem(name)
    assert problem is not None
    assert "2 to 16 letters" in problem


@pytest.mark.parametrize("name", ["admin", "ADMIN", "Guest", "everybody", "Server", "quit"])
def test_reserved_names_are_refused_whatever_the_case(name: str) -> None:
    assert name.casefold() in RESERVED_NAMES
    problem = name_problem(name)
    assert problem is not None
    assert "reserved" in problem
