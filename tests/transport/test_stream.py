"""The stream under a WebSocket: whole frames or nothing. Real sockets, because it is about their buffers."""

import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from mudserver.transport.stream import SocketPlayerStream, WrappedPlayerStream
from mudserver.wire.frames import text_frame
from tests.transport.sockets import tcp_pair

PATIENCE_SECONDS = 10.0
BIG = 300_000
"""Far more than both kernels' buffers hold."""


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    with tcp_pair() as pair:
        yield pair


class Reader:
    """The client's end: what arrived, as messages, by somebody else's parser."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._client = Connection(ConnectionType.CLIENT)
        self._begun = ""
        self.messages: list[str] = []

    async def read_messages(self, count: int) -> list[str]:
        with trio.fail_after(PATIENCE_SECONDS):
            while len(self.messages) < count:
                await trio.lowlevel.wait_readable(self._socket)
                self._client.receive_data(self._socket.recv(65536))
                for event in self._client.events():
                    assert isinstance(event, TextMessage)
                    self._begun += event.data
                    if event.message_finished:
                        self.messages.append(self._begun)
                        self._begun = ""
        return self.messages


async def test_an_offer_goes_out_at_once_while_the_socket_has_room(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    stream, reader = SocketPlayerStream(sockets[0]), Reader(sockets[1])
    assert stream.offer(text_frame(b"one") + text_frame(b"two"))
    assert not stream.is_behind
    assert await reader.read_messages(2) == ["one", "two"]


async def test_a_frame_half_taken_is_finished_before_anything_else(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    stream, reader = SocketPlayerStream(sockets[0]), Reader(sockets[1])
    assert stream.offer(text_frame(b"x" * BIG))
    assert stream.is_behind
    assert not stream.offer(text_frame(b"refused"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, text_frame(b"last"))
        assert await reader.read_messages(2) == ["x" * BIG, "last"]
    assert not stream.is_behind
    assert stream.offer(text_frame(b"again"))
    assert (await reader.read_messages(3))[-1] == "again"


async def test_frames_stay_whole_after_a_cancelled_send(sockets: tuple[socket.socket, socket.socket]) -> None:
    stream, reader = SocketPlayerStream(sockets[0]), Reader(sockets[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, text_frame(b"a" * BIG))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert stream.is_behind
    assert not stream.offer(text_frame(b"never between the halves"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, text_frame(b"b" * BIG))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, text_frame(b"c"))
        assert await reader.read_messages(3) == ["a" * BIG, "b" * BIG, "c"]


async def test_two_who_send_at_once_do_not_mix_their_frames(sockets: tuple[socket.socket, socket.socket]) -> None:
    stream, reader = SocketPlayerStream(sockets[0]), Reader(sockets[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, text_frame(b"a" * BIG))
        nursery.start_soon(stream.send_all, text_frame(b"b" * BIG))
        messages = await reader.read_messages(2)
    assert sorted(messages) == ["a" * BIG, "b" * BIG]


async def test_sending_nothing_sees_off_what_was_taken_before(sockets: tuple[socket.socket, socket.socket]) -> None:
    stream, reader = SocketPlayerStream(sockets[0]), Reader(sockets[1])
    stream.offer(text_frame(b"x" * BIG))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, b"")
        assert await reader.read_messages(1) == ["x" * BIG]
    assert not stream.is_behind


async def test_what_is_offered_to_a_dead_socket_is_nobodys_loss_and_the_reader_hears_of_it(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    stream = SocketPlayerStream(sockets[0])
    linger_off = b"\1\0\0\0\0\0\0\0"
    sockets[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_off)
    sockets[1].close()
    with trio.fail_after(PATIENCE_SECONDS), pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    assert stream.offer(b"frame")
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"frame")


async def test_a_polite_end_reads_as_nothing(sockets: tuple[socket.socket, socket.socket]) -> None:
    stream = SocketPlayerStream(sockets[0])
    sockets[1].close()
    with trio.fail_after(PATIENCE_SECONDS):
        assert await stream.receive_some() == b""


async def test_unread_bytes_come_first_in_their_order(sockets: tuple[socket.socket, socket.socket]) -> None:
    stream = SocketPlayerStream(sockets[0])
    sockets[1].send(b"third")
    stream.unread(b"second")
    stream.unread(b"first ")
    assert await stream.receive_some(4) == b"firs"
    assert await stream.receive_some() == b"t second"
    assert await stream.receive_some() == b"third"


async def test_unread_works_the_same_over_memory() -> None:
    client, server = memory_stream_pair()
    stream = WrappedPlayerStream(server)
    await client.send_all(b"cd")
    stream.unread(b"ab")
    assert [await stream.receive_some(1) for _ in range(4)] == [b"a", b"b", b"c", b"d"]


USES: dict[str, Callable[[SocketPlayerStream], Awaitable[object]]] = {
    "receive": lambda stream: stream.receive_some(),
    "send": lambda stream: stream.send_all(b"x" * BIG),
    "wait": lambda stream: stream.wait_send_all_might_not_block(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_a_stream_we_closed_says_so(
    sockets: tuple[socket.socket, socket.socket], use: Callable[[SocketPlayerStream], Awaitable[object]]
) -> None:
    stream = SocketPlayerStream(sockets[0])
    await stream.aclose()
    await stream.aclose()  # twice does no harm
    with pytest.raises(trio.ClosedResourceError):
        await use(stream)


@pytest.mark.parametrize("use", ["receive", "send"])
async def test_closing_wakes_whoever_waits(sockets: tuple[socket.socket, socket.socket], use: str) -> None:
    stream = SocketPlayerStream(sockets[0])

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await (stream.receive_some() if use == "receive" else stream.send_all(b"x" * BIG))

    with trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            await stream.aclose()


async def test_seeing_off_lets_the_last_words_through_and_waits_for_the_other_side(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    stream, reader = SocketPlayerStream(sockets[0]), Reader(sockets[1])
    sockets[1].send(b"never read by us")
    stream.offer(text_frame(b"goodbye"))
    with trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.see_off)
            assert await reader.read_messages(1) == ["goodbye"]
            await trio.lowlevel.wait_readable(sockets[1])
            assert sockets[1].recv(100) == b""
            sockets[1].close()
