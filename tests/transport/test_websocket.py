"""Messages of a client, whoever reads them: we, or trio-websocket for what is less plain."""

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_pair, wait_all_tasks_blocked
from wsproto import ConnectionType, WSConnection
from wsproto.connection import Connection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, Pong, Request, TextMessage

from mudserver.config import Limits
from mudserver.errors import ConnectionEnded
from mudserver.transport.library import open_websocket_nursery
from mudserver.transport.stream import WrappedPlayerStream
from mudserver.transport.turnstile import Turnstile
from mudserver.transport.websocket import WebSocket, accept_websocket
from mudserver.wire.frames import close_frame
from tests.transport.sockets import CountingTurnstile

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
Pipe = trio.StapledStream[MemorySendStream, MemoryReceiveStream]

LINE, BYTES = TextMessage("look"), BytesMessage(b"look")


@pytest.mark.parametrize(
    "sent",
    [(LINE, LINE, LINE), (Ping(), LINE, LINE, LINE), (LINE, Ping(), LINE, LINE), (BYTES, LINE, BYTES)],
    ids=["lines", "a ping in front", "a ping between", "bytes and lines"],
)
async def test_all_but_the_first_message_of_one_piece_came_with_others(
    sent: tuple[TextMessage | BytesMessage | Ping, ...],
) -> None:
    """Seen to fail with what trio-websocket has read taken for messages that came alone."""
    ours, theirs = memory_stream_pair()
    client = Connection(ConnectionType.CLIENT)
    with trio.fail_after(5):
        async with open_websocket_nursery() as nursery:
            await theirs.send_all(REQUEST)
            websocket = await accept_websocket(
                nursery, WrappedPlayerStream(ours), lambda offered: None, Limits(), Turnstile()
            )
            for _ in range(2):
                await theirs.send_all(b"".join(client.send(each) for each in sent))
                flags = []
                for _ in range(3):
                    assert await websocket.receive() in ("look", b"look")
                    flags.append(websocket.came_with_others)
                assert flags == [False, True, True]


@pytest.mark.parametrize("subprotocol", [None, "v1.json.mudserver"])
async def test_a_client_by_other_hands_is_content_with_the_handshake_and_hears_nothing_else(
    subprotocol: str | None,
) -> None:
    """Seen to fail with another GUID in the answer, and with what trio-websocket answers when it is woken passed on."""
    ours, theirs = memory_stream_pair()
    client = WSConnection(ConnectionType.CLIENT)

    async def heard() -> list[Event]:
        client.receive_data(bytes(await theirs.receive_some()))
        return list(client.events())

    with trio.fail_after(5):
        async with open_websocket_nursery() as nursery:
            offered = [] if subprotocol is None else ["something else", subprotocol]
            await theirs.send_all(client.send(Request(host="localhost", target="/", subprotocols=offered)))
            websocket = await accept_websocket(
                nursery, WrappedPlayerStream(ours), lambda offered: subprotocol, Limits(), Turnstile()
            )
            (accepted,) = await heard()
            assert isinstance(accepted, AcceptConnection)
            assert accepted.subprotocol == subprotocol
            await theirs.send_all(client.send(Ping(b"are you there?")) + client.send(LINE))
            assert await websocket.receive() == "look"
            assert await heard() == [Pong(b"are you there?")]


class Door:
    """An open WebSocket on memory streams, and its client."""

    def __init__(self, websocket: WebSocket, theirs: Pipe, turnstile: CountingTurnstile) -> None:
        self.websocket = websocket
        self.turnstile = turnstile
        self.theirs = theirs
        self._client = Connection(ConnectionType.CLIENT)

    async def send(self, *events: Event) -> None:
        """All in one piece."""
        await self.theirs.send_all(b"".join(self._client.send(each) for each in events))

    async def heard(self) -> list[Event]:
        """What was sent to the client, when the server has nothing more to do."""
        await wait_all_tasks_blocked(0.01)
        with trio.move_on_after(0.01):
            self._client.receive_data(bytes(await self.theirs.receive_some()))
        return list(self._client.events())


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    ours, theirs = memory_stream_pair()
    turnstile = CountingTurnstile()
    with trio.fail_after(5):
        async with open_websocket_nursery() as nursery:
            await theirs.send_all(REQUEST)
            stream = WrappedPlayerStream(ours)
            websocket = await accept_websocket(nursery, stream, lambda offered: None, Limits(), turnstile)
            await theirs.receive_some()
            turnstile.turns = 0
            yield Door(websocket, theirs, turnstile)


async def test_after_the_session_has_ended_no_ping_is_answered(door: Door) -> None:
    """Seen to fail with a `stop_reading` that stops nothing: a client looks at nothing behind our close frame."""
    await door.send(Ping(b"1"), LINE, Ping(b"2"), Ping(b"3"))
    assert await door.websocket.receive() == "look"
    door.websocket.stop_reading()
    assert await door.heard() == [Pong(b"1")]


async def test_the_answer_to_a_close_waits_for_what_is_still_to_be_sent(door: Door) -> None:
    """Seen to fail with trio-websocket's own writing: it overtook what was in the outbox."""
    await door.send(CloseConnection(1001, "off"))
    with pytest.raises(ConnectionEnded):
        await door.websocket.receive()
    assert await door.heard() == []
    door.websocket.stop_reading()
    assert door.websocket.last_frame(1000, "goodbye") == close_frame(1001, "off")


async def test_who_stops_sending_is_told_goodbye_whatever_they_sent_before(door: Door) -> None:
    """Seen to fail with the state of wsproto taken for what was written."""
    await door.send(Ping())
    await door.theirs.send_stream.aclose()
    with pytest.raises(ConnectionEnded):
        await door.websocket.receive()
    door.websocket.stop_reading()
    assert door.websocket.last_frame(1000, "goodbye") == close_frame(1000, "goodbye")


async def test_odd_frames_do_not_stand_in_the_newcomers_way(door: Door) -> None:
    """Seen to fail with pings in their queue: sixty who ping would hold it up for seconds."""
    await door.send(Ping(), LINE)
    assert await door.websocket.receive() == "look"
    assert (door.turnstile.turns, door.turnstile.turns_of_hurried) == (1, 1)
