"""`memory`: what an idle player costs the server process, beside an idle connection of trio-websocket's own making."""

import argparse
import time
from typing import Final

from benchmarks.contender_stand import open_stand
from benchmarks.game_server import open_game_server
from benchmarks.options import Bench
from benchmarks.processes import CpuMeter, resident_bytes
from benchmarks.report import Bar, Figure, Result
from benchmarks.swarm import Swarm
from benchmarks.visits import enter_as_text, seat_players
from benchmarks.world import BenchWorld

KIB_PER_PLAYER_MAX: Final = 40.0
PLAYERS_PER_ROOM: Final = 20
IDLE_SECONDS: Final = 1.0
QUICK_PLAYERS: Final = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--players", type=int, default=10_000, help="how many stand idle (default 10000)")


def run(bench: Bench, arguments: argparse.Namespace) -> Result:
    players: int = min(arguments.players, QUICK_PLAYERS) if bench.quick else arguments.players
    records = [_mudserver(bench, players), _naive(bench, players)]
    bar = Bar("KiB per idle player over the empty server", float(records[0]["kib_per_player"] or 0), KIB_PER_PLAYER_MAX)
    return Result("memory", {"players": players, "dialect": "text"}, records, [bar])


def _mudserver(bench: Bench, players: int) -> dict[str, Figure]:
    world = BenchWorld(max(1, players // PLAYERS_PER_ROOM))
    room_of = [number % len(world.rooms) for number in range(players)]
    with open_game_server(bench, world) as server, Swarm(server.port) as swarm:
        seat_players(swarm, world, room_of, enter_as_text, bench.progress, "memory")
        return _record("mudserver", server.child.pid, server.empty_bytes, players)


def _naive(bench: Bench, players: int) -> dict[str, Figure]:
    name = "trio-websocket, naive"
    bench.progress.say(f"memory: {name}: {players} clients connect")
    with open_stand(bench, name, "trio_websocket_naive", players) as stand:
        return _record(name, stand.child.pid, stand.empty_bytes, players)


def _record(name: str, pid: int, empty_bytes: int, players: int) -> dict[str, Figure]:
    meter = CpuMeter({"server": pid})
    time.sleep(IDLE_SECONDS)
    idle_cores = meter.stop()["server"] / meter.wall_seconds
    resident = resident_bytes(pid)
    return {
        "server": name,
        "empty_mib": empty_bytes / 2**20,
        "full_mib": resident / 2**20,
        "kib_per_player": (resident - empty_bytes) / players / 1024,
        "idle_cores": idle_cores,
    }
