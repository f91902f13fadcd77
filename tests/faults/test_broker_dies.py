"""The broker that comes along is killed, ended, hung, or kept from its port, while a room is full of talk."""

import os
import re
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
from trio.to_thread import run_sync as in_thread

from tests.faults.external_broker import hung
from tests.faults.recovery import BACK_SECONDS_MAX, Note, note_recovery, play_is_on_nats_again
from tests.faults.talk import LogBook, lively_room
from tests.integration.outsider import Outsider, listening_outsider
from tests.integration.programs import Server, answers, is_alive, running_server, wait_until

OPTIONS = ("--log-format", "json", "--tick-seconds", "0.5")

HUNG_SECONDS = 4.0
TAKEN_SECONDS = 2.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server"), *OPTIONS) as server:
        yield server


@pytest.fixture(scope="module")
def outsider(server: Server) -> Iterator[Outsider]:
    with listening_outsider(server.nats_url) as outsider:
        yield outsider


@pytest.fixture
def note(record_property: Note) -> Note:
    return record_property


def broker_port(server: Server) -> int:
    return int(server.nats_url.rpartition(":")[2])


async def wait_for_broker(server: Server) -> float:
    """When it took connections again, on the monotonic clock."""
    await in_thread(wait_until, lambda: answers(broker_port(server)), "the broker is back")
    return time.monotonic()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_nobody_misses_a_line_when_the_broker_is_killed_or_ended(
    server: Server, outsider: Outsider, note: Note, number: signal.Signals
) -> None:
    """Killed with lines on their way through it, which it will never pass on. Seen to fail without `link_lost` handing
    out what has no receipt: those lines are missing; and without `keep_running`: the broker is not back.
    """
    log, killed = LogBook(server.program), server.program.broker_pid
    async with lively_room(server.port) as talk:
        if number == signal.SIGKILL:
            os.kill(killed, signal.SIGSTOP)
            swallowed = talk.said() + 5
            await talk.until(lambda: talk.said() >= swallowed, "lines are on their way")
        os.kill(killed, number)
        struck_at = time.monotonic()
        silent_at = await talk.silence()
        back_at = await wait_for_broker(server)
        recovered_at = await play_is_on_nats_again(talk, outsider, back_at)
        await talk.go_on()
    outage = log.the_outage()
    assert outage.handed_out >= outage.stranded >= (4 if number == signal.SIGKILL else 0)
    assert server.program.broker_pid != killed
    note_recovery(note, number.name, silent_at - struck_at, recovered_at - struck_at)


async def test_nobody_misses_a_line_when_the_broker_hangs_for_seconds(
    server: Server, outsider: Outsider, note: Note
) -> None:
    """Seen to fail with the silence of the heartbeat left out of account (`link_silence_seconds_max = 3600`): nothing
    is heard while the broker hangs; and with `take_receipt` returning events it has given out: lines come twice.
    """
    log, pid = LogBook(server.program), server.program.broker_pid
    async with lively_room(server.port) as talk:
        with hung(pid):
            struck_at = trio.current_time()
            hung_at = time.monotonic()
            silent_at = await talk.silence()
            assert silent_at - hung_at < 3.0
            said_at_silence = talk.said()
            await talk.go_on()  # among themselves
            await trio.sleep_until(struck_at + HUNG_SECONDS)
            assert talk.said() > said_at_silence + 10
        back_at = time.monotonic()
        recovered_at = await play_is_on_nats_again(talk, outsider, back_at)
        await talk.go_on()
    outage = log.the_outage()
    assert outage.reason == "it has fallen silent"
    assert outage.stranded > 10, "two seconds of talk were on their way"
    assert outage.handed_out > outage.stranded
    assert server.program.broker_pid == pid
    note_recovery(note, "SIGSTOP", silent_at - hung_at, recovered_at - back_at)


async def test_nobody_misses_a_line_when_the_brokers_port_is_taken_as_it_restarts(tmp_path: Path, note: Note) -> None:
    """By a mail server. Seen to fail with `keep_running` letting the StartupError out: the server ends, and everybody's
    connection.
    """
    with running_server(tmp_path, *OPTIONS) as server:
        log, killed, port = LogBook(server.program), server.program.broker_pid, broker_port(server)
        async with lively_room(server.port) as talk:
            async with mail_server(await in_thread(kill_and_take_port, killed, port)):
                struck_at = time.monotonic()
                silent_at = await talk.silence()
                await trio.sleep(TAKEN_SECONDS)  # while somebody else has the port
            freed_at = time.monotonic()
            back_at = await wait_for_broker(server)
            assert back_at - freed_at < BACK_SECONDS_MAX
            with listening_outsider(server.nats_url) as outsider:
                recovered_at = await play_is_on_nats_again(talk, outsider, back_at)
                await talk.go_on()
        log.the_outage()
        failures = [each for each in log.records() if "did not start" in each.message]
        assert 1 <= len(failures) < 20, "it tries again, with pauses that grow"
        note_recovery(note, "port taken", silent_at - struck_at, recovered_at - freed_at)


def kill_and_take_port(pid: int, port: int) -> socket.socket:
    """Kills the broker and listens on its port before the next one can."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            sock.bind(("127.0.0.1", port))
            sock.listen(100)
            return sock
        sock.close()
    raise TimeoutError(f"port {port} could not be taken")


@asynccontextmanager
async def mail_server(listening: socket.socket) -> AsyncIterator[None]:
    """Greets whoever comes in a language no NATS client understands."""

    async def greet(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(b"220 mail.example.org ESMTP\r\n")
            await stream.receive_some()

    sock = trio.socket.from_stdlib_socket(listening)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, greet, [trio.SocketListener(sock)])
        yield
        nursery.cancel_scope.cancel()


async def test_nobody_misses_a_line_when_the_broker_dies_again_and_again(
    server: Server, outsider: Outsider, note: Note
) -> None:
    """Killed the moment it is back, three times. Seen to fail as the first test of this module."""
    log = LogBook(server.program)
    async with lively_room(server.port) as talk:
        for _ in range(3):
            os.kill(server.program.broker_pid, signal.SIGKILL)
            await talk.silence()
            await talk.voices()
        await talk.go_on()
    assert len(log.outages()) == 3
    assert is_alive(server.program.broker_pid)
    assert not re.search("Traceback|Exception", server.program.errors)


async def test_nobody_misses_a_line_when_the_brokers_directory_is_gone_as_it_restarts(
    tmp_path: Path, note: Note
) -> None:
    """A disk that is full, or a hand that tidied up too much. Seen to fail with `keep_running` letting the OSError out:
    the server ends with a traceback.
    """
    with running_server(tmp_path, *OPTIONS) as server, listening_outsider(server.nats_url) as outsider:
        log, killed = LogBook(server.program), server.program.broker_pid
        directory = server.program.data_dir / "broker"
        aside = directory.with_name("aside")
        async with lively_room(server.port) as talk:
            directory.rename(aside)
            try:
                os.kill(killed, signal.SIGKILL)
                struck_at = time.monotonic()
                silent_at = await talk.silence()
                await trio.sleep(0.5)  # while it cannot be started
            finally:
                with suppress(OSError):
                    shutil.rmtree(directory)
                aside.rename(directory)
            back_at = await wait_for_broker(server)
            recovered_at = await play_is_on_nats_again(talk, outsider, back_at)
            await talk.go_on()
        log.the_outage()
        note_recovery(note, "directory gone", silent_at - struck_at, recovered_at - back_at)
