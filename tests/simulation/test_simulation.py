"""A few short seeds of the simulation; SIMULATION_SEEDS=N plays N more, longer ones."""

import os

import pytest

from tests.simulation.__main__ import describe
from tests.simulation.plan import Plan
from tests.simulation.planted import planted
from tests.simulation.run import simulate

SEEDS = 5
MORE_SEEDS = int(os.environ.get("SIMULATION_SEEDS", "0"))


PLANS = [
    *(Plan(seed, 10, 0.05, actions_per_second=6, faults_per_hour=150) for seed in range(101, 101 + SEEDS)),
    *(Plan(seed, 20, 0.5, actions_per_second=3, faults_per_hour=100) for seed in range(1001, 1001 + MORE_SEEDS)),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"seed {plan.seed}")
def test_a_seed_keeps_every_promise(plan: Plan) -> None:
    outcome = simulate(plan)
    assert outcome.broken == "", describe(outcome)
    assert outcome.counts["messages seen"] > 1000


def test_the_same_seed_shows_every_client_the_same() -> None:
    plan = Plan(7, players=5, hours=0.03, actions_per_second=4, faults_per_hour=200)
    one, other = simulate(plan), simulate(plan)
    assert one.digest == other.digest
    assert one.counts == other.counts


def test_another_seed_is_another_story() -> None:
    one, other = (simulate(Plan(seed, players=3, hours=0.01, actions_per_second=4)) for seed in (1, 2))
    assert one.digest != other.digest


def test_a_broken_promise_is_told_as_a_story_and_breaks_again() -> None:
    plan = Plan(1, players=6, hours=0.05, actions_per_second=5, faults_per_hour=200)
    outcomes = []
    for _ in range(2):
        with planted("deliver twice"):
            outcomes.append(simulate(plan))
    one, other = outcomes
    assert "--seed 1" in describe(one)
    assert one.broken
    assert " sees " in one.story
    assert len(one.story.splitlines()) < 100
    assert (one.broken, one.story, one.digest) == (other.broken, other.story, other.digest)
