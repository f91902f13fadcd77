"""One player's visit, from the handshake to goodbye."""

import logging
import math
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from functools import partial

import trio

from mudserver.config import Limits
from mudserver.errors import ConnectionEnded, MalformedFrame, TooManyFromHere
from mudserver.game.events import Notice, Pong, Problem, Reply, Welcome
from mudserver.game.ids import PlayerId
from mudserver.realtime.connection import (
    BROKE_PROTOCOL,
    BROKEN,
    FLOOD_OF_BYTES,
    FLOOD_OF_LINES,
    FLOOD_OF_PINGS,
    FRAGMENTS,
    HUNG_UP,
    INVALID_DATA,
    NO_NAME,
    QUIT,
    SHUTDOWN,
    TOO_BIG,
    TOO_MANY_GUESSES,
    Close,
    Connection,
)
from mudserver.realtime.connection_manager import ConnectionManager
from mudserver.realtime.screen import Screen
from mudserver.realtime.stamps import Stamps
from mudserver.transport.admission import Admission
from mudserver.transport.buckets import TokenBucket
from mudserver.transport.http import RequestHead, refuse
from mudserver.transport.library import open_websocket_nursery
from mudserver.transport.stream import PlayerStream
from mudserver.transport.turnstile import Turnstile
from mudserver.transport.websocket import Flood, WebSocket, accept_websocket
from mudserver.wire.dialects import (
    JSON,
    JSON_SUBPROTOCOL,
    Dialect,
    Line,
    Login,
    Ping,
    Request,
    Resume,
    decode,
    text_dialect,
)

logger = logging.getLogger(__name__)

WELCOME = """\
mudserver: a town by the sea, and what is under it.

By what name shall they know you? (Type guest to be anybody.)"""
ASK_AGAIN = "By what name shall they know you?"

SIGN_IN_HELP = """\
A name has 2 to 16 letters; guest makes you anybody. If your line dropped: resume, and the word you were told.
To leave: quit. All else comes when you are in."""
WHICH_WORD = "Resume with which word? You were told one when you signed in."

CLOSE_BY_CODE = {1000: HUNG_UP, 1002: BROKE_PROTOCOL, 1007: INVALID_DATA, 1009: TOO_BIG}
"""What a close code says of a client. One whose line was lost, or whose page was closed, sends another or none."""

LEAVES_AT_ONCE = (
    *(QUIT, HUNG_UP, SHUTDOWN),
    *(BROKE_PROTOCOL, INVALID_DATA, TOO_BIG, FLOOD_OF_LINES, FLOOD_OF_BYTES, FLOOD_OF_PINGS, FRAGMENTS),
)
"""Ends after which nobody waits for the player to come back: they chose to go, or were shown the door."""

_CLOSES = {Flood.BYTES: FLOOD_OF_BYTES, Flood.PINGS: FLOOD_OF_PINGS, Flood.FRAGMENTS: FRAGMENTS}


class Sessions:
    """Makes a session of each new stream, and knows all that are open. `closes` counts how they ended, by reason.
    Newcomers wait before `turnstile`.

    `origins` are the web pages that may connect beside our own host; a client that is no browser sends no origin.
    """

    def __init__(
        self,
        manager: ConnectionManager,
        stamps: Stamps,
        limits: Limits,
        admission: Admission,
        turnstile: Turnstile,
        origins: tuple[str, ...] = (),
    ) -> None:
        self._manager = manager
        self._stamps = stamps
        self._limits = limits
        self._admission = admission
        self._origins = origins
        self.turnstile = turnstile
        self.open: set[Visit] = set()
        self.closes: Counter[str] = Counter()

    async def run_session(self, stream: PlayerStream, peer: str) -> None:
        """Handshake, visit, farewell. The caller closes the stream.

        Raises HandshakeRefused or trio.TooSlowError if there is no handshake, ConnectionEnded if the client broke the
        protocol.
        """
        with ExitStack() as seats:
            try:
                if not self._admission.is_proxy(peer):
                    seats.enter_context(self._admission.seat(peer))
            except TooManyFromHere as refusal:
                await refuse(stream, 429, str(refusal))
            async with open_websocket_nursery() as nursery:
                check = partial(self._check_head, peer, seats)
                websocket = await accept_websocket(
                    nursery, stream, choose_subprotocol, self._limits, self.turnstile, check
                )
                connection = Connection(stream, self._limits)
                websocket.tell_floods_to(lambda flood: connection.end(_CLOSES[flood]))
                nursery.start_soon(connection.run_sender)
                dialect = _dialect_of(websocket)
                visit = Visit(websocket, connection, dialect, self._manager, self._stamps, self._limits, self.turnstile)
                self.open.add(visit)
                try:
                    with connection.scope:
                        await self._run_visit(visit, peer)
                    await _say_farewell(stream, websocket, connection, self._limits)
                finally:
                    self.open.discard(visit)
                    self.closes[connection.ended.reason if connection.ended else "gone"] += 1
            who = f"{visit.player_name} at {peer}" if visit.player_name else peer
            logger.info("the connection with %s is over: %s", who, connection.ended or "gone")

    def _check_head(self, peer: str, seats: ExitStack, head: RequestHead) -> tuple[int, str] | None:
        """What is wrong with a request that is otherwise a good one. Takes a seat for a client behind a proxy."""
        origin = head.header("origin").strip().rstrip("/").lower()
        if origin and origin.partition("://")[2] != head.header("host").strip().lower() and origin not in self._origins:
            return 403, "Pages of that origin may not connect here."
        if head.query.get("dialect", ["text"]) not in (["text"], ["json"]):
            return 400, "The dialects spoken here are json and text."
        if self._admission.is_proxy(peer):
            try:
                client = self._admission.client_behind(peer, head.header("x-forwarded-for"))
                seats.enter_context(self._admission.seat(client))
            except TooManyFromHere as refusal:
                return 429, str(refusal)
        return None

    async def _run_visit(self, visit: "Visit", peer: str) -> None:
        try:
            await visit.run()
        except Exception:
            # A session's error ends that session and nothing else; its player is told that it was our fault.
            logger.exception("the session with %s failed", peer)
            visit.connection.end(BROKEN)

    def end_all(self, close: Close, farewell: str) -> None:
        """Ends every open session, telling each player why."""
        for visit in list(self.open):
            visit.screen.show(Notice(farewell))
            visit.connection.end(close)


async def _say_farewell(stream: PlayerStream, websocket: WebSocket, connection: Connection, limits: Limits) -> None:
    """Sends what still waits and closes, but not for long."""
    websocket.stop_reading()
    close = connection.ended or QUIT
    with (
        suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError),
        trio.move_on_after(limits.close_seconds_max),
    ):
        await connection.finish(websocket.last_frame(close.code, close.reason))
        await stream.see_off()


def choose_subprotocol(offered: list[str]) -> str | None:
    """Which of a client's subprotocols is spoken here."""
    return JSON_SUBPROTOCOL if JSON_SUBPROTOCOL in offered else None


def _dialect_of(websocket: WebSocket) -> Dialect:
    """By subprotocol, or by `?dialect=json` for clients that cannot offer one."""
    if websocket.subprotocol == JSON_SUBPROTOCOL or websocket.query.get("dialect") == ["json"]:
        return JSON
    return text_dialect(colour=False, ticks=False)


class Visit:
    """The receive loop: reads what the client sends and does it, line by line. Does nothing slow."""

    __slots__ = (
        "_budget",
        "_dialect",
        "_failed_resumes",
        "_limits",
        "_lobby",
        "_manager",
        "_player_id",
        "_refused",
        "_sign_in",
        "_turnstile",
        "_websocket",
        "connection",
        "player_name",
    )

    def __init__(
        self,
        websocket: WebSocket,
        connection: Connection,
        dialect: Dialect,
        manager: ConnectionManager,
        stamps: Stamps,
        limits: Limits,
        turnstile: Turnstile,
    ) -> None:
        self.connection = connection
        self._websocket = websocket
        self._dialect = dialect
        self._manager = manager
        self._limits = limits
        self._turnstile = turnstile
        self._player_id: PlayerId | None = None
        self.player_name = ""
        """Who this is, or was; empty before the sign-in."""
        # What is shown before there is a player; afterwards the player's own screen is the manager's affair.
        self._lobby = Screen(connection, dialect, stamps.before_sign_in(), limits)
        self._budget = TokenBucket(limits.lines_per_second, limits.lines_burst, trio.current_time())
        self._refused = 0
        self._failed_resumes = 0
        self._sign_in = trio.CancelScope()

    @property
    def screen(self) -> Screen:
        """Where this client is shown things now: its player's screen, as long as it has one."""
        if self._player_id is not None and self._manager.has(self._player_id, self.connection):
            return self._manager.screen_of(self._player_id)
        return self._lobby

    async def run(self) -> None:
        """Until the player quits, the line dies or the connection is ended."""
        self._lobby.show(Welcome(WELCOME))
        try:
            with trio.move_on_after(self._limits.sign_in_seconds_max) as self._sign_in:
                while self._player_id is None:
                    await self._take_message()
            if self._player_id is None:
                self._lobby.show(Reply("That took too long. Come back with a name."))
                self.connection.end(NO_NAME)
                return
            while True:
                await self._take_message()
        except ConnectionEnded as ended:
            if ended.code in CLOSE_BY_CODE:
                self.connection.end(CLOSE_BY_CODE[ended.code])
        finally:
            self._part()

    def _part(self) -> None:
        """Takes the player out of the game, or leaves them standing there if it was only the line that died."""
        if self._player_id is None or not self._manager.has(self._player_id, self.connection):
            return
        if self.connection.ended in LEAVES_AT_ONCE:
            self._manager.sign_out(self._player_id)
        else:
            self._manager.lose_line(self._player_id)

    async def _take_message(self) -> None:
        message = await self._websocket.receive()
        requests: Iterable[Request | Problem]
        try:
            requests = decode(self._dialect, message)
        except MalformedFrame as error:
            # Its text, not the error: that knows this frame of the stack, which would know it, for ever.
            requests = (Problem("invalid_format", str(error)),)
        for number, request in enumerate(requests):
            if self.connection.ended is not None:
                return  # `quit`, and more lines in the same frame
            if not self._is_within_budget():
                continue
            if self._player_id is None:
                await self._turnstile.wait_turn()
            elif number or self._websocket.came_with_others:
                await self._turnstile.wait_turn_of_hurried()
            if self.connection.ended is None:
                self._do(request)

    def _is_within_budget(self) -> bool:
        """Whether the client may ask for one thing more; says so if not, and ends a connection that does not listen."""
        if self._budget.take(trio.current_time()):
            self._refused = 0
            return True
        if self._refused == 0:
            self.screen.show(Problem("rate_limited", "You are too fast; not everything you sent was done."))
        self._refused += 1
        if self._refused > self._limits.lines_refused_max:
            self.connection.end(FLOOD_OF_LINES)
        return False

    def _do(self, request: Request | Problem) -> None:
        match request:
            case Problem():
                self.screen.show(request)
            case Ping():
                self.screen.show(Pong())
            case Line(text) if self._player_id is not None:
                self._manager.perform(self._player_id, text)
            case Login() | Resume() if self._player_id is not None:
                self.screen.show(Problem("login_refused", "You are in the game already."))
            case Login(name):
                self._take_player(self._manager.sign_in(self.connection, self._dialect, name))
            case Resume(key, seen):
                self._resume(key, seen)
            case Line(text):
                self._answer_name_question(text)

    def _answer_name_question(self, text: str) -> None:
        if self._dialect is JSON:
            self._lobby.show(Problem("not_signed_in", "Sign in first: send a frame of type login."))
            return
        match text.lower().split(maxsplit=1):
            case []:
                self._lobby.show(Reply(ASK_AGAIN))
            case ["quit"]:
                self._lobby.show(Reply("Goodbye."))
                self.connection.end(QUIT)
            case ["help"]:
                self._lobby.show(Reply(SIGN_IN_HELP), Reply(ASK_AGAIN))
            case ["resume"]:
                self._lobby.show(Reply(WHICH_WORD), Reply(ASK_AGAIN))
            case ["resume", key]:
                self._resume(key, None)
            case _:
                self._take_player(self._manager.sign_in(self.connection, self._dialect, text))

    def _resume(self, key: str, seen: int | None) -> None:
        self._take_player(self._manager.resume(self.connection, self._dialect, key, seen))
        if self._player_id is None:
            self._failed_resumes += 1
            if self._failed_resumes >= self._limits.resume_failures_max:
                self._lobby.show(Reply("Those were too many wrong words. Connect again, and sign in with a name."))
                self.connection.end(TOO_MANY_GUESSES)

    def _take_player(self, answer: PlayerId | Problem) -> None:
        if isinstance(answer, Problem):
            self._lobby.show(answer)
            if self._dialect is not JSON:
                self._lobby.show(Reply(ASK_AGAIN))
        else:
            self._player_id = answer
            self.player_name = self._manager.name_of(answer)
            self._sign_in.deadline = math.inf  # more lines may have come in the same frame
