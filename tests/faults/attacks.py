"""What hostile and broken clients send, as values: the repertoire of the tests in this directory."""

import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

import trio

from tests.faults.raw import (
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RawClient,
    close_frame,
    frame,
    request,
)


def _tls_hello() -> bytes:
    """What a browser sends to wss:// where only ws:// is spoken; nearly always there is a newline in it."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="mud.example")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    return hello[:11] + b"\n" + hello[12:]  # the first byte of 32 random ones


class Head(NamedTuple):
    """First bytes of a stranger, and the HTTP status it is told: 101 if it is let in, odd as it is."""

    name: str
    sent: bytes
    told: str


HEADS = (
    Head("a non-ASCII byte in Host", request(host=b"mud\xe9.example"), "400"),
    Head("a non-ASCII byte in Connection", request(connection=b"Upgrade, \xff"), "400"),
    Head("a non-ASCII byte in Upgrade", request(upgrade=b"websocket, \xff"), "400"),
    Head("a non-ASCII byte in Sec-WebSocket-Key", request(sec_websocket_key=b"dGhlIHNhbXBsZSBub25j\xffQ=="), "400"),
    Head("a non-ASCII byte in Sec-WebSocket-Protocol", request(sec_websocket_protocol=b"\xff"), "400"),
    Head("a non-ASCII byte in Sec-WebSocket-Extensions", request(sec_websocket_extensions=b"\xff"), "400"),
    Head("a non-ASCII byte in Sec-WebSocket-Version", request(sec_websocket_version=b"13\xff"), "400"),
    Head("a non-ASCII byte in the path", request(b"GET /\xff HTTP/1.1"), "400"),
    Head("an escape sequence in the path", request(b"GET /\x1b[31m HTTP/1.1"), "400"),
    Head("an escape sequence in a header", request(user_agent=b"\x1b]52;c;AAAA\x07"), "101"),
    Head("NUL in a header", request(user_agent=b"\x00"), "400"),
    Head("a host that IDNA refuses", request(host=b"a" * 64 + b".example"), "101"),
    Head("a host of dots", request(host=b".."), "101"),
    Head("no host", request(host=None), "400"),
    Head("two hosts", request(further=b"Host: other\r\n"), "400"),
    Head("no request line", b"hello there, this is no HTTP\r\n\r\n", "400"),
    Head("a request line of one word", b"GET\r\n\r\n", "400"),
    Head("telnet negotiation", b"\xff\xfd\x18\xff\xfd\x20\xff\xfd\x23\xff\xfd\x27\r\n\r\n", "400"),
    Head("a TLS hello", _tls_hello(), "400"),
    Head("the HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "405"),
    Head("HTTP/1.0", request(b"GET / HTTP/1.0"), "426"),
    Head("HTTP/9.9", request(b"GET / HTTP/9.9"), "101"),
    Head("a broken IPv6 address as target", request(b"GET //[ HTTP/1.1"), "400"),
    Head("a hundred query fields", request(b"GET /?" + b"a=b&" * 100 + b" HTTP/1.1"), "400"),
    Head("a head over 8 KiB", request(user_agent=b"x" * 9000), "431"),
    Head("a head over 8 KiB without an end", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000, "431"),
    Head("folded header lines", request(further=b"X: a\r\n b\r\n" * 3, sec_websocket_key=None), "400"),
    Head("a transfer coding nobody knows", request(transfer_encoding=b"gzip, nonsense"), "400"),
    Head("a body that never comes", request(content_length=b"5"), "400"),
    Head("a chunked body", request(transfer_encoding=b"chunked") + b"5\r\nhello\r\n0\r\n\r\n", "400"),
    Head("two lengths", request(content_length=b"5", further=b"Content-Length: 6\r\n"), "400"),
    Head("two upgrades at once", request(upgrade=b"h2c, websocket"), "426"),
    Head("two Upgrade headers", request(further=b"Upgrade: h2c\r\n"), "426"),
    Head("no key", request(sec_websocket_key=None), "400"),
    Head("a short key", request(sec_websocket_key=b"short"), "400"),
    Head("a key that is no Base64", request(sec_websocket_key=b"!" * 24), "400"),
    Head("a key of too few bytes", request(sec_websocket_key=b"c2hvcnQgb2YgdGhlIHNpeHRl"), "400"),
    Head("no body at all, and saying so", request(content_length=b"0"), "101"),
    Head("an old version", request(sec_websocket_version=b"8"), "426"),
    Head("no version", request(sec_websocket_version=None), "426"),
    Head("an unknown subprotocol", request(sec_websocket_protocol=b"v9.cbor.elsewhere"), "400"),
    Head("an unknown dialect", request(b"GET /?dialect=xml HTTP/1.1"), "400"),
    Head("a subprotocol that steers terminals", request(sec_websocket_protocol=b"\x1b[2J"), "400"),
    Head("a web page of another origin", request(origin=b"https://evil.example"), "403"),
    Head("a page without an origin", request(origin=b"null"), "403"),
    Head("POST", request(b"POST / HTTP/1.1", content_length=b"0"), "405"),
    Head("a plain request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "426"),
    Head("a plain request for a page", b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
)


class Offence(NamedTuple):
    """What somebody does on an open WebSocket, and what the close frame tells them ('nothing': there is none)."""

    name: str
    do: Callable[[RawClient], Awaitable[None]]
    told: str


def _sends(name: str, data: bytes, told: str) -> Offence:
    async def send(client: RawClient) -> None:
        await client.send(data)

    return Offence(name, send, told)


async def _pings_after_our_1009(client: RawClient) -> None:
    await client.send(frame(b"x" * 5000))
    await client.read_to_close_frame()
    await client.send(frame(b"hello?", PING) * 3)


async def _pings_after_our_close(client: RawClient) -> None:
    await client.send(frame(b"look at nothing") * 100)
    await client.read_to_close_frame()
    await client.send(frame(b"hello?", PING) * 3)


async def _says_goodbye_and_goes_on(client: RawClient) -> None:
    await client.send(close_frame(1000) + frame(b"look") + frame(b"", PING) + close_frame(1000))


async def _answers_nothing_after_our_1009(client: RawClient) -> None:
    await client.send(frame(b"x" * 5000))
    await client.read_to_close_frame()
    while await client.receive():
        pass


TOO_BIG = "1009 Exceeded maximum message size: 4096 bytes"

OFFENCES = (
    _sends("a message of 5000 bytes", frame(b"x" * 5000), TOO_BIG),
    _sends("a line of 100 KB", frame(b"say " + b"x" * 100_000), TOO_BIG),
    _sends("two messages that are too big", frame(b"x" * 5000) + frame(b"y" * 5000), TOO_BIG),
    _sends(
        "a message too big in pieces",
        frame(b"x" * 2500, is_last=False) + frame(b"x" * 2500, CONTINUATION),
        TOO_BIG,
    ),
    Offence("silence after a message too big", _answers_nothing_after_our_1009, TOO_BIG),
    Offence("pings after a message too big", _pings_after_our_1009, TOO_BIG),
    Offence("pings after our close frame", _pings_after_our_close, "1008 too many lines"),
    _sends(
        "50,000 empty fragments",
        frame(b"", is_last=False) + frame(b"", CONTINUATION, is_last=False) * 50_000,
        "1008 too many fragments",
    ),
    _sends("a flood of pings", frame(b"p", PING) * 5000, "1008 too many pings or pongs"),
    _sends("a flood of pongs", frame(b"p" * 125, PONG) * 3000, "1008 too many pings or pongs"),
    _sends("a flood of bytes", frame(b"say " + b"x" * 4000) * 20, "1008 too much data"),
    _sends("a flood of lines", frame(b"look at nothing") * 100, "1008 too many lines"),
    _sends("a flood of lines in one frame", frame(b"l x\n" * 1000), "1008 too many lines"),
)
"""What is told to whoever does it, on the WebSockets of today."""

BREACHES = (
    _sends("a frame without a mask", frame(b"hello", is_masked=False), "1002"),
    _sends("a reserved bit", frame(b"hello", reserved=4), "1002"),
    _sends("all reserved bits", frame(b"hello", reserved=7), "1002"),
    _sends("an opcode nobody knows", frame(b"hello", 0x3), "1002"),
    _sends("a control opcode nobody knows", frame(b"hello", 0xB), "1002"),
    _sends("a ping in pieces", frame(b"hello", PING, is_last=False), "1002"),
    _sends("a ping that is too long", frame(b"p" * 126, PING), "1002"),
    _sends("a continuation of nothing", frame(b"hello", CONTINUATION), "1002"),
    _sends("a message inside another", frame(b"one", is_last=False) + frame(b"two"), "1002"),
    _sends("a length of 2^63", frame(b"", claimed_bytes=1 << 63), "1002"),
    _sends("a length in more bytes than it needs", b"\x81\xfe\x00\x05" + bytes(4) + b"hello", "1002"),
    _sends("a close frame of one byte", frame(b"\x03", CLOSE), "1002"),
    _sends("a close code nobody may send", close_frame(1005), "1002"),
    _sends("a close reason that is no UTF-8", close_frame(1000, b"\xff\xfe"), "1007"),
    _sends("TEXT that is no UTF-8", frame(b"say \xc3\x28"), "1007"),
    _sends("TEXT with a surrogate", frame(b"say \xed\xa0\x80"), "1007"),
    _sends("TEXT that ends inside a character", frame(b"say \xe2\x82"), "1007"),
)
"""Frames that RFC 6455 forbids, each with the close code it has for that."""

FAREWELLS = (
    _sends("a goodbye with an escape sequence", close_frame(1000, b"\x1b[31mbye\x07"), "1000 \x1b[31mbye\x07"),
    Offence("a goodbye, and more", _says_goodbye_and_goes_on, "1000 "),
)

BOMBS = {
    "4000 open brackets": b"[" * 4000,
    "4000 open braces": b'{"a":' * 800,
    "brackets in data": b'{"type":"command","data":' + b"[" * 1990 + b"]" * 1990 + b"}",
    "an integer of 3900 digits": b'{"type":"command","data":{"command":' + b"9" * 3900 + b"}}",
    "a float of 10^99999": b'{"type":"ping","data":1e99999,"x":1e99999}x',
    "an array of 2000 words": b'{"type":"command","data":{"command":1,"args":[' + b"0," * 1900 + b"0]}}",
    "a lone surrogate": rb'{"type":"command","data":{"command":"say","args":["\ud800"]}}',
    "a key twice": b'{"type":"login","type":"nonsense"}',
    "data that is null": b'{"type":"command","data":null}',
    "data that is a list": b'{"type":"login","data":[]}',
    "a field nobody knows": b'{"type":"login","data":{"name":"Eve","admin":true}}',
    "a type nobody knows": b'{"type":"\\u001b[31m"}',
    "no JSON": b"GET / HTTP/1.1",
    "nothing": b"",
    "two values": b'{"type":"ping"}{"type":"ping"}',
}
"""JSON messages that are answered with `invalid_format`, and after which the client may go on."""


async def drip(client: RawClient, data: bytes, seconds_between: float) -> None:
    """One byte after the other, until all are sent or the server hangs up."""
    for each in data:
        await client.send(bytes((each,)))
        if client.is_deaf:
            return
        await trio.sleep(seconds_between)
