"""The nats-server that comes along: whom it lets in, and that it lives and ends with its server. Real processes."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
from trio.to_thread import run_sync as in_thread

from mudserver.broker.embedded import WANTED_VERSION, EmbeddedBroker, open_embedded_broker
from mudserver.config import Limits
from mudserver.errors import StartupError
from tests.integration.programs import NATS_SERVER, answers, is_alive, wait_gone, wait_until

SECONDS_MAX = 8.0
LIMITS = Limits()
PREFIX = "mud"


def pid_of(embedded: EmbeddedBroker) -> int:
    assert embedded.pid is not None
    return embedded.pid


def port_of(embedded: EmbeddedBroker) -> int:
    port = urlsplit(embedded.url).port
    assert port is not None
    return port


def conversation(port: int, *lines: str) -> str:
    """What nats-server answers to lines of its protocol, up to the PONG or the end. Blocks for a moment."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX) as sock, sock.makefile("rwb") as stream:
        assert stream.readline().startswith(b"INFO ")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stream.write("".join(f"{line}\r\n" for line in (*lines, "PING")).encode())
            stream.flush()
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while not said.endswith(b"PONG\r\n") and (line := stream.readline()):
                said += line
        return said.decode()


def credentials(embedded: EmbeddedBroker) -> str:
    url = urlsplit(embedded.url)
    return f'CONNECT {{"user":"{url.username}","pass":"{url.password}","verbose":false}}'


# --- whom it lets in ----------------------------------------------------------------------------------------------


async def test_it_listens_on_one_loopback_address_only(tmp_path: Path) -> None:
    async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded:
        assert answers(port_of(embedded))
        for elsewhere in ("127.0.0.2", "::1"):
            with pytest.raises(OSError):  # noqa: PT011 - refused, or no such address on this machine
                socket.create_connection((elsewhere, port_of(embedded)), timeout=1).close()


async def test_it_lets_nobody_in_without_its_credentials(tmp_path: Path) -> None:
    async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded:
        for connect in ("CONNECT {}", 'CONNECT {"user":"mudserver","pass":"guess"}'):
            said = await in_thread(conversation, port_of(embedded), connect)
            assert "Authorization Violation" in said
            assert "PONG" not in said
        assert await in_thread(conversation, port_of(embedded), credentials(embedded)) == "PONG\r\n"


async def test_each_start_makes_a_new_password(tmp_path: Path) -> None:
    passwords = set()
    for _ in range(2):
        async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded:
            passwords.add(urlsplit(embedded.url).password)
    assert len(passwords) == 2
    assert all(password is not None and len(password) >= 20 for password in passwords)


@pytest.mark.parametrize("subject", ["mud.room.hall.said", "mud-link.node"])
async def test_its_user_may_reach_the_games_subjects(tmp_path: Path, subject: str) -> None:
    async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded:
        lines = (credentials(embedded), f"SUB {subject} 1", f"PUB {subject} 2", "hi")
        said = await in_thread(conversation, port_of(embedded), *lines)
        assert said == f"MSG {subject} 1 2\r\nhi\r\nPONG\r\n"


@pytest.mark.parametrize("subject", ["other.room.hall.said", "mud", "mudder.x", "$SYS.REQ.SERVER.PING", ">"])
async def test_its_user_may_reach_nothing_else(tmp_path: Path, subject: str) -> None:
    async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded:
        said = await in_thread(conversation, port_of(embedded), credentials(embedded), f"SUB {subject} 1")
        assert "Permissions Violation for Subscription" in said
        if subject != ">":
            said = await in_thread(conversation, port_of(embedded), credentials(embedded), f"PUB {subject} 2", "hi")
            assert "Permissions Violation for Publish" in said


async def test_its_files_are_private(tmp_path: Path) -> None:
    old_mask = os.umask(0)
    try:
        async with open_embedded_broker(tmp_path / "data", PREFIX, LIMITS) as embedded:
            directory = tmp_path / "data" / "broker"
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
            assert modes["nats-server.conf"] == modes["nats-server.pid"] == 0o600
            assert (directory / "nats-server.pid").read_text() == str(pid_of(embedded))
    finally:
        os.umask(old_mask)


async def test_its_password_is_on_no_command_line(tmp_path: Path) -> None:
    async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded:
        password = urlsplit(embedded.url).password
        listing = await in_thread(lambda: subprocess.run(["ps", "axww"], capture_output=True, check=True).stdout)
        assert b"nats-server.conf" in listing
        assert password is not None
        assert password.encode() not in listing


# --- how it lives and ends ----------------------------------------------------------------------------------------


async def test_it_is_gone_after_the_context(tmp_path: Path) -> None:
    async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded:
        pid, port = pid_of(embedded), port_of(embedded)
        assert is_alive(pid)
    assert not is_alive(pid)
    assert not answers(port)


async def test_it_is_gone_after_an_error_and_after_cancellation(tmp_path: Path) -> None:
    pids = []
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded:
            pids.append(pid_of(embedded))
            raise ZeroDivisionError
    with trio.CancelScope() as scope:
        async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded:
            pids.append(pid_of(embedded))
            scope.cancel()
            await trio.sleep_forever()
    assert not any(map(is_alive, pids))


async def test_one_that_does_not_heed_term_is_killed(tmp_path: Path) -> None:
    limits = Limits(broker_stop_seconds_max=0.2)
    with trio.fail_after(SECONDS_MAX):
        async with open_embedded_broker(tmp_path, PREFIX, limits) as embedded:
            pid = pid_of(embedded)
            os.kill(pid, signal.SIGSTOP)
    assert not is_alive(pid)


def has_been_replaced(embedded: EmbeddedBroker, killed: int) -> bool:
    return embedded.pid != killed and answers(port_of(embedded))


async def test_it_is_started_again_on_the_same_port_with_the_same_credentials_when_it_is_killed(
    tmp_path: Path,
) -> None:
    async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded:
        url = embedded.url
        for _ in range(2):
            killed = pid_of(embedded)
            os.kill(killed, signal.SIGKILL)
            back = partial(has_been_replaced, embedded, killed)
            await in_thread(wait_until, back, "another one listens")
            assert embedded.url == url
        said = await in_thread(conversation, port_of(embedded), credentials(embedded))
        assert said == "PONG\r\n"


async def test_a_data_directory_in_use_is_refused_and_its_broker_left_alone(tmp_path: Path) -> None:
    async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded:
        pid = pid_of(embedded)
        with pytest.raises(StartupError, match=r"--data-dir .*another mudserver is using it"):
            async with open_embedded_broker(tmp_path, PREFIX, LIMITS):
                pass
        assert embedded.pid == pid
        assert is_alive(pid)
    async with open_embedded_broker(tmp_path, PREFIX, LIMITS):
        pass  # free again


async def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="--data-dir"):
        async with open_embedded_broker(tmp_path / "file", PREFIX, LIMITS):
            pass


# --- what is left of one whose server was killed --------------------------------------------------------------------

OWNER = """
import sys, trio
from pathlib import Path
from mudserver.broker.embedded import open_embedded_broker
from mudserver.config import Limits

async def main():
    async with open_embedded_broker(Path(sys.argv[1]), "mud", Limits()) as embedded:
        print(embedded.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@contextmanager
def child(*command: str | Path) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_no_broker_survives_the_kill_of_its_server(tmp_path: Path) -> None:
    with child(sys.executable, "-c", OWNER, tmp_path) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        try:
            assert is_alive(pid)
            owner.kill()
            owner.wait()
            if sys.platform == "linux":
                wait_gone(pid)  # the kernel ends it together with its parent
            trio.run(_open_and_close, tmp_path)
            wait_gone(pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def _open_and_close(directory: Path) -> None:
    async with open_embedded_broker(directory, PREFIX, LIMITS):
        pass


async def test_an_orphan_of_an_earlier_run_is_ended_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # exported by some shells and by readline; `ps` cuts its lines there
    await _open_and_close(tmp_path)
    directory = tmp_path / "broker"
    # What a kill leaves where the kernel does not end the broker together with its parent.
    ports = tmp_path / "ports"
    ports.mkdir()
    with child(NATS_SERVER, "--config", directory / "nats-server.conf", "--ports_file_dir", ports) as orphan:
        await in_thread(wait_until, lambda: any(ports.iterdir()), "the orphan runs")
        (directory / "nats-server.pid").write_text(str(orphan.pid))
        (directory / f"nats-server_{orphan.pid}.ports").write_text("{}")
        async with open_embedded_broker(tmp_path, PREFIX, LIMITS) as embedded:
            assert await in_thread(lambda: orphan.wait(SECONDS_MAX)) == -signal.SIGKILL
            assert sorted(directory.glob("*.ports")) == [directory / f"nats-server_{pid_of(embedded)}.ports"]


@pytest.mark.parametrize("pid", ["of somebody else", "of nobody", "nonsense", ""])
async def test_a_stale_pid_file_harms_nobody(tmp_path: Path, pid: str) -> None:
    await _open_and_close(tmp_path)
    with child("sleep", "60") as bystander:
        text = {"of somebody else": str(bystander.pid), "of nobody": "4194304"}.get(pid, pid)
        (tmp_path / "broker" / "nats-server.pid").write_text(text)
        await _open_and_close(tmp_path)
        assert bystander.poll() is None


# --- which program it is --------------------------------------------------------------------------------------------


def put_nats_server(directory: Path, script: str) -> None:
    program = directory / "nats-server"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


async def test_another_version_of_nats_server_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_nats_server(tmp_path, "echo nats-server: v1.0.0")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(StartupError, match=rf"v1\.0\.0.*{WANTED_VERSION}"):
        await _open_and_close(tmp_path)


async def test_a_missing_nats_server_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartupError, match="no nats-server"):
        await _open_and_close(tmp_path)


async def test_a_nats_server_that_ends_at_once_is_reported_with_the_place_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    put_nats_server(tmp_path, f'[ "$1" = --version ] && echo "nats-server: {WANTED_VERSION}"; exit 3')
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with trio.fail_after(SECONDS_MAX):
        with pytest.raises(StartupError, match=r"did not start.*nats-server\.log"):
            await _open_and_close(tmp_path)
