"""What befalls everybody: links that break or hang, processes that stand still, and crowds that gather meanwhile."""

import random

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.players import QUIET_SECONDS
from tests.simulation.bots import Bot
from tests.simulation.bus import StormyBroker
from tests.simulation.diary import Diary
from tests.simulation.oracle import Oracle
from tests.simulation.plan import GRID, TICK_SECONDS

_KINDS = ("cut", "hang", "pause", "gathering")
_WEIGHTS = (4, 4, 2, 3)
_OUTAGE_SECONDS = (1 / GRID, 1 / 2, 2.0, 8.0, 40.0)
_HANG_SECONDS = (0.0, 1 / GRID, 1.0, 2.0)


class Weather:
    """Faults from the dice, at whole steps of the grid. `counts` says how many of each kind there were."""

    def __init__(
        self,
        dice: random.Random,
        clock: MockClock,
        broker: StormyBroker,
        bots: list[Bot],
        oracle: Oracle,
        diary: Diary,
        faults_per_hour: float,
    ) -> None:
        self._dice = dice
        self._clock = clock
        self._broker = broker
        self._bots = bots
        self._oracle = oracle
        self._diary = diary
        self._seconds_between = 3600 / faults_per_hour
        self.counts = dict.fromkeys(_KINDS, 0)

    async def run(self, until: float) -> None:
        """Until the time `until` (virtual seconds); leaves the link up."""
        while True:
            await self._wait(self._dice.expovariate(1 / self._seconds_between))
            if trio.current_time() >= until:
                return
            kind = self._dice.choices(_KINDS, _WEIGHTS)[0]
            self.counts[kind] += 1
            match kind:
                case "cut":
                    self._gather()
                    self._broker.lose_link("cut")
                    await self._be_down()
                case "hang":
                    self._diary.happened("the link to the broker hangs")
                    self._broker.go_deaf()
                    self._gather()
                    await self._wait(self._dice.choice(_HANG_SECONDS))
                    self._broker.lose_link("silent")
                    await self._be_down()
                case "pause":
                    await self._stand_still()
                case "gathering":
                    self._gather()

    async def _be_down(self) -> None:
        await self._wait(self._dice.choice(_OUTAGE_SECONDS))
        self._gather()
        self._broker.restore_link()

    async def _stand_still(self) -> None:
        """The whole process sleeps, as in a suspended machine, between two passes of the loop."""
        await wait_all_tasks_blocked(QUIET_SECONDS)
        seconds = self._dice.choice((1.0, 12.0, 25.0, 31.0)) * TICK_SECONDS / 10
        self._diary.happened(f"the process stands still for {seconds} s")
        self._clock.jump(seconds)
        self._oracle.paused_at = trio.current_time()
        self._gather()

    def _gather(self) -> None:
        """Several people act at once."""
        for bot in self._dice.sample(self._bots, min(len(self._bots), self._dice.choice((2, 4, 10)))):
            bot.nudge()

    async def _wait(self, seconds: float) -> None:
        now = trio.current_time()
        await trio.sleep_until(max(round((now + seconds) * GRID), int(now * GRID) + 1) / GRID)
