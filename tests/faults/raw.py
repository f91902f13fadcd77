"""Clients made of bytes: what no WebSocket library would send, and every byte that came back."""

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import trio

JSON_SUBPROTOCOL = b"v1.json.mudserver"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

SECONDS_MAX = 8.0
"""For anything that should take milliseconds, on a machine that is busy with other things."""

RECEIVE_BYTES = 65536


def request(line: bytes = b"GET / HTTP/1.1", *, further: bytes = b"", **changed: bytes | None) -> bytes:
    """A WebSocket request, with some headers changed (`sec_websocket_key=…`; None: left out) and lines added."""
    headers: dict[bytes, bytes | None] = {
        b"Host": b"127.0.0.1",
        b"Upgrade": b"websocket",
        b"Connection": b"Upgrade",
        b"Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version": b"13",
    }
    headers |= {name.replace("_", "-").title().encode(): value for name, value in changed.items()}
    by_lower_case = {name.lower(): (name, value) for name, value in headers.items()}
    lines = [name + b": " + value for name, value in by_lower_case.values() if value is not None]
    return b"\r\n".join([line, *lines]) + b"\r\n" + further + b"\r\n"


def frame(
    payload: bytes = b"",
    opcode: int = TEXT,
    *,
    is_last: bool = True,
    reserved: int = 0,
    is_masked: bool = True,
    claimed_bytes: int | None = None,
) -> bytes:
    """A client's frame. Masked with zeros, which is a mask like any other, and can be read by the eye."""
    size = len(payload) if claimed_bytes is None else claimed_bytes
    first = (0x80 if is_last else 0) | reserved << 4 | opcode
    mask_bit = 0x80 if is_masked else 0
    if size < 126:
        head = bytes((first, mask_bit | size))
    elif size < 65536:
        head = struct.pack("!BBH", first, mask_bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, size)
    return head + (bytes(4) if is_masked else b"") + payload


def close_frame(code: int = 1000, reason: bytes = b"") -> bytes:
    return frame(code.to_bytes(2, "big") + reason, CLOSE)


def json_frame(frame_type: str, data: Any = None) -> bytes:
    """A message as clients of the JSON dialect send them."""
    return frame(json.dumps({"type": frame_type} | ({} if data is None else {"data": data})).encode())


def take_frames(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Takes every whole server frame off the front: opcode and payload. The server's frames are never in pieces."""
    while len(buffer) >= 2:
        size, start = buffer[1], 2
        if size in (126, 127):
            start = 4 if size == 126 else 10
            size = int.from_bytes(buffer[2:start], "big")
        if len(buffer) < start + size or len(buffer) < start:
            return
        opcode, payload = buffer[0] & 0x0F, bytes(buffer[start : start + size])
        assert buffer[0] == 0x80 | opcode, f"no whole frame begins with {bytes(buffer[:20])!r}"
        del buffer[: start + size]
        yield opcode, payload


class RawClient:
    """A TCP connection with a server. `received` is every byte that came, `messages` the TEXT frames among them."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.sock = sock
        self.received = bytearray()
        self.messages: list[bytes] = []
        self.close: tuple[int, str] | None = None
        self.is_over = False
        self.is_deaf = False
        """Whether the server takes no more; what it said before may still be unread."""
        self._unread: bytearray | None = None

    @property
    def is_accepted(self) -> bool:
        return self.received.startswith(b"HTTP/1.1 101 ")

    async def send(self, data: bytes) -> None:
        """Sends as much as the server takes; whether it has closed already is not this client's concern."""
        with trio.move_on_after(SECONDS_MAX):
            try:
                while data:
                    data = data[await self.sock.send(data) :]
            except OSError:
                self.is_deaf = True

    async def send_what_fits(self, data: bytes) -> None:
        """Sends what fits into the socket, and forgets the rest."""
        with trio.move_on_after(0.05):
            await self.send(data)

    async def receive(self) -> bool:
        """Takes in what comes next. False when there is no more, after FIN or RST."""
        with trio.fail_after(SECONDS_MAX):
            try:
                data = await self.sock.recv(RECEIVE_BYTES)
            except OSError:
                data = b""
        self.received += data
        self.is_over = not data
        self._take_in(data)
        return not self.is_over

    def _take_in(self, data: bytes) -> None:
        if self._unread is None:
            if not self.is_accepted or b"\r\n\r\n" not in self.received:
                return
            self._unread = bytearray()
            data = bytes(self.received).split(b"\r\n\r\n", 1)[1]
        self._unread += data
        for opcode, payload in take_frames(self._unread):
            if opcode == CLOSE:
                self.close = (int.from_bytes(payload[:2], "big"), payload[2:].decode())
            elif opcode == TEXT:
                self.messages.append(payload)

    async def read_until(self, needle: bytes) -> None:
        """Reads on until `needle` is among what was received."""
        with trio.fail_after(SECONDS_MAX):
            while needle not in self.received:
                assert await self.receive(), f"{needle!r} never came, only {bytes(self.received[-500:])!r}"

    async def read_to_close_frame(self) -> None:
        with trio.fail_after(SECONDS_MAX):
            while self.close is None:
                assert await self.receive(), f"no close frame came, only {bytes(self.received[-500:])!r}"

    async def read_to_end(self) -> str:
        """Reads until the server hangs up, answering its close frame. Returns `told`."""
        answered = False
        with trio.fail_after(SECONDS_MAX):
            while not self.is_over:
                await self.receive()
                if self.close is not None and not answered:
                    answered = True
                    await self.send(close_frame())
        return self.told

    @property
    def told(self) -> str:
        """What this client was told of the end: '1008 too many lines', '400' (HTTP), or 'nothing'."""
        if self.close is not None:
            return f"{self.close[0]} {self.close[1]}"
        if self.received and not self.is_accepted:
            return self.received.split(b" ", 2)[1].decode()
        return "nothing"

    async def shake_hands(self, *, as_json: bool = False) -> None:
        """To a WebSocket that has been greeted."""
        await self.send(request(sec_websocket_protocol=JSON_SUBPROTOCOL) if as_json else request())
        await self.read_until(b"By what name")

    async def sign_in(self, name: str, *, as_json: bool = False) -> None:
        """To a player standing in the hall who has seen it."""
        await self.shake_hands(as_json=as_json)
        await self.send(json_frame("login", {"name": name}) if as_json else frame(name.encode()))
        await self.read_until(b'"room_occupants"' if as_json else b"Exits: ")

    def reset(self) -> None:
        """The line dies: RST, as when a machine is switched off."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        self.is_over = True


async def connect(port: int, *, receive_buffer_bytes: int | None = None) -> RawClient:
    """A TCP connection with nothing sent yet. Whoever asks for it closes `sock`."""
    sock = trio.socket.socket()
    try:
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with trio.fail_after(SECONDS_MAX):
            await sock.connect(("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return RawClient(sock)
