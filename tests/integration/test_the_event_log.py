"""The event log of a real server process, and `mudserver replay` as an admin types it."""

import os
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import trio

from mudserver.services.event_log import decode_line
from mudserver.wire.envelope import event_type_of
from tests.integration.players import Door
from tests.integration.programs import REPOSITORY, running_server, start

SECONDS_MAX = 15.0


def replay(*arguments: str, pipe_into: str = "cat") -> "subprocess.CompletedProcess[str]":
    """What `python -m mudserver replay` prints, where nothing but ASCII can be shown."""
    return subprocess.run(
        [
            "bash",
            "-c",
            f'set -o pipefail; "$@" | {pipe_into}',
            "",
            sys.executable,
            "-m",
            "mudserver",
            "replay",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )


async def test_a_server_that_is_told_to_stop_leaves_the_whole_story_on_disk(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    path = tmp_path / "events.log"
    with ExitStack() as doors, running_server(tmp_path, "--event-log", str(path)) as server:
        door = Door(server.port, nursery)
        doors.callback(door.close)  # after the end of the server: both are there when it is told to stop
        alice, bob = await door.text("Alice"), await door.text("Bob")
        await bob.type("say hello", "say na\u00efve", "tell Alice psst", "east", "west", "east")
        seen = await alice.see("Bob enters the room from the east.")
        seen += await alice.see("Bob leaves the room, heading east.")
    assert "Bob tells you: psst" in seen

    events = [decode_line(each)[0].event for each in path.read_bytes().splitlines()]
    assert [event_type_of(each.fact) for each in events[-2:]] == ["player_left", "player_left_game"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    room = replay(str(path), "--room", "hall")
    lines = [each.partition("Z  ")[2] for each in room.stdout.splitlines()]
    heard = [each.replace("\u00ef", r"\xef") for each in seen if "tells you" not in each]
    assert lines == ["", "Alice enters the room.", *heard, "Alice leaves the room."]
    assert (room.returncode, room.stderr) == (0, "")

    rooms = replay(str(path))
    assert [each.split()[:2] for each in rooms.stdout.splitlines()] == [
        ["ROOM", "EVENTS"],
        ["hall", "8"],
        ["shed", "4"],
    ]


def test_a_reader_who_has_seen_enough_may_close_the_pipe(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    path.write_bytes(b"no event\n" * 20_000)
    with path.open("ab") as file:
        for number in range(3000):
            room = f'"subject":"mud.room.r{number}.player_left"'
            data = f'{{"player_id":"p","player_name":"P","room_id":"r{number}","room_name":"R"}}'
            envelope = (
                f'"event_type":"player_left","timestamp":"2026-11-23T08:31:00Z","sequence_number":1,"data":{data}'
            )
            file.write(f'{{{room},"payload":{{{envelope},"metadata":{{"node":"n","schema":1}}}}}}\n'.encode())
    piped = replay(str(path), pipe_into="head -1")
    assert piped.returncode == 0
    assert piped.stdout.startswith("ROOM")
    assert "Traceback" not in piped.stderr


def test_a_log_that_cannot_be_written_is_said_in_one_sentence_and_nothing_starts(tmp_path: Path) -> None:
    program = start(tmp_path, "--event-log", str(tmp_path / "nowhere" / "events.log"))
    try:
        assert program.wait_ended() == 1
        last = program.errors.strip().splitlines()[-1]
        assert (
            last
            == f"mudserver: --event-log {tmp_path}/nowhere/events.log: cannot be written: No such file or directory."
        )
        assert "Traceback" not in program.errors
        assert program.said == ""
    finally:
        program.end()


def test_bad_options_of_replay_end_it_with_code_2() -> None:
    for arguments in ((), ("events.log", "--speed", "2"), ("events.log", "--at", "noon")):
        ended = replay(*arguments)
        assert ended.returncode == 2
        assert "mudserver replay: error: " in ended.stderr
