"""trio-websocket, woken for the client whose frames are less plain than a line; the only module that knows it.

The handshake is over by then. trio-websocket is told of one all the same, the same for all clients, and reads from then
on what it is given: pieces of messages, pings, closes, breaches of the protocol.
"""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio
import trio_websocket
import wsproto.connection
from wsproto.utilities import ProtocolError

from mudserver.errors import ConnectionEnded
from mudserver.transport.stream import PlayerStream
from mudserver.wire.frames import CLOSE_FRAME_BEGIN

logging.getLogger("trio-websocket").setLevel(logging.WARNING)

_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
"""The handshake it is told of. The client's own has been judged and answered, and nothing depends on it any more."""


class Library:
    """trio-websocket at work for one client."""

    __slots__ = ("_connection", "_feed", "_reader")

    def __init__(self, connection: trio_websocket.WebSocketConnection, feed: "_Feed", reader: trio.CancelScope) -> None:
        self._connection = connection
        self._feed = feed
        self._reader = reader

    @classmethod
    async def wake(cls, nursery: trio.Nursery, stream: PlayerStream, message_bytes_max: int) -> "Library":
        """Starts its reader in `nursery`, one of `open_websocket_nursery`. What it has to say goes to `stream`."""
        feed = _Feed(stream)
        reader: trio.Nursery = await nursery.start(_hold_reader, feed)
        feed.give(_REQUEST)
        request = await trio_websocket.wrap_server_stream(
            reader, feed, max_message_size=message_bytes_max, receive_buffer_size=None
        )
        connection = await request.accept()
        feed.is_open = True
        feed.parser = connection._wsproto.connection
        return cls(connection, feed, reader.cancel_scope)

    def give(self, data: bytes) -> None:
        """What the client sent next, b"" at the end. Fetch all messages of it before there is more."""
        self._feed.give(data)

    async def next_message(self) -> str | bytes | None:
        """A message of what was given; None if there is none and more is needed. Raises ConnectionEnded."""
        if not self._feed.is_at_work:
            return None
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

    def stop(self) -> None:
        """Ends its reader; it uses the stream no more."""
        self._reader.cancel()

    @property
    def close_frame(self) -> bytes:
        """What it has to say at the end: the answer to the client's close frame, or what the client did wrong. Empty
        if there is no such thing.
        """
        return self._feed.close_frame


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


async def _hold_reader(feed: "_Feed", *, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """A nursery for trio-websocket's reader alone, so that it can be stopped while the session goes on."""
    try:
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()
    finally:
        if feed.parser is not None:
            # A generator of its own knows it: only Python's collector would free the two, and it is off.
            feed.parser._proto._parse_more.close()


class _Feed(trio.abc.Stream):
    """What trio-websocket takes for the client's stream: it reads what it is given, and writes through when it is open.

    What it writes before that is an answer to a handshake that only it believes in. Its close frame is kept for whoever
    sends the last frame: other frames may still wait, and behind that one a client looks at nothing.
    """

    def __init__(self, stream: PlayerStream) -> None:
        self._stream = stream
        self._data: bytes | None = None
        self._given = trio.Event()
        self._asked = trio.CancelScope()
        self._is_asking = False
        self.parser: wsproto.connection.Connection | None = None
        """What takes apart what is read here, from the end of its handshake on."""
        self.is_open = False
        self.close_frame = b""
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
        if not self.is_open:
            await trio.lowlevel.checkpoint()
        elif data[0] == CLOSE_FRAME_BEGIN:
            self.close_frame = bytes(data)
            await trio.lowlevel.checkpoint()
        else:
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        # Whoever owns the stream closes it: trio-websocket would, before a client was told why.
        await trio.lowlevel.checkpoint()
