"""The server is told to stop, or is killed, with players in it, and started again."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import trio
from trio.to_thread import run_sync as in_thread
from trio_websocket import ConnectionClosed

from mudserver.server import FAREWELL
from tests.faults.external_broker import hung
from tests.faults.stalled import stalled_reader
from tests.faults.talk import LogBook, lively_room
from tests.integration.players import Door, JsonPlayer, TextPlayer
from tests.integration.programs import Program, Server, answers, is_alive, running_server, start, wait_gone

JSON_LOG = ("--log-format", "json")

READY_SECONDS_MAX = 3.0

# What may hold the end up holds it for half a minute, if it is let.
PATIENT = "[limits]\nclose_seconds_max = 30.0\nwrite_seconds_max = 30.0\n"

ROOM_SECONDS = 2.0
"""What is over in a tenth of a second may take so much longer on a busy machine."""


def config(directory: Path, text: str) -> tuple[str, ...]:
    directory.mkdir(exist_ok=True, parents=True)
    (directory / "config.toml").write_text(text)
    return ("--config", str(directory / "config.toml"), *JSON_LOG)


async def ended(server: Server, seconds: float = 5.0) -> int:
    """The exit code, which must come in time."""
    server.program.is_expected_to_have_ended = True
    return await in_thread(lambda: server.program.wait_ended(seconds))


def goodbye_of(player: TextPlayer | JsonPlayer) -> tuple[int | None, str | None]:
    """The code and the reason with which the connection was closed."""
    closed = player.websocket.closed
    return (closed.code, closed.reason) if closed is not None else (None, None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_everybody_hears_the_last_words_and_why_when_the_server_is_told_to_stop(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Seen to fail without `sessions.end_all`: nobody is told, and the connections end without a close frame."""
    with running_server(tmp_path, *JSON_LOG) as server:
        broker, log = server.program.broker_pid, LogBook(server.program)
        async with lively_room(server.port, is_over=False) as talk, trio.open_nursery() as nursery:
            door = Door(server.port, nursery)
            nameless = await door.connect_text()
            server.program.signal(number)
            await nameless.see(FAREWELL)
            assert await nameless.read_to_close() == (1001, "the server stops")
            assert await ended(server) == 0
            await talk.wait(lambda: all(seat.player.is_gone for seat in talk.seats), "all are gone")
            door.close()
        for seat in talk.seats:
            assert seat.lines()[-1] == FAREWELL
            assert seat.lines().count(FAREWELL) == 1
            assert goodbye_of(seat.player) == (1001, "the server stops")
            for speaker in talk.talkers:
                if speaker is not seat:
                    heard = seat.heard(speaker.name)
                    assert heard == speaker.words[: len(heard)]
                    # What the speaker was told they said was said to the others, but for what was on its way.
                    assert len(speaker.answers()) - len(heard) <= 1
        assert not is_alive(broker)
        assert not answers(server.port)
        assert log.complaints() == []


async def test_a_reader_that_has_stalled_holds_up_nobody_elses_goodbye_and_the_end_not_beyond_the_grace(
    tmp_path: Path,
) -> None:
    """Seen to fail without the deadline on the connections: the end takes the 30 s that a close may take here."""
    limits = PATIENT + "grace_seconds = 1.0\nlines_per_second = 10000.0\nlines_burst = 10000\n"
    limits += (
        "reads_per_second = 10000.0\nreads_burst = 10000\noutbox_bytes_max = 100000000\noutbox_frames_max = 100000\n"
    )
    with running_server(tmp_path, *config(tmp_path, limits)) as server, stalled_reader(server.port):
        async with lively_room(server.port, is_over=False) as talk:
            # More than the kernel keeps for somebody who does not read, so that the outbox fills, too.
            for _ in range(40):
                for seat in talk.talkers:
                    await seat.say("x" * 900)
            began = time.monotonic()
            server.program.signal(signal.SIGTERM)
            await talk.wait(lambda: all(seat.player.is_gone for seat in talk.seats), "all are gone")
            assert time.monotonic() - began < 1.0, "those who read are gone before the grace is over"
            assert all(goodbye_of(seat.player) == (1001, "the server stops") for seat in talk.seats)
            assert await ended(server) == 0
            assert time.monotonic() - began < 1.0 + ROOM_SECONDS


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_cuts_the_goodbyes_short(tmp_path: Path, second: signal.Signals) -> None:
    """Seen to fail when the second signal is not listened for: the end takes the 30 s of the grace here."""
    with running_server(tmp_path, *config(tmp_path, PATIENT + "grace_seconds = 30.0\n")) as server:
        broker = server.program.broker_pid
        with stalled_reader(server.port):
            server.program.signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                await ended(server, 0.5)
            began = time.monotonic()
            server.program.signal(second)
            assert await ended(server) == 0
            assert time.monotonic() - began < ROOM_SECONDS
        assert not is_alive(broker)


async def test_it_stops_in_time_while_the_broker_hangs(tmp_path: Path) -> None:
    """The KILL after `broker_stop_seconds_max`, the one at the end of the context and the kernel's all see to it; with
    any two taken out it still passes.
    """
    with running_server(tmp_path, *config(tmp_path, "[limits]\nbroker_stop_seconds_max = 0.5\n")) as server:
        broker = server.program.broker_pid
        async with lively_room(server.port, is_over=False) as talk:
            with hung(broker):
                await talk.silence()
                began = time.monotonic()
                server.program.signal(signal.SIGTERM)
                await talk.wait(lambda: all(seat.player.is_gone for seat in talk.seats), "all are gone")
                assert await ended(server) == 0
                assert time.monotonic() - began < 0.5 + 1.0 + ROOM_SECONDS
            assert all(goodbye_of(seat.player) == (1001, "the server stops") for seat in talk.seats)
        assert not is_alive(broker)


async def test_after_kill_9_it_starts_again_at_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Killed while it plays, while it stands still, and once more. Seen to fail without prctl and `_end_orphan`: the
    old broker lives on.
    """
    killed: list[Program] = []
    brokers: list[int] = []
    try:
        for is_hung in (False, True, False):
            program = start(tmp_path, *JSON_LOG)
            killed.append(program)
            await in_thread(program.wait_ready)
            assert time.monotonic() - program.started_at < READY_SECONDS_MAX
            assert not any(map(is_alive, brokers)), "a broker of an earlier run"
            server = Server(program)
            brokers.append(program.broker_pid)
            async with trio.open_nursery() as nursery:
                door = Door(server.port, nursery)
                alice = await door.text("Alice")  # a name that nobody holds any more
                await alice.type("say here")
                await alice.see("You say: here")
                if is_hung:
                    program.signal(signal.SIGSTOP)
                program.signal(signal.SIGKILL)
                await in_thread(program.wait_ended)
                with pytest.raises(ConnectionClosed):
                    await alice.next_frame()
                door.close()
            assert not answers(server.port)
        await in_thread(wait_gone, brokers[-1])
        # What is left is a directory that anybody may use.
        with running_server(tmp_path, *JSON_LOG) as server:
            assert time.monotonic() - server.program.started_at < READY_SECONDS_MAX
            left = sorted(path.name for path in (tmp_path / "data" / "broker").glob("*.ports"))
            assert left == [f"nats-server_{server.program.broker_pid}.ports"]
    finally:
        for program in killed:
            program.end()
        for broker in filter(is_alive, brokers):
            os.kill(broker, signal.SIGKILL)


async def test_a_second_server_on_the_same_data_directory_says_so_and_the_first_plays_on(tmp_path: Path) -> None:
    """Seen to fail without the lock: the second ends the broker of the first as an orphan, and starts."""
    with running_server(tmp_path / "first", *JSON_LOG) as server:
        log, broker = LogBook(server.program), server.program.broker_pid
        async with lively_room(server.port) as talk:
            second = start(tmp_path / "second", "--data-dir", str(server.program.data_dir))
            try:
                assert await in_thread(second.wait_ended) == 1
            finally:
                second.end()
            await talk.go_on()
        assert second.errors.splitlines()[-1] == (
            f"mudserver: --data-dir {server.program.data_dir}: another mudserver is using it; "
            "end that one or name another directory."
        )
        assert "Traceback" not in second.errors
        assert is_alive(broker)
        assert server.program.broker_pid == broker
        assert log.complaints() == []
