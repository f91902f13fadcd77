"""What a seed stands for: how many play how long, with which limits, in which weather."""

import random
from dataclasses import dataclass

from mudserver.config import Limits

START_SECOND = 1_795_421_460
"""The wall clock when the mocked clock shows 0: 2026-11-23T08:11:00Z."""

TICK_SECONDS = 10.0

GRID = 8
"""People act and faults strike on whole eighths of a second, so that much happens at the very same instant."""

CROWD_SECONDS = 0.75 / GRID
"""Longer than anything waits before a crowd."""


@dataclass(frozen=True)
class Plan:
    """One simulation. Whatever is left to chance is drawn from `seed` by `chance`.

    `actions_per_second` is how often somebody does something, all players together; `faults_per_hour` counts lost
    links, pauses and the like.
    """

    seed: int
    players: int = 100
    hours: float = 1.0
    actions_per_second: float = 0.2
    faults_per_hour: float = 30.0

    @property
    def seconds(self) -> float:
        return self.hours * 3600

    def chance(self, purpose: str) -> random.Random:
        """Dice of their own for each purpose, so that one more throw here changes nothing there."""
        return random.Random(f"{self.seed}/{purpose}")

    def limits(self) -> Limits:
        """Limits of the server: now roomy, now narrow."""
        dice = self.chance("limits")
        # A history longer than the outbox is no use: its replay would end the connection as slow.
        outbox_frames_max, history_frames_max = dice.choice(((40, 16), (500, 16), (500, 256)))
        return Limits(
            ping_after_seconds=dice.choice((25.0, 60.0)),
            room_linger_seconds=dice.choice((2.0, 30.0)),
            outbox_frames_max=outbox_frames_max,
            history_frames_max=history_frames_max,
            room_events_max=dice.choice((8, 1024)),
            crowd_listeners=dice.choice((2, 100)),
            served_at_once_max=dice.choice((2, 50)),
        )
