"""`fanout`: the same events to the same 500 connections, by us and by what a user would pick instead.

All contenders stand ready at once, each in a process of its own with its own 500 clients, and take turns: in every
repeat each sends single events, then bursts of ten. The next round starts only when the last byte of the round before
has been received. Figures are medians over the repeats; ratios are medians of the ratios within a repeat.
"""

import argparse
import os
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

from benchmarks.contender_stand import Stand, open_stand
from benchmarks.contenders import control
from benchmarks.errors import BenchError
from benchmarks.frames import server_text_frame
from benchmarks.options import Bench
from benchmarks.processes import CpuMeter
from benchmarks.report import Bar, Figure, Result

OURS: Final = "mudserver"
CONTENDERS: Final = {
    OURS: "ours",
    "websockets broadcast()": "websockets_broadcast",
    "uvicorn + Starlette": "starlette_send_text",
    "trio-websocket, naive": "trio_websocket_naive",
    "picows on uvloop": "picows_uvloop",
    "bare socket.send (limit)": "bare_sockets",
}
"""Shown name → module in benchmarks.contenders."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How many events wait at once, and how many rounds of that make one measurement."""

    name: str
    burst: int
    rounds: int
    bars: dict[str, float]
    """Contender → the highest CPU per delivery we allow ourselves, as a multiple of theirs."""


MODES: Final = (
    Mode("single", 1, 40, {"websockets broadcast()": 1.25, "uvicorn + Starlette": 0.5, "trio-websocket, naive": 0.25}),
    Mode("burst10", 10, 10, {"websockets broadcast()": 0.4, "picows on uvloop": 0.6}),
)

FRAME_BYTES: Final = len(server_text_frame(control.MESSAGE.encode()))
ROUND_SECONDS_MAX: Final = 10.0
WARM_UP_ROUNDS: Final = 2
QUICK_REPEATS: Final = 2
QUICK_ROUNDS_SHARE: Final = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--connections", type=int, default=500, help="clients of each contender (default 500)")
    parser.add_argument("--repeats", type=int, default=9, help="turns of each contender (default 9)")
    parser.add_argument(
        "--only", action="append", choices=sorted(CONTENDERS.values()), help="this contender (repeatable)"
    )


@dataclass(slots=True)
class Turns:
    """One contender and its figures so far."""

    stand: Stand
    us_per_delivery: dict[str, list[float]] = field(default_factory=lambda: {mode.name: [] for mode in MODES})
    """Mode name → one value for each repeat."""
    client_share: float = 0.0
    """The busiest that the client was during this contender's turns, in cores."""

    @property
    def name(self) -> str:
        return self.stand.name


def run(bench: Bench, arguments: argparse.Namespace) -> Result:
    connections: int = arguments.connections
    repeats: int = min(arguments.repeats, QUICK_REPEATS) if bench.quick else arguments.repeats
    rounds_share = QUICK_ROUNDS_SHARE if bench.quick else 1.0
    contenders = {name: module for name, module in CONTENDERS.items() if not arguments.only or module in arguments.only}
    with ExitStack() as stack:
        server_cpus = stack.enter_context(_driver_on_a_core_of_its_own())
        contestants = []
        for name, module in contenders.items():
            bench.progress.say(f"fanout: {name}: {connections} clients connect")
            stand = stack.enter_context(open_stand(bench, name, module, connections, server_cpus))
            contestants.append(Turns(stand))
            _warm_up(stand, connections)
        for repeat in range(repeats):
            for turns in contestants:
                for mode in MODES:
                    bench.progress.say(f"fanout: repeat {repeat + 1} of {repeats}: {turns.name}, {mode.name}")
                    _measure(turns, mode, connections, round(mode.rounds * rounds_share))
    settings: dict[str, Figure] = {"connections": connections, "event_bytes": control.MESSAGE_BYTES, "repeats": repeats}
    return _result(contestants, settings)


@contextmanager
def _driver_on_a_core_of_its_own() -> Iterator[set[int]]:
    """Keep this process to one core for the block; gives the cores left for the contenders (none: no choice)."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) == 1:
        yield set()
        return
    ours = min(allowed)
    os.sched_setaffinity(0, {ours})
    try:
        yield allowed - {ours}
    finally:
        os.sched_setaffinity(0, allowed)


def _one_round(stand: Stand, burst: int, connections: int, counts: list[int]) -> None:
    stand.child.say(str(burst))
    try:
        stand.swarm.count_bytes(connections * burst * FRAME_BYTES, counts, ROUND_SECONDS_MAX)
    except BenchError as error:
        stand.child.check_alive()
        raise BenchError(f"{stand.name}: {error}") from error


def _warm_up(stand: Stand, connections: int) -> None:
    """Buffers grown, code paths taken, and proof that the clients get what they are to get."""
    for mode in MODES:
        counts = [0] * connections
        for _ in range(WARM_UP_ROUNDS):
            _one_round(stand, mode.burst, connections, counts)
        if set(counts) != {WARM_UP_ROUNDS * mode.burst * FRAME_BYTES}:
            raise BenchError(f"{stand.name} sent some clients more than others")


def _measure(turns: Turns, mode: Mode, connections: int, rounds: int) -> None:
    counts = [0] * connections
    meter = CpuMeter({"server": turns.stand.child.pid, "client": os.getpid()})
    for _ in range(rounds):
        _one_round(turns.stand, mode.burst, connections, counts)
    used = meter.stop()
    deliveries = rounds * mode.burst * connections
    turns.us_per_delivery[mode.name].append(used["server"] / deliveries * 1e6)
    turns.client_share = max(turns.client_share, used["client"] / meter.wall_seconds)


def _ratio(ours: Turns, theirs: Turns, mode: Mode) -> float:
    """Median over the repeats of our CPU per delivery over theirs in the same repeat."""
    pairs = zip(ours.us_per_delivery[mode.name], theirs.us_per_delivery[mode.name], strict=True)
    return statistics.median(mine / other for mine, other in pairs)


def _result(contestants: list[Turns], settings: dict[str, Figure]) -> Result:
    ours = next((turns for turns in contestants if turns.name == OURS), None)
    records: list[dict[str, Figure]] = []
    bars: list[Bar] = []
    for turns in contestants:
        record: dict[str, Figure] = {"contender": turns.name}
        for mode in MODES:
            times = turns.us_per_delivery[mode.name]
            record[f"{mode.name}_us_per_delivery"] = statistics.median(times)
            record[f"{mode.name}_spread_us"] = max(times) - min(times)
            record[f"{mode.name}_ours/theirs"] = _ratio(ours, turns, mode) if ours else None
        records.append(record | {"client_cores_max": turns.client_share})
    for mode in MODES:
        for turns in contestants:
            if ours and turns.name in mode.bars:
                promise = f"{mode.name}: our CPU per delivery / {turns.name}"
                bars.append(Bar(promise, _ratio(ours, turns, mode), mode.bars[turns.name]))
    result = Result("fanout", settings, records, bars)
    for turns in contestants:
        result.warn_if_client_was_busy(turns.client_share, turns.name)
    return result


def our_single_us(result: Result) -> float | None:
    """Our own CPU per delivery, one event at a time (µs), out of a finished result."""
    ours = next((record for record in result.records if record["contender"] == OURS), None)
    figure = ours["single_us_per_delivery"] if ours else None
    return figure if isinstance(figure, float) else None
