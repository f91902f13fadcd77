"""Lines between server and client: memory streams that are as narrow as a socket, can be tapped, and can go dead."""

from collections.abc import Callable

import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_one_way_pair

from mudserver.transport.stream import WrappedPlayerStream

_TEXT = 0x81


class FrameTap:
    """Reads along what a server writes, and says which text messages are in it."""

    def __init__(self) -> None:
        self._is_past_head = False

    def read(self, written: bytes) -> list[str]:
        """The text messages in what was written at once: the response head, or whole frames (the server's promise)."""
        if not self._is_past_head:
            self._is_past_head = True
            return []
        messages = []
        position = 0
        while position < len(written):
            size, start = written[position + 1], position + 2
            if size == 126:
                size, start = int.from_bytes(written[start : start + 2], "big"), start + 2
            elif size == 127:
                size, start = int.from_bytes(written[start : start + 8], "big"), start + 8
            if written[position] == _TEXT:
                messages.append(written[start : start + size].decode())
            position = start + size
        assert position == len(written), "the server wrote a part of a frame"
        return messages


class ServerEnd(WrappedPlayerStream):
    """The server's end. Writes as SocketPlayerStream does: tries first, takes a part, keeps the rest first in line.

    `on_written` hears of every text message the server has handed over, and whether the line was broken already.
    """

    def __init__(
        self,
        heard: MemoryReceiveStream,
        to_client: MemoryReceiveStream,
        bytes_max: int,
        on_written: Callable[[str, bool], None],
    ) -> None:
        super().__init__(trio.StapledStream(MemorySendStream(), heard))
        self.free = bytes_max
        self.is_broken = False
        self._to_client = to_client
        self._tap = FrameTap()
        self._on_written = on_written
        self._rest = b""
        self._lock = trio.Lock()
        self._freed = trio.Event()

    def take_out(self, size: int) -> None:
        """The client has read so many bytes."""
        self.free += size
        self._tell()

    def break_off(self) -> None:
        """The client is gone."""
        self.is_broken = True
        self._tell()

    @property
    def is_behind(self) -> bool:
        return bool(self._rest) or self._lock.locked()

    def offer(self, frames: bytes) -> bool:
        if self._rest or self._lock.locked() or (self.free <= 0 and not self.is_broken):
            return False
        self._hand_over(frames)
        self._write()
        return True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        async with self._lock:
            self._hand_over(bytes(data))
            while self._rest:
                if self.is_broken:
                    raise trio.BrokenResourceError("the client is gone")
                self._write()
                if self._rest:
                    await self._freed.wait()

    async def wait_send_all_might_not_block(self) -> None:
        while self.free <= 0 and not self.is_broken:
            await self._freed.wait()

    async def aclose(self) -> None:
        if not self.is_broken:
            self._to_client.put_eof()
        await super().aclose()

    def _hand_over(self, data: bytes) -> None:
        self._rest += data
        if data:
            for message in self._tap.read(data):
                self._on_written(message, self.is_broken)

    def _write(self) -> None:
        """As much as fits."""
        if self.is_broken:
            self._rest = b""
        piece = self._rest[: max(0, self.free)]
        if piece:
            self._rest = self._rest[len(piece) :]
            self.free -= len(piece)
            self._to_client.put_data(piece)

    def _tell(self) -> None:
        self._freed.set()
        self._freed = trio.Event()


class ClientEnd(trio.abc.Stream):
    """The client's end. `vanish` makes it as deaf and dumb as a machine that went to sleep."""

    def __init__(self, stream: trio.abc.Stream, far_end: ServerEnd) -> None:
        self._stream = stream
        self._far_end = far_end
        self._is_gone = False

    def vanish(self) -> None:
        self._is_gone = True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_gone:
            await trio.sleep_forever()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        if self._is_gone:
            await trio.sleep_forever()
        self._far_end.take_out(len(data))
        return data

    async def aclose(self) -> None:
        self._far_end.break_off()
        await self._stream.aclose()


def open_line(bytes_max: int, on_written: Callable[[str, bool], None]) -> tuple[ClientEnd, ServerEnd]:
    """A line on which at most `bytes_max` are in flight towards the client."""
    to_server, heard = memory_stream_one_way_pair()
    to_client = MemoryReceiveStream()
    far_end = ServerEnd(heard, to_client, bytes_max, on_written)
    return ClientEnd(trio.StapledStream(to_server, to_client), far_end), far_end
