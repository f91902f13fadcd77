"""A world without any server, and two people in it."""

import pytest

from mudserver.game import rules
from mudserver.game.events import Problem
from mudserver.game.world import Player, World
from tests.worlds import small_map


def enter(world: World, name: str) -> Player:
    entered = rules.enter_game(world, name)
    assert not isinstance(entered, Problem), entered
    return entered[0]


@pytest.fixture
def world() -> World:
    return World(small_map(), "n1")


@pytest.fixture
def alice(world: World) -> Player:
    return enter(world, "Alice")


@pytest.fixture
def bob(world: World) -> Player:
    return enter(world, "Bob")
