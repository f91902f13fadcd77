"""WebSockets: the handshake, the messages of a client, the close.

A line in a frame of its own is read here, by whoever waits for it; trio-websocket is woken for all that is less plain.
Frames to the player do not pass through here: whoever writes puts them straight onto the PlayerStream.
"""

import base64
import hashlib
from collections.abc import Callable
from enum import Enum, auto
from typing import NoReturn

import trio

from mudserver.config import Limits
from mudserver.errors import ConnectionEnded, HandshakeRefused
from mudserver.transport.buckets import TokenBucket
from mudserver.transport.http import RequestHead, read_request_head, refuse
from mudserver.transport.library import Library
from mudserver.transport.stream import RECEIVE_BYTES, PlayerStream
from mudserver.transport.turnstile import Turnstile
from mudserver.wire.frames import ClientFrames, close_frame

_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""What is hashed with a client's key, to show that we understood what it asks for (RFC 6455, section 1.3)."""

SubprotocolChoice = Callable[[list[str]], str | None]
"""Picks one of the subprotocols a client offers, most wanted first; None if none is known."""

HeadCheck = Callable[[RequestHead], tuple[int, str] | None]
"""Judges a WebSocket request: None lets it in, else an HTTP status and a sentence for the client."""


class Flood(Enum):
    """What a client sends too much of."""

    BYTES = auto()
    PINGS = auto()
    FRAGMENTS = auto()


class WebSocket:
    """An accepted WebSocket. `query` is that of the request it began with, `subprotocol` the one agreed on.

    `came_with_others`: whether the message received last had come in one piece with one before it.
    `on_flood` is called when the client sends too much below the level of messages; set it before receiving.
    """

    __slots__ = (
        "_bytes",
        "_frames",
        "_has_given_of_this_read",
        "_library",
        "_limits",
        "_nursery",
        "_on_flood",
        "_pings",
        "_pings_counted",
        "_reads",
        "_stream",
        "_turnstile",
        "came_with_others",
        "query",
        "subprotocol",
    )

    def __init__(
        self,
        nursery: trio.Nursery,
        stream: PlayerStream,
        query: dict[str, list[str]],
        subprotocol: str | None,
        limits: Limits,
        turnstile: Turnstile,
    ) -> None:
        now = trio.current_time()
        self._nursery = nursery
        self._library: Library | None = None
        """Woken when it is first needed: most clients send nothing but lines."""
        self._stream = stream
        self.query = query
        self.subprotocol = subprotocol
        self._limits = limits
        self._turnstile = turnstile
        self._frames = ClientFrames(limits.message_bytes_max)
        self._has_given_of_this_read = False
        self.came_with_others = False
        self._bytes = TokenBucket(limits.received_bytes_per_second, limits.received_bytes_burst, now)
        self._reads = TokenBucket(limits.reads_per_second, limits.reads_burst, now)
        self._pings = TokenBucket(limits.pongs_per_second, limits.pongs_burst, now)
        self._pings_counted = 0
        self._on_flood: Callable[[Flood], None] = lambda flood: None

    def tell_floods_to(self, on_flood: Callable[[Flood], None]) -> None:
        """Has `on_flood` called when the client sends too much. It ends the connection: nothing is read any more."""
        self._on_flood = on_flood

    async def receive(self) -> str | bytes:
        """The next message. Raises ConnectionEnded.

        Its code is the client's own, or 1002, 1007 or 1009 for a client that broke the protocol.
        """
        while True:
            if (plain := self._frames.next_message()) is not None:
                self.came_with_others = self._has_given_of_this_read
                if self.came_with_others:
                    # No turn for others here: what is refused is not worth it, and who does what is asked takes care.
                    await trio.lowlevel.checkpoint_if_cancelled()
                self._has_given_of_this_read = True
                return plain
            await self._count_pings()
            if rest := self._frames.take_rest():
                await self._feed_library(rest)
            if self._library is not None and (message := await self._library.next_message()) is not None:
                self.came_with_others, self._has_given_of_this_read = self._has_given_of_this_read, True
                return message
            if data := await self._read():
                self._has_given_of_this_read = False
                self._frames.feed(data)
            elif self._library is not None:
                self._library.give(b"")
            else:
                raise ConnectionEnded("closed: the line was cut")

    async def _read(self) -> bytes:
        """Some bytes, counted, b"" at the end."""
        try:
            data = await self._stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionEnded(f"closed: {error}") from None
        if len(data) >= RECEIVE_BYTES:
            await self._turnstile.wait_turn_of_hurried()
        now = self._stream.last_heard
        if not self._bytes.take(now, len(data)) or not self._reads.take(now):
            await self._report(Flood.BYTES)
        return data

    async def _feed_library(self, data: bytes) -> None:
        """Hands what is not plain lines to trio-websocket, unless it is a flood, which would keep it busy for long."""
        self._frames.follow(data)
        await self._count_pings()
        # trio-websocket keeps the pieces of an unfinished message in a list, and counts only their bytes.
        if self._frames.fragments > self._limits.fragments_max:
            await self._report(Flood.FRAGMENTS)
        await self._turnstile.wait_turn_of_hurried()
        if self._library is None:
            self._library = await Library.wake(self._nursery, self._stream, self._limits.message_bytes_max)
        self._library.give(data)

    async def _count_pings(self) -> None:
        """Those that were read or followed since the last time."""
        new = self._frames.pings - self._pings_counted
        self._pings_counted += new
        if new and not self._pings.take(self._stream.last_heard, new):
            await self._report(Flood.PINGS)

    async def _report(self, flood: Flood) -> NoReturn:
        self._on_flood(flood)
        await trio.sleep_forever()  # the connection is being closed; not another byte is worth reading

    def stop_reading(self) -> None:
        """From here on nobody but the caller uses the stream; a flood costs nothing any more."""
        if self._library is not None:
            self._library.stop()

    def last_frame(self, code: int, reason: str) -> bytes:
        """The close frame: trio-websocket's, if it has one, or else one that says this. Call `stop_reading` first.

        Not sent by trio-websocket: its own way waits for a lock that an answer to a ping may hold, overtakes what still
        waits in the outbox, and sends nothing at all to some who broke the protocol.
        """
        return (self._library.close_frame if self._library is not None else b"") or close_frame(code, reason)


async def accept_websocket(
    nursery: trio.Nursery,
    stream: PlayerStream,
    choose: SubprotocolChoice,
    limits: Limits,
    turnstile: Turnstile,
    check: HeadCheck = lambda head: None,
) -> WebSocket:
    """The whole handshake. What trio-websocket needs runs in `nursery`, one of `open_websocket_nursery`.

    Anything but a WebSocket request gets a short HTTP answer. Raises HandshakeRefused, and trio.TooSlowError after
    `handshake_seconds_max`.
    """
    try:
        with trio.fail_after(limits.handshake_seconds_max):
            head = await read_request_head(stream, limits.request_head_bytes_max, turnstile)
            await _answer_plain_http(stream, head)
            if (refusal := check(head)) is not None:
                await refuse(stream, *refusal)
            offered = head.tokens("sec-websocket-protocol")
            subprotocol = choose(offered)
            if offered and subprotocol is None:
                await refuse(stream, 400, "None of the subprotocols you offer is known here.")
            answer = _switch_protocols(head.header("sec-websocket-key").strip(), subprotocol)
            if not stream.offer(answer):
                await stream.send_all(answer)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        raise HandshakeRefused("gone during the handshake") from None
    return WebSocket(nursery, stream, head.query, subprotocol, limits, turnstile)


def _switch_protocols(key: str, subprotocol: str | None) -> bytes:
    """The answer that ends the handshake (RFC 6455, section 4.2.2)."""
    proof = base64.b64encode(hashlib.sha1(key.encode("ascii") + _ACCEPT_GUID, usedforsecurity=False).digest())
    chosen = "" if subprotocol is None else f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {proof.decode()}\r\n{chosen}\r\n"
    ).encode("ascii")


def _is_key(key: str) -> bool:
    """Whether this is the Base64 of sixteen bytes."""
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        return False


async def _answer_plain_http(stream: PlayerStream, head: RequestHead) -> None:
    """Answers whatever cannot become a WebSocket, and raises HandshakeRefused."""
    if head.wants_websocket and head.method == "GET":
        if head.header("sec-websocket-version").strip() != "13":
            version = "Sec-WebSocket-Version: 13\r\n"
            await refuse(stream, 426, "Version 13 of WebSocket is spoken here.", headers=version)
        if not _is_key(head.header("sec-websocket-key").strip()):
            await refuse(stream, 400, "The WebSocket key is missing or malformed.")
        if head.has_body:
            await refuse(stream, 400, "A request for a WebSocket has no body.")
        if not head.header("host"):
            await refuse(stream, 400, "The request names no host.")
        return
    if head.method not in ("GET", "HEAD"):
        await refuse(stream, 405, "This is a MUD server; it speaks WebSocket.", headers="Allow: GET\r\n")
    if head.path == "/healthz":
        await refuse(stream, 200, "ok", method=head.method)
    if head.path != "/":
        await refuse(stream, 404, "There is nothing here but a MUD, at / by WebSocket.", method=head.method)
    await refuse(
        stream,
        426,
        "This is a MUD server. Connect with a WebSocket client, for example: websocat ws://<this address>/",
        headers="Upgrade: websocket\r\n",
        method=head.method,
    )
