"""`walk`: players walk at random through the world, and everybody must see everybody come and go exactly once.

A witness stands in each room beside the walkers. Latency is from the walker's socket to the witness's.
"""

import argparse
import os
import random
from typing import Final

from benchmarks.errors import BenchError
from benchmarks.game_server import open_game_server
from benchmarks.options import Bench
from benchmarks.processes import CpuMeter
from benchmarks.report import Bar, Figure, Result
from benchmarks.sightings import Move, tally_moves
from benchmarks.stats import latency_figures
from benchmarks.swarm import Recording, Sending, Swarm
from benchmarks.visits import enter_as_json, json_command, seat_players
from benchmarks.world import BenchWorld

P99_MS_MAX: Final = 50.0
WARM_UP_SHARE: Final = 0.25
MOVES_PER_SECOND_MAX: Final = 8.0
"""Per walker; the server's own limit is about ten."""
QUICK_SECONDS: Final = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--players", type=int, default=200, help="how many walk (default 200)")
    parser.add_argument("--rooms", type=int, default=100, help="rooms of the world, each with a witness (default 100)")
    parser.add_argument("--moves-per-second", type=float, default=400, help="moves of all together (default 400)")
    parser.add_argument("--seconds", type=float, default=20, help="how long they walk (default 20)")


def run(bench: Bench, arguments: argparse.Namespace) -> Result:
    walkers: int = arguments.players
    pace: float = arguments.moves_per_second
    seconds: float = min(arguments.seconds, QUICK_SECONDS) if bench.quick else arguments.seconds
    if pace / walkers > MOVES_PER_SECOND_MAX:
        raise BenchError(f"{pace:g} moves a second are too many for {walkers} walkers")
    world = BenchWorld(arguments.rooms)
    chance = random.Random("walk")
    room_of = [chance.randrange(len(world.rooms)) for _ in range(walkers)] + list(range(len(world.rooms)))
    with open_game_server(bench, world) as server, Swarm(server.port) as swarm:
        seat_players(swarm, world, room_of, enter_as_json, bench.progress, "walk")
        _walk(bench, swarm, world, room_of, walkers, pace, seconds * WARM_UP_SHARE, chance)
        stood_in = {number: world.rooms[room].id for number, room in enumerate(room_of)}
        meter = CpuMeter(server.roles | {"client": os.getpid()})
        moves, recording = _walk(bench, swarm, world, room_of, walkers, pace, seconds, chance)
        used = meter.stop()
    bench.progress.say("walk: every sighting is ticked off")
    tally = tally_moves(moves, stood_in, recording)
    latency = latency_figures(tally.latencies)
    record: dict[str, Figure] = {
        "moves": len(moves),
        "expected": tally.expected,
        "seen": tally.seen,
        "lost": tally.lost,
        "duplicated": tally.duplicated,
        "late_from_old_room": tally.late,
        **latency,
        "own_view_p99_ms": latency_figures(tally.answer_latencies)["p99_ms"],
        "server_us_per_move": used["server"] / len(moves) * 1e6,
        "frames_per_move": tally.deliveries / len(moves),
        "server_cores": used["server"] / seconds,
        "broker_cores": used["broker"] / seconds,
        "client_cores": used["client"] / seconds,
    }
    settings: dict[str, Figure] = {"walkers": walkers, "rooms": len(world.rooms), "moves_per_second": pace}
    result = Result("walk", settings | {"dialect": "json"}, [record], [Bar("p99 ms", latency["p99_ms"], P99_MS_MAX)])
    result.faults = tally.faults()
    if recording.dropped:
        result.faults.append(f"{len(recording.dropped)} players were dropped")
    result.warn_if_client_was_busy(used["client"] / seconds, "walk")
    return result


def _walk(
    bench: Bench,
    swarm: Swarm,
    world: BenchWorld,
    room_of: list[int],
    walkers: int,
    pace: float,
    seconds: float,
    chance: random.Random,
) -> tuple[list[Move], Recording]:
    """Moves at an even pace, all walkers in turn; `room_of` is kept up to date. Gives (move n, recording)."""
    moves: list[Move] = []
    schedule: list[Sending] = []
    for n in range(int(pace * seconds)):
        walker = swarm.links[n % walkers]
        here = world.rooms[room_of[walker.number]]
        direction, target = chance.choice(list(here.exits.items()))
        room_of[walker.number] = target
        moves.append(Move(walker, here.id, world.rooms[target].id))
        schedule.append(Sending(n / pace, walker, json_command("go", direction)))
    told = f"walk: {walkers} players walk, {{:.0f}} of {seconds:g} s"
    recording = swarm.play(schedule, seconds_min=seconds, each_second=lambda at: bench.progress.say(told.format(at)))
    return moves, recording
