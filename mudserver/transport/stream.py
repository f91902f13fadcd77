"""The byte stream under a WebSocket, ours, so that whole frames can be written at once or not at all.

trio-websocket uses the same stream for its answers to pings. Whoever writes hands over whole frames; the stream keeps
them apart: nothing is written between the halves of a frame, not even after a cancelled send.
"""

import errno
import socket
from abc import abstractmethod
from contextlib import suppress

import trio

RECEIVE_BYTES = 4096
"""What one read takes at most: a line is a few dozen bytes, and what a stranger sends is parsed in small bites."""

DISCARD_BYTES = 64 * 1024
"""What one read takes of what nobody looks at any more."""


class PlayerStream(trio.abc.Stream):
    """A stream to one player's client.

    Bytes that were read too early (behind the request head) are put back with `unread`.
    """

    def __init__(self) -> None:
        self._unread = b""
        self.last_heard = trio.current_time()
        self.is_listening = False
        """Whether somebody waits for what comes in. If not, a silence may be ours."""

    def unread(self, data: bytes) -> None:
        self._unread = data + self._unread

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes, b"" at the end. Raises trio.BrokenResourceError or trio.ClosedResourceError."""
        if self._unread:
            await trio.lowlevel.checkpoint()
            size = max_bytes or RECEIVE_BYTES
            data, self._unread = self._unread[:size], self._unread[size:]
            return data
        self.is_listening = True
        try:
            data = await self._receive(max_bytes or RECEIVE_BYTES)
        finally:
            self.is_listening = False
        self.last_heard = trio.current_time()
        return data

    @abstractmethod
    async def _receive(self, max_bytes: int) -> bytes: ...

    @abstractmethod
    async def see_off(self) -> None:
        """Says that nothing more will come and waits for the other side to hang up, discarding what it still sends.

        Closing a socket with unread bytes in it would destroy what we wrote last; the caller sets the deadline.
        """

    @abstractmethod
    def offer(self, frames: bytes) -> bool:
        """Takes the whole of `frames` or nothing, without waiting. If taken, a rest may still be on its way."""

    @property
    @abstractmethod
    def is_behind(self) -> bool:
        """Whether something taken is not yet with the operating system; `send_all(b"")` sees it off."""


class SocketPlayerStream(PlayerStream):
    """Over a connected, non-blocking TCP socket, which it owns: tries first, and waits only where that is full."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._socket = sock
        self._rest = b""
        self._sender = trio.Lock()
        self._is_sending = False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def _receive(self, max_bytes: int) -> bytes:
        while True:
            self._check_open()
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv(max_bytes)
            except BlockingIOError:
                continue
            except OSError as error:
                raise _translated(error) from error

    @property
    def is_behind(self) -> bool:
        return self._is_sending or bool(self._rest)

    def offer(self, frames: bytes) -> bool:
        if self._is_sending or self._rest:
            return False
        try:
            sent = self._socket.send(frames)
        except BlockingIOError:
            return False
        except OSError:
            # The reader will hear of it at its next receive; what is written to a dead socket is nobody's loss.
            return True
        if sent < len(frames):
            self._rest = frames[sent:]
        return True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends what is left of earlier frames, then these. If cancelled, the rest stays first in line."""
        async with self._sender:
            self._is_sending = True
            try:
                self._rest += bytes(data)
                await self._send_rest()
            finally:
                self._is_sending = False

    async def _send_rest(self) -> None:
        while self._rest:
            try:
                sent = self._socket.send(self._rest)
            except BlockingIOError:
                self._check_open()
                await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:
                raise _translated(error) from error
            else:
                self._rest = self._rest[sent:]

    async def wait_send_all_might_not_block(self) -> None:
        async with self._sender:
            self._check_open()
            await trio.lowlevel.wait_writable(self._socket)

    def _check_open(self) -> None:
        # trio's wait_* on a closed socket fail with a bare ValueError.
        if self._socket.fileno() == -1:
            raise trio.ClosedResourceError("this stream was already closed")

    async def see_off(self) -> None:
        if self._socket.fileno() == -1:
            return
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while await self._receive(DISCARD_BYTES):
                pass

    async def aclose(self) -> None:
        if self._socket.fileno() != -1:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
        await trio.lowlevel.checkpoint()


class WrappedPlayerStream(PlayerStream):
    """Over any other trio stream, for clients in memory: everything goes by way of `send_all`."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__()
        self._stream = stream
        self._sender = trio.Lock()

    async def _receive(self, max_bytes: int) -> bytes:
        return bytes(await self._stream.receive_some(max_bytes))

    @property
    def is_behind(self) -> bool:
        return self._sender.locked()

    def offer(self, frames: bytes) -> bool:
        return False

    async def see_off(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        async with self._sender:
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        async with self._sender:
            await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _translated(error: OSError) -> trio.BrokenResourceError | trio.ClosedResourceError:
    if error.errno == errno.EBADF:  # we closed it ourselves
        return trio.ClosedResourceError("this stream was already closed")
    return trio.BrokenResourceError(f"the connection is broken: {error.strerror}")
