"""Messages of a client, whoever reads them: we, or trio-websocket for what is less plain."""

import pytest
import trio
from trio.testing import memory_stream_pair
from wsproto import ConnectionType, WSConnection
from wsproto.connection import Connection
from wsproto.events import AcceptConnection, BytesMessage, Event, Ping, Pong, Request, TextMessage

from mudserver.config import Limits
from mudserver.transport.library import open_websocket_nursery
from mudserver.transport.stream import WrappedPlayerStream
from mudserver.transport.turnstile import Turnstile
from mudserver.transport.websocket import accept_websocket

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
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
