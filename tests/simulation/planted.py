"""Bugs to plant in the server, one at a time: does the simulation find them?"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import trio

from mudserver.game import events as e
from mudserver.realtime.absences import Absences
from mudserver.realtime.audience import Audience
from mudserver.realtime.connection_manager import ConnectionManager
from mudserver.realtime.event_publisher import EventPublisher
from mudserver.realtime.nats_message_handler import NATSMessageHandler
from mudserver.realtime.rooms import Channel, GlobalChannel, RoomChannel
from mudserver.realtime.screen import Frame, Screen
from mudserver.services.game_tick_service import GameTickService

Plant = Callable[[], AbstractContextManager[object]]
"""Plants a bug for as long as the context lasts."""

PLANTS: dict[str, Plant] = {}
"""Every bug, by a name that says what it does."""


def _bug(kind: type, method: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Replaces a method by one that gets the right one first, then its arguments. The name is the function's."""

    def plant(wrong: Callable[..., Any]) -> Callable[..., Any]:
        right = getattr(kind, method)

        def replacement(*arguments: Any, **options: Any) -> Any:
            return wrong(right, *arguments, **options)

        PLANTS[wrong.__name__.replace("_", " ")] = lambda: patch.object(kind, method, replacement)
        return wrong

    return plant


_asked = itertools.count(1)


def _now_and_then() -> bool:
    """Says yes every twentieth time."""
    return next(_asked) % 20 == 0


@contextmanager
def planted(bug: str) -> Iterator[None]:
    """The server has this bug for as long as the context lasts."""
    global _asked
    _asked = itertools.count(1)
    with PLANTS[bug]():
        yield


@_bug(ConnectionManager, "_publish")
def skip_a_leave(right: Any, self: Any, events: tuple[e.Event, ...]) -> None:
    right(self, tuple(each for each in events if not isinstance(each.fact, e.PlayerLeft) or not _now_and_then()))


@_bug(Screen, "send_nowait")
def deliver_twice(right: Any, self: Screen, frames: Sequence[Frame], joined: bytes) -> None:
    right(self, frames, joined)
    if _now_and_then():
        right(self, frames, joined)


@_bug(Channel, "_waiting")
def swap_two_events(right: Any, self: Channel) -> Any:
    return list(reversed(right(self)))


@_bug(RoomChannel, "_deliver")
def forget_a_listener(right: Any, self: RoomChannel, batch: Any) -> Any:
    steps = right(self, batch)
    if self.listeners and _now_and_then():
        self.listeners.popitem()
    return steps


@_bug(GlobalChannel, "_deliver")
def hear_the_world_before_arriving(right: Any, self: GlobalChannel, batch: Any) -> Any:
    self.listeners.update(self._screens)
    return right(self, batch)


@_bug(Channel, "_step")
def forget_the_rest_of_a_crowd(right: Any, self: Channel) -> Any:
    if self._steps is not None and _now_and_then():
        self._steps = None
    return right(self)


@_bug(Channel, "_frames")
def number_frames_once_for_a_crowd(right: Any, self: Channel, batch: Any) -> Any:
    kept = self.__dict__.setdefault("kept", {})
    return kept.setdefault(id(batch), (batch, right(self, batch)))[1]


@_bug(EventPublisher, "link_lost")
def lose_one_at_reconnect(right: Any, self: EventPublisher) -> Any:
    if self._awaited:
        self._awaited.popitem()
    return right(self)


@_bug(ConnectionManager, "sign_out")
def leak_an_outbox(right: Any, self: Any, player_id: Any) -> None:
    self.__dict__.setdefault("kept", []).append(self._audience.screens[player_id].connection)
    right(self, player_id)


@_bug(Screen, "attach")
def replay_one_too_many_on_resume(right: Any, self: Screen, connection: Any, dialect: Any, seen: int | None) -> Any:
    return right(self, connection, dialect, None if seen is None else seen - 1)


@_bug(GameTickService, "_tick")
def tick_twice_after_an_overrun(right: Any, self: GameTickService) -> None:
    right(self)
    if self.lateness_seconds >= self._tick_seconds:
        right(self)


@_bug(EventPublisher, "take_receipt")
def show_late_copies(right: Any, self: Any, number: int) -> Any:
    shown = self.__dict__.setdefault("shown", {})
    event = right(self, number) or shown.get(number)
    shown[number] = event
    return event


@_bug(RoomChannel, "_deliver")
def hear_a_room_after_leaving_it(right: Any, self: Any, batch: Any) -> Any:
    before = dict(self.listeners)
    steps = right(self, batch)
    for player_id in before.keys() - self.listeners.keys():
        if _now_and_then():
            self.listeners[player_id] = before[player_id]
    return steps


@_bug(Absences, "_void_key")
def a_key_opens_twice(right: Any, self: Any, player_id: Any) -> None:
    self._key_by_player.pop(player_id, None)


@_bug(Screen, "attach")
def keep_silent_about_a_gap(right: Any, self: Screen, connection: Any, dialect: Any, seen: int | None) -> bool:
    right(self, connection, dialect, seen)
    return True


@_bug(NATSMessageHandler, "unhost")
def never_unsubscribe(right: Any, self: Any, player_id: Any) -> None:
    pass


@_bug(Audience, "route")
def drop_a_tell_now_and_then(right: Any, self: Any, event: e.Event) -> None:
    if not isinstance(event.fact, e.ChatMessage) or event.fact.channel != "tell" or not _now_and_then():
        right(self, event)


@_bug(Absences, "end")
def give_up_players_who_came_back(right: Any, self: Any, player_id: Any) -> bool:
    return self._waits.pop(player_id, None) is not None


@contextmanager
def _nobody_is_given_up() -> Iterator[None]:
    async def wait(self: Any, player_id: Any, scope: Any) -> None:
        with scope:
            await trio.sleep_forever()

    with patch.object(Absences, "_wait", wait):
        yield


PLANTS["nobody is ever given up"] = _nobody_is_given_up
