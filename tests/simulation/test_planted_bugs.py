"""The simulation itself is put to the test: a bug is planted in the server, and must be found within a few seeds."""

import pytest

from tests.simulation.plan import Plan
from tests.simulation.planted import PLANTS, planted
from tests.simulation.run import simulate

SEEDS_MAX = 4
"""Each bug is found within so many seeds, each a few virtual minutes."""


def plan(seed: int) -> Plan:
    return Plan(seed, players=6, hours=0.05, actions_per_second=5, faults_per_hour=200)


@pytest.mark.parametrize("bug", PLANTS)
def test_a_planted_bug_is_found(bug: str, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(1, SEEDS_MAX + 1):
        with planted(bug):
            outcome = simulate(plan(seed))
        if outcome.broken:
            with capsys.disabled():
                what = outcome.broken.partition("\n")[0][:110]
                print(f"\n  {bug}: seed {seed}, after {outcome.at_seconds:.0f} s: {what}", end="")  # noqa: T201
            assert outcome.digest
            return
    pytest.fail(f"not found in {SEEDS_MAX} seeds")


@pytest.mark.parametrize("seed", range(1, SEEDS_MAX + 1))
def test_without_one_the_same_seeds_keep_every_promise(seed: int) -> None:
    outcome = simulate(plan(seed))
    assert outcome.broken == "", outcome.story
