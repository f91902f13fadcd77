"""WebSocket frames from server to client: unmasked, uncompressed, always whole (RFC 6455, section 5.2)."""

_TEXT_FINAL = 0x81
_CLOSE_FINAL = 0x88


def text_frame(payload: bytes) -> bytes:
    """One TEXT frame around UTF-8 bytes."""
    size = len(payload)
    if size < 126:
        return bytes((_TEXT_FINAL, size)) + payload
    if size < 65536:
        return bytes((_TEXT_FINAL, 126)) + size.to_bytes(2, "big") + payload
    return bytes((_TEXT_FINAL, 127)) + size.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str) -> bytes:
    """The frame that ends a WebSocket; `reason` has at most 123 bytes of UTF-8."""
    payload = code.to_bytes(2, "big") + reason.encode()
    return bytes((_CLOSE_FINAL, len(payload))) + payload


PING_FRAME = bytes((0x89, 0))
"""A PING without a payload; any client answers with a PONG by itself."""
