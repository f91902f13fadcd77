"""The command line: plays seeds, and tells the story of the first that breaks a promise."""

import argparse
import sys

from tests.simulation.plan import Plan
from tests.simulation.run import Outcome, simulate


def main() -> int:
    """Returns 0 if every promise was kept, 1 if one was broken."""
    parser = argparse.ArgumentParser(
        prog="simulate",
        description="Plays the real server on a mocked clock, faults included, and checks its promises.",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="the seed everything is drawn from (1)")
    parser.add_argument("--players", type=int, default=100, metavar="P", help="how many people there are (100)")
    parser.add_argument("--hours", type=float, default=1.0, metavar="H", help="virtual hours of play (1)")
    parser.add_argument("--seeds", type=int, default=1, metavar="K", help="play K seeds, from N on (1)")
    parser.add_argument("--actions", type=float, default=Plan.actions_per_second, metavar="A", help=_ACTIONS_HELP)
    parser.add_argument("--faults", type=float, default=Plan.faults_per_hour, metavar="F", help="faults per hour (30)")
    options = parser.parse_args()
    for seed in range(options.seed, options.seed + options.seeds):
        plan = Plan(seed, options.players, options.hours, options.actions, options.faults)
        outcome = simulate(plan)
        print(describe(outcome), flush=True)  # noqa: T201
        if outcome.broken:
            return 1
    return 0


_ACTIONS_HELP = "things done per second, by all together (0.2)"


def describe(outcome: Outcome) -> str:
    """A line for a seed that went well, and for one that did not: the broken promise, the story, and how to see it."""
    plan = outcome.plan
    seed = f"seed {plan.seed}, {plan.players} players, {plan.hours:g} h"
    if not outcome.broken:
        counts = ", ".join(f"{name} {count}" for name, count in outcome.counts.items())
        return f"{seed}: kept every promise; digest {outcome.digest}; {outcome.cpu_seconds:.1f} s of CPU\n  {counts}"
    again = f"scripts/simulate --seed {plan.seed} --players {plan.players} --hours {plan.hours:g}"
    again += f" --actions {plan.actions_per_second:g} --faults {plan.faults_per_hour:g}"
    return (
        f"{seed}: BROKEN at {outcome.at_seconds:.3f} s: {outcome.broken}\n"
        f"{outcome.story}\n"
        f"digest {outcome.digest}; again: {again}"
    )


if __name__ == "__main__":
    sys.exit(main())
