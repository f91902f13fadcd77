"""The oracle: knows from what was published, and from what the broker did with it, what everybody must get to see."""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress

import trio

from mudserver.errors import MalformedMessage
from mudserver.game import events as e
from mudserver.game.ids import PlayerId, RoomId
from mudserver.realtime.nats_message_handler import SILENCE, VOICES
from mudserver.wire.dialects import Shown
from mudserver.wire.envelope import Stamped, decode_event, open_payload
from mudserver.wire.subjects import Subjects
from tests.simulation.diary import Diary
from tests.simulation.expectations import EVERYWHERE, NOTICES, TOLD, Entry, Visit

ROSTERS_KEPT_SECONDS = 120.0

WAY_SECONDS_MAX = 60.0
"""An event that is longer on its way, pauses of the process included, will never come back."""

TAKEOVER_NOTICE = "the new connection is shown the notice that was meant for the old one"

STALE_OCCUPANTS = "whoever is back before their own departure has passed may keep an old list of occupants"

FAREWELL_REPEATED = (
    "what is still sent to a line that was given up is shown again to whoever comes back without a number"
)

SLEEPS_EARLY = "a room falls asleep while the steps of somebody who only passed through are on their way"

AWAITED_FOR_EVER = "what was on its way when its subscription ended is awaited until the link is lost, and shown then"

TOLERATED: frozenset[str] = frozenset()
"""Faults of the server that are known and not mended yet: counted, not failed. Empty this as they are."""


class BrokenPromise(Exception):
    """The server did not keep one of its promises. `who` are the names of those concerned."""

    def __init__(self, text: str, who: Iterable[str], since: float) -> None:
        super().__init__(text)
        self.who = tuple(who)
        self.since = since


class Oracle:
    """Give `published` to `EventPublisher.observe`, and the oracle itself to the broker as its watcher.

    `fail` keeps the first broken promise in `broken` and calls `on_fail`. `link_is_up` says whether the publisher
    counts on the broker, which decides the way an event takes.
    """

    def __init__(
        self, node: str, prefix: str, tick_seconds: float, diary: Diary, link_is_up: Callable[[], bool]
    ) -> None:
        self.broken: BrokenPromise | None = None
        self.on_fail: Callable[[], None] = lambda: None
        self.visits: dict[PlayerId, Visit] = {}
        """Everybody in the game, by what was published."""
        self.pending: dict[int, tuple[e.Event, float]] = {}
        """Published (and when), and neither come back nor given up."""
        self.paused_at: float = -1.0
        """When the whole process last stood still: ticks due since may be left out."""
        self.published = 0
        self.tolerated: Counter[str] = Counter()
        self._node = node
        self._subjects = Subjects(prefix)
        self._tick_seconds = tick_seconds
        self._diary = diary
        self._link_is_up = link_is_up
        self._loss_is_put = True
        self._was_ever_up = False
        self._number = 0
        self._hearing: dict[RoomId, dict[PlayerId, Visit]] = {}
        self._present: dict[RoomId, dict[PlayerId, str]] = {}
        self._in_the_game: dict[PlayerId, Visit] = {}
        self._last_tick = 0
        self._started_at = trio.current_time()
        self._rosters: deque[tuple[float, frozenset[str]]] = deque([(0.0, frozenset())])

    def fail(self, text: str, *who: str, since: float | None = None) -> None:
        """A promise is broken. `since`: when the matter began (virtual seconds)."""
        if self.broken is None:
            began = trio.current_time() if since is None else since
            self.broken = BrokenPromise(text, who, began)
            self.on_fail()

    def fail_unless_known(self, fault: str, text: str, *who: str) -> None:
        """A promise is broken, perhaps in a way we know of."""
        if fault in TOLERATED:
            self.tolerated[fault] += 1
        else:
            self.fail(text, *who)

    # --- what the server publishes ---

    def published_one(self, stamped: Stamped) -> None:
        """Sees an event as it is published."""
        self.published += 1
        event = stamped.event
        self._note_fact(event.fact)
        if self._link_is_up() and not self._loss_is_put:
            self.pending[stamped.sequence_number] = event, trio.current_time()
        else:
            self._pass(event)

    def _note_fact(self, fact: e.AnyFact) -> None:
        match fact:
            case e.PlayerEnteredGame(player_id, name):
                if any(visit.name == name for visit in self.visits.values()):
                    self.fail(f"{name} is in the game twice", name)
                self.visits[player_id] = Visit(player_id, name)
                self._note_roster()
            case e.PlayerLeftGame(player_id, name):
                visit = self._visit(player_id, name)
                if visit.room_id is not None:
                    self.fail(f"{name} left the game, and nobody in {visit.room_id} was told", name)
                del self.visits[player_id]
                self._in_the_game.pop(player_id, None)
                self._note_roster()
                # Nobody is there to hear what they are still told.
                for number in [n for n, (event, _) in self.pending.items() if event.to == e.ToPlayer(player_id)]:
                    del self.pending[number]
            case e.PlayerEntered(player_id, name, room_id, _):
                visit = self._visit(player_id, name)
                if visit.room_id is not None:
                    self.fail(f"{name} entered {room_id} without having left {visit.room_id}", name)
                visit.room_id = room_id
                visit.is_back_early = (
                    player_id in self._hearing.get(room_id, ())
                    or visit.departures.get(room_id) == trio.current_time()
                    or any(
                        event.actor == player_id and event.to == e.InRoom(room_id) for event, _ in self.pending.values()
                    )
                )
            case e.PlayerLeft(player_id, name, room_id, _):
                visit = self._visit(player_id, name)
                if visit.room_id != room_id:
                    self.fail(f"{name} left {room_id}, but was in {visit.room_id}", name)
                visit.room_id = None
            case e.PlayerLinkdead(player_id, name) | e.PlayerReturned(player_id, name):
                visit = self._visit(player_id, name)
                if visit.is_linkdead == isinstance(fact, e.PlayerLinkdead):
                    self.fail(f"{name} lost the line or came back twice in a row", name)
                visit.is_linkdead = not visit.is_linkdead
                self._note_roster()
            case e.GameTick(tick_number):
                self._note_tick(tick_number)
            case e.ChatMessage():
                pass

    def _visit(self, player_id: PlayerId, name: str) -> Visit:
        visit = self.visits.get(player_id)
        if visit is None:
            self.fail(f"something is told of {name}, who is not in the game", name)
            visit = Visit(player_id, name)
        return visit

    def _note_tick(self, number: int) -> None:
        """Tick n is due at n intervals from the start; only those due while the process stood still may be missing."""
        now = trio.current_time()
        due = self._started_at + number * self._tick_seconds
        if number <= self._last_tick:
            self.fail(f"tick {number} struck twice", since=now - self._tick_seconds)
        elif now == self.paused_at:
            if not due <= now < due + self._tick_seconds:
                self.fail(f"tick {number} struck after a pause, at the time of another", since=due)
        elif number != self._last_tick + 1 or now != due:
            self.fail(f"tick {number} struck at {now}, after tick {self._last_tick}", since=now - self._tick_seconds)
        self._last_tick = number

    # --- what the broker does with it ---

    def message_put(self, subject: str, payload: bytes) -> None:
        """The broker hands our node a message."""
        opened = None
        with suppress(MalformedMessage):
            opened = open_payload(payload)
            if opened.node != self._node:
                event = decode_event(opened, *self._subjects.parse(subject)).event
                if event.actor not in self.visits:  # else it speaks for our own players, and must be dropped
                    self._pass(event)
                return
        if opened is not None:
            own = self.pending.pop(opened.sequence_number, None)
            if own is not None:  # else a copy: it has passed already
                self._pass(own[0])

    def unsubscribed(self, subject: str) -> None:
        """A room falls asleep. Nothing may be on its way there, nor have come at this very instant."""
        match subject.split("."):
            case [_, "room", room, _]:
                room_id = RoomId(room)
            case _:
                return
        hearing = self._hearing.pop(room_id, {})
        self._present.pop(room_id, None)
        is_early = bool(hearing) or not self.is_quiet(room_id)
        for visit in self.visits.values():
            if (owed := visit.streams.get(room_id)) and owed[-1].seconds == trio.current_time():
                is_early = True
                del visit.streams[room_id]
        if is_early:
            self.fail_unless_known(SLEEPS_EARLY, f"{room_id} fell asleep while something was on its way there")

    def link_lost_put(self) -> None:
        """What is on its way is handed out now, in the order in which it was published."""
        self._loss_is_put = True
        self._diary.happened("the link to the broker is lost")
        self.give_up_what_never_came()
        stranded = list(self.pending.values())
        self.pending.clear()
        for event, _ in stranded:
            self._pass(event)
        self._pass(e.Notice(SILENCE))

    def link_up_put(self) -> None:
        self._loss_is_put = False
        if self._was_ever_up:
            self._diary.happened("the link to the broker is back")
            self._pass(e.Notice(VOICES))
        self._was_ever_up = True

    # --- what everybody is owed ---

    def _pass(self, shown: e.Event | e.Notice) -> None:
        """It passes in its stream now: whoever listens is owed it."""
        entry = self.entry(shown)
        match shown:
            case e.Notice():
                self._owe_all(NOTICES, entry)
            case e.Event(fact, e.Everywhere()):
                self._owe_all(EVERYWHERE, entry)
                if isinstance(fact, e.PlayerEnteredGame) and fact.player_id in self.visits:
                    self._in_the_game[fact.player_id] = self.visits[fact.player_id]
            case e.Event(_, e.ToPlayer(player_id)):
                if player_id in self.visits:
                    self.visits[player_id].owe(TOLD, entry)
            case e.Event(fact, e.InRoom(room_id)):
                self._pass_in_room(room_id, fact, entry)

    def _pass_in_room(self, room_id: RoomId, fact: e.AnyFact, entry: Entry) -> None:
        hearing = self._hearing.setdefault(room_id, {})
        if isinstance(fact, e.PlayerLeft):
            if (leaver := hearing.pop(fact.player_id, None)) is not None:
                leaver.departures[room_id] = entry.seconds
            self._present.get(room_id, {}).pop(fact.player_id, None)
        actor = entry.actor
        for player_id, visit in hearing.items():
            if player_id != actor:
                visit.owe(room_id, entry)
        if isinstance(fact, e.PlayerEntered) and fact.player_id.startswith(f"{self._node}-"):
            self._present.setdefault(room_id, {})[fact.player_id] = fact.player_name
            if (visit_ := self.visits.get(fact.player_id)) is not None:
                hearing[fact.player_id] = visit_

    def _owe_all(self, stream: str, entry: Entry) -> None:
        actor = entry.actor
        for player_id, visit in self._in_the_game.items():
            if player_id != actor:
                visit.owe(stream, entry)

    def entry(self, shown: Shown) -> Entry:
        """Something to be owed, with the next number."""
        self._number += 1
        return Entry(shown, self._number)

    # --- what else can be asked ---

    def visit_of(self, name: str) -> Visit | None:
        """Who is in the game under this name."""
        return next((visit for visit in self.visits.values() if visit.name == name), None)

    def present(self, room_id: RoomId) -> list[str]:
        """The names of this node's players in a room, in order, by what has passed in its stream."""
        return list(self._present.get(room_id, {}).values())

    def give_up_what_never_came(self) -> None:
        """Complains of events that were published long ago and are still awaited."""
        for event, seconds in self.pending.values():
            if trio.current_time() - seconds > WAY_SECONDS_MAX:
                self.fail_unless_known(AWAITED_FOR_EVER, f"published at {seconds} s and awaited for ever: {event}")

    def is_quiet(self, room_id: RoomId) -> bool:
        """Whether nothing is on its way to this room."""
        return not any(event.to == e.InRoom(room_id) for event, _ in self.pending.values())

    def was_roster(self, lines: frozenset[str], since: float) -> bool:
        """Whether these were the people in the world, as `who` lists them, at some moment from `since` on."""
        for seconds, roster in reversed(self._rosters):
            if roster == lines:
                return True
            if seconds < since:
                return False
        return False

    def _note_roster(self) -> None:
        now = trio.current_time()
        while len(self._rosters) > 1 and self._rosters[1][0] < now - ROSTERS_KEPT_SECONDS:
            self._rosters.popleft()
        lines = (f"{each.name}{' (has lost the line)' if each.is_linkdead else ''}" for each in self.visits.values())
        self._rosters.append((now, frozenset(lines)))
