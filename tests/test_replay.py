"""Replay: what an event log tells afterwards, and what it does with a log that is damaged or lies."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from mudserver import replay
from mudserver.config import Limits
from mudserver.game import events as e
from mudserver.game.ids import PlayerId
from mudserver.services.event_log import parts_of
from tests.logged_play import entered, first_line, left, line, moment, open_logged_play, said, told
from tests.players import TextPlayer
from tests.worlds import CELL, LOFT, QUAY

TIMED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  (.*)")


@dataclass
class Replayed:
    """What `mudserver replay` did."""

    code: int
    lines: list[str]
    problems: list[str]
    pauses: list[float] = field(default_factory=list)

    @property
    def screen(self) -> list[str]:
        """The lines with a time, without it."""
        return [match[1] for each in self.lines if (match := TIMED.fullmatch(each))]


def run_replay(*arguments: object) -> Replayed:
    out, errors, pauses = io.StringIO(), io.StringIO(), list[float]()
    code = replay.main([str(each) for each in arguments], out, errors, pauses.append)
    return Replayed(code, out.getvalue().splitlines(), errors.getvalue().splitlines(), pauses)


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    """Writes lines into a log."""

    def write(*lines: bytes) -> Path:
        path = tmp_path / "events.log"
        path.write_bytes(b"".join(lines))
        return path

    return write


def lines_of(player: TextPlayer) -> list[str]:
    """Every line that came in since the last look."""
    return "".join(player.new()).removesuffix("\r\n").split("\r\n")


async def play_an_evening(path: Path, limits: Limits | None = None) -> list[str]:
    """Bob stands on the quay and is silent while others come, talk, walk, lose the line and go.

    He comes in second 2. Returns every line he saw after that; the log is on disk.
    """
    # Nobody is pinged: on this clock an answer comes in the same instant, which the keepalive takes for none.
    limits = replace(limits or Limits(), ping_after_seconds=100_000)
    async with open_logged_play(path, limits) as play:
        await trio.sleep(2)
        bob = await play.text_player("Bob")
        carol = await play.text_player("Carol")
        await carol.send("in")
        await trio.sleep(3)
        alice = await play.text_player("Alice")
        for typed in ("'hello", ":shivers", "tell carol a secret", "look", "shout where is everybody?", "n", "s"):
            await alice.send(typed)
            await trio.sleep(1)
        await alice.send("say " + "a long story, " * 40)
        await carol.send("say behind four walls")
        await carol.send("shout in here")
        await trio.sleep(300)  # until it is dusk in the game
        await alice.die()
        await trio.sleep(1)
        dora = await play.text_player("Dora")
        await trio.sleep(50)
        await dora.send("'nobody left")
        await play.settle()
        return lines_of(bob)


async def test_a_replay_shows_exactly_what_a_bystander_saw(autojump_clock: MockClock, tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    seen = await play_an_evening(path)
    replayed = run_replay(path, "--room", QUAY, "--at", told(2))

    at = replayed.screen.index("Bob enters the room.") + 1
    assert replayed.screen[at : at + len(seen)] == seen
    assert sorted(replayed.screen[at + len(seen) :]) == [
        "Bob stops in the middle of a thought: the line is lost.",  # when it is all over
        "Dora stops in the middle of a thought: the line is lost.",
    ]
    assert (replayed.code, replayed.problems) == (0, [])
    assert {
        "Carol leaves the room, heading in.",
        "Alice enters the room.",
        "Alice says: hello",
        "Alice shivers",
        "Alice shouts: where is everybody?",
        "Alice enters the room from the north.",
        "Carol shouts: in here",
        "The light thins, and the gulls go quiet all at once.",
        "Alice stops in the middle of a thought: the line is lost.",
        "Alice leaves the room.",
        "Dora says: nobody left",
    } <= set(seen)
    assert not [each for each in seen if "secret" in each or "four walls" in each]


async def test_a_log_in_many_parts_is_one_story(autojump_clock: MockClock, tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    seen = await play_an_evening(path, replace(Limits(), event_log_bytes_max=1000, event_log_files_max=1000))
    assert len(parts_of(path)) > 10
    screen = run_replay(path, "--room", QUAY, "--at", told(2)).screen
    assert screen[1 : 1 + len(seen)] == seen


async def test_who_stood_where_is_known_for_any_time(autojump_clock: MockClock, tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    await play_an_evening(path)

    def who(second: float, room: str = QUAY) -> str:
        marked = [each for each in run_replay(path, "--room", room, "--at", told(second)).lines if each[:3] == "-- "]
        assert len(marked) == 1
        return marked[0]

    assert who(1) == f"-- {told(1)} -- Nobody is here."
    assert who(4) == f"-- {told(4)} -- Here: Bob."
    assert who(4, CELL) == f"-- {told(4)} -- Here: Carol."
    assert who(6) == f"-- {told(6)} -- Here: Bob, Alice."
    assert who(11) == f"-- {told(11)} -- Here: Bob."
    assert who(313) == f"-- {told(313)} -- Here: Bob, Alice (has lost the line)."
    assert who(315) == f"-- {told(315)} -- Here: Bob, Alice (has lost the line), Dora."
    assert who(345) == f"-- {told(345)} -- Here: Bob, Dora."


# --- the screen of a room -------------------------------------------------------------------------------------------


def test_a_room_is_shown_whole_with_the_time_of_each_line(log: Callable[..., Path]) -> None:
    path = log(line(entered("Alice"), 0), line(said("Alice", "hm"), 61), line(left("Alice"), 62))
    assert run_replay(path, "--room", QUAY).lines == [
        "The Quay (quay)",
        f"{told(0)}  Alice enters the room.",
        f"{told(61)}  Alice says: hm",
        f"{told(62)}  Alice leaves the room.",
    ]


def test_at_shows_the_last_lines_before_then_who_is_there_then_what_came(log: Callable[..., Path]) -> None:
    path = log(first_line(), line(entered("Alice"), 0), *(line(said("Alice", str(n)), n) for n in range(1, 40)))
    assert run_replay(path, "--room", QUAY, "--at", told(38)).lines == [
        "The Quay (quay)",
        *(f"{told(n)}  Alice says: {n}" for n in range(18, 38)),
        f"-- {told(38)} -- Here: Alice.",
        f"{told(38)}  Alice says: 38",
        f"{told(39)}  Alice says: 39",
    ]


def test_at_a_time_after_the_end_is_how_it_ended(log: Callable[..., Path]) -> None:
    path = log(first_line(), line(entered("Alice"), 0))
    assert run_replay(path, "--room", QUAY, "--at", told(9999)).lines[1:] == [
        f"{told(0)}  Alice enters the room.",
        f"-- {told(9999)} -- Here: Alice.",
    ]


def test_whoever_left_is_not_there_though_the_log_ends_before_they_arrive_elsewhere(log: Callable[..., Path]) -> None:
    path = log(first_line(), line(entered("Alice"), 0), line(left("Alice"), 1))
    assert run_replay(path, "--room", QUAY, "--at", told(2)).lines[-1] == f"-- {told(2)} -- Nobody is here."


def test_who_stood_there_before_the_log_begins_is_not_known_until_a_server_starts_in_it(
    log: Callable[..., Path],
) -> None:
    """Seen to fail with whoever is not in the log taken for absent: its oldest parts may be gone."""
    path = log(line(said("Bob", "one"), 0), line(entered("Alice"), 2))

    def who(second: float) -> str:
        lines = run_replay(path, "--room", QUAY, "--at", told(second)).lines
        return next(each for each in lines if each.startswith("-- ")).partition("Z -- ")[2]

    not_known = "is here is not known: the log begins later."
    assert [who(1), who(3)] == [f"Who {not_known}", f"Here: Alice. Who else {not_known}"]
    path = log(line(said("Bob", "one"), 0), line(entered("Alice"), 2, node="n2"))
    assert who(3) == "Here: Alice."


def test_a_time_may_be_given_in_any_zone(log: Callable[..., Path]) -> None:
    path = log(line(entered("Alice"), 0), line(said("Alice", "now"), 5))
    utc = run_replay(path, "--room", QUAY, "--at", told(5)).lines
    assert run_replay(path, "--room", QUAY, "--at", told(5).removesuffix("Z")).lines == utc
    assert run_replay(path, "--room", QUAY, "--at", moment(5).isoformat(" ")).lines == utc
    assert run_replay(path, "--room", QUAY, "--at", "2026-11-23T10:11:05+02:00").lines == utc


def test_speed_waits_as_long_as_it_took_divided_by_the_speed(log: Callable[..., Path]) -> None:
    path = log(*(line(said("Alice", str(n)), n) for n in (0, 3, 3, 63, 1_000_000)))
    assert run_replay(path, "--room", QUAY, "--speed", "2").pauses == [1.5, 0, 30, replay.PAUSE_SECONDS_MAX]
    assert run_replay(path, "--room", QUAY, "--speed", "10", "--at", told(43)).pauses == [2, replay.PAUSE_SECONDS_MAX]
    assert run_replay(path, "--room", QUAY).pauses == []


def test_a_clock_that_was_set_back_does_not_stop_the_play(log: Callable[..., Path]) -> None:
    path = log(line(said("Alice", "one"), 100), line(said("Alice", "two"), 40), line(said("Alice", "three"), 41))
    replayed = run_replay(path, "--room", QUAY, "--speed", "1", "--at", told(99))
    assert replayed.screen == ["Alice says: one", "Alice says: two", "Alice says: three"]
    assert replayed.pauses == [1, 0, 1]


def test_after_a_server_that_was_killed_nobody_is_left_standing(log: Callable[..., Path]) -> None:
    path = log(line(entered("Alice"), 0), line(entered("Bob"), 9, node="n2"), line(said("Bob", "alone"), 10, node="n2"))
    assert run_replay(path, "--room", QUAY, "--at", told(10)).lines[1:] == [
        f"{told(0)}  Alice enters the room.",
        f"{told(9)}  -- the server was started anew --",
        f"{told(9)}  Bob enters the room.",
        f"-- {told(10)} -- Here: Bob.",
        f"{told(10)}  Bob says: alone",
    ]


def test_a_gap_in_the_log_is_shown_and_people_are_where_they_are_seen_next(log: Callable[..., Path]) -> None:
    gone = e.Event(e.PlayerLeftGame(PlayerId("n1-Bob"), "Bob"), e.Everywhere())
    path = log(
        first_line(),
        line(entered("Alice"), 0),
        line(entered("Bob"), 1),
        line(entered("Alice", LOFT), 2, dropped_before=7),
        line(gone, 3),
    )
    assert run_replay(path, "--room", QUAY, "--at", told(9)).lines[1:] == [
        f"{told(0)}  Alice enters the room.",
        f"{told(1)}  Bob enters the room.",
        f"{told(2)}  -- 7 events are missing here --",
        f"-- {told(9)} -- Nobody is here.",
    ]
    assert run_replay(path, "--room", LOFT, "--at", told(9)).lines[-1] == f"-- {told(9)} -- Here: Alice."


# --- the list of rooms ----------------------------------------------------------------------------------------------


def test_without_a_room_the_rooms_are_listed(log: Callable[..., Path]) -> None:
    path = log(
        first_line(),
        line(said("Zoe", "hm", LOFT), 0),
        line(entered("Alice"), 1),
        line(left("Alice"), 5),
        line(entered("Bob"), 7),
    )
    assert run_replay(path).lines == [
        "ROOM  EVENTS  FIRST                 LAST                  NAME",
        f"loft       1  {told(0)}  {told(0)}  ",
        f"quay       3  {told(1)}  {told(7)}  The Quay",
    ]
    assert run_replay(path, "--at", told(5)).lines == [
        "ROOM  EVENTS  FIRST                 LAST                  NAME",
        f"loft       1  {told(0)}  {told(0)}  ",
        "      Nobody is here.",
        f"quay       1  {told(1)}  {told(1)}  The Quay",
        "      Here: Alice.",
    ]


def test_an_empty_log_has_no_rooms(log: Callable[..., Path]) -> None:
    replayed = run_replay(log())
    assert (replayed.code, replayed.lines, replayed.problems) == (
        0,
        ["ROOM  EVENTS  FIRST                 LAST                  NAME"],
        [],
    )


# --- damaged and dishonest logs -------------------------------------------------------------------------------------


def test_a_torn_last_line_is_named_and_the_rest_is_shown(log: Callable[..., Path]) -> None:
    path = log(line(entered("Alice")), line(said("Alice", "one")), line(said("Alice", "two"))[:-20])
    replayed = run_replay(path, "--room", QUAY)
    assert replayed.screen == ["Alice enters the room.", "Alice says: one"]
    assert replayed.problems == [
        f"mudserver replay: {path}, line 3 is torn off, as when a server is killed; it is left out."
    ]
    assert replayed.code == 0


def test_a_last_line_that_only_lacks_its_newline_is_whole(log: Callable[..., Path]) -> None:
    replayed = run_replay(log(line(said("Alice", "one")).rstrip()), "--room", QUAY)
    assert (replayed.screen, replayed.problems) == (["Alice says: one"], [])


def test_a_bad_line_is_named_by_file_and_number_and_left_out(log: Callable[..., Path]) -> None:
    path = log(line(said("Alice", "three")), b"what?\n", line(said("Alice", "four")))
    path.with_name("events.log.1").write_bytes(line(said("Alice", "one")) + line(said("Alice", "two"))[:-9])
    replayed = run_replay(path, "--room", QUAY)
    assert replayed.screen == ["Alice says: one", "Alice says: three", "Alice says: four"]
    assert replayed.problems == [
        f"mudserver replay: {path}.1, line 2 cannot be read: bad line; it is left out.",
        f"mudserver replay: {path}, line 2 cannot be read: bad line; it is left out.",
    ]


def test_a_line_without_end_is_one_bad_line_and_not_kept_in_memory(log: Callable[..., Path]) -> None:
    path = log(b"x" * (3 * replay.LINE_BYTES_MAX), b"\n", line(said("Alice", "one")))
    replayed = run_replay(path, "--room", QUAY)
    assert replayed.screen == ["Alice says: one"]
    assert replayed.problems == [f"mudserver replay: {path}, line 1 cannot be read: bad line; it is left out."]


def test_nothing_in_a_log_can_steer_a_terminal(log: Callable[..., Path]) -> None:
    good = line(entered("Alice"))
    path = log(
        line(said("Alice", "\x1b[2J")),
        line(said("Alice", "\x9b2J")),
        line(said("Alice", "\u202egnp")),
        line(entered("A\x07b")),
        good.replace(b"The Quay", b"The \\u001b[31mQuay"),
        good.replace(b"T08:", b"\\u001b08:"),
        good.replace(b"quay.", b"qu\\u001bay."),
        good.replace(b"player_entered", b"player_\\u001bentered"),
        good,
    )
    replayed = run_replay(path, "--room", QUAY)
    assert replayed.screen == ["Alice enters the room."]
    reasons = [each.partition(": bad ")[2].partition(";")[0] for each in replayed.problems]
    assert reasons == ["text", "text", "text", "text", "text", "timestamp", "subject", "event_type"]
    assert all(each.isprintable() for each in (*replayed.lines, *replayed.problems))


def test_a_time_without_a_zone_or_beyond_the_calendar_is_bad(log: Callable[..., Path]) -> None:
    good = line(entered("Alice"))
    times = (b"2026-11-23T08:11:00", b"9999-12-31T23:59:59-23:00", b"yesterday", b"")
    replayed = run_replay(log(*(good.replace(told(0).encode(), each) for each in times)), "--room", QUAY)
    assert (replayed.code, len(replayed.problems)) == (2, 1)
    assert "nothing happened there" in replayed.problems[0]


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said_of_it"),
    [
        ([], "FILE"),
        ([""], "it must be the name of a file"),
        (["LOG", "--room", "two words"], "--room: 'two words' will not do; it must be a room id"),
        (["LOG", "--room", "quay", "--at", "noon"], "--at: 'noon' will not do; it must be a time such as"),
        (["LOG", "--at", "0001-01-01T00:00:00+05:00"], "--at: '0001-01-01T00:00:00+05:00' will not do"),
        (["LOG", "--room", "quay", "--speed", "0"], "--speed: '0' will not do; it must be a number from"),
        (["LOG", "--room", "quay", "--speed", "nan"], "--speed: 'nan' will not do"),
        (["LOG", "--room", "quay", "--speed", "\x1b"], r"--speed: '\x1b' will not do"),
        (["LOG", "--speed", "2"], "--speed plays the screen of one room: name it with --room."),
        (["LOG", "--rooms", "quay"], "--rooms"),
    ],
)
def test_a_bad_option_is_named_and_ends_the_program_with_code_2(
    log: Callable[..., Path], capsys: pytest.CaptureFixture[str], options: list[str], said_of_it: str
) -> None:
    path = log(line(entered("Alice")))
    with pytest.raises(SystemExit) as ended:
        run_replay(*(str(path) if each == "LOG" else each for each in options))
    assert ended.value.code == 2
    assert said_of_it in capsys.readouterr().err


def test_a_room_in_which_nothing_happened_is_a_bad_option(log: Callable[..., Path]) -> None:
    replayed = run_replay(log(line(entered("Alice"))), "--room", "moon")
    assert (replayed.code, replayed.lines, replayed.problems) == (
        2,
        [],
        ["mudserver replay: --room moon: nothing happened there; without --room you get a list of the rooms."],
    )


def test_a_log_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "none.log", "No such file or directory"),
        (tmp_path / "nowhere" / "events.log", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        replayed = run_replay(path)
        assert (replayed.code, replayed.problems) == (1, [f"mudserver replay: {path}: cannot be read: {why}."])
