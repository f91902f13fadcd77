"""Hours of play with accidents, and what they leave behind: memory, tasks, descriptors, latency over time.

Bots of a second process sit in rooms of ten and talk at half of what `scripts/bench players` does. Every few seconds
one of them loses its line and comes back with its key; every few minutes the broker is killed. Each bot checks that it
hears every line of its room once and in order.
"""

import argparse
import json
import os
import random
import signal
import socket
import statistics
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio
import trio_websocket

from benchmarks.errors import BenchError
from benchmarks.game_server import GameServer, open_game_server
from benchmarks.machine import machine, machine_line
from benchmarks.options import Bench, open_bench
from benchmarks.processes import child_called, resident_bytes
from benchmarks.world import BenchWorld

BOTS: Final = 500
BOTS_PER_ROOM: Final = 10
LINES_PER_SECOND: Final = 250.0
DROP_SECONDS: Final = 5.0
"""Between two lines that are lost."""
BROKER_KILL_SECONDS: Final = 300.0
SAMPLE_SECONDS: Final = 10.0
WARM_UP_SHARE: Final = 0.25
"""Of the whole time; the slope of memory is taken from what comes after."""
SETTLE_SECONDS: Final = 5.0
"""At the end, for the last lines to arrive."""
SEATING_SECONDS_MAX: Final = 120.0
SLOPE_MB_PER_HOUR_MAX: Final = 1.0
TABLE_ROWS_MAX: Final = 14


@dataclass(slots=True)
class Sample:
    """One look at the server. `p99_ms` is of the lines heard since the look before; None if there were none."""

    at_seconds: float
    rss_mib: float
    tasks: int
    descriptors: int
    p99_ms: float | None


@dataclass(slots=True)
class Score:
    """What all bots together saw."""

    said: int = 0
    heard: int = 0
    lost: int = 0
    doubled: int = 0
    lines_dropped: int = 0
    resumed: int = 0
    gaps_admitted: int = 0
    broker_kills: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    """Since the last sample; lines replayed after a lost line do not count."""


class Bot:
    """One player who talks in a room and notes what it hears there."""

    def __init__(self, number: int, room: int, world: BenchWorld, port: int, score: Score) -> None:
        self.number = number
        self.room = room
        self.said = 0
        self.heard: dict[int, int] = {}
        """Speaker → number of the last line heard."""
        self.seated = trio.Event()
        self._route = [direction for direction, _ in world.route_to(room)]
        self._port = port
        self._score = score
        self._connection: trio_websocket.WebSocketConnection | None = None
        self._token: str | None = None
        self._last_number = 0
        self._sent_at: dict[int, float] = {}
        self._unconfirmed = 0
        self._is_replaying = False

    async def run(self) -> None:
        """Connects, and again whenever the line is lost. Until cancelled."""
        url = f"ws://127.0.0.1:{self._port}/?dialect=json"
        while True:
            try:
                async with trio_websocket.open_websocket_url(url) as self._connection:
                    await self._sign_in()
                    while True:
                        self._take(json.loads(await self._connection.get_message()))
            except (trio_websocket.ConnectionClosed, trio.BrokenResourceError, OSError):
                self._connection = None
                await trio.sleep(0.2)

    async def _sign_in(self) -> None:
        assert self._connection is not None
        if self._token is None:
            await self._send({"type": "login", "data": {"guest": True}})
            for direction in self._route:
                await self._send({"type": "command", "data": {"command": direction}})
            return
        self._is_replaying = True
        data = {"resume_token": self._token, "last_sequence_number": self._last_number}
        await self._send({"type": "login", "data": data})

    async def _send(self, frame: dict[str, Any]) -> None:
        assert self._connection is not None
        await self._connection.send_message(json.dumps(frame))

    async def say(self) -> None:
        """Says its next line, if it has a line to the server and the one before was confirmed."""
        if self._connection is None or self._unconfirmed or self._is_replaying:
            return
        self._unconfirmed = self.said + 1
        self._sent_at[self._unconfirmed] = time.perf_counter()
        words = f"~{self.number}:{self._unconfirmed}~"
        with suppress(trio_websocket.ConnectionClosed):
            await self._send({"type": "command", "data": {"command": "say", "args": [words]}})

    def lose_line(self) -> bool:
        """Cuts the connection without a word, unless something it said is not yet confirmed."""
        if self._connection is None or self._unconfirmed or self._is_replaying or self._token is None:
            return False
        stream = self._connection._stream
        assert isinstance(stream, trio.SocketStream)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not a goodbye
        stream.socket.close()
        return True

    def sent_at(self, line: int) -> float:
        return self._sent_at.get(line, 0.0)

    def _take(self, frame: dict[str, Any]) -> None:
        if frame["sequence_number"] >= 1000:
            self._last_number = frame["sequence_number"]
        data = frame["data"]
        match frame["event_type"]:
            case "game_state":
                self._token = data["resume_token"]
                if self._is_replaying:
                    self._is_replaying = False
                    self._score.resumed += 1
                if not self._route:
                    self.seated.set()
            case "room_update" if data["room"]["id"] == f"bench-{self.room}":
                self.seated.set()
            case "command_response" if "~" in data["result"]:
                self._unconfirmed = 0
                self.said += 1
                self._score.said += 1
            case "chat_message":
                self._hear(data["message"].split("~")[1])
            case "error" if data["error_type"] == "resume_gap":
                self._score.gaps_admitted += 1
            case "error":
                raise BenchError(f"bot {self.number} was told: {data['message']}")

    def _hear(self, marker: str) -> None:
        speaker, line = map(int, marker.split(":"))
        before = self.heard.get(speaker, 0)
        if line <= before:
            self._score.doubled += 1
            return
        self._score.lost += line - before - 1
        self.heard[speaker] = line
        self._score.heard += 1
        if not self._is_replaying:
            self._score.latencies_ms.append((time.perf_counter() - BOTS_BY_NUMBER[speaker].sent_at(line)) * 1000)


BOTS_BY_NUMBER: Final[dict[int, Bot]] = {}


async def soak(server: GameServer, admin_port: int, minutes: float, seed: int) -> tuple[Score, list[Sample]]:
    """Plays for so long; gives the score and a sample each SAMPLE_SECONDS."""
    score, samples, chance = Score(), list[Sample](), random.Random(seed)
    world = BenchWorld(BOTS // BOTS_PER_ROOM)
    async with trio.open_nursery() as nursery:
        for number in range(BOTS):
            bot = Bot(number, number // BOTS_PER_ROOM, world, server.port, score)
            BOTS_BY_NUMBER[number] = bot
            nursery.start_soon(bot.run)
            await trio.sleep(0.01)
        with trio.fail_after(SEATING_SECONDS_MAX):
            for bot in BOTS_BY_NUMBER.values():
                await bot.seated.wait()
        async with trio.open_nursery() as accidents:
            accidents.start_soon(_talk, chance)
            accidents.start_soon(_lose_lines, score, chance)
            accidents.start_soon(_kill_brokers, server, score, min(BROKER_KILL_SECONDS, minutes * 60 / 4))
            await _sample(server, admin_port, score, samples, minutes * 60)
            accidents.cancel_scope.cancel()
        await trio.sleep(SETTLE_SECONDS)
        _settle_accounts(score)
        nursery.cancel_scope.cancel()
    return score, samples


def _settle_accounts(score: Score) -> None:
    """Counts as lost what was confirmed to its speaker and never came to somebody in the room."""
    for bot in BOTS_BY_NUMBER.values():
        for other in BOTS_BY_NUMBER.values():
            if other is not bot and other.room == bot.room:
                score.lost += max(0, other.said - bot.heard.get(other.number, 0))


async def _talk(chance: random.Random) -> None:
    bots = list(BOTS_BY_NUMBER.values())
    start, lines = trio.current_time(), 0
    while True:
        lines += 1
        await trio.sleep_until(start + lines / LINES_PER_SECOND)
        await chance.choice(bots).say()


async def _lose_lines(score: Score, chance: random.Random) -> None:
    bots = list(BOTS_BY_NUMBER.values())
    while True:
        await trio.sleep(DROP_SECONDS)
        score.lines_dropped += chance.choice(bots).lose_line()


async def _kill_brokers(server: GameServer, score: Score, every_seconds: float) -> None:
    while True:
        await trio.sleep(every_seconds)
        broker = child_called("nats-server", server.child.pid)
        if broker is not None:
            os.kill(broker, signal.SIGKILL)
            score.broker_kills += 1


async def _sample(server: GameServer, admin_port: int, score: Score, samples: list[Sample], seconds: float) -> None:
    start = trio.current_time()
    while (elapsed := trio.current_time() - start) < seconds:
        await trio.sleep(min(SAMPLE_SECONDS, seconds - elapsed))
        latencies, score.latencies_ms = sorted(score.latencies_ms), []
        samples.append(
            Sample(
                at_seconds=trio.current_time() - start,
                rss_mib=resident_bytes(server.child.pid) / 2**20,
                tasks=await trio.to_thread.run_sync(_tasks, admin_port),
                descriptors=len(os.listdir(f"/proc/{server.child.pid}/fd")),
                p99_ms=latencies[int(len(latencies) * 0.99)] if latencies else None,
            )
        )
        server.child.check_alive()
        latest = samples[-1]
        print(
            f"soak: {latest.at_seconds:6.0f} s  {latest.rss_mib:7.1f} MiB  {latest.tasks} tasks  "
            f"{latest.descriptors} descriptors  lost {score.lost}  twice {score.doubled}",
            file=sys.stderr,
        )


def _tasks(admin_port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return int(float(next(line for line in lines if line.startswith("mud_tasks ")).split()[1]))


def slope_mb_per_hour(samples: list[Sample]) -> float | None:
    """The server's growth after the warm-up, by least squares; None if there is too little to tell."""
    late = samples[int(len(samples) * WARM_UP_SHARE) :]
    if len(late) < 3:
        return None
    slope, _ = statistics.linear_regression([each.at_seconds for each in late], [each.rss_mib for each in late])
    return slope * 3600 * 2**20 / 1e6


def plot(samples: list[Sample], path: Path) -> None:
    """Four curves over time, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(4, 1, figsize=(9, 9), sharex=True)
    minutes = [each.at_seconds / 60 for each in samples]
    curves: list[tuple[str, list[float | None]]] = [
        ("memory, MiB", [each.rss_mib for each in samples]),
        ("tasks", [each.tasks for each in samples]),
        ("descriptors", [each.descriptors for each in samples]),
        ("p99, ms", [each.p99_ms for each in samples]),
    ]
    for axis, (name, values) in zip(axes, curves, strict=True):
        axis.plot(minutes, values)
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _report(score: Score, samples: list[Sample], slope: float | None) -> str:
    step = max(1, len(samples) // TABLE_ROWS_MAX)
    rows = ["  minute    MiB   tasks  descriptors  p99 ms"]
    for each in samples[::step]:
        p99 = "-" if each.p99_ms is None else f"{each.p99_ms:.1f}"
        rows.append(f"  {each.at_seconds / 60:6.1f} {each.rss_mib:6.1f} {each.tasks:7} {each.descriptors:12} {p99:>7}")
    totals = (
        f"said {score.said:,}, heard {score.heard:,}, lost {score.lost}, twice {score.doubled}, "
        f"lines dropped {score.lines_dropped}, resumed {score.resumed}, gaps admitted {score.gaps_admitted}, "
        f"broker killed {score.broker_kills} times"
    )
    growth = "too short to tell" if slope is None else f"{slope:+.2f} MB/h after the warm-up"
    return "\n".join(
        [machine_line(machine()), *rows, totals, f"memory: {growth} (bar: < {SLOPE_MB_PER_HOUR_MAX} MB/h)"]
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def _run(bench: Bench, minutes: float, seed: int) -> tuple[Score, list[Sample]]:
    admin_port = _free_port()
    world = BenchWorld(BOTS // BOTS_PER_ROOM)
    with open_game_server(bench, world, tick_seconds=10, options=["--admin-port", str(admin_port)]) as server:
        return trio.run(soak, server, admin_port, minutes, seed)


def main() -> int:
    """Runs the soak; 0 if nothing was lost or came twice, 1 if anything was."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long (default 20)")
    parser.add_argument("--seed", type=int, default=1, help="of the accidents (default 1)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the curves as a PNG")
    arguments = parser.parse_args()
    with open_bench(quick=False) as bench:
        score, samples = _run(bench, arguments.minutes, arguments.seed)
    print(_report(score, samples, slope_mb_per_hour(samples)))
    if arguments.plot:
        plot(samples, arguments.plot)
    return int(bool(score.lost or score.doubled))


if __name__ == "__main__":
    sys.exit(main())
