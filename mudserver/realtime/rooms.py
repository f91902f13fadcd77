"""The channels that events take to players: one for each awake room, one for what all the world hears."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping

import trio

from mudserver.game.events import Event, Notice, Occupants, PlayerEntered, PlayerLeft
from mudserver.game.ids import PlayerId, RoomId
from mudserver.realtime.screen import Frame, Screen, make_frame
from mudserver.realtime.stamps import Stamps
from mudserver.wire.dialects import Dialect, Shown

Posted = Event | Notice
"""What travels in a channel: events, and what the server itself has to say."""

COMING_OR_GOING = (PlayerEntered, PlayerLeft)

CROWD_LISTENERS = 100
"""More than this is a crowd."""

GATHER_SECONDS_PER_LISTENER = 20e-6
"""How long a crowd's next events wait: about twice as long as it takes to write to all, so half of the time is left."""

BATCH_EVENTS_MAX = 64
"""Events that are joined into one write for each listener; far fewer than an outbox holds."""

DELIVERIES_AT_ONCE_MAX = 500
"""Frames put into outboxes, less than a millisecond of work, before everybody else has a turn."""


class Channel:
    """A memory channel of events and the task that delivers them: encoded once per dialect, the same bytes to all.

    `deliveries` counts the frames put into outboxes.
    """

    def __init__(self, stamps: Stamps, events_max: int) -> None:
        self.deliveries = 0
        self._stamps = stamps
        self._send, self._receive = trio.open_memory_channel[Posted](events_max)
        self._waiting = 0
        self._posted = trio.Event()
        self._begun = 0
        """Events of the batch that have been offered to all, but not yet written."""

    @abstractmethod
    def listeners(self) -> Mapping[PlayerId, Screen]:
        """Who hears this channel now."""

    def post(self, posted: Posted) -> None:
        """Puts an event or a notice. Never waits: if the channel is full, what is in it is delivered on the spot."""
        try:
            self._send.send_nowait(posted)
        except trio.WouldBlock:
            self.deliver_waiting()
            self._send.send_nowait(posted)
        self._waiting += 1
        self._posted.set()

    async def run(self) -> None:
        """Delivers until cancelled."""
        while True:
            await self._wait_for_events()
            await self._deliver_in_steps()

    async def _wait_for_events(self) -> None:
        # Not by receive(): a task that waits there is handed the event outside the channel, where `post` could not
        # find it, and later events would overtake it.
        await self._posted.wait()
        self._posted = trio.Event()

    async def _deliver_in_steps(self) -> None:
        """Delivers what is in the channel; before a large crowd others have turns in between."""
        work = 0
        while self._waiting:
            self._deliver_next()
            work += len(self.listeners())
            if work >= DELIVERIES_AT_ONCE_MAX:
                work = 0
                await trio.lowlevel.checkpoint()
        self._finish_batch()
        await self._let_gather()

    async def _let_gather(self) -> None:
        """Before a crowd the next events wait a little, so that they are joined: else a thousand arrivals are a million
        writes.
        """
        crowd = len(self.listeners())
        if crowd > CROWD_LISTENERS:
            await trio.sleep(crowd * GATHER_SECONDS_PER_LISTENER)

    def deliver_waiting(self) -> None:
        """Delivers at once what is in the channel now."""
        while self._waiting:
            self._deliver_next()
        self._finish_batch()

    def _deliver_next(self) -> None:
        posted = self._receive.receive_nowait()
        self._waiting -= 1
        self._deliver(posted)
        if self._begun >= BATCH_EVENTS_MAX:
            self._finish_batch()

    def _deliver(self, posted: Posted) -> None:
        if not self._waiting and not self._begun:
            # A single event is sent at once; several are offered, and joined into one write for each listener.
            actor = posted.actor if isinstance(posted, Event) else None
            self._show(posted, self.listeners(), actor, Screen.send_nowait)
        else:
            self._offer(posted)

    def _offer(self, shown: Shown, listeners: Mapping[PlayerId, Screen] | None = None) -> None:
        before = self.deliveries
        actor = shown.actor if isinstance(shown, Event) else None
        self._show(shown, self.listeners() if listeners is None else listeners, actor)
        self._begun += self.deliveries > before  # what no dialect shows needs no look at all the listeners

    def _finish_batch(self) -> None:
        if self._begun:
            self._begun = 0
            for screen in self.listeners().values():
                screen.flush_nowait()

    def _show(
        self, shown: Shown, listeners: Mapping[PlayerId, Screen], but: PlayerId | None, put: "Put" = Screen.offer
    ) -> None:
        """Shows it to all of them but one. Encoding and offering in one step keeps each client's numbers rising."""
        frames: dict[Dialect, Frame | None] = {}
        dialect: Dialect | None = None
        frame: Frame | None = None
        for player_id, screen in listeners.items():
            if player_id == but:
                continue
            if screen.dialect is not dialect:
                dialect = screen.dialect
                if dialect not in frames:
                    frames[dialect] = make_frame(dialect, shown, self._stamps)
                frame = frames[dialect]
            if frame is not None:
                put(screen, frame)
                self.deliveries += 1


Put = Callable[[Screen, Frame], None]
"""How a frame gets onto a screen: `Screen.offer`, and a flush once all are offered, or `Screen.send_nowait`."""


class GlobalChannel(Channel):
    """What everybody hears: ticks, comings and goings of the game, shouts."""

    def __init__(self, screens: Mapping[PlayerId, Screen], stamps: Stamps, events_max: int) -> None:
        super().__init__(stamps, events_max)
        self._screens = screens

    def listeners(self) -> Mapping[PlayerId, Screen]:
        return self._screens


class RoomChannel(Channel):
    """One awake room.

    A player of this node listens from their own arrival to their own departure, as those pass in the room's stream of
    events: so nobody hears what was said before they came or after they went, and nothing in between is missed.
    """

    def __init__(self, room_id: RoomId, screens: Mapping[PlayerId, Screen], stamps: Stamps, events_max: int) -> None:
        super().__init__(stamps, events_max)
        self.room_id = room_id
        self._screens = screens
        self._listeners: dict[PlayerId, Screen] = {}
        self._present: dict[PlayerId, str] = {}
        self._told: dict[PlayerId, Screen] = {}
        """Who saw others come or go in this batch, and is to get a fresh list of those who are here."""
        self._leavers: list[Screen] = []
        """Who left in this batch: what they heard until then is theirs."""

    def listeners(self) -> Mapping[PlayerId, Screen]:
        return self._listeners

    async def run_until_asleep(self, linger_seconds: float, is_needed: Callable[[RoomId], bool]) -> None:
        """Delivers until the room has had no listener for so many seconds, and is not needed for anything else."""
        while True:
            with trio.move_on_after(math.inf if self._listeners else linger_seconds) as idle:
                await self._wait_for_events()
            if idle.cancelled_caught and not is_needed(self.room_id):
                return
            await self._deliver_in_steps()

    def _deliver(self, posted: Posted) -> None:
        fact = posted.fact if isinstance(posted, Event) else None
        if not isinstance(fact, COMING_OR_GOING):
            super()._deliver(posted)
            return
        if isinstance(fact, PlayerLeft):
            self._present.pop(fact.player_id, None)
            self._told.pop(fact.player_id, None)
            if (leaver := self._listeners.pop(fact.player_id, None)) is not None:
                self._leavers.append(leaver)
        self._offer(posted)
        self._told.update(self._listeners)
        self._told.pop(fact.player_id, None)
        if isinstance(fact, PlayerEntered):
            self._present[fact.player_id] = fact.player_name
            if (screen := self._screens.get(fact.player_id)) is not None:
                self._listeners[fact.player_id] = screen

    def _finish_batch(self) -> None:
        if self._told:
            self._offer(Occupants(self.room_id, tuple(self._present.values())), self._told)
            self._told = {}
        super()._finish_batch()
        for screen in self._leavers:
            screen.flush_nowait()
        self._leavers.clear()
