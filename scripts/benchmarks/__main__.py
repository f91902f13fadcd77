"""The command line of `scripts/bench`."""

import argparse
import json
import resource
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Final, NoReturn

from benchmarks.errors import BenchError
from benchmarks.machine import machine, machine_line
from benchmarks.options import Bench, open_bench
from benchmarks.report import Result, as_json, as_text
from benchmarks.suites import fanout, hostile, join, memory, players, tick, walk

SUITES: Final[Mapping[str, ModuleType]] = {
    "fanout": fanout,
    "players": players,
    "walk": walk,
    "join": join,
    "tick": tick,
    "memory": memory,
    "hostile": hostile,
}
EXIT_MEASURED: Final = 0
EXIT_FAULTS: Final = 1
EXIT_NOT_MEASURED: Final = 2
EXIT_INTERRUPTED: Final = 130
EXIT_TERMINATED: Final = 143


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures the server: one suite, or all of them if none is named.",
        epilog="Exit code: 0 measured; 1 something was lost, doubled or dropped; 2 it could not be measured.",
    )
    _add_common_arguments(parser)
    suites = parser.add_subparsers(dest="suite", metavar="SUITE")
    for name, suite in SUITES.items():
        description = suite.__doc__ or ""
        summary = description.split(": ", 1)[1].splitlines()[0]
        of_suite = suites.add_parser(
            name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        _add_common_arguments(of_suite)
        suite.add_arguments(of_suite)
    return parser


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that may stand before or after the suite's name; hence no defaults, which would hide the other place."""
    parser.add_argument(
        "--quick", action="store_true", default=argparse.SUPPRESS, help="smaller sizes: all in a minute"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="write the figures here too"
    )


def _arguments_of(suite: ModuleType) -> argparse.Namespace:
    """A suite's own arguments at their defaults."""
    parser = argparse.ArgumentParser()
    suite.add_arguments(parser)
    return parser.parse_args([])


def _run(bench: Bench, arguments: argparse.Namespace, results: dict[str, Result]) -> None:
    """Run the suite that was asked for, or all; show each result, and put it into `results`, as soon as it is there."""
    for name, suite in SUITES.items():
        if arguments.suite not in (None, name):
            continue
        result = suite.run(bench, arguments if arguments.suite else _arguments_of(suite))
        results[name] = result
        if name == "players" and "fanout" in results:
            players.compare_with_fanout(result, fanout.our_single_us(results["fanout"]))
        bench.progress.clear()
        print(as_text(result), flush=True)


def _allow_many_sockets() -> None:
    """Every client is a file descriptor here and one in the server, which inherits this limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(EXIT_TERMINATED)


def main(command_line: Sequence[str]) -> int:
    arguments = _parser().parse_args(command_line)
    signal.signal(signal.SIGTERM, _stop)
    _allow_many_sockets()
    facts = machine()
    print(machine_line(facts), flush=True)
    results: dict[str, Result] = {}
    code = EXIT_MEASURED
    try:
        with open_bench(quick=getattr(arguments, "quick", False)) as bench:
            _run(bench, arguments, results)
    except BenchError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        code = EXIT_NOT_MEASURED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if path := getattr(arguments, "json", None):
        command = shlex.join(["scripts/bench", *command_line])
        figures = as_json(list(results.values()), facts, command)
        path.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    return code or (EXIT_FAULTS if any(result.faults for result in results.values()) else EXIT_MEASURED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
