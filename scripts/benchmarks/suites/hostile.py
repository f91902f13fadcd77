"""`hostile`: the talk of `players`, without and with attackers at the door: what strangers cost everybody else.

One server, one run: the same players talk twice, first alone, then while attackers in a process of their own connect,
flood, stall, reset and send what nobody should; and so in turn, several times, for the machine has its moods. The ratio
is the median of those of the turns. Latency is from the speaker's socket to the listener's.
"""

import argparse
import json
import os
import random
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from benchmarks.deliveries import marker, tally_said
from benchmarks.game_server import GameServer, open_game_server
from benchmarks.options import Bench, child_environment
from benchmarks.processes import CpuMeter, open_child, resident_bytes
from benchmarks.report import Bar, Figure, Result
from benchmarks.stats import latency_figures
from benchmarks.swarm import Recording, Sending, Swarm
from benchmarks.visits import enter_as_text, seat_players, text_line
from benchmarks.world import BenchWorld

SPOKEN: Final = "the stars are not quite where we left them"
P99_RATIO_MAX: Final = 2.0
WARM_UP_SECONDS: Final = 5.0
"""Also how long the attackers are at it before what they cost is measured."""
QUICK_WARM_UP_SECONDS: Final = 1.0
LATE_SECONDS_MAX: Final = 0.05
"""If the client falls behind its schedule by more, the load was not what it says."""
DRAIN_SECONDS: Final = 8.0
"""For the last lines. Where attackers come and go it is never quiet, so nothing is waited for beyond this."""
QUICK_DRAIN_SECONDS: Final = 1.0
ATTACKERS_END_SECONDS_MAX: Final = 15.0
AFTERMATH_SECONDS: Final = 35.0
"""Of talk, until those attackers whose line was lost are gone from the world as well; then the next turn."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--players", type=int, default=1000, help="how many play (default 1000)")
    parser.add_argument("--rooms", type=int, default=100, help="how many rooms they are spread over (default 100)")
    parser.add_argument("--events-per-second", type=float, default=500, help="lines said a second (default 500)")
    parser.add_argument("--attackers", type=int, default=200, help="how many attack (default 200)")
    parser.add_argument("--repeats", type=int, default=3, help="turns, each without and with them (default 3)")
    parser.add_argument("--seconds", type=float, default=20, help="how long they talk, each time (default 20)")


def run(bench: Bench, arguments: argparse.Namespace) -> Result:
    if bench.quick:
        arguments = argparse.Namespace(players=200, rooms=20, events_per_second=150.0, attackers=40, seconds=3.0)
        arguments.repeats = 1
    warm_up_seconds = QUICK_WARM_UP_SECONDS if bench.quick else WARM_UP_SECONDS
    world = BenchWorld(arguments.rooms)
    room_of = [number % arguments.rooms for number in range(arguments.players)]
    records: list[dict[str, Figure]] = []
    result = Result("hostile", {"dialect": "text", "attackers": arguments.attackers}, records)
    with open_game_server(bench, world) as server, Swarm(server.port) as swarm:
        seat_players(swarm, world, room_of, enter_as_text, bench.progress, "hostile")
        for turn in range(arguments.repeats):
            _talk(bench, swarm, arguments, AFTERMATH_SECONDS if turn else warm_up_seconds, "warm-up")
            alone = _measure(bench, swarm, server, arguments, room_of, "without", result)
            with _attackers(bench, server, arguments.attackers) as attackers:
                _talk(bench, swarm, arguments, warm_up_seconds, "warm-up")
                besieged = _measure(bench, swarm, server, arguments, room_of, "with", result, attackers.pid)
            besieged["attacks"] = sum(attackers.done.values())
            records += [alone, besieged]
    ratios = [after / before for before, after in zip(_p99s(result, "without"), _p99s(result, "with"), strict=True)]
    ratio = statistics.median(ratios)
    result.bars.append(Bar("p99 with attackers / p99 without, median", ratio, P99_RATIO_MAX))
    return result


def _p99s(result: Result, attackers: str) -> list[float]:
    """Of each turn, in milliseconds."""
    found = [record["p99_ms"] for record in result.records if record["attackers"] == attackers]
    return [each for each in found if isinstance(each, float)]


@dataclass(frozen=True, slots=True)
class _Attackers:
    """Their process, and how often each thing was done, filled in at the end."""

    pid: int
    done: dict[str, int] = field(default_factory=dict)


@contextmanager
def _attackers(bench: Bench, server: GameServer, count: int) -> Iterator[_Attackers]:
    """Attackers at work during the block."""
    program = ["-m", "benchmarks.attackers", str(server.port), str(count)]
    with open_child("attackers", program, bench.work_dir / "attackers.err", child_environment()) as child:
        child.next_line(ATTACKERS_END_SECONDS_MAX)
        attackers = _Attackers(child.pid)
        yield attackers
        child.check_alive()
        child.say("enough")
        attackers.done.update(json.loads(child.next_line(ATTACKERS_END_SECONDS_MAX)))


def _measure(
    bench: Bench,
    swarm: Swarm,
    server: GameServer,
    arguments: argparse.Namespace,
    room_of: list[int],
    attackers: str,
    result: Result,
    attackers_pid: int | None = None,
) -> dict[str, Figure]:
    """The talk once, ticked off; adds its faults and warnings to `result` and gives its figures."""
    more = {} if attackers_pid is None else {"attackers": attackers_pid}
    meter = CpuMeter(server.roles | {"client": os.getpid()} | more)
    speakers, recording = _talk(bench, swarm, arguments, arguments.seconds, f"measured {attackers}", is_counted=True)
    used = meter.stop()
    bench.progress.say("hostile: every delivery is ticked off")
    tally = tally_said(speakers, room_of, recording)
    name = f"{attackers} attackers"
    result.faults += [f"{name}: {fault}" for fault in tally.faults()]
    if recording.dropped:
        result.faults.append(f"{name}: {len(recording.dropped)} players were dropped")
    if recording.late_seconds_max > LATE_SECONDS_MAX:
        result.warnings.append(f"{name}: the client was up to {recording.late_seconds_max:.2f} s behind its schedule")
    result.warn_if_client_was_busy(used["client"] / meter.wall_seconds, name)
    return {
        "attackers": attackers,
        "sent": len(speakers),
        "expected": tally.expected,
        "delivered": tally.delivered,
        "lost": tally.lost,
        "duplicated": tally.duplicated,
        **latency_figures(tally.latencies),
        "server_cores": used["server"] / meter.wall_seconds,
        "broker_cores": used["broker"] / meter.wall_seconds,
        "client_cores": used["client"] / meter.wall_seconds,
        "attacker_cores": used["attackers"] / meter.wall_seconds if more else None,
        "server_mib": resident_bytes(server.child.pid) / 2**20,
    }


def _talk(
    bench: Bench, swarm: Swarm, arguments: argparse.Namespace, seconds: float, seed: str, *, is_counted: bool = False
) -> tuple[list[int], Recording]:
    """Lines at an even pace, in an order drawn anew each time all have spoken. Gives (who said line n, recording).

    Lines that are not counted carry no marker: those that come late are not taken for lines of the next talk.
    """
    order = random.Random(seed)
    pace: float = arguments.events_per_second
    speakers: list[int] = []
    while len(speakers) < int(pace * seconds):
        speakers += order.sample(range(arguments.players), arguments.players)
    del speakers[int(pace * seconds) :]
    schedule = [
        Sending(n / pace, swarm.links[speaker], text_line(f"say {marker(n) if is_counted else seed} {SPOKEN}"))
        for n, speaker in enumerate(speakers)
    ]
    told = f"hostile, {seed}: {{:.0f}} of {seconds:g} s"
    recording = swarm.play(
        schedule,
        seconds_min=seconds,
        drain_seconds_max=QUICK_DRAIN_SECONDS if bench.quick else DRAIN_SECONDS,
        each_second=lambda at: bench.progress.say(told.format(at)),
    )
    return speakers, recording
