"""EventLog: what reaches the disk, what is dropped and counted, and that nobody waits for it."""

import json
import os
import resource
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from mudserver.broker.base import Incoming, Message
from mudserver.broker.memory import MemoryHub
from mudserver.config import Limits
from mudserver.errors import MalformedMessage, StartupError
from mudserver.services.event_log import EventLog, decode_line, parts_of
from tests.logged_play import SUBJECTS, line, open_logged_play, said, stamped

LIMITS = replace(Limits(), event_log_gather_seconds=0.001)
"""Written at once: these tests run on the real clock, because disks do."""

SECONDS_MAX = 8.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.log"


@asynccontextmanager
async def running(log: EventLog) -> AsyncIterator[None]:
    """The log writes while the context lasts; afterwards everything is on disk."""
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        yield
        nursery.cancel_scope.cancel()


async def until_counted(log: EventLog, written: int, dropped: int = 0) -> None:
    with trio.fail_after(SECONDS_MAX):
        while (log.written, log.dropped) != (written, dropped):  # noqa: ASYNC110
            await trio.sleep(0.001)  # a thread writes: there is nothing to wait on but the clock


def say(log: EventLog, *words: str) -> None:
    for each in words:
        log.observe(stamped(said("Alice", each)))


def lines_in(path: Path) -> list[bytes]:
    """The lines of the file being written, newlines included."""
    return path.read_bytes().splitlines(keepends=True)


def size_of(path: Path) -> int:
    return path.stat().st_size


def missing_before_each(path: Path) -> list[int]:
    return [decode_line(each)[1] for each in lines_in(path)]


def words_in(path: Path) -> list[str]:
    """What was said, in all parts of the log, the oldest first."""
    lines = [each for part in reversed(parts_of(path).values()) for each in lines_in(part)]
    assert all(each.endswith(b"\n") for each in lines)
    return [json.loads(each)["payload"]["data"]["message"].removeprefix("Alice says: ") for each in lines]


async def test_a_line_is_the_message_that_went_over_the_bus(
    autojump_clock: MockClock, path: Path, nursery: trio.Nursery
) -> None:
    hub = MemoryHub()
    outsider = hub.connect()
    outsider.subscribe_nowait("mud.>")
    on_the_bus: list[Incoming] = []
    nursery.start_soon(outsider.run, on_the_bus.extend)
    async with open_logged_play(path, hub=hub) as play:
        alice = await play.text_player("Alice")
        await alice.send("say hello\nshout hey\nnorth\ntell Alice x")
        await trio.sleep(25)
        await alice.die()
        await trio.sleep(34)  # past the time that a lost player stays, and before the next tick
    nursery.cancel_scope.cancel()

    in_the_log = [each.rstrip().split(b',"payload":', 1) for each in lines_in(path)]
    assert [subject.rpartition(b".")[2] for subject, _ in in_the_log] == [
        b'player_entered_game"',
        b'player_entered"',
        b'chat_message"',
        b'chat_message"',
        b'player_left"',
        b'player_entered"',
        *[b'game_tick"'] * 2,
        b'player_linkdead"',
        *[b'game_tick"'] * 3,
        b'player_left"',
        b'player_left_game"',
    ]
    assert [
        (b'{"subject":"%s"' % each.subject.encode(), each.payload + b"}")
        for each in on_the_bus
        if isinstance(each, Message)
    ] == [(s, p) for s, p in in_the_log]


async def test_what_is_observed_before_the_stop_is_on_disk_after_it(path: Path) -> None:
    log = EventLog(path, SUBJECTS, Limits())
    async with running(log):
        say(log, *map(str, range(500)))
    assert words_in(path) == [str(n) for n in range(500)]
    assert (log.written, log.dropped) == (500, 0)


async def test_a_second_run_goes_on_where_the_first_ended(path: Path) -> None:
    for word in ("one", "two"):
        log = EventLog(path, SUBJECTS, LIMITS)
        async with running(log):
            say(log, word)
    assert words_in(path) == ["one", "two"]


def path_that_all_may_read(path: Path) -> None:
    path.touch()
    path.chmod(0o644)


async def test_only_the_owner_may_read_it_even_if_others_could_before(path: Path) -> None:
    path_that_all_may_read(path)
    limits = replace(LIMITS, event_log_bytes_max=1)
    log = EventLog(path, SUBJECTS, limits)
    async with running(log):
        say(log, "one", "two")
    modes = [stat.S_IMODE(part.stat().st_mode) for part in parts_of(path).values()]
    assert modes == [0o600, 0o600]


async def test_files_rotate_and_only_the_newest_are_kept(path: Path) -> None:
    size = len(line(said("Alice", "00")))
    limits = replace(LIMITS, event_log_bytes_max=3 * size, event_log_files_max=3)
    log = EventLog(path, SUBJECTS, limits)
    async with running(log):
        for n in range(10, 30):
            say(log, str(n))
            await until_counted(log, n - 9)
    assert words_in(path) == [str(n) for n in range(22, 30)]
    assert [(number, part.name) for number, part in parts_of(path).items()] == [
        (0, "events.log"),
        (1, "events.log.1"),
        (2, "events.log.2"),
    ]
    assert [part.stat().st_size for part in parts_of(path).values()] == [2 * size, 3 * size, 3 * size]


async def test_one_batch_that_fills_several_files_is_spread_over_them(path: Path) -> None:
    size = len(line(said("Alice", "00")))
    log = EventLog(path, SUBJECTS, replace(LIMITS, event_log_bytes_max=4 * size))
    async with running(log):
        say(log, *map(str, range(10, 20)))
    assert words_in(path) == [str(n) for n in range(10, 20)]
    assert [part.stat().st_size for part in parts_of(path).values()] == [2 * size, 4 * size, 4 * size]


async def test_a_log_of_one_file_begins_anew_when_it_is_full(path: Path) -> None:
    log = EventLog(path, SUBJECTS, replace(LIMITS, event_log_bytes_max=1, event_log_files_max=1))
    async with running(log):
        say(log, "one", "two")
    assert words_in(path) == ["two"]


async def test_a_lower_limit_on_files_takes_those_away_that_are_too_many(path: Path) -> None:
    for number in (1, 2, 5, 7):
        path.with_name(f"events.log.{number}").write_bytes(line(said("Alice", str(number))))
    log = EventLog(path, SUBJECTS, replace(LIMITS, event_log_bytes_max=1, event_log_files_max=3))
    async with running(log):
        say(log, "old", "new")
    assert words_in(path) == ["1", "old", "new"]


async def test_events_that_find_the_queue_full_are_counted_and_the_next_line_says_how_many(path: Path) -> None:
    log = EventLog(path, SUBJECTS, replace(LIMITS, event_log_events_max=2))
    say(log, "one", "two", "three", "four", "five")  # nobody writes yet: as slow as a disk can be
    assert log.dropped == 3
    async with running(log):
        await until_counted(log, 2, dropped=3)
        say(log, "six")
        await until_counted(log, 3, dropped=3)
        say(log, "seven")
    assert words_in(path) == ["one", "two", "six", "seven"]
    assert missing_before_each(path) == [0, 0, 3, 0]


async def test_an_event_that_cannot_be_written_is_counted_and_nothing_else_is_lost(path: Path) -> None:
    log = EventLog(path, SUBJECTS, LIMITS)
    async with running(log):
        say(log, "one", "half a \ud800", "two")
    assert words_in(path) == ["one", "two"]
    assert missing_before_each(path) == [0, 1]
    assert (log.written, log.dropped) == (2, 1)


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """No file may grow longer: a write fails in the middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_loses_whole_events_and_says_once_that_it_begins(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = EventLog(path, SUBJECTS, LIMITS)
    async with running(log):
        say(log, *["filler"] * 1000)
        await until_counted(log, 1000)
        size = size_of(path)
        with files_no_longer_than(size + 50):
            say(log, "lost")
            await until_counted(log, 1000, dropped=1)
            say(log, "lost", "lost")
            await until_counted(log, 1000, dropped=3)
        assert size_of(path) == size
        say(log, "found")
        await until_counted(log, 1001, dropped=3)
    assert words_in(path)[-2:] == ["filler", "found"]
    assert missing_before_each(path)[-1] == 3
    assert [each.getMessage() for each in caplog.records] == [
        f"the event log {path} cannot be written: File too large; events are dropped",
        f"3 events are missing from the event log {path}",
    ]


async def test_a_directory_that_goes_away_and_comes_back_costs_only_what_happened_meanwhile(tmp_path: Path) -> None:
    directory, aside = tmp_path / "logs", tmp_path / "aside"
    directory.mkdir()
    path = directory / "events.log"
    log = EventLog(path, SUBJECTS, replace(LIMITS, event_log_bytes_max=1))
    async with running(log):
        say(log, "one")
        await until_counted(log, 1)
        directory.rename(aside)
        for count, word in enumerate(("two", "three", "four"), 1):
            say(log, word)
            await until_counted(log, 1, dropped=count)
        aside.rename(directory)
        say(log, "five")
    assert words_in(path) == ["one", "five"]


async def test_a_file_that_somebody_took_away_costs_no_older_part(path: Path) -> None:
    log = EventLog(path, SUBJECTS, replace(LIMITS, event_log_bytes_max=1, event_log_files_max=2))
    async with running(log):
        say(log, "one", "two")
        await until_counted(log, 2)
        await trio.Path(path).unlink()
        say(log, "three")
    assert words_in(path) == ["one", "three"]


async def test_half_a_line_left_by_a_killed_server_does_not_swallow_the_next(path: Path) -> None:
    one, torn, two = line(said("Alice", "one")), b'{"subject":"mud.ro', line(said("Alice", "two"))
    await trio.Path(path).write_bytes(one + torn)
    log = EventLog(path, SUBJECTS, LIMITS)
    async with running(log):
        say(log, "two")
    assert lines_in(path) == [one, torn + b"\n", two]


async def test_a_stop_does_not_wait_for_a_disk_that_hangs(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = EventLog(path, SUBJECTS, replace(LIMITS, event_log_close_seconds_max=0.05))
    limiter = trio.to_thread.current_default_thread_limiter()
    threads = [object() for _ in range(int(limiter.total_tokens))]
    with trio.fail_after(SECONDS_MAX):
        async with running(log):
            for each in threads:  # none is left that could write
                limiter.acquire_on_behalf_of_nowait(each)
            say(log, "one")
    for each in threads:
        limiter.release_on_behalf_of(each)
    assert [each.getMessage() for each in caplog.records] == [
        f"the disk is too slow: the last events are missing from the event log {path}"
    ]


async def test_what_is_observed_after_the_end_is_counted_and_harms_nobody(path: Path) -> None:
    log = EventLog(path, SUBJECTS, LIMITS)
    async with running(log):
        pass
    say(log, "too late")
    assert (log.written, log.dropped) == (0, 1)


async def refusal(path: Path) -> str:
    """What the log says when it is to begin there."""
    with pytest.RaisesGroup(pytest.RaisesExc(StartupError)) as raised:
        async with running(EventLog(path, SUBJECTS, LIMITS)):
            raise AssertionError("it began")
    return str(raised.value.exceptions[0])


async def test_a_place_that_cannot_be_written_is_named_at_the_start(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere" / "events.log"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert await refusal(tmp_path) == f"--event-log {tmp_path}: cannot be written: Is a directory."
    assert await refusal(missing) == f"--event-log {missing}: cannot be written: No such file or directory."
    assert await refusal(fifo) == f"--event-log {fifo}: cannot be written: It is no plain file."


async def test_two_servers_cannot_write_to_one_file(path: Path) -> None:
    async with running(EventLog(path, SUBJECTS, LIMITS)):
        assert await refusal(path) == f"--event-log {path}: another server writes to it; give each its own file."


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\n",
        b"[]\n",
        b'{"subject":"mud.room.quay.chat_message"}\n',
        b'{"subject":"","payload":{}}\n',
        b'{"subject":"mud.room.quay.chat_message","payload":{},"more":1}\n',
        b'{"subject":"a b.room.quay.chat_message","payload":{}}\n',
        b'{"subject":"mud.room.quay.chat_message","payload":' + b"[" * 100_000,
        b"\xff\xfe\n",
    ],
)
def test_what_is_no_line_of_ours_is_malformed(bad: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_line(bad)
