"""The program as a person or a supervisor meets it: options, messages, exit codes, signals."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from mudserver import __version__
from mudserver.config import OPTIONS, load_config
from mudserver.errors import ConfigError
from tests.integration.players import JSON_SUBPROTOCOL
from tests.integration.programs import REPOSITORY, Program, Server, is_alive, running_server, start, wait_until

SECONDS_MAX = 8.0
REFUSAL_SECONDS_MAX = 10.0
"""Whatever hinders a start is told within this time."""

# For each option: three texts that are fine, what each means, and one that will not do.
VALUES: dict[str, tuple[tuple[str, str, str], Callable[[str], Any], str]] = {
    "host": (("127.0.0.1", "127.0.0.2", "localhost"), str, ""),
    "port": (("0", "4000", "65535"), int, "65536"),
    "nats_url": (("nats://a:b@h:1", "nats://h", "tls://h:4222"), str, "http://h"),
    "nats_prefix": (("one", "two", "thr-ee_3"), str, "two.words"),
    "data_dir": (("/one", "/two", "/three"), Path, ""),
    "world": (("/one", "/two", "/three"), Path, ""),
    "tick_seconds": (("0.5", "2", "86400"), float, "0"),
    "log_level": (("debug", "warning", "error"), str, "loud"),
    "log_format": (("text", "json", "text"), str, "xml"),
    "ready_file": (("/one", "/two", "/three"), Path, ""),
}

every_option = pytest.mark.parametrize("name", VALUES)


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    return "MUDSERVER_" + name.upper()


def config_file(directory: Path, text: str) -> str:
    path = directory / "config.toml"
    path.write_text(text)
    return str(path)


# --- options, read --------------------------------------------------------------------------------------------------


def test_every_option_of_the_issue_is_there() -> None:
    assert set(VALUES) <= {option.name for option in OPTIONS}


def test_the_defaults_are_those_of_the_issue() -> None:
    config = load_config([], {"XDG_STATE_HOME": "/state"})
    assert (config.host, config.port, config.nats_url, config.tick_seconds) == ("127.0.0.1", 4000, None, 10.0)
    assert (config.world, config.ready_file, config.log_format) == (None, None, "text")
    assert config.data_dir == Path("/state/mudserver")


@every_option
def test_an_option_is_taken_from_the_command_line(name: str) -> None:
    (value, *_), parse, _ = VALUES[name]
    assert getattr(load_config([flag(name), value], {}), name) == parse(value)
    assert getattr(load_config([f"{flag(name)}={value}"], {}), name) == parse(value)


@every_option
def test_an_option_is_taken_from_the_environment(name: str) -> None:
    (value, *_), parse, _ = VALUES[name]
    assert getattr(load_config([], {variable(name): value}), name) == parse(value)


@every_option
def test_an_option_is_taken_from_the_file(name: str, tmp_path: Path) -> None:
    (value, *_), parse, _ = VALUES[name]
    file = config_file(tmp_path, f'{name} = "{value}"\n')
    assert getattr(load_config(["--config", file], {}), name) == parse(value)
    assert getattr(load_config([], {"MUDSERVER_CONFIG": file}), name) == parse(value)


@pytest.mark.parametrize(
    ("line", "name", "value"), [("port = 4321", "port", 4321), ("tick-seconds = 3", "tick_seconds", 3)]
)
def test_a_file_may_write_numbers_as_numbers_and_hyphens_as_the_flags_do(
    tmp_path: Path, line: str, name: str, value: float
) -> None:
    assert getattr(load_config(["--config", config_file(tmp_path, line)], {}), name) == value


@every_option
def test_the_command_line_comes_before_the_environment_and_that_before_the_file(name: str, tmp_path: Path) -> None:
    (first, second, third), parse, _ = VALUES[name]
    file = config_file(tmp_path, f'{name} = "{third}"\n')
    all_three = load_config([flag(name), first, "--config", file], {variable(name): second})
    assert getattr(all_three, name) == parse(first)
    assert getattr(load_config(["--config", file], {variable(name): second}), name) == parse(second)


@every_option
def test_a_bad_value_is_refused_by_the_name_it_was_given_under(name: str, tmp_path: Path) -> None:
    bad = VALUES[name][2]
    with pytest.raises(ConfigError, match=rf"^{flag(name)}: .*must be"):
        load_config([flag(name), bad], {})
    with pytest.raises(ConfigError, match=rf"^{variable(name)}: .*must be"):
        load_config([], {variable(name): bad})
    with pytest.raises(ConfigError, match=rf"^{name} in .*config\.toml: .*must be"):
        load_config(["--config", config_file(tmp_path, f'{name} = "{bad}"\n')], {})


@pytest.mark.parametrize("value", ["-1", "70000", "4000.5", "http", "", " 1", "0x10", "1e3"])
def test_a_port_is_a_whole_number_up_to_65535(value: str) -> None:
    with pytest.raises(ConfigError, match="--port"):
        load_config([f"--port={value}"], {})


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "0", "86401", "ten", "1e-9"])
def test_a_tick_lasts_a_sensible_number_of_seconds(value: str) -> None:
    with pytest.raises(ConfigError, match="--tick-seconds"):
        load_config([f"--tick-seconds={value}"], {})


@pytest.mark.parametrize(
    "line",
    [
        "port = true",
        "port = [4000]",
        "prot = 4000",
        "port = 4000 4001",
        "limits = 3",
        "[limits]\nno_such_limit = 1",
        "[limits]\nmessage_bytes_max = 0",
        "[limits]\nmessage_bytes_max = 1.5",
        "[limits]\nmessage_bytes_max = true",
        "[limits]\nwrite_seconds_max = nan",
        '[limits]\nwrite_seconds_max = "5"',
    ],
)
def test_a_file_that_will_not_do_is_refused_with_its_name(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml"):
        load_config(["--config", config_file(tmp_path, line)], {})


def test_a_limit_is_taken_from_the_file(tmp_path: Path) -> None:
    config = load_config(["--config", config_file(tmp_path, "[limits]\nwrite_seconds_max = 7")], {})
    assert config.limits.write_seconds_max == 7.0


# --- options, as the program takes them -----------------------------------------------------------------------------


def run(
    *arguments: str, environment: dict[str, str] | None = None, command: tuple[str, ...] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Runs the program to its end, which must come in time."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MUDSERVER_")}
    return subprocess.run(
        [*(command or (sys.executable, "-m", "mudserver")), *arguments],
        cwd=REPOSITORY,
        env={**inherited, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=REFUSAL_SECONDS_MAX,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (["--port", "many"], {}, "--port"),
        (["--prot", "4000"], {}, "--prot"),
        ([], {"MUDSERVER_TICK_SECONDS": "soon"}, "MUDSERVER_TICK_SECONDS"),
        ([], {"MUDSERVER_PROT": "4000"}, "MUDSERVER_PROT"),
        (["--config", "/no/such/file.toml"], {}, "--config"),
    ],
)
def test_a_bad_or_unknown_option_is_named_and_ends_the_program_with_code_2(
    arguments: list[str], environment: dict[str, str], named: str
) -> None:
    ended = run(*arguments, environment=environment)
    assert ended.returncode == 2
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_help_lists_every_option_and_version_tells_the_version() -> None:
    listed = run("--help")
    assert listed.returncode == 0
    assert set(re.findall(r"--[a-z-]+", listed.stdout)) >= {option.flag for option in OPTIONS} | {"--config"}
    assert run("--version").stdout == f"mudserver {__version__}\n"


def test_the_installed_command_is_the_same_program() -> None:
    installed = Path(sys.executable).parent / "mudserver"
    assert installed.exists(), "run scripts/test once: it installs the command"
    as_command, as_module = run("--help", command=(str(installed),)), run("--help")
    assert as_command.returncode == as_module.returncode == 0
    assert as_command.stdout == as_module.stdout


# --- what hinders a start -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has its port and its data directory already."""
    with running_server(tmp_path_factory.mktemp("first")) as server:
        yield server


def refused(directory: Path, *options: str) -> str:
    """The one sentence with which a start was refused, in time and with code 1."""
    program = start(directory, *options)
    try:
        code = program.wait_ended(REFUSAL_SECONDS_MAX)
    finally:
        program.end()
    assert code == 1, program.errors
    return sentence_in(program)


def sentence_in(program: Program) -> str:
    assert "Traceback" not in program.errors
    assert not program.ready_file.exists()
    said = [line for line in program.errors.splitlines() if line.startswith("mudserver: ")]
    assert len(said) == 1, program.errors
    assert said[0].endswith(".")
    return said[0]


def test_a_port_that_is_taken_is_reported(server: Server, tmp_path: Path) -> None:
    said = refused(tmp_path, "--port", str(server.port))
    assert f"--port {server.port}" in said
    assert "already" in said


def test_a_data_directory_in_use_is_reported_and_the_first_server_plays_on(server: Server, tmp_path: Path) -> None:
    broker_pid = server.program.broker_pid
    said = refused(tmp_path, "--data-dir", str(server.program.data_dir))
    assert "--data-dir" in said
    assert str(server.program.data_dir) in said
    assert server.program.broker_pid == broker_pid
    assert is_alive(broker_pid)
    with signed_in(server.url, "Dora") as dora:
        read_until(dora, "Exits:")


def test_a_host_that_is_none_is_reported(tmp_path: Path) -> None:
    assert "--host" in refused(tmp_path, "--host", "no-such-host.invalid")


def test_a_ready_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    assert "--ready-file" in refused(tmp_path, "--ready-file", str(tmp_path / "none" / "ready.json"))


def test_a_world_without_a_directory_is_reported(tmp_path: Path) -> None:
    assert str(tmp_path / "none") in refused(tmp_path, "--world", str(tmp_path / "none"))


def test_every_fault_of_a_broken_world_is_told_at_once(tmp_path: Path) -> None:
    world = tmp_path / "world"
    world.mkdir()
    (world / "house.toml").write_text(
        '[area]\nid = "house"\nname = "House"\nstarting_room = "hall"\n'
        '[[room]]\nid = "hall"\nname = "Hall"\ndescription = "A hall."\n[room.exits]\nnorth = "nowhere"\n'
        '[[room]]\nid = "hall"\nname = "Hall again"\ndescription = "A hall."\n'
    )
    program = start(tmp_path / "run", "--world", str(world))
    try:
        assert program.wait_ended(REFUSAL_SECONDS_MAX) == 1
    finally:
        program.end()
    assert "Traceback" not in program.errors
    assert "house.toml:10" in program.errors
    assert "nowhere" in program.errors
    assert "this id is taken" in program.errors


def test_a_nats_server_that_cannot_be_reached_is_reported_in_time(tmp_path: Path) -> None:
    """Nobody there, somebody who says nothing, and somebody who speaks another language; all at once, to save time."""
    with silent_listener() as silent, silent_listener(greeting=b"220 mail.example.org ESMTP\r\n") as other:
        urls = {"nobody": 1, "silent": silent, "other": other}
        programs = {
            name: start(tmp_path / name, "--nats-url", f"nats://keeper:lantern@127.0.0.1:{port}")
            for name, port in urls.items()
        }
        try:
            for name, program in programs.items():
                left = REFUSAL_SECONDS_MAX - (time.monotonic() - program.started_at)
                assert program.wait_ended(max(0.1, left)) == 1
                said = sentence_in(program)
                assert f"nats://127.0.0.1:{urls[name]} cannot be used" in said
                assert "lantern" not in program.errors
        finally:
            for program in programs.values():
                program.end()


@contextmanager
def silent_listener(greeting: bytes = b"") -> Iterator[int]:
    """A port that takes connections and says no more than its greeting, which none of its guests understands."""
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    sock, _ = listening.accept()
                except OSError:
                    return
                accepted.append(sock)
                sock.sendall(greeting)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS_MAX)
            for sock in accepted:
                sock.close()


# --- ready ----------------------------------------------------------------------------------------------------------


def test_the_ready_file_says_where_and_who_and_is_private(server: Server) -> None:
    path = server.program.ready_file
    ready = json.loads(path.read_text())
    assert {"host", "port", "nats_url", "pid"} <= set(ready)
    assert ready["host"] == "127.0.0.1"
    assert ready["pid"] == server.program.process.pid
    assert re.fullmatch(r"nats://\w+:[^@]{20,}@127\.0\.0\.1:\d+", ready["nats_url"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir() if "ready" in each.name] == [path.name]
    with connect(f"ws://{ready['host']}:{ready['port']}/") as websocket:
        read_until(websocket, "By what name")


def test_one_line_tells_a_person_where_to_connect_what_to_type_and_which_broker(server: Server) -> None:
    assert server.program.said.count("\n") == 1
    assert server.url in server.program.said
    assert "guest" in server.program.said
    assert re.search(r"broker nats://127\.0\.0\.1:\d+\n", server.program.said)
    password = server.nats_url.split(":")[2].split("@")[0]
    assert password not in server.program.said
    assert password not in server.program.errors


def test_a_ready_file_that_was_there_is_replaced_and_not_followed_up_in_parts(tmp_path: Path) -> None:
    (tmp_path / "ready.json").write_text("x" * 10_000)
    (tmp_path / "ready.json").chmod(0o644)
    with running_server(tmp_path) as server:
        assert json.loads(server.program.ready_file.read_text())["pid"] == server.program.process.pid
        assert stat.S_IMODE(server.program.ready_file.stat().st_mode) == 0o600
    assert not server.program.ready_file.exists()


def test_a_start_that_fails_leaves_no_word_of_a_server_that_is_gone(tmp_path: Path) -> None:
    """Seen to fail with a file that is only ever replaced; `refused` looks."""
    (tmp_path / "ready.json").write_text('{"port": 1}')
    refused(tmp_path, "--world", str(tmp_path / "none"))


def test_a_second_start_takes_less_than_three_seconds(tmp_path: Path) -> None:
    for _ in range(2):
        with running_server(tmp_path) as server:
            seconds = time.monotonic() - server.program.started_at
    assert seconds < 3


def test_a_start_after_kill_9_takes_less_than_three_seconds_and_leaves_no_broker_behind(tmp_path: Path) -> None:
    killed = start(tmp_path)
    try:
        killed.wait_ready()
        orphan = killed.broker_pid
        killed.signal(signal.SIGKILL)
        killed.wait_ended()
        with running_server(tmp_path) as server:
            assert time.monotonic() - server.program.started_at < 3
            assert server.program.broker_pid != orphan
            assert not is_alive(orphan)
    finally:
        killed.end()


def test_log_lines_are_json_if_asked_for(tmp_path: Path) -> None:
    with running_server(tmp_path, "--log-format", "json", "--log-level", "debug") as server:
        pass
    lines = [json.loads(line) for line in server.program.errors.splitlines()]
    assert {"time", "level", "logger", "message"} <= set(lines[0])


# --- signals --------------------------------------------------------------------------------------------------------


@contextmanager
def signed_in(url: str, name: str, subprotocol: str | None = None) -> Iterator[ClientConnection]:
    offered = [Subprotocol(subprotocol)] if subprotocol else None
    with connect(url, subprotocols=offered, open_timeout=SECONDS_MAX, close_timeout=SECONDS_MAX) as websocket:
        login = json.dumps({"type": "login", "data": {"name": name}}) if subprotocol else name
        websocket.send(login)
        yield websocket


def read_until(websocket: ClientConnection, text: str) -> str:
    read = ""
    while text not in read:
        read += str(websocket.recv(SECONDS_MAX))
    return read


def read_to_close(websocket: ClientConnection) -> tuple[str, int, str]:
    """All that comes, and the code and the reason of the close."""
    read = ""
    while True:
        try:
            read += str(websocket.recv(SECONDS_MAX))
        except ConnectionClosed as closed:
            return read, *code_and_reason(closed)


def code_and_reason(closed: ConnectionClosed) -> tuple[int, str]:
    assert closed.rcvd is not None, "no close frame came"
    return closed.rcvd.code, closed.rcvd.reason


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_and_the_players_are_told_why(tmp_path: Path, number: signal.Signals) -> None:
    with running_server(tmp_path) as server:
        broker_pid = server.program.broker_pid
        with (
            signed_in(server.url, "Dora") as dora,
            signed_in(server.url, "Emil", JSON_SUBPROTOCOL) as emil,
            connect(server.url) as stranger,
        ):
            read_until(dora, "Emil enters the room.")
            read_until(emil, "room_occupants")
            server.program.signal(number)
            for websocket in (dora, emil, stranger):
                read, code, reason = read_to_close(websocket)
                assert "The server stops." in read
                assert (code, reason) == (1001, "the server stops")
        assert server.program.wait_ended() == 0
        assert not is_alive(broker_pid)
        with socket.socket() as sock:
            assert sock.connect_ex(("127.0.0.1", server.port)) != 0
        server.program.is_expected_to_have_ended = True


# A shutdown that waits for half a minute, if it is let.
PATIENT = "[limits]\nclose_seconds_max = 30.0\ngrace_seconds = 30.0\n"


@contextmanager
def deaf_client(port: int) -> Iterator[socket.socket]:
    """A client that has shaken hands and answers nothing any more, not even a close."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX) as sock:
        sock.sendall(
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        receive_until(sock, b"By what name")
        yield sock


def receive_until(sock: socket.socket, wanted: bytes) -> None:
    received = b""
    while wanted not in received:
        data = sock.recv(4096)
        assert data, received
        received += data


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_cuts_the_shutdown_short(tmp_path: Path, second: signal.Signals) -> None:
    with running_server(tmp_path, "--config", config_file(tmp_path, PATIENT)) as server:
        broker_pid = server.program.broker_pid
        with deaf_client(server.port) as sock:
            server.program.signal(signal.SIGTERM)
            receive_until(sock, b"the server stops")  # the close frame: it waits for the answer now
            with pytest.raises(subprocess.TimeoutExpired):
                server.program.wait_ended(0.5)
            server.program.signal(second)
            assert server.program.wait_ended(3) == 0
        assert not is_alive(broker_pid)
        server.program.is_expected_to_have_ended = True


def test_a_deaf_client_does_not_hold_up_the_end_for_longer_than_the_grace(tmp_path: Path) -> None:
    limits = "[limits]\nclose_seconds_max = 30.0\ngrace_seconds = 0.5\n"
    with running_server(tmp_path, "--config", config_file(tmp_path, limits)) as server:
        with deaf_client(server.port):
            server.program.signal(signal.SIGTERM)
            assert server.program.wait_ended(3) == 0
        server.program.is_expected_to_have_ended = True


@pytest.mark.skipif(sys.platform != "linux", reason="reads from /proc whether signals are handled yet")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_waits_for_the_broker_ends_it_at_once_and_without_a_traceback(
    tmp_path: Path, number: signal.Signals
) -> None:
    with silent_listener() as port:
        program = start(tmp_path, "--nats-url", f"nats://127.0.0.1:{port}")
        try:
            wait_until_handled(program.process.pid, signal.SIGTERM)
            program.signal(number)
            code = program.wait_ended(4)  # half of what the wait for the broker may take
        finally:
            program.end()
    assert code == 0
    assert "Traceback" not in program.errors


def wait_until_handled(pid: int, number: signal.Signals) -> None:
    def is_handled() -> bool:
        status = Path(f"/proc/{pid}/status").read_text()
        match = re.search(r"SigCgt:\t([0-9a-f]+)", status)
        return match is not None and bool(int(match[1], 16) & 1 << (number - 1))

    wait_until(is_handled, f"{number.name} is handled")
