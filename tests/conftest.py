"""What all tests share: a running node on the mocked clock, and the people who play on it."""

import signal
from collections.abc import AsyncIterator, Iterator
from types import FrameType

import pytest
import trio
from hypothesis import settings
from trio.testing import MockClock

from tests.players import JsonPlayer, Play, TextPlayer, open_play

# No database: the top level of the repository has no place for one. No deadline: the machine may be busy.
settings.register_profile("mudserver", max_examples=100, deadline=None, database=None)
settings.load_profile("mudserver")

MOCKED_CLOCK_SECONDS_MAX = 120
"""Real seconds for one test on the mocked clock: tasks that keep waking each other would stop that clock for ever."""


@pytest.fixture(autouse=True)
def no_endless_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ends a test whose mocked clock never jumps again, instead of letting the whole run hang."""
    if "autojump_clock" not in request.fixturenames:
        yield
        return

    def give_up(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"no end after {MOCKED_CLOCK_SECONDS_MAX} real seconds: does a task spin?")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, MOCKED_CLOCK_SECONDS_MAX)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
async def play(autojump_clock: MockClock) -> AsyncIterator[Play]:
    """A running node in a small world. The test itself must ask for `autojump_clock` too: it picks the clock."""
    assert trio.current_time() == 0.0, "a test that plays must have the fixture autojump_clock among its own arguments"
    async with open_play() as playing:
        yield playing


@pytest.fixture
async def alice(play: Play) -> TextPlayer:
    """In the game, in the starting room, with a text client; has heard everything so far."""
    return await play.take_turn("alice", (), lambda: play.text_player("Alice"))


@pytest.fixture
async def bob(play: Play, request: pytest.FixtureRequest) -> TextPlayer:
    """As alice, who came first if the test wants her too."""
    return await play.take_turn("bob", wanted(request, "alice"), lambda: play.text_player("Bob"))


@pytest.fixture
async def jane(play: Play, request: pytest.FixtureRequest) -> JsonPlayer:
    """As bob, with a client that wants JSON; comes after both."""
    return await play.take_turn("jane", wanted(request, "alice", "bob"), lambda: play.json_player("Jane"))


def wanted(request: pytest.FixtureRequest, *names: str) -> list[str]:
    """Those of these fixtures that the test asks for."""
    return [name for name in names if name in request.fixturenames]
