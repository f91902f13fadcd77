"""A contender with its clients: its process started, every connection made and ready to be written to."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.errors import BenchError
from benchmarks.options import Bench, child_environment
from benchmarks.processes import Child, open_child, resident_bytes
from benchmarks.swarm import Link, Script, Swarm

START_SECONDS_MAX: Final = 20.0
CONNECT_SECONDS: Final = 20.0
CONNECT_SECONDS_PER_CLIENT: Final = 0.01
IN_FLIGHT_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Stand:
    """A contender ready for orders: `child.say("3")` makes it send three messages to every client of the swarm."""

    name: str
    child: Child
    swarm: Swarm
    empty_bytes: int
    """Its memory before the first connection."""


@contextmanager
def open_stand(bench: Bench, name: str, module: str, connections: int, cpus: Iterable[int] = ()) -> Iterator[Stand]:
    """Start `benchmarks.contenders.MODULE` and connect as many clients; end both after the block."""
    program = ["-m", f"benchmarks.contenders.{module}", str(connections)]
    seconds_max = CONNECT_SECONDS + connections * CONNECT_SECONDS_PER_CLIENT
    with open_child(name, program, bench.work_dir / f"{module}.err", child_environment(), cpus) as child:
        word, port = child.next_line(START_SECONDS_MAX).split()
        assert word == "port"
        empty_bytes = resident_bytes(child.pid)
        with Swarm(int(port)) as swarm:
            swarm.run_scripts(_only_connect, connections, in_flight_max=IN_FLIGHT_MAX, seconds_max=seconds_max)
            if child.next_line(seconds_max) != "full":
                raise BenchError(f"{name} did not say 'full'")
            swarm.settle()  # a game server announces the arrivals
            yield Stand(name, child, swarm, empty_bytes)


def _only_connect(link: Link, port: int) -> Script:
    yield from link.shake_hands(port, None)
