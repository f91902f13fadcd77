"""The channels that events take to players: one for each awake room, one for what all the world hears."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import trio

from mudserver.config import Limits
from mudserver.game.events import (
    Event,
    Notice,
    Occupants,
    PlayerEntered,
    PlayerEnteredGame,
    PlayerLeft,
    PlayerLeftGame,
    PlayerLinkdead,
    PlayerReturned,
)
from mudserver.game.ids import PlayerId, RoomId
from mudserver.realtime.screen import Frame, Screen, make_frame
from mudserver.realtime.stamps import Stamps
from mudserver.wire.dialects import Dialect, Shown

IsInside = Callable[[PlayerId, RoomId], bool]
"""Whether a player of this node stands in a room, by what has been done, not by what has passed."""

Posted = Event | Notice
"""What travels in a channel: events, and what the server itself has to say."""

_COMINGS_AND_GOINGS = (
    *(PlayerEntered, PlayerLeft, PlayerEnteredGame, PlayerLeftGame),
    *(PlayerLinkdead, PlayerReturned),
)

COMINGS_GATHER_SECONDS = 0.04
"""How long comings and goings before a crowd wait for others of their kind: nobody sees a twenty-fifth of a second, and
of those who come and go a hundred a second, each would be written to everybody else.
"""

GATHER_SECONDS_PER_LISTENER = 50e-6
"""How long a crowd's next events wait for each who is connected, if they come too fast: some five times as long as it
takes to write to them, so most of the time is left for everybody else.
"""

COST_WITHOUT_WRITE = 0.1
"""What it costs to serve a listener who has no connection now, or is shown nothing, as a share of a write."""

BATCH_EVENTS_MAX = 64
"""Events that are joined into one write for each listener; far fewer than an outbox holds."""


class Channel:
    """A memory channel of events, and their delivery: encoded once per dialect, the same bytes to all.

    Whoever posts has them delivered at once, or by the channel's own task, which is best before a crowd.

    A player of this node listens from their own arrival to their own departure, as those pass in the channel: so nobody
    hears what was said before they came or after they went, and nothing in between is missed.

    A crowd is served in steps, and events are encoded anew for each, so that every client's numbers rise whatever else
    it is shown between them. `deliveries` counts the frames put into outboxes.
    """

    arrival: type[PlayerEntered | PlayerEnteredGame]
    departure: type[PlayerLeft | PlayerLeftGame]

    def __init__(self, screens: Mapping[PlayerId, Screen], stamps: Stamps, limits: Limits) -> None:
        self.deliveries = 0
        self.listeners: dict[PlayerId, Screen] = {}
        """Who hears this channel now."""
        self._screens = screens
        self._stamps = stamps
        self._limits = limits
        self._send, self._receive = trio.open_memory_channel[Posted](limits.room_events_max)
        self._due = trio.Event()
        self._is_urgent = False
        """Whether there is more in the channel than comings and goings."""
        self._steps: Iterator[None] | None = None
        """What is left to do of a delivery that was begun."""

    def post(self, posted: Posted) -> None:
        """Puts an event or a notice. `deliver_soon` or `deliver_waiting` must follow, once for any number of them.

        Never waits: if the channel is full, what is in it is delivered on the spot.
        """
        try:
            self._send.send_nowait(posted)
        except trio.WouldBlock:
            self.deliver_waiting()
            self._send.send_nowait(posted)
        self._is_urgent |= not (isinstance(posted, Event) and isinstance(posted.fact, _COMINGS_AND_GOINGS))

    def deliver_soon(self) -> None:
        """Has the channel's own task deliver what is in it; before a crowd, comings and goings may wait for others."""
        self._due.set()

    async def run(self) -> None:
        """Delivers until cancelled."""
        while True:
            await self._wait_until_due()
            await self._deliver_in_steps()

    async def _wait_until_due(self) -> None:
        # Not by receive(): a task that waits there is handed the event outside the channel, where `post` could not
        # find it, and later events would overtake it.
        await self._due.wait()
        self._due = trio.Event()

    async def _deliver_in_steps(self) -> None:
        """Delivers what is in the channel; between two steps others have their turns."""
        await self._let_comings_gather()
        while self._step():
            await trio.lowlevel.checkpoint()
            if self._steps is None and self._receive.statistics().current_buffer_used:
                await self._let_gather()
                await self._let_comings_gather()

    async def _let_comings_gather(self) -> None:
        """Nobody waits for word of a crowd's comings and goings. Whatever else happens there takes them along."""
        with trio.move_on_after(COMINGS_GATHER_SECONDS):
            while self.is_crowded and not self._is_urgent:
                await self._wait_until_due()

    async def _let_gather(self) -> None:
        """If events come faster than a crowd can be shown them, the next ones wait a little, so that they are joined:
        else a thousand arrivals are a million writes.
        """
        if self.is_crowded:
            connected = sum(screen.connection is not None for screen in self.listeners.values())
            await trio.sleep(connected * GATHER_SECONDS_PER_LISTENER)

    @property
    def is_crowded(self) -> bool:
        """Whether so many listen that events are gathered for them, and others have turns while they are written."""
        return len(self.listeners) > self._limits.crowd_listeners

    def deliver_waiting(self) -> bool:
        """Delivers at once what is in the channel now, and before it what is left of a delivery in steps.

        Returns whether there was anything.
        """
        anything = False
        while self._step():
            anything = True
        return anything

    def _step(self) -> bool:
        """Delivers some of what is in the channel; returns whether there was anything to do."""
        if self._steps is None:
            if not (batch := self._waiting()):
                return False
            self._steps = self._deliver(batch)
        try:
            next(self._steps)
        except StopIteration:
            self._steps = None
        return True

    def _waiting(self) -> list[Posted]:
        waiting: list[Posted] = []
        try:
            while len(waiting) < BATCH_EVENTS_MAX:
                waiting.append(self._receive.receive_nowait())
        except trio.WouldBlock:
            self._is_urgent = False
        return waiting

    def _deliver(self, batch: list[Posted]) -> Iterator[None]:
        """Finds out who hears which of these events. Returns the steps in which they are sent them."""
        if len(batch) == 1 and not self.is_crowded and not self._is_coming_or_going(batch[0]):
            self._send_to_all(batch[0])
            return iter(())
        shares = _Shares(self.listeners)
        for number, posted in enumerate(batch):
            self._share(number, posted, shares)
        return self._send_shares(self._sum_up(batch, shares), shares)

    def _is_coming_or_going(self, shown: Shown) -> bool:
        """Whether somebody listens, or nobody does any more, after it."""
        return isinstance(shown, Event) and isinstance(shown.fact, (self.arrival, self.departure))

    def _share(self, number: int, posted: Posted, shares: "_Shares") -> None:
        fact = posted.fact if isinstance(posted, Event) else None
        if isinstance(fact, self.departure):
            self.listeners.pop(fact.player_id, None)
            shares.leave(fact.player_id, number)
        shares.hear(number, _actor_of(posted))
        if isinstance(fact, self.arrival) and (screen := self._screens.get(fact.player_id)) is not None:
            self.listeners[fact.player_id] = screen
            shares.enter(fact.player_id, screen)

    def _sum_up(self, batch: Sequence[Posted], shares: "_Shares") -> Sequence[Shown]:
        """The batch, and what is to be shown after it."""
        return batch

    def _send_to_all(self, posted: Posted) -> None:
        """A single event to a few: the short way."""
        but = _actor_of(posted)
        frames = self._frames([posted])
        dialect: Dialect | None = None
        frame: Frame | None = None
        for player_id, screen in self.listeners.items():
            if player_id == but:
                continue
            if screen.dialect is not dialect:
                dialect = screen.dialect
                frame = frames.of(dialect)[0]
            if frame is not None:
                screen.send_nowait([frame], frame.data)
                self.deliveries += 1

    def _send_shares(self, batch: Sequence[Shown], shares: "_Shares") -> Iterator[None]:
        """Several events, or a crowd: what each listener hears is joined into one piece."""
        at_once = self._limits.served_at_once_max
        parts = [*shares.ended, *shares.parts.values()]
        for begin in range(0, len(parts), at_once):
            self._send_parts(batch, parts[begin : begin + at_once])
            yield
        whole = iter(shares.whole.values())
        while self._send_whole(batch, whole):
            yield

    def _send_parts(self, batch: Sequence[Shown], parts: Sequence[tuple[Screen, list[int]]]) -> None:
        frames = self._frames(batch)
        for screen, heard in parts:
            all_frames = frames.of(screen.dialect)
            own = [frame for number in heard if (frame := all_frames[number]) is not None]
            if own:
                screen.send_nowait(own, b"".join(frame.data for frame in own))
                self.deliveries += len(own)

    def _send_whole(self, batch: Sequence[Shown], screens: Iterator[Screen]) -> bool:
        """Sends the whole batch to some more of these; returns whether there may be others."""
        frames = self._frames(batch)
        dialect: Dialect | None = None
        whole: list[Frame] = []
        data = b""
        left = float(self._limits.served_at_once_max)
        for screen in screens:
            if screen.dialect is not dialect:
                dialect = screen.dialect
                whole = [frame for frame in frames.of(dialect) if frame is not None]
                data = b"".join(frame.data for frame in whole)
            if whole:
                screen.send_nowait(whole, data)
                self.deliveries += len(whole)
            left -= 1 if whole and screen.connection is not None else COST_WITHOUT_WRITE
            if left <= 0:
                return True
        return False

    def _frames(self, batch: Sequence[Shown]) -> "_FramesByDialect":
        return _FramesByDialect(batch, self._stamps)


class _FramesByDialect:
    """The events of a batch in each dialect, None for those it does not show; made when first asked for."""

    def __init__(self, batch: Sequence[Shown], stamps: Stamps) -> None:
        self._batch = batch
        self._stamps = stamps
        self._frames: dict[Dialect, list[Frame | None]] = {}

    def of(self, dialect: Dialect) -> list[Frame | None]:
        if dialect not in self._frames:
            self._frames[dialect] = [make_frame(dialect, shown, self._stamps) for shown in self._batch]
        return self._frames[dialect]


class _Shares:
    """Who hears which events of a batch, by their place in it: `whole`, and that is nearly everybody, hear them all.

    `parts` are those who hear some and are still there at the end, `ended` those who left.
    """

    def __init__(self, listeners: Mapping[PlayerId, Screen]) -> None:
        self.whole = dict(listeners)
        self.parts: dict[PlayerId, tuple[Screen, list[int]]] = {}
        self.ended: list[tuple[Screen, list[int]]] = []

    def enter(self, player_id: PlayerId, screen: Screen) -> None:
        """The player hears what comes from here on."""
        self.parts[player_id] = (screen, [])

    def leave(self, player_id: PlayerId, number: int) -> None:
        """The player hears nothing from event `number` on."""
        if (screen := self.whole.pop(player_id, None)) is not None:
            self.ended.append((screen, list(range(number))))
        elif (part := self.parts.pop(player_id, None)) is not None:
            self.ended.append(part)

    def hear(self, number: int, but: PlayerId | None) -> None:
        """Everybody hears event `number`, but for one."""
        if but is not None and (screen := self.whole.pop(but, None)) is not None:
            self.parts[but] = (screen, list(range(number)))
        for player_id, (_, heard) in self.parts.items():
            if player_id != but:
                heard.append(number)


def _actor_of(posted: Posted) -> PlayerId | None:
    return posted.actor if isinstance(posted, Event) else None


class GlobalChannel(Channel):
    """What everybody hears: ticks, comings and goings of the game, shouts."""

    arrival = PlayerEnteredGame
    departure = PlayerLeftGame


class RoomChannel(Channel):
    """One awake room."""

    arrival = PlayerEntered
    departure = PlayerLeft

    def __init__(
        self,
        room_id: RoomId,
        screens: Mapping[PlayerId, Screen],
        stamps: Stamps,
        limits: Limits,
        is_inside: IsInside = lambda player_id, room_id: False,
    ) -> None:
        super().__init__(screens, stamps, limits)
        self.room_id = room_id
        self._is_inside = is_inside
        self._present: dict[PlayerId, str] = {}
        self._back_early: set[PlayerId] = set()
        """Who was back before their departure had passed: they have been sent lists older than what they saw then."""

    async def run_until_asleep(self, linger_seconds: float, is_needed: Callable[[RoomId], bool]) -> None:
        """Delivers until the room has had no listener for so many seconds, and is not needed for anything else."""
        while True:
            with trio.move_on_after(math.inf if self.listeners else linger_seconds) as idle:
                await self._wait_until_due()
            if idle.cancelled_caught and not is_needed(self.room_id):
                return
            await self._deliver_in_steps()

    def _share(self, number: int, posted: Posted, shares: _Shares) -> None:
        fact = posted.fact if isinstance(posted, Event) else None
        if isinstance(fact, PlayerLeft):
            self._present.pop(fact.player_id, None)
            self._back_early.discard(fact.player_id)
            if fact.player_id in self.listeners and self._is_inside(fact.player_id, self.room_id):
                self._back_early.add(fact.player_id)
        elif isinstance(fact, PlayerEntered):
            self._present[fact.player_id] = fact.player_name
        super()._share(number, posted, shares)
        if isinstance(fact, PlayerLeft) and not self.listeners:
            self.deliver_soon()  # nothing, but the room's task learns that it may fall asleep

    def _sum_up(self, batch: Sequence[Posted], shares: _Shares) -> Sequence[Shown]:
        """After comings and goings one fresh list of who is here, for those who saw others come or go."""
        changes = {number for number, posted in enumerate(batch) if self._is_coming_or_going(posted)}
        if not changes:
            return batch
        for player_id, (_, heard) in shares.parts.items():
            if player_id in self._back_early or not changes.isdisjoint(heard):
                heard.append(len(batch))
        self._back_early -= shares.parts.keys()
        return [*batch, Occupants(self.room_id, tuple(self._present.values()))]
