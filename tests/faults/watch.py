"""What a server process shows of itself: its log, its metrics, its open files, its memory."""

import os
import re
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path

import trio

from tests.integration.programs import Server

SECONDS_MAX = 8.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


async def until(holds: Callable[[], bool], what: str, seconds: float = SECONDS_MAX) -> None:
    """Waits for something about another process, or other tasks, that nobody announces."""
    deadline = trio.current_time() + seconds
    while True:
        if holds():
            return
        assert trio.current_time() < deadline, f"in {seconds} s it did not come true that {what}"
        await trio.sleep(0.01)


class Watch:
    """Looks at a running server from outside. `admin_port` is where it answers /metrics."""

    def __init__(self, server: Server, admin_port: int) -> None:
        self.server = server
        self.port = server.port
        self._pid = server.program.process.pid
        self._admin_port = admin_port

    def metric(self, name: str) -> float:
        """A figure by its name and labels, as the page has them; 0 if it is not there."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._admin_port}/metrics", timeout=SECONDS_MAX) as page:
            text: str = page.read().decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def descriptors(self) -> int:
        """How many files and sockets the process has open."""
        return len(os.listdir(f"/proc/{self._pid}/fd"))

    def resident_kib(self) -> int:
        status = Path(f"/proc/{self._pid}/status").read_text()
        return int(status.split("VmRSS:", 1)[1].split()[0])

    def log(self) -> str:
        """Everything it has logged so far."""
        return self.server.program.errors

    async def settles(self, connections: int, descriptors: int) -> None:
        """Waits until exactly so many WebSockets and descriptors are open, and fails if that never comes true."""
        now = (0.0, 0)
        with trio.move_on_after(SECONDS_MAX):
            while True:
                now = (self.metric("mud_connections"), self.descriptors())
                if now == (connections, descriptors):
                    return
                await trio.sleep(0.01)
        raise AssertionError(f"left over: {now} instead of {(connections, descriptors)} connections and descriptors")

    async def settles_players(self, players: int) -> None:
        """Waits until exactly so many players are in the game."""
        await until(lambda: self.metric("mud_players") == players, f"there are {players} players")
