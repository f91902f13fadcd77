"""GameTickService: the game's pulse, on a schedule that does not drift."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

import trio

from mudserver.game.clock import GameTime
from mudserver.game.events import Event, Everywhere, GameTick
from mudserver.game.world import World

logger = logging.getLogger(__name__)

TickListener = Callable[[GameTick], None]
"""Called with each tick after the game's clock moved on; must not wait. What it raises ends the server: it is a bug."""


class GameTickService:
    """Tick n strikes at start + n * interval. `skipped` counts ticks that an overrun swallowed; numbers stay true."""

    def __init__(
        self, tick_seconds: float, world: World, publish: Callable[[Event], None], now: Callable[[], float]
    ) -> None:
        self._tick_seconds = tick_seconds
        self._world = world
        self._publish = publish
        self._now = now
        self._listeners: list[TickListener] = []
        self.tick_number = 0
        self.skipped = 0
        self.lateness_seconds = 0.0
        self.due = trio.current_time() + tick_seconds
        """When the next tick strikes (trio's clock)."""

    def on_tick(self, listener: TickListener) -> None:
        """Has `listener` called at each tick, in the order of asking."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Ticks until cancelled; the schedule begins now."""
        start = trio.current_time()
        while True:
            self.due = start + (self.tick_number + 1) * self._tick_seconds
            await trio.sleep_until(self.due)
            self.lateness_seconds = trio.current_time() - self.due
            overrun = int(self.lateness_seconds // self._tick_seconds)
            if overrun:
                self.skipped += overrun
                first = self.tick_number + 1
                logger.warning("ticks %d to %d came too late and are skipped", first, first + overrun - 1)
            self.tick_number += 1 + overrun
            self._tick()

    def _tick(self) -> None:
        time = self._world.time = GameTime.at_tick(self.tick_number, self._tick_seconds)
        now = datetime.fromtimestamp(self._now(), UTC)
        tick = GameTick(
            tick_number=self.tick_number,
            server_time=now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            tick_interval=self._tick_seconds,
            mythos_clock=time.clock,
            mythos_datetime=time.moment.isoformat(),
            daypart=time.daypart.value,
            is_daytime=time.is_daytime,
        )
        self._publish(Event(tick, Everywhere()))
        for listener in self._listeners:
            listener(tick)
