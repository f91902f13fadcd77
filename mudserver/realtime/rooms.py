"""The channels that events take to players: one for each awake room, one for what all the world hears."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import nullcontext

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


class Channel:
    """A memory channel of events and the task that delivers them: encoded once per dialect, the same bytes to all.

    `deliveries` counts the frames put into outboxes.
    """

    def __init__(self, stamps: Stamps, events_max: int) -> None:
        self.deliveries = 0
        self._stamps = stamps
        self._send, self._receive = trio.open_memory_channel[Posted](events_max)
        self._posted = trio.Event()

    @abstractmethod
    def listeners(self) -> Mapping[PlayerId, Screen]:
        """Who hears this channel now."""

    def post(self, posted: Posted) -> None:
        """Puts an event or a notice. Never waits: if the channel is full, what is in it is delivered on the spot."""
        try:
            self._send.send_nowait(posted)
        except trio.WouldBlock:
            self.deliver_waiting()
            self._deliver([posted])
        self._posted.set()

    async def run(self) -> None:
        """Delivers until cancelled."""
        while True:
            await self._wait_for_events()
            self.deliver_waiting()
            await self._let_gather()

    async def _let_gather(self) -> None:
        """Before a crowd the next events wait a little, so that they are joined: else a thousand arrivals are a million
        writes.
        """
        crowd = len(self.listeners())
        if crowd > CROWD_LISTENERS:
            await trio.sleep(crowd * GATHER_SECONDS_PER_LISTENER)

    async def _wait_for_events(self) -> None:
        # Not by receive(): a task that waits there is handed the event outside the channel, where `post` could not
        # find it, and later events would overtake it.
        await self._posted.wait()
        self._posted = trio.Event()

    def deliver_waiting(self) -> None:
        """Delivers what is in the channel now."""
        while waiting := self._waiting():
            self._deliver(waiting)

    def _waiting(self) -> list[Posted]:
        waiting: list[Posted] = []
        try:
            while len(waiting) < BATCH_EVENTS_MAX:
                waiting.append(self._receive.receive_nowait())
        except trio.WouldBlock:
            pass
        return waiting

    def _deliver(self, batch: list[Posted]) -> None:
        put = _put_for(batch)
        for posted in batch:
            self._show(posted, self.listeners(), _actor_of(posted), put)
        if put is Screen.offer:
            self._flush()

    def _flush(self) -> None:
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


def _put_for(batch: list[Posted]) -> Put:
    """A single event is sent at once; several are offered, and joined into one write for each listener."""
    return Screen.send_nowait if len(batch) == 1 else Screen.offer


def _actor_of(posted: Posted) -> PlayerId | None:
    return posted.actor if isinstance(posted, Event) else None


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

    def listeners(self) -> Mapping[PlayerId, Screen]:
        return self._listeners

    async def run_until_asleep(self, linger_seconds: float, is_needed: Callable[[RoomId], bool]) -> None:
        """Delivers until the room has had no listener for so many seconds, and is not needed for anything else."""
        while True:
            with trio.move_on_after(linger_seconds) if not self._listeners else nullcontext():
                await self._wait_for_events()
                self.deliver_waiting()
                await self._let_gather()
                continue
            if not is_needed(self.room_id):
                return

    def _deliver(self, batch: list[Posted]) -> None:
        if not any(isinstance(each, Event) and isinstance(each.fact, COMING_OR_GOING) for each in batch):
            super()._deliver(batch)
            return
        told: dict[PlayerId, Screen] = {}
        leavers: list[Screen] = []
        for posted in batch:
            fact = posted.fact if isinstance(posted, Event) else None
            if isinstance(fact, PlayerLeft):
                self._present.pop(fact.player_id, None)
                told.pop(fact.player_id, None)
                if (leaver := self._listeners.pop(fact.player_id, None)) is not None:
                    leavers.append(leaver)
            self._show(posted, self._listeners, _actor_of(posted))
            if isinstance(fact, COMING_OR_GOING):
                told.update(self._listeners)
                told.pop(fact.player_id, None)
            if isinstance(fact, PlayerEntered):
                self._present[fact.player_id] = fact.player_name
                if (screen := self._screens.get(fact.player_id)) is not None:
                    self._listeners[fact.player_id] = screen
        if told:
            # One fresh list after a batch of comings and goings, for those who saw others come or go.
            self._show(Occupants(self.room_id, tuple(self._present.values())), told, None)
        for screen in leavers:
            screen.flush_nowait()
        self._flush()
