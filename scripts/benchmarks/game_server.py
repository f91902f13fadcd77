"""The real server and its broker as processes of their own, started as a user would start them."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.errors import BenchError
from benchmarks.options import Bench, child_environment
from benchmarks.processes import Child, child_called, open_child, resident_bytes
from benchmarks.world import BenchWorld

READY_SECONDS_MAX: Final = 20.0
READY_POLL_SECONDS: Final = 0.02
LONG_TICK_SECONDS: Final = 3600.0
"""A tick that does not come during a measurement it is no part of."""


@dataclass(frozen=True, slots=True)
class GameServer:
    """A running server: where it listens, and the processes to hold to account."""

    port: int
    child: Child
    broker_pid: int
    empty_bytes: int
    """Its memory before the first player."""

    @property
    def roles(self) -> dict[str, int]:
        """The server's processes, for a CpuMeter."""
        return {"server": self.child.pid, "broker": self.broker_pid}


@contextmanager
def open_game_server(
    bench: Bench, world: BenchWorld, tick_seconds: float = LONG_TICK_SECONDS, options: Sequence[str] = ()
) -> Iterator[GameServer]:
    """Start `python -m mudserver` with this world and these further options; end it after the block.

    Gives the server when players can connect.
    """
    run_dir = bench.work_dir / f"server-{time.monotonic_ns()}"
    run_dir.mkdir()
    ready_file = run_dir / "ready.json"
    program = ["-m", "mudserver", "--port", "0", "--log-level", "warning", "--tick-seconds", str(tick_seconds)]
    program += ["--data-dir", str(run_dir / "data"), "--world", str(world.write(run_dir / "world"))]
    program += ["--ready-file", str(ready_file), *options]
    with open_child("mudserver", program, run_dir / "mudserver.err", child_environment()) as child:
        port = _wait_until_ready(child, ready_file)
        broker_pid = child_called("nats-server", child.pid)
        if broker_pid is None:
            raise BenchError("the server has no child process 'nats-server'")
        yield GameServer(port, child, broker_pid, resident_bytes(child.pid))
        child.check_alive()


def _wait_until_ready(child: Child, ready_file: Path) -> int:
    """The port it listens on."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while not ready_file.exists():
        child.check_alive()
        if time.monotonic() > deadline:
            raise BenchError(f"the server was not ready within {READY_SECONDS_MAX:g} s")
        time.sleep(READY_POLL_SECONDS)
    return int(json.loads(ready_file.read_text())["port"])
