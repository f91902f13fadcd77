"""The request head, judged before the WebSocket layer sees it, and the answers to those who speak plain HTTP."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MemoryReceiveStream, MemorySendStream, MockClock, memory_stream_pair

from mudserver.config import Limits
from mudserver.errors import HandshakeRefused
from mudserver.realtime.session import choose_subprotocol
from mudserver.transport.http import RequestHead, read_request_head
from mudserver.transport.library import open_websocket_nursery
from mudserver.transport.stream import WrappedPlayerStream
from mudserver.transport.turnstile import Turnstile
from mudserver.transport.websocket import accept_websocket
from tests.transport.sockets import CountingTurnstile

UPGRADE = (
    b"GET /?dialect=json&a=1&a=2 HTTP/1.1\r\nHost: mud.test\r\n"
    b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)

PATIENCE_SECONDS = 2.0
Pipe = trio.StapledStream[MemorySendStream, MemoryReceiveStream]


def pair() -> tuple[Pipe, WrappedPlayerStream]:
    client, server = memory_stream_pair()
    return client, WrappedPlayerStream(server)


async def read_all(client: Pipe, server: WrappedPlayerStream) -> bytes:
    await server.aclose()
    answer = b""
    async for data in client:
        answer += data
    return answer


async def test_a_head_is_understood() -> None:
    client, server = pair()
    await client.send_all(UPGRADE + b"Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n\r\n")
    head = await read_request_head(server, 8192)
    assert (head.method, head.path, head.query) == ("GET", "/", {"dialect": ["json"], "a": ["1", "2"]})
    assert head.wants_websocket
    assert head.tokens("sec-websocket-protocol") == ["a", "b", "c"]
    assert head.header("x-none") == ""


@pytest.mark.parametrize("piece", [1, 7, 4096])
async def test_what_follows_the_head_is_put_back(piece: int) -> None:
    client, server = pair()
    behind = b"\x81\x85first frame"
    sent = UPGRADE + b"\r\n" + behind
    for start in range(0, len(sent), piece):
        await client.send_all(sent[start : start + piece])
    await client.send_stream.aclose()
    await read_request_head(server, 8192)
    got = b""
    while data := await server.receive_some(50):
        got += data
    assert got == behind


async def test_a_head_that_comes_byte_by_byte_is_waited_for_and_takes_one_turn(autojump_clock: MockClock) -> None:
    """Seen to fail with a turn for each piece: twenty such strangers would hold up whoever else is at the door."""
    client, server = pair()
    heads: list[RequestHead] = []

    turnstile = CountingTurnstile()

    async def read() -> None:
        heads.append(await read_request_head(server, 8192, turnstile))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for byte in UPGRADE + b"\r\n":
            assert not heads
            await client.send_all(bytes([byte]))
            await trio.sleep(0.01)
    assert heads[0].wants_websocket
    assert turnstile.turns == 1


BAD_HEADS = {
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefgh", b"400"),
    "telnet": (b"\xff\xfb\x01\xff\xfb\x03\xff\xfd\x18\xff\xfd\x1f\xff\xfd\x21\xff\xfd", b"400"),
    "no http": (b"hello\r\n\r\n", b"400"),
    "bad header": (b"GET / HTTP/1.1\r\nHost mud\r\n\r\n", b"400"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", b"400"),
    "bad target": (b"GET http://[ HTTP/1.1\r\nHost: m\r\n\r\n", b"400"),
    "many fields": (b"GET /?" + b"a=1&" * 30 + b" HTTP/1.1\r\nHost: m\r\n\r\n", b"400"),
    "non-ASCII host": (UPGRADE.replace(b"mud.test", b"m\xfcd") + b"\r\n", b"400"),
    "non-ASCII connection": (UPGRADE.replace(b"keep-alive", b"k\xff") + b"\r\n", b"400"),
    "non-ASCII protocol": (UPGRADE + b"Sec-WebSocket-Protocol: v1.\xe9\r\n\r\n", b"400"),
    "non-ASCII extension": (UPGRADE + b"Sec-WebSocket-Extensions: \xe9\r\n\r\n", b"400"),
    "too long": (UPGRADE + b"Cookie: " + b"x" * 9000 + b"\r\n\r\n", b"431"),
    "endless": (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 2000, b"431"),
}


@pytest.mark.parametrize(("sent", "status"), BAD_HEADS.values(), ids=BAD_HEADS)
async def test_what_is_no_good_request_gets_a_short_answer(sent: bytes, status: bytes) -> None:
    client, server = pair()
    await client.send_all(sent)
    with trio.fail_after(PATIENCE_SECONDS), pytest.raises(HandshakeRefused, match=status.decode()):
        await read_request_head(server, 8192)
    answer = await read_all(client, server)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close\r\n" in answer


async def test_somebody_who_goes_in_the_middle_is_no_error_but_a_refusal() -> None:
    client, server = pair()
    await client.send_all(b"GET / HT")
    await client.send_stream.aclose()
    with pytest.raises(HandshakeRefused, match="gone"):
        await read_request_head(server, 8192)


@given(st.binary(max_size=300))
def test_no_bytes_get_anything_else_out_of_it(sent: bytes) -> None:
    async def read() -> None:
        client, server = pair()
        await client.send_all(sent)
        await client.send_stream.aclose()
        try:
            await read_request_head(server, 8192)
        except HandshakeRefused:
            return

    trio.run(read)


async def handshake(server: WrappedPlayerStream) -> None:
    async with open_websocket_nursery() as nursery:
        await accept_websocket(nursery, server, choose_subprotocol, Limits(), Turnstile())


PLAIN_REQUESTS = {
    "a browser": (b"GET / HTTP/1.1\r\nHost: m\r\n\r\n", b"426", b"Upgrade: websocket"),
    "health": (b"GET /healthz HTTP/1.1\r\nHost: m\r\n\r\n", b"200", b"ok"),
    "another path": (b"GET /admin HTTP/1.1\r\nHost: m\r\n\r\n", b"404", b"MUD"),
    "a form": (b"POST / HTTP/1.1\r\nHost: m\r\nContent-Length: 0\r\n\r\n", b"405", b"Allow: GET"),
    "an old version": (
        UPGRADE.replace(b"Version: 13", b"Version: 8") + b"\r\n",
        b"426",
        b"Sec-WebSocket-Version: 13",
    ),
    "no key": (UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"x") + b"\r\n", b"400", b"key"),
    "no host": (UPGRADE.replace(b"1.1", b"1.2").replace(b"Host: mud.test\r\n", b"") + b"\r\n", b"400", b"host"),
    "HTTP of long ago": (UPGRADE.replace(b"1.1", b"1.0") + b"\r\n", b"426", b"MUD"),
    "a body": (UPGRADE + b"Content-Length: 4\r\n\r\n", b"400", b"body"),
    "two keys": (UPGRADE + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", b"400", b"key"),
    "unknown subprotocol": (UPGRADE + b"Sec-WebSocket-Protocol: chat\r\n\r\n", b"400", b"subprotocols"),
}


@pytest.mark.parametrize(("sent", "status", "words"), PLAIN_REQUESTS.values(), ids=PLAIN_REQUESTS)
async def test_plain_http_gets_a_proper_short_answer(sent: bytes, status: bytes, words: bytes) -> None:
    client, server = pair()
    await client.send_all(sent)
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - alone or in a group
        await handshake(server)
    assert caught.group_contains(HandshakeRefused) if isinstance(caught.value, BaseExceptionGroup) else True
    answer = await read_all(client, server)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert words in answer
    assert f"Content-Length: {len(body)}".encode() in head


async def test_the_known_subprotocol_is_echoed_whatever_else_is_offered(autojump_clock: MockClock) -> None:
    client, server = pair()
    await client.send_all(UPGRADE + b"Sec-WebSocket-Protocol: chat, v1.json.mudserver\r\n\r\n")
    await handshake(server)
    answer = await read_all(client, server)
    assert answer.startswith(b"HTTP/1.1 101")
    assert b"sec-websocket-protocol: v1.json.mudserver" in answer.lower()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", UPGRADE])
async def test_a_handshake_that_takes_longer_than_five_seconds_is_over(autojump_clock: MockClock, sent: bytes) -> None:
    client, server = pair()
    await client.send_all(sent)
    with pytest.RaisesGroup(trio.TooSlowError):
        await handshake(server)
    assert trio.current_time() == 5.0
