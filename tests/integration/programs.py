"""Child processes that tests start: the server as a person starts it, and a nats-server of somebody else's."""

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SMALL_WORLD = Path(__file__).parent / "small_world"
NATS_SERVER = Path(sys.executable).parent / "nats-server"

START_SECONDS_MAX = 15.0
"""For a start on a machine that is busy with other things; about 0.6 s when it is not."""
END_SECONDS_MAX = 15.0


class DidNotStart(Exception):
    """The program ended, or said nothing, instead of becoming ready."""


class Program:
    """`python -m mudserver` as a child process. Whoever makes one calls `end`, come what may."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        command: tuple[str, ...] = (sys.executable, "-m", "mudserver"),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.data_dir = directory / "data"
        self.ready_file = directory / "ready.json"
        self._errors = directory / "stderr.txt"
        self.started_at = time.monotonic()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MUDSERVER_")}
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, *options],
                cwd=REPOSITORY,
                env={**inherited, "HOME": str(directory), "PYTHONFAULTHANDLER": "1", **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self.said = ""
        self.is_expected_to_have_ended = False

    @property
    def errors(self) -> str:
        """What it wrote to standard error so far."""
        return self._errors.read_text(errors="replace")

    @property
    def broker_pid(self) -> int:
        """The process id of the embedded nats-server, as its pid file says."""
        return int((self.data_dir / "broker" / "nats-server.pid").read_text())

    def wait_ready(self) -> None:
        """Waits for the one line that says players can connect. Raises DidNotStart."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.said.endswith("\n"):
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 4096) if readable else b""
            if not data:
                raise DidNotStart(f"exit code {self.process.poll()}; it wrote: {self.errors}")
            self.said += data.decode()

    def wait_ended(self, seconds: float = END_SECONDS_MAX) -> int:
        """Waits for the end by itself and returns the exit code. Raises subprocess.TimeoutExpired."""
        return self.process.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> None:
        """Ends it, whatever state it is in, and its broker."""
        assert self.process.stdout is not None
        try:
            if self.process.poll() is None:
                self.process.terminate()
                self.process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        finally:
            self.process.stdout.close()
            # The kernel does this on Linux when a server is killed; elsewhere nobody else would.
            with contextlib.suppress(OSError, ValueError):
                if b"nats-server" in _command_line(self.broker_pid):
                    os.kill(self.broker_pid, signal.SIGKILL)


class Server:
    """A server that is ready for players: where it is, and the process."""

    def __init__(self, program: Program) -> None:
        ready = json.loads(program.ready_file.read_text())
        self.program = program
        self.port: int = ready["port"]
        self.nats_url: str = ready["nats_url"]

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"


@contextmanager
def running_server(directory: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """The real server on a free port with the small world. Ends it, and checks that it ended well."""
    program = start(directory, *options, environment=environment)
    try:
        program.wait_ready()
        yield Server(program)
        has_ended = program.process.poll() is not None
        assert program.is_expected_to_have_ended or not has_ended, f"the server ended before its time: {program.errors}"
    finally:
        program.end()
    assert "Traceback" not in program.errors, program.errors
    assert program.process.returncode == 0, program.errors


def start(directory: Path, *options: str, environment: Mapping[str, str] | None = None) -> Program:
    """Starts the real server on a free port with the small world and its files below `directory`."""
    program_options = ("--port", "0", "--data-dir", str(directory / "data"), "--world", str(SMALL_WORLD))
    further_options = ("--ready-file", str(directory / "ready.json"), "--admin-port", "none")
    return Program(directory, *program_options, *further_options, *options, environment=environment)


class NatsServer:
    """A nats-server that was there before us: on a free port, which it keeps when it is killed and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = -1
        self.process = self._started()

    @property
    def url(self) -> str:
        return f"nats://keeper:lantern@127.0.0.1:{self._port}"

    def _started(self) -> "subprocess.Popen[bytes]":
        options = ["-a", "127.0.0.1", "-p", str(self._port), "--ports_file_dir", str(self._directory)]
        with (self._directory / "nats-server.log").open("ab") as log:
            process = subprocess.Popen(
                [NATS_SERVER, *options, "--user", "keeper", "--pass", "lantern"], stdout=log, stderr=log
            )
        ports = self._directory / f"nats-server_{process.pid}.ports"
        try:
            self._port = _wait_for_number(ports, r"nats://127\.0\.0\.1:(\d+)")
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def start_again(self) -> None:
        self.process = self._started()


@contextmanager
def running_nats_server(directory: Path) -> Iterator[NatsServer]:
    """A nats-server of our own making, with a user and a password."""
    directory.mkdir(parents=True, exist_ok=True)
    server = NatsServer(directory)
    try:
        yield server
    finally:
        server.kill()


def _wait_for_number(path: Path, pattern: str) -> int:
    found: list[str] = []

    def holds() -> bool:
        with contextlib.suppress(OSError):
            found.extend(re.findall(pattern, path.read_text()))
        return bool(found)

    wait_until(holds, f"{path} is written")
    return int(found[0])


def is_alive(pid: int) -> bool:
    """Whether a process of that id runs; one that has ended and was not yet waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return not state.stdout.strip().startswith("Z") and state.stdout.strip() != ""


def wait_until(holds: Callable[[], bool], what: str, seconds: float = START_SECONDS_MAX) -> None:
    """Waits for something about another process, for which there is nothing to wait on but the clock. Blocks."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"in {seconds} s it did not come true that {what}"
        time.sleep(0.005)


def wait_gone(pid: int, seconds: float = 5.0) -> None:
    """Waits until no process of that id runs. Blocks."""
    wait_until(lambda: not is_alive(pid), f"process {pid} is gone", seconds)


def answers(port: int) -> bool:
    """Whether somebody listens on that port of this machine."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _command_line(pid: int) -> bytes:
    command = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
    return command.stdout
