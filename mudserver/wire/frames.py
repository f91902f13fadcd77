"""WebSocket frames (RFC 6455, section 5.2): those we send, and the plain ones among those we are sent.

Ours are unmasked, uncompressed and always whole.
"""

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_FINAL = _MASKED = 0x80
_TEXT_FINAL = _FINAL | _TEXT
_BINARY_FINAL = _FINAL | _BINARY
_PONG_FINAL = _FINAL | _PONG

CLOSE_FRAME_BEGIN = _FINAL | _CLOSE
"""The first byte of every close frame of ours."""


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
    return bytes((CLOSE_FRAME_BEGIN, len(payload))) + payload


PING_FRAME = bytes((0x89, 0))
"""A PING without a payload; any client answers with a PONG by itself."""


class ClientFrames:
    """Follows what one client sends from frame to frame.

    Nearly all of it is lines, each in one short frame; those are read here, in a twentieth of the time that a whole
    WebSocket library takes. Everything else is only followed, so that we know where the next frame begins: `fragments`
    counts the pieces of a message that is not complete, `pings` all PINGs and PONGs begun so far.
    """

    __slots__ = ("_at", "_beginning", "_bytes_max", "_data", "_is_plain_next", "_to_come", "fragments", "pings")

    def __init__(self, message_bytes_max: int) -> None:
        self.fragments = 0
        self.pings = 0
        self._bytes_max = message_bytes_max
        self._data = b""
        self._at = 0
        """How far `_data` has been taken."""
        self._is_plain_next = True
        """Whether what is left of it is nothing but the beginning of a plain frame, or nothing at all."""
        self._beginning = b""
        """Of the head of a frame that is followed."""
        self._to_come = 0
        """Bytes of that frame."""

    def feed(self, data: bytes) -> None:
        """Takes what was read. Ask for `next_message` until there is none, then `take_rest`, before there is more."""
        self._data = self._data[self._at :] + data
        self._at = 0

    def next_message(self) -> str | bytes | None:
        """The next message, if it is whole and in a plain frame; else None, and `take_rest` says what is there.

        One at a time, since whoever sends hundreds at once is not served all of them. Nothing is read while what was
        followed is not complete. PONGs on the way are dropped: any bytes are sign enough.
        """
        data, at = self._data, self._at
        self._is_plain_next = not (self._to_come or self._beginning or self.fragments)
        while self._is_plain_next and at < len(data):
            head = data[at : at + 14]
            if not self._may_be_plain(head):
                self._is_plain_next = False
                break
            head_size, payload = _sizes(head)
            begin, end = at + head_size, at + head_size + payload
            if end > len(data) or len(head) < 2:
                break
            if head[0] != _PONG_FINAL:
                message = _unmasked(data[begin - 4 : begin], data[begin:end])
                try:
                    shown = message if head[0] == _BINARY_FINAL else message.decode()
                except UnicodeDecodeError:
                    # Whose error it is, and what it is called, trio-websocket knows.
                    self._is_plain_next = False
                    break
                self._at = end
                return shown
            self._at = at = end
            self.pings += 1
        return None

    def take_rest(self) -> bytes:
        """What is not plain, with all that stands behind it: to be followed. Nothing if what is left may be plain."""
        if self._is_plain_next:
            return b""
        rest, self._data = self._data[self._at :], b""
        self._at = 0
        return rest

    def _may_be_plain(self, head: bytes) -> bool:
        """Whether what begins so is masked and of a size that is allowed and written as it must be, as far as can be
        seen; a PONG is a short one.
        """
        if head[0] not in (_TEXT_FINAL, _BINARY_FINAL, _PONG_FINAL):
            return False
        if len(head) < 2:
            return True
        short = head[1] & 0x7F
        if short == 126 and len(head) >= 4:
            payload = int.from_bytes(head[2:4], "big")
            return bool(head[1] & _MASKED) and head[0] != _PONG_FINAL and 126 <= payload <= self._bytes_max
        return bool(head[1] & _MASKED) and short < 127

    def follow(self, data: bytes) -> None:
        """Passes over frames of any kind, in pieces of any size."""
        if self._to_come >= len(data):
            self._to_come -= len(data)
            return
        at, self._to_come = self._to_come, 0
        data, self._beginning = self._beginning + data[at:], b""
        at = 0
        while at < len(data):
            head = data[at : at + 14]
            head_size, payload = _sizes(head)
            if len(head) < head_size:
                self._beginning = head
                return
            opcode = head[0] & 0x0F
            if opcode in (_PING, _PONG):
                self.pings += 1
            elif opcode < _CLOSE:
                self.fragments = 0 if head[0] & _FINAL else self.fragments + 1
            at += head_size + payload
        self._to_come = at - len(data)


def _sizes(head: bytes) -> tuple[int, int]:
    """How long a frame's head is, and the payload that follows it; of an incomplete head, at least how long."""
    if len(head) < 2:
        return 2, 0
    mask = 4 if head[1] & _MASKED else 0
    short = head[1] & 0x7F
    if short < 126:
        return 2 + mask, short
    width = 2 if short == 126 else 8
    return 2 + width + mask, int.from_bytes(head[2 : 2 + width], "big")


def _unmasked(mask: bytes, payload: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")
