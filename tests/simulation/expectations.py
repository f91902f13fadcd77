"""What one player is owed: for each stream they hear, what must come next."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import trio

from mudserver.game.events import Event
from mudserver.game.ids import PlayerId, RoomId
from mudserver.wire.dialects import JSON, Dialect, Shown, TextDialect, encode, text_dialect
from tests.simulation.plan import CROWD_SECONDS

REMEMBERED = 200
"""How many things already seen are remembered, to tell what came twice from what nobody ever sent."""

LAST_RANK = 1_000_000_000
"""More than there are entries in any simulation."""

_SAME_INSTANT_SECONDS = 1e-6
"""Rounding."""

CHOICES_MAX = 20
"""Between two audits. More would mean that people say the same all the time, which they do not."""

EVERYWHERE, TOLD, NOTICES, ANSWERS = "everywhere", "told", "notices", "answers"
"""Streams beside those of the rooms: their order among each other is not promised."""


class Envelope(msgspec.Struct, frozen=True):
    """A JSON frame, its data unread."""

    event_type: str
    timestamp: str
    sequence_number: int
    data: msgspec.Raw
    room_id: str | None = None
    player_id: str | None = None

    @property
    def identity(self) -> str:
        """What makes it this event: all but number and time."""
        return f"{self.event_type} {self.room_id} {self.player_id} {bytes(self.data).decode()}"


envelope_decoder = msgspec.json.Decoder(Envelope)


def frame_text(frame: bytes) -> str:
    """The text in a TEXT frame from the server."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :].decode()


class Entry:
    """Something that passed in a stream, in its place among all that passed. `told` says how a dialect shows it."""

    __slots__ = ("_told", "number", "seconds", "shown")

    def __init__(self, shown: Shown, number: int) -> None:
        self.shown = shown
        self.number = number
        self.seconds = trio.current_time()
        self._told: dict[Dialect, str | None] = {}

    def told(self, dialect: Dialect) -> str | None:
        """What a client of this dialect gets (see `Envelope.identity`), None if nothing."""
        if dialect not in self._told:
            frame = encode(dialect, self.shown, 0, "")
            text = None if frame is None else frame_text(frame)
            if text is not None and dialect is JSON:
                text = envelope_decoder.decode(text).identity
            self._told[dialect] = text
        return self._told[dialect]

    @property
    def actor(self) -> PlayerId | None:
        return self.shown.actor if isinstance(self.shown, Event) else None


@dataclass(slots=True)
class _Choice:
    """Something shown that several streams may owe: how things stood before, and what else it may have been."""

    streams: dict[str, deque[Entry]]
    excused: set[int]
    told: str
    others: list[tuple[int, str, int]]
    taken_before: int


@dataclass(eq=False)
class Visit:
    """A player's stay in the game, over all their connections.

    `room_id` is where they stand, None when they are out of the game. `rooms` are those they hear now.
    """

    player_id: PlayerId
    name: str
    room_id: RoomId | None = None
    is_linkdead: bool = False
    is_back_early: bool = False
    """Whether they were back in their room before their departure from it had passed."""
    dialect: Dialect = field(default_factory=lambda: text_dialect(colour=False, ticks=False))
    ticks_unanswered: int = 0
    """How many `ticks on` and `ticks off` have had no answer; if it was lost with the line, `dialect` may be wrong."""
    streams: dict[str, deque[Entry]] = field(default_factory=dict)
    shown_in_farewell: list[str] = field(default_factory=list)
    """What came over a line that the server had given up already."""
    departures: dict[RoomId, float] = field(default_factory=dict)
    """When their departure from each room passed there last."""
    asked_who_at: float = 0.0
    excused: set[int] = field(default_factory=set)
    """Numbers of entries that need not come."""
    excused_up_to: int = -1
    _choices: list["_Choice"] = field(default_factory=list)
    _taken: list[str] = field(default_factory=list)
    """What was shown since the first of the choices."""
    _excused_at: float | None = None
    _seen: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def owe(self, stream: str, entry: Entry, *, maybe: bool = False) -> None:
        """The client must be shown this, in its place in the stream; or may be."""
        queue = self.streams.get(stream)
        if queue is None:
            queue = self.streams[stream] = deque()
        queue.append(entry)
        if maybe:
            self.excused.add(entry.number)
            if stream != ANSWERS:
                self._excused_at = trio.current_time()

    def take(self, told: str, *, must: bool = True) -> bool:
        """The client was shown this. Says whether it was its turn. `must`: it is an event, so it must be owed.

        Two rooms may tell the very same; if the choice between them turns out wrong, another is tried.
        """
        self._let_excuses_lapse()
        return self._step(told) or (must and self._try_another_choice(told))

    def _step(self, told: str) -> bool:
        found = sorted(self._candidates(told))
        if not found:
            return False
        if len(found) > 1 and len(self._choices) < CHOICES_MAX:
            streams = {name: deque(queue) for name, queue in self.streams.items()}
            self._choices.append(_Choice(streams, set(self.excused), told, found[1:], len(self._taken)))
        self._consume(found[0], told)
        return True

    def _try_another_choice(self, told: str) -> bool:
        while self._choices:
            choice = self._choices.pop()
            again = [*self._taken[choice.taken_before + 1 :], told]
            del self._taken[choice.taken_before :]
            self.streams = {name: deque(queue) for name, queue in choice.streams.items()}
            self.excused = set(choice.excused)
            other = choice.others.pop(0)
            if choice.others:
                self._choices.append(choice)
            self._consume(other, choice.told)
            if all(self._step(each) for each in again):
                return True
        return False

    def _candidates(self, told: str) -> Iterator[tuple[int, str, int]]:
        """Where this may be owed: rank by number of the entry, name of the stream, position in it.

        What need not come ranks last: if it was that, what must come will come, too, and then another choice is tried.
        """
        for name, queue in self.streams.items():
            for position, entry in enumerate(queue):
                if self._tells(entry, told):
                    yield entry.number + (LAST_RANK if self._is_excused(entry) else 0), name, position
                if not self._may_skip(entry):
                    break

    def _consume(self, candidate: tuple[int, str, int], told: str) -> None:
        _, name, position = candidate
        queue = self.streams[name]
        for _ in range(position + 1):
            self.excused.discard(queue.popleft().number)
        self._seen.append(told)
        if self._choices:
            self._taken.append(told)

    def excuse(self, told: str) -> None:
        """This was written to a line that is dead, and need not come again."""
        for queue in self.streams.values():
            for entry in queue:
                if entry.number not in self.excused and self._tells(entry, told):
                    self.excused.add(entry.number)
                    self._excused_at = trio.current_time()
                    return
                if not self._may_skip(entry):
                    break

    def excuse_everything(self) -> None:
        """The server said that not everything can be shown again."""
        self.excused_up_to = max((queue[-1].number for queue in self.streams.values() if queue), default=-1)
        self._excused_at = trio.current_time()

    def set_ticks(self, *, on: bool) -> None:
        """The server says that ticks are shown from here on, or no more. Those before may have been told either way."""
        self.dialect = text_dialect(colour=False, ticks=on)
        self.ticks_unanswered = max(0, self.ticks_unanswered - 1)
        for entry in self._waiting():
            if entry.told(_other(self.dialect)) != entry.told(self.dialect):
                self.excused.add(entry.number)
                self._excused_at = trio.current_time()

    def excuse_answers(self) -> None:
        """What was typed last may never have arrived."""
        self.excused.update(entry.number for entry in self.streams.get(ANSWERS, ()))

    def _let_excuses_lapse(self) -> None:
        """What need not come, comes before the next instant of the grid or never. (Answers have words of their own, and
        can wait.)
        """
        if self._excused_at is None or trio.current_time() < self._excused_at + CROWD_SECONDS:
            return
        self._excused_at = None
        for stream, queue in self.streams.items():
            while queue and stream != ANSWERS and self._is_excused(queue[0]):
                self.excused.discard(queue.popleft().number)

    def _is_excused(self, entry: Entry) -> bool:
        return entry.number <= self.excused_up_to or entry.number in self.excused

    def overdue(self) -> Entry | None:
        """The first thing that should have come by now. Forgets what need not come, or shows as nothing."""
        self._choices.clear()
        self._taken.clear()
        # Not everything happens on the grid: what passed a moment ago may still wait before a crowd, until next time.
        latest = trio.current_time() - CROWD_SECONDS + _SAME_INSTANT_SECONDS
        for name, queue in list(self.streams.items()):
            while queue and self._may_skip(queue[0]):
                self.excused.discard(queue.popleft().number)
            if not queue:
                del self.streams[name]
            elif queue[0].seconds < latest:
                return queue[0]
        return None

    def complaint(self, told: str) -> str:
        """What is wrong with being shown this out of turn."""
        if told in self._seen:
            return "was shown something twice"
        if any(self._tells(entry, told) for entry in self._waiting()):
            return f"missed or was shown out of order: before it should have come {self._first_owed()}"
        return "was shown what was not for them (said before they came, after they left, or never)"

    def _first_owed(self) -> str:
        mandatory = (e.told(self.dialect) for e in self._waiting() if not self._may_skip(e))
        return repr(next(mandatory, "?"))

    def _waiting(self) -> Iterator[Entry]:
        for queue in self.streams.values():
            yield from queue

    def _tells(self, entry: Entry, told: str) -> bool:
        if entry.told(self.dialect) == told:
            return True
        return self.ticks_unanswered > 0 and entry.told(_other(self.dialect)) == told

    def _may_skip(self, entry: Entry) -> bool:
        if self._is_excused(entry):
            return True
        return entry.told(self.dialect) is None or (
            self.ticks_unanswered > 0 and entry.told(_other(self.dialect)) != entry.told(self.dialect)
        )


def _other(dialect: Dialect) -> Dialect:
    """The same dialect with ticks the other way."""
    assert isinstance(dialect, TextDialect)
    return text_dialect(colour=dialect.colour, ticks=not dialect.ticks)
