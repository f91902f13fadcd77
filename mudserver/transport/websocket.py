"""WebSockets by trio-websocket, the only module that knows it: handshake, messages, close.

Frames to the player do not pass through here: whoever writes puts them straight onto the PlayerStream.
"""

import logging
from collections.abc import Callable
from contextlib import suppress

import trio
import trio_websocket
from wsproto.utilities import LocalProtocolError

from mudserver.config import Limits
from mudserver.errors import ConnectionEnded, HandshakeRefused
from mudserver.transport.http import RequestHead, read_request_head, refuse
from mudserver.transport.stream import PlayerStream

logging.getLogger("trio-websocket").setLevel(logging.WARNING)

SubprotocolChoice = Callable[[list[str]], str | None]
"""Picks one of the subprotocols a client offers, most wanted first; None if none is known."""


class WebSocket:
    """An accepted WebSocket. `head` is the request it began with, `subprotocol` the one agreed on."""

    def __init__(
        self,
        connection: trio_websocket.WebSocketConnection,
        stream: PlayerStream,
        head: RequestHead,
        subprotocol: str | None,
    ) -> None:
        self._connection = connection
        self.stream = stream
        self.head = head
        self.subprotocol = subprotocol

    async def receive(self) -> str | bytes:
        """The next message. Raises ConnectionEnded."""
        try:
            return await self._connection.get_message()
        except trio_websocket.ConnectionClosed as closed:
            raise ConnectionEnded(f"closed by the client: {closed.reason}") from None

    async def close(self, code: int, reason: str) -> None:
        """Says goodbye and waits for the answer; the caller sets the deadline. Never raises."""
        # Whatever state it was in, the stream is closed next.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError):
            await self._connection.aclose(code, reason)


async def accept_websocket(
    nursery: trio.Nursery, stream: PlayerStream, choose: SubprotocolChoice, limits: Limits
) -> WebSocket:
    """The whole handshake. Its reader task runs in `nursery`, which the caller cancels when done with the WebSocket.

    Anything but a WebSocket request gets a short HTTP answer. Raises HandshakeRefused, and trio.TooSlowError after
    `handshake_seconds_max`.
    """
    try:
        with trio.fail_after(limits.handshake_seconds_max):
            head = await read_request_head(stream, limits.request_head_bytes_max)
            await _answer_plain_http(stream, head)
            offered = head.tokens("sec-websocket-protocol")
            subprotocol = choose(offered)
            if offered and subprotocol is None:
                await refuse(stream, 400, "None of the subprotocols you offer is known here.")
            request = await trio_websocket.wrap_server_stream(
                nursery, stream, max_message_size=limits.message_bytes_max, receive_buffer_size=None
            )
            connection = await request.accept(subprotocol=subprotocol)
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio_websocket.ConnectionClosed):
        raise HandshakeRefused("gone during the handshake") from None
    return WebSocket(connection, stream, head, subprotocol)


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
        await refuse(stream, 200, "ok")
    if head.path != "/":
        await refuse(stream, 404, "There is nothing here but a MUD, at / by WebSocket.")
    await refuse(
        stream,
        426,
        "This is a MUD server. Connect with a WebSocket client, for example: websocat ws://<this address>/",
        headers="Upgrade: websocket\r\n",
    )
