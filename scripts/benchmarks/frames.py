"""WebSocket bytes, written and read by hand, so that no library's cost is in the client's figures.

Client frames are made before the measurement; server frames are taken apart after it. Neither knows fragments or
compression: the client offers no compression, and a server that fragments 200 bytes would be a finding by itself.
"""

import base64
import os
import struct
from collections.abc import Iterator
from typing import Final

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_FIN: Final = 0x80
_MASKED: Final = 0x80
_LENGTH_IN_2_BYTES: Final = 126
_LENGTH_IN_8_BYTES: Final = 127


def handshake_request(port: int, subprotocol: str | None = None) -> bytes:
    """The opening handshake of a client at 127.0.0.1 that asks for `/` and, if given, one subprotocol."""
    lines = [
        "GET / HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return "\r\n".join([*lines, "", ""]).encode()


def _header(opcode: int, mask_bit: int, length: int) -> bytes:
    if length < _LENGTH_IN_2_BYTES:
        return bytes((_FIN | opcode, mask_bit | length))
    if length < 1 << 16:
        return struct.pack("!BBH", _FIN | opcode, mask_bit | _LENGTH_IN_2_BYTES, length)
    return struct.pack("!BBQ", _FIN | opcode, mask_bit | _LENGTH_IN_8_BYTES, length)


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A whole masked frame, as a client must send it."""
    mask = os.urandom(4)
    whole_mask = int.from_bytes(mask * (len(payload) // 4 + 1), "big") >> 8 * (4 - len(payload) % 4)
    masked = (int.from_bytes(payload, "big") ^ whole_mask).to_bytes(len(payload), "big")
    return _header(opcode, _MASKED, len(payload)) + mask + masked


def server_text_frame(payload: bytes) -> bytes:
    """A whole unmasked text frame, as a server sends it."""
    return _header(TEXT, 0, len(payload)) + payload


def take_frames(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take every whole server frame off the front of `buffer`: (opcode, payload). What is incomplete stays in it.

    Raises ValueError if the bytes cannot be the start of an unfragmented, unmasked frame: the stream is corrupt.
    """
    start = 0
    end = len(buffer)
    try:
        while end - start >= 2:
            first, length = buffer[start], buffer[start + 1]
            if first & 0xF0 != _FIN or length & _MASKED:
                raise ValueError(f"not a whole server frame: {bytes(buffer[start : start + 16])!r}")
            payload_at = start + 2
            if length == _LENGTH_IN_2_BYTES:
                payload_at += 2
            elif length == _LENGTH_IN_8_BYTES:
                payload_at += 8
            if payload_at > end:
                break
            if payload_at > start + 2:
                length = int.from_bytes(buffer[start + 2 : payload_at], "big")
            if payload_at + length > end:
                break
            start = payload_at + length
            yield first & 0x0F, bytes(buffer[payload_at:start])
    finally:
        del buffer[:start]
