"""The game's pulse, to the virtual second."""

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mudserver.game.clock import GameTime
from mudserver.game.events import Event, Everywhere, GameTick
from mudserver.game.world import World
from mudserver.services.game_tick_service import GameTickService
from tests.players import START_SECOND
from tests.worlds import small_map


class Pulse:
    """A running service in a world of its own, and what it published, with the time of each tick."""

    def __init__(self, tick_seconds: float) -> None:
        self.world = World(small_map(), "n1")
        self.published: list[Event] = []
        self.struck_at: list[tuple[int, float]] = []
        self.service = GameTickService(
            tick_seconds, self.world, self.publish, lambda: START_SECOND + trio.current_time()
        )

    def publish(self, event: Event) -> None:
        assert isinstance(event.fact, GameTick)
        self.published.append(event)
        self.struck_at.append((event.fact.tick_number, trio.current_time()))


@pytest.fixture
async def pulse(nursery: trio.Nursery) -> AsyncIterator[Pulse]:
    pulse = Pulse(10.0)
    nursery.start_soon(pulse.service.run)
    await wait_all_tasks_blocked()
    yield pulse
    nursery.cancel_scope.cancel()


async def test_ticks_strike_at_exactly_ten_twenty_thirty_seconds(autojump_clock: MockClock, pulse: Pulse) -> None:
    await trio.sleep(3600)
    await wait_all_tasks_blocked()
    assert pulse.struck_at == [(number, number * 10.0) for number in range(1, 361)]
    assert pulse.service.skipped == 0
    assert pulse.service.tick_number == 360


async def test_a_third_of_a_second_does_not_drift_either(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    pulse = Pulse(1 / 3)
    nursery.start_soon(pulse.service.run)
    await trio.sleep(1000.1)
    nursery.cancel_scope.cancel()
    assert [number for number, _ in pulse.struck_at] == list(range(1, 3001))
    assert [seconds for _, seconds in pulse.struck_at] == pytest.approx([number / 3 for number in range(1, 3001)])


async def test_a_tick_is_for_everybody_and_says_what_time_it_is(autojump_clock: MockClock, pulse: Pulse) -> None:
    await trio.sleep(20)
    await wait_all_tasks_blocked()
    assert pulse.published[1] == Event(
        GameTick(2, "2026-11-23T08:11:20.000Z", 10.0, "17:04", "1911-10-27T17:04:00", "day", True), Everywhere()
    )


async def test_the_worlds_clock_goes_with_the_ticks(autojump_clock: MockClock, pulse: Pulse) -> None:
    await trio.sleep(605)
    assert pulse.world.time == GameTime.at_tick(60, 10.0)
    assert pulse.world.time.clock == "19:00"


async def test_ticks_an_overrun_swallowed_are_skipped_and_counted_and_numbers_stay_true(
    autojump_clock: MockClock, pulse: Pulse, caplog: pytest.LogCaptureFixture
) -> None:
    await trio.sleep(25)
    autojump_clock.jump(31)  # the whole process stood still from 25 s to 56 s
    await trio.sleep(20)
    assert pulse.struck_at == [(1, 10.0), (2, 20.0), (5, 56.0), (6, 60.0), (7, 70.0)]
    assert pulse.service.skipped == 2
    assert pulse.world.time == GameTime.at_tick(7, 10.0)
    assert [record.getMessage() for record in caplog.records] == ["ticks 3 to 4 came too late and are skipped"]


async def test_a_tick_a_little_late_is_not_skipped(autojump_clock: MockClock, pulse: Pulse) -> None:
    await trio.sleep(5)
    autojump_clock.jump(14)
    await trio.sleep(2)
    assert pulse.struck_at == [(1, 19.0), (2, 20.0)]
    assert pulse.service.skipped == 0


async def test_others_can_hang_on_to_the_tick_in_the_order_of_asking(autojump_clock: MockClock, pulse: Pulse) -> None:
    called: list[tuple[str, int, str]] = []
    pulse.service.on_tick(lambda tick: called.append(("first", tick.tick_number, pulse.world.time.clock)))
    pulse.service.on_tick(lambda tick: called.append(("second", tick.tick_number, pulse.world.time.clock)))
    await trio.sleep(25)
    assert called == [("first", 1, "17:02"), ("second", 1, "17:02"), ("first", 2, "17:04"), ("second", 2, "17:04")]


async def test_a_listener_that_raises_is_a_bug_and_ends_the_service(autojump_clock: MockClock) -> None:
    pulse = Pulse(10.0)

    def fail(_tick: GameTick) -> None:
        raise RuntimeError("a bug")

    pulse.service.on_tick(fail)
    with pytest.raises(RuntimeError, match="a bug"):
        await pulse.service.run()
    assert trio.current_time() == 10.0
