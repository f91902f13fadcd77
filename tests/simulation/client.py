"""A player's client: a real WebSocket client on a line in memory, which checks whatever it is shown."""

import json
import re
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import trio
import trio_websocket
from wsproto.utilities import LocalProtocolError

from mudserver.game.events import Reply
from mudserver.game.ids import RoomId
from mudserver.realtime.connection_manager import TAKEN_OVER_TEXT
from mudserver.realtime.nats_message_handler import SILENCE, VOICES
from mudserver.realtime.stamps import FIRST_NUMBER
from mudserver.wire.dialects import JSON, JSON_SUBPROTOCOL, Dialect, text_dialect
from tests.simulation.diary import Diary
from tests.simulation.expectations import ANSWERS, Visit, envelope_decoder
from tests.simulation.lines import ServerEnd, open_line
from tests.simulation.oracle import FAREWELL_REPEATED, TAKEOVER_NOTICE, Oracle
from tests.simulation.world import ROOM_NAMES

_NO_CLOSE_FRAME = 1006

Attach = Callable[[ServerEnd], None]
"""Gives the server a new line."""


@asynccontextmanager
async def _open_client_nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery for a client's WebSocket. trio-websocket trips over a PING that crosses with our own goodbye."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except* LocalProtocolError:
        pass


class Client:
    """One connection of the player `who`. `visit` is whom it is signed in as; `key` brings the player back.

    `is_ghost`: the player has gone on to another connection, and what still comes on this one does not count.
    """

    def __init__(self, who: str, oracle: Oracle, diary: Diary, bytes_max: int) -> None:
        self.who = who
        self.visit: Visit | None = None
        self.key: str | None = None
        self.last_number: int | None = None
        self.refusal: str | None = None
        self.room_id: RoomId | None = None
        self.occupants: dict[RoomId, list[str]] = {}
        self.close_code: int | None = None
        self.is_ended = False
        self.is_ghost = False
        self.is_reading = True
        self.is_leaving = False
        self.is_flooding = False
        self.has_heard = False
        self.on_end: Callable[[], None] = lambda: None
        self._oracle = oracle
        self._diary = diary
        self._bytes_max = bytes_max
        self._unread: deque[tuple[str, bool]] = deque()
        self._lost: list[str] = []
        self._forgets_unread = False
        self._reads = trio.Event()
        self._reads.set()
        self._news = trio.Event()
        self._scope = trio.CancelScope()
        self._websocket: trio_websocket.WebSocketConnection | None = None

    # --- the line ---

    async def run(self, attach: Attach, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connects and reads until the line is dead."""
        near, far = open_line(self._bytes_max, self._written)
        self._near = near
        attach(far)
        try:
            with self._scope:
                async with _open_client_nursery() as nursery:
                    self._websocket = await trio_websocket.wrap_client_stream(
                        nursery, cast(Any, near), "mud.test", "/", subprotocols=self._subprotocols
                    )
                    task_status.started()
                    await self._read(self._websocket)
                    nursery.cancel_scope.cancel()
        finally:
            self.is_ended = True
            self._websocket = None
            self._tell()
            self.on_end()
            with trio.move_on_after(1, shield=True):
                await trio.aclose_forcefully(near)

    async def _read(self, websocket: trio_websocket.WebSocketConnection) -> None:
        try:
            while True:
                await self._reads.wait()
                message = await websocket.get_message()
                if not self._reads.is_set():
                    await self._reads.wait()
                assert isinstance(message, str), "the server sends TEXT frames only"
                self._take(message)
        except trio_websocket.ConnectionClosed as closed:
            if closed.reason is not None and closed.reason.code != _NO_CLOSE_FRAME:
                self.close_code = closed.reason.code

    def drop(self) -> None:
        """The line goes dead: no close frame, no goodbye."""
        self._scope.cancel()

    async def hang_up(self) -> None:
        """Says goodbye as WebSockets do."""
        if self._websocket is not None:
            with trio.move_on_after(1):
                await self._websocket.aclose(1000)
        self.drop()

    def stall(self) -> None:
        """Reads no more, until `go_on`."""
        self.is_reading = False
        self._reads = trio.Event()

    def go_on(self) -> None:
        self.is_reading = True
        self._reads.set()

    def vanish(self) -> None:
        """Neither reads nor answers ever again, and the server is not told."""
        self.is_reading = False
        self._near.vanish()

    async def send(self, message: str) -> bool:
        """Sends a message. Says whether there still was a line to send it on."""
        if self._websocket is None or self.is_ended:
            return False
        try:
            await self._websocket.send_message(message)
        except trio_websocket.ConnectionClosed:
            return False
        return True

    async def wait_for(self, what: Callable[[], object], seconds_max: float) -> bool:
        """Waits until something is so, or the line is dead. Says whether it is so."""
        with trio.move_on_after(seconds_max):
            while not what() and not self.is_ended:
                await self._news.wait()
        return bool(what())

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    # --- what is shown ---

    def _written(self, message: str, is_broken: bool) -> None:
        """The server has handed this to the line, perhaps to a dead one."""
        is_given_up = self.visit is not None and self.visit.is_linkdead
        if is_broken:
            self._lost.append(message)
        else:
            self._unread.append((message, is_given_up))
        if self._forgets_unread and self.visit is not None:
            self.visit.excuse(self.identity(message))

    def forget_unread(self) -> None:
        """The player comes back without a number: what was written to this line counts as shown.

        What was written to it when it was dead, or is from now on, may count or not: the server may have noticed.
        """
        self._forgets_unread = True
        if self.visit is not None:
            for message, is_given_up in self._unread:
                if not is_given_up:
                    self.visit.take(self.identity(message), must=False)
            in_farewell = (message for message, is_given_up in self._unread if is_given_up)
            for message in (*in_farewell, *self._lost):
                self.visit.excuse(self.identity(message))

    def _take(self, message: str) -> None:
        if self.is_ghost:
            return
        self.has_heard = True
        self._diary.saw(self.who, message)
        if self._unread.popleft()[0] != message:
            self._oracle.fail(f"{self.who}'s line changed what was written to it", self.who)
        self.understand(message)
        self._tell()

    def _check(self, told: str, *, must: bool) -> None:
        """Holds what was shown against what is owed. `must`: it is an event, so it must be owed."""
        visit = self.visit
        if visit is None:
            if must:
                self._oracle.fail(f"{self.who}, not signed in, was shown {told!a}", self.who)
        elif visit.take(told, must=must):
            if visit.is_linkdead:
                visit.shown_in_farewell.append(told)
        elif told in visit.shown_in_farewell:
            text = f"{self.who} was shown again what they had been shown in farewell: {told!a}"
            self._oracle.fail_unless_known(FAREWELL_REPEATED, text, self.who)
            visit.shown_in_farewell.remove(told)
        elif must:
            self._oracle.fail(f"{self.who} {visit.complaint(told)}; shown: {told!a}", self.who, visit.name)

    def _signed_in(self, visit: Visit | None, key: str, dialect: Dialect) -> None:
        if visit is None or (self.visit is not None and self.visit is not visit):
            self._oracle.fail(f"{self.who} was signed in as somebody else or as nobody", self.who)
            return
        if self.visit is None:
            visit.dialect = dialect
        self.visit = visit
        self.key = key

    def _check_who(self, text: str) -> None:
        """The answer to `who`: exactly those who are in the world."""
        lines = frozenset(line.strip() for line in text.split("\n")[1:-1])
        since = self.visit.asked_who_at if self.visit else 0.0
        if not self._oracle.was_roster(lines, since):
            self._oracle.fail(f"{self.who} asked who is in the world, and the answer is untrue", self.who, since=since)

    def expects_answer(self, text: str, *, maybe: bool = False) -> None:
        """A command was sent whose answer is known."""
        if self.visit is not None:
            self.visit.owe(ANSWERS, self._oracle.entry(Reply(text)), maybe=maybe)

    def _fail_of_takeover(self) -> None:
        text = f"{self.who} was told that their own new connection ends"
        self._oracle.fail_unless_known(TAKEOVER_NOTICE, text, self.who)

    # --- what differs by dialect ---

    _subprotocols: list[str] | None = None

    @abstractmethod
    def understand(self, message: str) -> None:
        """Takes in one message."""

    @abstractmethod
    def identity(self, message: str) -> str:
        """What the message tells, whatever its number and time."""

    @abstractmethod
    async def sign_in(self, name: str) -> None: ...

    @abstractmethod
    async def resume(self, key: str, last_number: int | None) -> None: ...

    @abstractmethod
    async def command(self, line: str) -> bool: ...


_EVENT_LINE = re.compile(
    r"\S+ (enters the room|leaves the room|stops in the middle|blinks, and)|\[tick |.*\bw\d+~\s*$", re.DOTALL
)
"""What others do, and whatever ends in a word of ours: it must be owed."""
_OWN_LINE = re.compile(r".*\bw\d+~$", re.DOTALL)
_GREETING = re.compile(r"You are (\S+?)( again)?\. Type help")
_WORD = re.compile(r"type: resume (\w+)")
_PLAIN = text_dialect(colour=False, ticks=False)


class TextClient(Client):
    """Somebody with a plain client."""

    def identity(self, message: str) -> str:
        return message

    def understand(self, message: str) -> None:
        if greeting := _GREETING.match(message):
            key = _WORD.search(message)
            self._signed_in(self._oracle.visit_of(greeting[1]), key[1] if key else "", _PLAIN)
            self._note_room(message)
        elif message.startswith("In the world:"):
            self._check_who(message.rstrip().replace("\r\n", "\n"))
        elif message.startswith(("Ticks: on", "Ticks: off")):
            if self.visit is not None:
                self.visit.set_ticks(on=message.startswith("Ticks: on"))
        elif message.startswith("Somebody came back as you"):
            self._fail_of_takeover()
        elif message.startswith("Not everything that happened"):
            if self.visit is not None:
                self.visit.excuse_everything()
        elif message.startswith(("Nobody is to be found by that", "A name has", "That name")) or (
            self.visit is None and re.search(r" is here already| has lost the line", message)
        ):
            self.refusal = message
            self.visit = None
        else:
            is_event = _EVENT_LINE.match(message) is not None or message.rstrip() in (SILENCE, VOICES)
            self._check(message, must=is_event)
            self._note_room(message)

    def _note_room(self, message: str) -> None:
        for line in message.split("\r\n")[:4]:
            if line in ROOM_NAMES:
                self.room_id = ROOM_NAMES[line]

    async def sign_in(self, name: str) -> None:
        await self.send(name)

    async def resume(self, key: str, last_number: int | None) -> None:
        await self.send(f"resume {key}")

    async def command(self, line: str) -> bool:
        return await self.send(line)


class JsonClient(Client):
    """Somebody whose client speaks `v1.json.mudserver`."""

    def __init__(self, who: str, oracle: Oracle, diary: Diary, bytes_max: int) -> None:
        super().__init__(who, oracle, diary, bytes_max)
        self._subprotocols = [JSON_SUBPROTOCOL]
        self._number_here = 0

    def identity(self, message: str) -> str:
        return envelope_decoder.decode(message).identity

    def understand(self, message: str) -> None:
        envelope = envelope_decoder.decode(message)
        number = envelope.sequence_number
        last = self._number_here
        if number >= FIRST_NUMBER:  # what is sent before sign-in has numbers of its own
            last = max(last, self.last_number or 0)
            self.last_number = number
        if number <= last:
            self._oracle.fail(f"{self.who} was shown frame {number} after frame {last}", self.who)
        self._number_here = number
        match envelope.event_type:
            case "command_response":
                self._understand_answer(msgspec.json.decode(envelope.data)["result"], envelope.identity)
            case "game_state":
                data = msgspec.json.decode(envelope.data)
                self._signed_in(self._oracle.visits.get(data["player"]["id"]), data["resume_token"], JSON)
                self.room_id = RoomId(data["room"]["id"])
                self.occupants[self.room_id] = data["occupants"]
            case "room_update":
                data = msgspec.json.decode(envelope.data)
                self.room_id = RoomId(data["room"]["id"])
                self.occupants[self.room_id] = data["occupants"]
            case "room_occupants":
                self.occupants[RoomId(str(envelope.room_id))] = msgspec.json.decode(envelope.data)["occupants"]
            case "welcome" | "pong":
                pass
            case "error":
                self._understand_error(msgspec.json.decode(envelope.data))
            case "system_notice" if TAKEN_OVER_TEXT in message:
                self._fail_of_takeover()
            case _:
                self._check(envelope.identity, must=True)

    def _understand_answer(self, text: str, identity: str) -> None:
        if text.startswith("In the world:"):
            self._check_who(text)
        else:
            self._check(identity, must=_OWN_LINE.match(text) is not None)

    def _understand_error(self, data: dict[str, str]) -> None:
        match data["error_type"]:
            case "resume_gap":
                if self.visit is not None:
                    self.visit.excuse_everything()
            case "resume_refused" | "login_refused":
                self.refusal = data["message"]
                self.visit = None
            case "rate_limited":
                pass
            case kind:
                self._oracle.fail(f"{self.who} was told of an error: {kind}", self.who)

    async def sign_in(self, name: str) -> None:
        await self._send_json("login", {"guest": True} if name == "guest" else {"name": name})

    async def resume(self, key: str, last_number: int | None) -> None:
        number = {} if last_number is None else {"last_sequence_number": last_number}
        self.last_number = last_number
        await self._send_json("login", {"resume_token": key} | number)

    async def command(self, line: str) -> bool:
        word, *args = line.split(" ")
        return await self._send_json("command", {"command": word, "args": args})

    async def _send_json(self, frame_type: str, data: dict[str, Any]) -> bool:
        return await self.send(json.dumps({"type": frame_type, "data": data}))
