"""`join`: as many guests as asked for sign in, as fast as they can; nobody may be refused.

Twice: once all stay in the room where everybody begins, so that each newcomer is announced to all before it; and once
each walks off to a room of its own kind at once, as players do. The clock stops when the last one has seen where it is.
"""

import argparse
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.game_server import open_game_server
from benchmarks.options import Bench
from benchmarks.processes import CpuMeter
from benchmarks.report import Bar, Figure, Result
from benchmarks.stats import latency_figures
from benchmarks.swarm import Link, Script, Swarm
from benchmarks.visits import enter_as_text
from benchmarks.world import BenchWorld

JOINS_PER_SECOND_MIN: Final = 500.0
SECONDS_MAX: Final = 120.0
QUICK_PLAYERS: Final = 150


@dataclass(frozen=True, slots=True)
class Crowd:
    """What newcomers do, and over how many rooms they spread."""

    name: str
    rooms: int


CROWDS: Final = (Crowd("all stay in one room", 1), Crowd("each walks off to one of 100 rooms", 100))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--players", type=int, default=1000, help="how many sign in (default 1000)")
    parser.add_argument("--at-once", type=int, default=100, help="how many are signing in at a time (default 100)")


def run(bench: Bench, arguments: argparse.Namespace) -> Result:
    players: int = min(arguments.players, QUICK_PLAYERS) if bench.quick else arguments.players
    result = Result("join", {"players": players, "at_once": arguments.at_once, "dialect": "text"}, [])
    result.records = [_run_crowd(bench, crowd, players, arguments.at_once, result) for crowd in CROWDS]
    return result


def _run_crowd(bench: Bench, crowd: Crowd, players: int, at_once: int, result: Result) -> dict[str, Figure]:
    world = BenchWorld(crowd.rooms)

    def script(link: Link, port: int) -> Script:
        return enter_as_text(link, port, world.rooms[0], world.route_to(link.number % crowd.rooms))

    with open_game_server(bench, world) as server, Swarm(server.port) as swarm:
        meter = CpuMeter(server.roles)
        started_at = time.perf_counter()
        took = swarm.run_scripts(
            script,
            players,
            in_flight_max=at_once,
            seconds_max=SECONDS_MAX,
            each_done=partial(_say, bench, players),
        )
        seconds = time.perf_counter() - started_at
        used = meter.stop()
        swarm.settle()
    result.bars.append(Bar(f"sign-ins a second, {crowd.name}", players / seconds, JOINS_PER_SECOND_MIN, at_least=True))
    return {
        "crowd": crowd.name,
        "joins_per_second": players / seconds,
        **latency_figures(took),
        "server_us_per_join": used["server"] / players * 1e6,
        "broker_us_per_join": used["broker"] / players * 1e6,
    }


def _say(bench: Bench, players: int, done: int) -> None:
    bench.progress.say(f"join: {done} of {players} guests are in")
