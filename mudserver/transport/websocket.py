"""WebSockets by trio-websocket, the only module that knows it: handshake, messages, close.

A line in a frame of its own is read here, by whoever waits for it; trio-websocket is woken for all that is less plain.
Frames to the player do not pass through here: whoever writes puts them straight onto the PlayerStream.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import Enum, auto
from typing import NoReturn

import trio
import trio_websocket
from wsproto.connection import ConnectionState
from wsproto.utilities import ProtocolError

from mudserver.config import Limits
from mudserver.errors import ConnectionEnded, HandshakeRefused
from mudserver.transport.buckets import TokenBucket
from mudserver.transport.http import RequestHead, read_request_head, refuse
from mudserver.transport.stream import RECEIVE_BYTES, PlayerStream
from mudserver.transport.turnstile import Turnstile
from mudserver.wire.frames import ClientFrames, close_frame

logging.getLogger("trio-websocket").setLevel(logging.WARNING)

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
        "_connection",
        "_feed",
        "_frames",
        "_has_given_of_this_read",
        "_limits",
        "_on_flood",
        "_pings",
        "_reader",
        "_reads",
        "_stream",
        "_turnstile",
        "came_with_others",
        "query",
        "subprotocol",
    )

    def __init__(
        self,
        connection: trio_websocket.WebSocketConnection,
        reader: trio.CancelScope,
        feed: "_Feed",
        stream: PlayerStream,
        query: dict[str, list[str]],
        subprotocol: str | None,
        limits: Limits,
        turnstile: Turnstile,
    ) -> None:
        now = trio.current_time()
        self._connection = connection
        self._reader = reader
        self._feed = feed
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
        self._on_flood: Callable[[Flood], None] = lambda flood: None

    def tell_floods_to(self, on_flood: Callable[[Flood], None]) -> None:
        """Has `on_flood` called when the client sends too much. It ends the connection: nothing is read any more."""
        self._on_flood = on_flood

    async def receive(self) -> str | bytes:
        """The next message. Raises ConnectionEnded.

        Its code is the client's own, or 1002, 1007 or 1009 for a client that broke the protocol.
        """
        while True:
            if (line := self._frames.next_line()) is not None:
                self.came_with_others = self._has_given_of_this_read
                if self.came_with_others:
                    # No turn for others here: what is refused is not worth it, and who does what is asked takes care.
                    await trio.lowlevel.checkpoint_if_cancelled()
                self._has_given_of_this_read = True
                return line
            if rest := self._frames.take_rest():
                await self._feed_library(rest)
            if self._feed.is_at_work and (message := await self._from_library()) is not None:
                self.came_with_others, self._has_given_of_this_read = self._has_given_of_this_read, True
                return message
            if data := await self._read():
                self._has_given_of_this_read = False
                self._frames.feed(data)
            else:
                await self._feed_library(data)

    async def _read(self) -> bytes:
        """Some bytes, counted, b"" at the end."""
        try:
            data = await self._stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionEnded(f"closed: {error}") from None
        if len(data) >= RECEIVE_BYTES:
            await self._turnstile.wait_turn()
        now = self._stream.last_heard
        if not self._bytes.take(now, len(data)) or not self._reads.take(now):
            await self._report(Flood.BYTES)
        return data

    async def _feed_library(self, data: bytes) -> None:
        """Hands what is not plain lines to trio-websocket, unless it is a flood, which would keep it busy for long."""
        pings = self._frames.pings
        self._frames.follow(data)
        if pings != self._frames.pings and not self._pings.take(self._stream.last_heard, self._frames.pings - pings):
            await self._report(Flood.PINGS)
        # trio-websocket keeps the pieces of an unfinished message in a list, and counts only their bytes.
        if self._frames.fragments > self._limits.fragments_max:
            await self._report(Flood.FRAGMENTS)
        await self._turnstile.wait_turn()
        self._feed.give(data)

    async def _from_library(self) -> str | bytes | None:
        """What trio-websocket makes of what it was given; None if it wants to be given more first."""
        try:
            with self._feed.until_asked():
                return await self._connection.get_message()
            # It asks for more, but of what it has found one message may be waiting in its channel.
            return self._connection._recv_channel.receive_nowait()
        except trio.WouldBlock:
            self._feed.is_at_work = False
            return None
        except (trio_websocket.ConnectionClosed, trio.EndOfChannel, trio.ClosedResourceError):
            closed = self._connection.closed
            raise ConnectionEnded(f"closed: {closed}", closed.code if closed is not None else None) from None

    async def _report(self, flood: Flood) -> NoReturn:
        self._on_flood(flood)
        await trio.sleep_forever()  # the connection is being closed; not another byte is worth reading

    def stop_reading(self) -> None:
        """From here on nobody but the caller uses the stream; a flood costs nothing any more."""
        self._reader.cancel()

    async def close(self, code: int, reason: str) -> None:
        """Sends the last frame, if none was sent yet. Call `stop_reading` first; the caller sets the deadline.

        Not by trio-websocket: its own way waits for a lock that an answer to a ping may hold, and sends nothing at all
        to those who broke the protocol. Raises trio.BrokenResourceError or trio.ClosedResourceError.
        """
        is_open = self._connection._wsproto.state is ConnectionState.OPEN
        await self._stream.send_all(close_frame(code, reason) if is_open else b"")


@asynccontextmanager
async def open_websocket_nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery for one WebSocket and its session, cancelled when the body is done.

    trio-websocket's reader may wait for ever after some errors, and lets others out; what a client's bytes can make it
    raise becomes ConnectionEnded here.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
            nursery.cancel_scope.cancel()
    except* (trio_websocket.ConnectionClosed, ProtocolError, UnicodeError) as errors:
        raise ConnectionEnded(f"the client broke the protocol: {errors.exceptions[0]!a}") from None


async def _hold_reader(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """A nursery for trio-websocket's reader alone, so that it can be stopped while the session goes on."""
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()


async def accept_websocket(
    nursery: trio.Nursery,
    stream: PlayerStream,
    choose: SubprotocolChoice,
    limits: Limits,
    turnstile: Turnstile,
    check: HeadCheck = lambda head: None,
) -> WebSocket:
    """The whole handshake. Its reader task runs in `nursery`, one of `open_websocket_nursery`.

    Anything but a WebSocket request gets a short HTTP answer. Raises HandshakeRefused, and trio.TooSlowError after
    `handshake_seconds_max`.
    """
    try:
        with trio.fail_after(limits.handshake_seconds_max):
            head = await read_request_head(stream, limits.request_head_bytes_max)
            await turnstile.wait_turn()
            await _answer_plain_http(stream, head)
            if (refusal := check(head)) is not None:
                await refuse(stream, *refusal)
            offered = head.tokens("sec-websocket-protocol")
            subprotocol = choose(offered)
            if offered and subprotocol is None:
                await refuse(stream, 400, "None of the subprotocols you offer is known here.")
            reader: trio.Nursery = await nursery.start(_hold_reader)
            feed = _Feed(stream, head.raw)
            request = await trio_websocket.wrap_server_stream(
                reader, feed, max_message_size=limits.message_bytes_max, receive_buffer_size=None
            )
            connection = await request.accept(subprotocol=subprotocol)
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio_websocket.ConnectionClosed):
        raise HandshakeRefused("gone during the handshake") from None
    return WebSocket(connection, reader.cancel_scope, feed, stream, head.query, subprotocol, limits, turnstile)


async def _answer_plain_http(stream: PlayerStream, head: RequestHead) -> None:
    """Answers whatever cannot become a WebSocket, and raises HandshakeRefused."""
    if head.wants_websocket and head.method == "GET":
        if head.header("sec-websocket-version").strip() != "13":
            version = "Sec-WebSocket-Version: 13\r\n"
            await refuse(stream, 426, "Version 13 of WebSocket is spoken here.", headers=version)
        if len(head.header("sec-websocket-key").strip()) != 24:
            await refuse(stream, 400, "The WebSocket key is missing or malformed.")
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


class _Feed(trio.abc.Stream):
    """What trio-websocket takes for the client's stream: it reads what it is given, and writes through."""

    def __init__(self, stream: PlayerStream, request_head: bytes) -> None:
        self._stream = stream
        self._data: bytes | None = request_head
        self._given = trio.Event()
        self._asked = trio.CancelScope()
        self._is_asking = False
        self.is_at_work = False
        """Whether something was given and its messages have not all been fetched."""

    def give(self, data: bytes) -> None:
        """What it reads next; b"" is the end."""
        self.is_at_work = True
        self._is_asking = False
        self._data = data
        self._given.set()

    @contextmanager
    def until_asked(self) -> Iterator[None]:
        """Cancels what is in the block as soon as trio-websocket wants to read more, at once if it does already."""
        with trio.CancelScope() as self._asked:
            if self._is_asking:
                self._asked.cancel()
            yield

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._data is None:
            self._is_asking = True
            self._asked.cancel()
            await self._given.wait()
        else:
            await trio.lowlevel.checkpoint()
        self._given = trio.Event()
        data, self._data = self._data, None
        assert data is not None
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        # Whoever owns the stream closes it: trio-websocket would, before a client was told why.
        await trio.lowlevel.checkpoint()
