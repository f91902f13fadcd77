"""`tick`: one game tick reaches thousands of JSON players; how long after the first does the last one get it?"""

import argparse
import json
import statistics
from collections import defaultdict
from typing import Final

from benchmarks.game_server import open_game_server
from benchmarks.options import Bench
from benchmarks.processes import CpuMeter
from benchmarks.report import Bar, Figure, Result
from benchmarks.swarm import Recording, Swarm
from benchmarks.visits import enter_as_json, seat_players
from benchmarks.world import BenchWorld

SPREAD_SECONDS_MAX: Final = 0.5
PLAYERS_PER_ROOM: Final = 20
TICKS: Final = 3
TICK_SECONDS: Final = 10.0
QUICK_PLAYERS: Final = 300
QUICK_TICK_SECONDS: Final = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--players", type=int, default=10_000, help="how many JSON players (default 10000)")


def run(bench: Bench, arguments: argparse.Namespace) -> Result:
    players: int = min(arguments.players, QUICK_PLAYERS) if bench.quick else arguments.players
    tick_seconds = QUICK_TICK_SECONDS if bench.quick else TICK_SECONDS
    world = BenchWorld(max(1, players // PLAYERS_PER_ROOM))
    room_of = [number % len(world.rooms) for number in range(players)]
    with open_game_server(bench, world, tick_seconds) as server, Swarm(server.port) as swarm:
        seat_players(swarm, world, room_of, enter_as_json, bench.progress, "tick")
        meter = CpuMeter(server.roles)
        recording = swarm.play(
            (),
            seconds_min=TICKS * tick_seconds,
            quiet_seconds=tick_seconds / 4,
            each_second=lambda at: bench.progress.say(f"tick: waiting for {TICKS} ticks, {at:.0f} s"),
        )
        used = meter.stop()
    came_at = _ticks(recording)
    spreads = [max(times) - min(times) for times in came_at.values()]
    result = Result("tick", {"players": players, "tick_seconds": tick_seconds, "dialect": "json"}, [])
    result.faults = _faults(came_at, players, recording)
    deliveries = sum(map(len, came_at.values()))
    record: dict[str, Figure] = {
        "ticks": len(came_at),
        "delivered": deliveries,
        "dropped_players": len(recording.dropped),
        "first_to_last_ms_median": statistics.median(spreads) * 1000 if spreads else None,
        "first_to_last_ms_max": max(spreads) * 1000 if spreads else None,
        "server_us_per_delivery": used["server"] / deliveries * 1e6 if deliveries else None,
        "server_cpu_ms_per_tick": used["server"] / len(came_at) * 1000 if came_at else None,
    }
    result.records = [record]
    if spreads:
        result.bars = [Bar("seconds from the first player's tick to the last one's", max(spreads), SPREAD_SECONDS_MAX)]
    return result


def _ticks(recording: Recording) -> dict[int, list[float]]:
    """Tick number → when each delivery of it came."""
    came_at: dict[int, list[float]] = defaultdict(list)
    for frame in recording.frames():
        if b'"game_tick"' in frame.payload:
            came_at[json.loads(frame.payload)["data"]["tick_number"]].append(frame.at)
    return came_at


def _faults(came_at: dict[int, list[float]], players: int, recording: Recording) -> list[str]:
    faults = [f"tick {number} came {len(times):,} times" for number, times in came_at.items() if len(times) != players]
    if len(came_at) < TICKS - 1:
        faults.append(f"only {len(came_at)} ticks came in the time of {TICKS}")
    if recording.dropped:
        faults.append(f"{len(recording.dropped)} players were dropped")
    return faults
