"""The game's own time: how tick numbers become hours, days and the parts of a day."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

GAME_SECONDS_PER_SECOND = 12
"""A game day lasts two real hours, so that an evening's play sees light and dark."""

FIRST_MOMENT = datetime(1911, 10, 27, 17, 0)
"""Where the story begins: an autumn afternoon, an hour before dusk."""


class Daypart(StrEnum):
    NIGHT = "night"
    DAWN = "dawn"
    DAY = "day"
    DUSK = "dusk"


_DAYPART_BEGINS = ((5, Daypart.DAWN), (7, Daypart.DAY), (18, Daypart.DUSK), (20, Daypart.NIGHT))

_TURNS = {
    Daypart.DAWN: "A grey light gathers in the east, as if it had been told to.",
    Daypart.DAY: "The sun is up. It is not quite where it was yesterday.",
    Daypart.DUSK: "The light thins, and the gulls go quiet all at once.",
    Daypart.NIGHT: "Night comes up out of the sea.",
}


@dataclass(frozen=True, slots=True)
class GameTime:
    """A moment in the game's world."""

    moment: datetime = FIRST_MOMENT

    @classmethod
    def at_tick(cls, tick_number: int, tick_seconds: float) -> "GameTime":
        """The game's time when tick `tick_number` strikes; ticks last `tick_seconds` real seconds."""
        return cls(FIRST_MOMENT + timedelta(seconds=round(tick_number * tick_seconds * GAME_SECONDS_PER_SECOND)))

    @classmethod
    def from_iso(cls, text: str) -> "GameTime":
        """The moment that `mythos_datetime` names. Raises ValueError."""
        return cls(datetime.fromisoformat(text))

    def earlier(self, game_seconds: float) -> "GameTime":
        return GameTime(self.moment - timedelta(seconds=round(game_seconds)))

    @property
    def clock(self) -> str:
        """'HH:MM'."""
        return self.moment.strftime("%H:%M")

    @property
    def daypart(self) -> Daypart:
        part = Daypart.NIGHT
        for hour, begins in _DAYPART_BEGINS:
            if self.moment.hour >= hour:
                part = begins
        return part

    @property
    def is_daytime(self) -> bool:
        return self.daypart in (Daypart.DAWN, Daypart.DAY)

    def told(self) -> str:
        """The time as a player is told it."""
        day = f"{self.moment.day} {self.moment.strftime('%B %Y')}"
        return f"It is {self.clock} on {day}, {_SPOKEN[self.daypart]}."


_SPOKEN = {Daypart.NIGHT: "in the night", Daypart.DAWN: "at dawn", Daypart.DAY: "by day", Daypart.DUSK: "at dusk"}


def turn_of_day(before: GameTime, now: GameTime) -> str | None:
    """The line everybody sees when one part of the day gives way to the next; None while it lasts."""
    return None if before.daypart == now.daypart else _TURNS[now.daypart]
