"""A nats-server of somebody else's, with all that its keeper can do to it while a game goes on."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.integration.programs import NATS_SERVER, answers, wait_until

SECONDS_MAX = 8.0

FREE_FOR_ALL = (">",)


@dataclass(frozen=True)
class Rules:
    """What the configuration says. `may_publish` and `may_hear` bind the game's user; `further` are lines of it."""

    password: str = "lantern"
    may_publish: tuple[str, ...] = FREE_FOR_ALL
    may_hear: tuple[str, ...] = FREE_FOR_ALL
    further: str = ""


class ExternalBroker:
    """Keeps its port over restarts. The game signs in as `keeper`; `observer_url` is a user that no fault touches."""

    def __init__(self, directory: Path, rules: Rules) -> None:
        self._directory = directory
        self._config = directory / "nats-server.conf"
        self._rules = rules
        self._port = -1
        self.process = self._started()
        self.url = f"nats://keeper:{rules.password}@127.0.0.1:{self._port}"
        self.observer_url = f"nats://observer:telescope@127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return self._port

    def log(self) -> str:
        """What it wrote so far."""
        return (self._directory / "nats-server.log").read_text(errors="replace")

    def _write_config(self) -> None:
        rules = self._rules
        # JSON's strings and lists are those of nats-server, too.
        self._config.write_text(f"""\
listen: "127.0.0.1:{self._port}"
{rules.further}
authorization {{
  users: [
    {{ user: keeper, password: {json.dumps(rules.password)}
      permissions: {{ publish: {json.dumps(rules.may_publish)}, subscribe: {json.dumps(rules.may_hear)} }} }}
    {{ user: observer, password: telescope }}
  ]
}}
""")

    def _started(self) -> "subprocess.Popen[bytes]":
        self._write_config()
        with (self._directory / "nats-server.log").open("ab") as log:
            process = subprocess.Popen(
                [NATS_SERVER, "--config", self._config, "--ports_file_dir", self._directory], stdout=log, stderr=log
            )
        ports_file = self._directory / f"nats-server_{process.pid}.ports"

        def is_up() -> bool:
            with suppress(OSError, ValueError, LookupError):
                self._port = int(json.loads(ports_file.read_text())["nats"][0].rpartition(":")[2])
            return self._port > 0 and answers(self._port)

        try:
            wait_until(is_up, "the nats-server is up")
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process

    def start(self, **changes: Any) -> float:
        """Starts it again, with these Rules changed. Returns when it was up, on the monotonic clock. Blocks."""
        self._rules = replace(self._rules, **changes)
        self.process = self._started()
        return time.monotonic()

    def kill(self) -> None:
        """SIGKILL, whatever state it is in. Blocks."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """As its keeper stops it: SIGTERM. Blocks."""
        self.process.terminate()
        self.process.wait(SECONDS_MAX)

    def reload(self, **changes: Any) -> float:
        """Has it read its configuration again, with these Rules changed. Returns when it has. Blocks."""
        self._rules = replace(self._rules, **changes)
        self._write_config()
        reloaded = self.log().count("Reloaded server configuration")
        os.kill(self.pid, signal.SIGHUP)
        wait_until(lambda: self.log().count("Reloaded server configuration") > reloaded, "it has reloaded")
        return time.monotonic()

    def begin_lame_duck(self) -> None:
        """Tells it to send its clients away one by one and to end. Blocks for a moment."""
        subprocess.run([NATS_SERVER, "--signal", f"ldm={self.pid}"], check=True, timeout=SECONDS_MAX)

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Stopped in its tracks for as long as the context lasts."""
        with hung(self.pid):
            yield


@contextmanager
def external_broker(directory: Path, rules: Rules = Rules()) -> Iterator[ExternalBroker]:
    """A nats-server under these rules, on a free port. Ended at the end, hung or not."""
    directory.mkdir(parents=True, exist_ok=True)
    broker = ExternalBroker(directory, rules)
    try:
        yield broker
    finally:
        broker.kill()


@contextmanager
def hung(pid: int) -> Iterator[None]:
    """The process does nothing and holds all it has: SIGSTOP, and SIGCONT at the end."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def raw_client(url: str) -> Iterator[socket.socket]:
    """A socket that has signed in at a nats-server and speaks its protocol by hand. Blocks."""
    credentials, _, address = url.removeprefix("nats://").partition("@")
    user, _, password = credentials.partition(":")
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS_MAX) as sock:
        assert sock.recv(65536).startswith(b"INFO ")
        connect = {"user": user, "pass": password, "verbose": False, "headers": True, "no_responders": True}
        say(sock, b"CONNECT " + json.dumps(connect).encode() + b"\r\n")
        yield sock


def say(sock: socket.socket, lines: bytes) -> None:
    """Sends lines of the protocol and waits until the broker has worked them off. Blocks."""
    sock.sendall(lines + b"PING\r\n")
    answer = b""
    while not answer.endswith(b"PONG\r\n"):
        data = sock.recv(65536)
        assert data, f"the broker hung up: {answer!r}"
        answer += data
    assert b"-ERR" not in answer, answer
