"""The game's own time."""

from datetime import datetime
from itertools import pairwise

import pytest

from mudserver.game.clock import FIRST_MOMENT, Daypart, GameTime, turn_of_day


def at(hour: int, minute: int = 0) -> GameTime:
    return GameTime(datetime(1911, 10, 28, hour, minute))


def test_the_story_begins_on_an_autumn_afternoon() -> None:
    assert GameTime.at_tick(0, 10.0) == GameTime(FIRST_MOMENT) == GameTime()
    assert GameTime().clock == "17:00"


@pytest.mark.parametrize(
    ("tick_number", "tick_seconds", "clock"), [(1, 10.0, "17:02"), (30, 10.0, "18:00"), (1, 300.0, "18:00")]
)
def test_a_game_day_lasts_two_hours_however_long_a_tick_is(tick_number: int, tick_seconds: float, clock: str) -> None:
    assert GameTime.at_tick(tick_number, tick_seconds).clock == clock


def test_720_ticks_of_ten_seconds_are_one_day() -> None:
    assert GameTime.at_tick(720, 10.0).moment == datetime(1911, 10, 28, 17, 0)


@pytest.mark.parametrize(
    ("hour", "minute", "daypart", "is_daytime"),
    [
        (0, 0, Daypart.NIGHT, False),
        (4, 59, Daypart.NIGHT, False),
        (5, 0, Daypart.DAWN, True),
        (6, 59, Daypart.DAWN, True),
        (7, 0, Daypart.DAY, True),
        (17, 59, Daypart.DAY, True),
        (18, 0, Daypart.DUSK, False),
        (19, 59, Daypart.DUSK, False),
        (20, 0, Daypart.NIGHT, False),
        (23, 59, Daypart.NIGHT, False),
    ],
)
def test_each_part_of_the_day_has_its_hours(hour: int, minute: int, daypart: Daypart, is_daytime: bool) -> None:
    assert (at(hour, minute).daypart, at(hour, minute).is_daytime) == (daypart, is_daytime)


def test_the_turn_of_the_day_is_told_once_for_each_of_the_four() -> None:
    minutes = [GameTime.at_tick(number, 10.0) for number in range(721)]
    turns = [turn for before, now in pairwise(minutes) if (turn := turn_of_day(before, now))]
    assert len(turns) == len(set(turns)) == 4


def test_time_is_told_in_words() -> None:
    assert at(5, 4).told() == "It is 05:04 on 28 October 1911, at dawn."
    assert GameTime().told() == "It is 17:00 on 27 October 1911, by day."


def test_a_moment_survives_its_own_writing() -> None:
    time = GameTime.at_tick(77, 10.0)
    assert GameTime.from_iso(time.moment.isoformat()) == time
