"""`players`: the whole path, through NATS: players in their rooms talk, and every single delivery is ticked off.

Latency is from the speaker's socket to the listener's. CPU and memory are those of the server process; the broker's CPU
is shown beside it.
"""

import argparse
import os
import random
from dataclasses import dataclass, replace
from typing import Final

from benchmarks.deliveries import marker, tally_said
from benchmarks.errors import BenchError
from benchmarks.game_server import open_game_server
from benchmarks.options import Bench
from benchmarks.processes import CpuMeter, resident_bytes
from benchmarks.report import Bar, Figure, Result
from benchmarks.stats import latency_figures
from benchmarks.swarm import Recording, Sending, Swarm
from benchmarks.visits import enter_as_text, seat_players, text_line
from benchmarks.world import BenchWorld

SPOKEN: Final = "the stars are not quite where we left them"
WARM_UP_SHARE: Final = 0.25
FANOUT_RATIO_MAX: Final = 4.0
LINES_PER_SECOND_MAX: Final = 8.0
"""Per player; the server's own limit is about ten."""
LATE_SECONDS_MAX: Final = 0.05
"""If the client falls behind its schedule by more, the load was not what it says."""


@dataclass(frozen=True, slots=True)
class Load:
    """How many players, where, how much they say, and what p99 is promised for it (None: nothing)."""

    players: int
    rooms: int
    events_per_second: float
    seconds: float
    p99_ms_max: float | None = None


STANDARD_LOADS: Final = (
    Load(1000, 100, 500, 20, p99_ms_max=10),
    Load(1000, 100, 1000, 20, p99_ms_max=20),
    Load(5000, 500, 500, 20, p99_ms_max=50),
)
"""What is promised; run when no size is given."""
SIZES: Final = ("players", "rooms", "events_per_second", "seconds")
QUICK_LOADS: Final = (Load(200, 20, 200, 3),)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--players", type=int, help="how many players (any size given: one run of that size)")
    parser.add_argument("--rooms", type=int, help="how many rooms they are spread over (default 100)")
    parser.add_argument("--events-per-second", type=float, help="lines said a second by all together (default 500)")
    parser.add_argument("--seconds", type=float, help="how long they talk (default 20)")


def run(bench: Bench, arguments: argparse.Namespace) -> Result:
    """Raises BenchError if not one load could be measured; one that could not beside others that could is a fault."""
    result = Result("players", {"dialect": "text"}, records := [])
    for load in _loads(bench, arguments):
        try:
            records.append(_run_load(bench, load, result))
        except BenchError as error:
            result.faults.append(f"{load.players:,} players in {load.rooms:,} rooms could not be measured: {error}")
    if not records:
        raise BenchError("; ".join(result.faults))
    return result


def _loads(bench: Bench, arguments: argparse.Namespace) -> tuple[Load, ...]:
    """The sizes that were asked for, with the promise made for exactly these, if there is one."""
    asked = {name: value for name in SIZES if (value := getattr(arguments, name)) is not None}
    if not asked:
        return QUICK_LOADS if bench.quick else STANDARD_LOADS
    load = replace(STANDARD_LOADS[0], **(asked | {"p99_ms_max": None}))
    standard = next((each for each in STANDARD_LOADS if replace(each, p99_ms_max=None) == load), load)
    return (standard,)


def _run_load(bench: Bench, load: Load, result: Result) -> dict[str, Figure]:
    """One server, one load; adds its bars, faults and warnings to `result` and gives its figures."""
    if load.events_per_second / load.players > LINES_PER_SECOND_MAX:
        raise BenchError(f"{load.events_per_second:g} lines a second are too many for {load.players} players")
    world = BenchWorld(load.rooms)
    room_of = [number % load.rooms for number in range(load.players)]
    with open_game_server(bench, world) as server, Swarm(server.port) as swarm:
        seat_players(swarm, world, room_of, enter_as_text, bench.progress, "players")
        resident = resident_bytes(server.child.pid) - server.empty_bytes
        _talk(bench, swarm, load, load.seconds * WARM_UP_SHARE, random.Random("warm-up"))
        meter = CpuMeter(server.roles | {"client": os.getpid()})
        speakers, recording = _talk(bench, swarm, load, load.seconds, random.Random("measured"))
        used = meter.stop()
    bench.progress.say("players: every delivery is ticked off")
    tally = tally_said(speakers, room_of, recording)
    name = f"{load.players:,} players in {load.rooms:,} rooms, {load.events_per_second:g} events/s"
    result.faults += [f"{name}: {fault}" for fault in tally.faults()]
    if recording.dropped:
        result.faults.append(f"{name}: {len(recording.dropped)} players were dropped")
    if recording.late_seconds_max > LATE_SECONDS_MAX:
        result.warnings.append(f"{name}: the client was up to {recording.late_seconds_max:.2f} s behind its schedule")
    result.warn_if_client_was_busy(used["client"] / load.seconds, name)
    latency = latency_figures(tally.latencies)
    if load.p99_ms_max is not None:
        result.bars.append(Bar(f"p99 ms, {name}", latency["p99_ms"], load.p99_ms_max))
    return {
        "players": load.players,
        "rooms": load.rooms,
        "events_per_second": load.events_per_second,
        "sent": len(speakers),
        "expected": tally.expected,
        "delivered": tally.delivered,
        "lost": tally.lost,
        "duplicated": tally.duplicated,
        **latency,
        "server_us_per_delivery": used["server"] / max(1, tally.delivered) * 1e6,
        "broker_us_per_delivery": used["broker"] / max(1, tally.delivered) * 1e6,
        "server_cores": used["server"] / load.seconds,
        "broker_cores": used["broker"] / load.seconds,
        "client_cores": used["client"] / load.seconds,
        "kib_per_player": resident / load.players / 1024,
    }


def _talk(bench: Bench, swarm: Swarm, load: Load, seconds: float, order: random.Random) -> tuple[list[int], Recording]:
    """Lines at an even pace, in an order drawn anew each time all have spoken. Gives (who said line n, recording)."""
    speakers: list[int] = []
    count = int(load.events_per_second * seconds)
    while len(speakers) < count:
        speakers += order.sample(range(load.players), load.players)
    del speakers[count:]
    schedule = [
        Sending(n / load.events_per_second, swarm.links[speaker], text_line(f"say {marker(n)} {SPOKEN}"))
        for n, speaker in enumerate(speakers)
    ]
    told = f"players: {load.players} players talk, {{:.0f}} of {seconds:g} s"
    recording = swarm.play(schedule, seconds_min=seconds, each_second=lambda at: bench.progress.say(told.format(at)))
    return speakers, recording


def compare_with_fanout(result: Result, fanout_us_per_delivery: float | None) -> None:
    """Add the bar that relates the whole path to the write path alone, both measured in the same run."""
    if fanout_us_per_delivery is None:
        return
    for record in result.records:
        if not any(record["players"] == load.players for load in STANDARD_LOADS):
            continue  # with so little to do, what the server does anyway would count as the price of deliveries
        name = f"{record['players']} players at {record['events_per_second']} events/s"
        whole_path = record["server_us_per_delivery"]
        assert isinstance(whole_path, float)
        ratio = whole_path / fanout_us_per_delivery
        result.bars.append(Bar(f"CPU per delivery, {name} / fanout single", ratio, FANOUT_RATIO_MAX))
